//! The apps whose protocols have an address of their own, by their names. Knows no address and no format.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum App {
    OsmAnd,
    Traccar,
    OwnTracks,
    Overland,
    GpsLogger,
    CloudEvents,
}

impl App {
    pub const ALL: [Self; 6] = [Self::OsmAnd, Self::Traccar, Self::OwnTracks, Self::Overland, Self::GpsLogger, Self::CloudEvents];

    /// The value of the label `app`, and the protocol of a letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::OsmAnd => "osmand",
            Self::Traccar => "traccar",
            Self::OwnTracks => "owntracks",
            Self::Overland => "overland",
            Self::GpsLogger => "gpslogger",
            Self::CloudEvents => "cloudevents",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|app| app.name() == name)
    }

    /// Where it says what the phone is called, as a JSON pointer.
    pub fn device_at(self) -> &'static str {
        match self {
            Self::OsmAnd | Self::GpsLogger => "/id",
            Self::Traccar => "/device_id",
            Self::OwnTracks => "/topic",
            Self::Overland => "/properties/device_id",
            Self::CloudEvents => "/source",
        }
    }
}
