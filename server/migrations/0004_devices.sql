-- Whose phone a device is. A device that is not listed is its own driver, or nobody's, as the setting `devices` says.
CREATE TABLE devices (
    tenant     TEXT NOT NULL,
    device     TEXT NOT NULL,               -- what the app calls itself: Traccar's identifier, OwnTracks' user/device, ..
    driver     TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_by_driver ON devices (tenant, driver, device);
