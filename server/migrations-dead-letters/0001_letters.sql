-- Events that were refused, as they came. `seq` is the order of their arrival: the oldest go first.
CREATE TABLE letters (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,   -- never given twice: who tries letters again names them by it
    id             BLOB NOT NULL CHECK (length(id) = 16),
    tenant         TEXT NOT NULL,
    reason         TEXT NOT NULL,
    pointer        TEXT NOT NULL,
    detail         TEXT NOT NULL,
    protocol       TEXT NOT NULL,
    whole_body     INTEGER NOT NULL CHECK (whole_body IN (0, 1)),
    schema_version INTEGER,
    event_id       TEXT NOT NULL,              -- as claimed; empty when it could not be read
    actor          TEXT NOT NULL,              -- as claimed; empty when it could not be read
    authority      TEXT,                       -- what of the tenant its sender may speak of, as JSON; null: all
    received_ms    INTEGER NOT NULL,
    kept_ms        INTEGER NOT NULL,           -- from when on its age counts
    log_partition  INTEGER,                    -- with log_offset: where in the log the event stands that could not be applied
    log_offset     INTEGER,
    came_bytes     INTEGER NOT NULL,           -- more than length(raw) when it was cut
    tries          INTEGER NOT NULL,
    tried_ms       INTEGER,
    charge         INTEGER NOT NULL,           -- what it counts against the bound
    raw            BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX letters_by_id ON letters (id);
-- Each ends in seq, so a tenant's letters come out of it in their order.
CREATE INDEX letters_of_tenant ON letters (tenant);
CREATE INDEX letters_by_reason ON letters (tenant, reason);
-- Few: what a start tries to apply again.
CREATE INDEX letters_parked ON letters (seq) WHERE log_partition IS NOT NULL;

-- What each tenant holds, written in the same transaction as the letters.
CREATE TABLE held (
    tenant  TEXT PRIMARY KEY NOT NULL,
    letters INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
