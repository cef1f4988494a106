//! The live stage: sessions over the map, fed by shared chunks once a tick. Never changes a marker and never queues for a slow reader.

pub mod chunk;
mod enter;
mod follow;
mod held;
pub mod json;
pub mod lens;
mod link;
mod middle;
mod moved;
mod pace;
pub mod resume;
pub mod seats;
mod session;
pub mod sessions;
pub mod socket;
mod stamp;
mod tally;
pub mod tick;
mod told;
mod view;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::map::cells::SessionId;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;
use crate::wire;

/// The two spellings of the same messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Proto,
    Json,
}

/// Every bound of the live stage.
#[derive(Clone, Debug)]
pub struct Settings {
    pub tick: Duration,
    pub max_sessions_per_tenant: usize,
    /// A view beyond either is shown at the next coarser level.
    pub max_cells_per_view: usize,
    pub max_markers_per_view: usize,
    pub max_frames_in_flight: usize,
    /// While nothing is known of a link, and however fast it is. Half of it is a frame at most, if a single cell is not more.
    pub first_bytes_in_flight: usize,
    pub max_bytes_in_flight: usize,
    /// A session with something in flight that acknowledges nothing for this long is closed, a second later at most.
    pub no_progress: Duration,
    /// How often a cell that changes carries its checksum.
    pub verify_every: Duration,
    /// How long an emptied cell remembers what left it.
    pub emptied_kept: Duration,
    /// A session is shown a coarser level when what it holds is out of date for this long, or when its view would take longer than `view_within`;
    /// one that kept up for `restore_after` gets its own back, and after each failure waits twice as long.
    pub coarsen_after: Duration,
    pub view_within: Duration,
    pub restore_after: Duration,
    pub auth_timeout: Duration,
    pub ping_every: Duration,
    pub max_message_bytes: usize,
    pub view_changes_per_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            max_sessions_per_tenant: 1_000,
            max_cells_per_view: 512,
            max_markers_per_view: 20_000,
            max_frames_in_flight: 4,
            first_bytes_in_flight: 32 * 1_024,
            max_bytes_in_flight: 128 * 1_024,
            no_progress: Duration::from_secs(14),
            verify_every: Duration::from_secs(30),
            emptied_kept: Duration::from_mins(10),
            coarsen_after: Duration::from_secs(3),
            view_within: Duration::from_secs(8),
            restore_after: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(5),
            ping_every: Duration::from_secs(25),
            max_message_bytes: 16 * 1_024,
            view_changes_per_s: 20,
        }
    }
}

/// What a socket tells the live task.
#[derive(Debug)]
pub enum SessionCommand {
    Open { session: SessionId, tenant: TenantId, scope: Scope, format: Format, outbox: mpsc::Sender<OutFrame> },
    View { session: SessionId, view: wire::View },
    Follow { session: SessionId, delivery: String },
    Resume { session: SessionId, resume: wire::Resume },
    Ack { session: SessionId, tick: u64 },
    Close { session: SessionId },
}

/// A message for one session: its own header and chunks shared with others, joined only where it is written.
#[derive(Clone, Debug)]
pub struct OutFrame {
    format: Format,
    header: Bytes,
    chunks: Vec<Bytes>,
    /// Ingest time of the oldest change it carries.
    pub oldest: Option<UnixMs>,
    /// The code of the `bye` in it, after which the socket closes.
    pub close: Option<Goodbye>,
}

impl OutFrame {
    pub fn new(format: Format, header: &wire::Frame, chunks: Vec<Bytes>, oldest: Option<UnixMs>) -> Self {
        let encoded = match format {
            Format::Proto => Bytes::from(prost::Message::encode_to_vec(header)),
            Format::Json => Bytes::from(json::header(header)),
        };
        Self { format, header: encoded, chunks, oldest, close: None }
    }

    pub fn bye(format: Format, goodbye: Goodbye, reason: &str, reconnect_in_ms: u32) -> Self {
        let bye = wire::Bye { code: u32::from(goodbye.code()), reason: reason.to_owned(), reconnect_in_ms };
        let mut frame = Self::new(format, &wire::Frame { bye: Some(bye), ..wire::Frame::default() }, Vec::new(), None);
        frame.close = Some(goodbye);
        frame
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn bytes_len(&self) -> usize {
        self.header.len() + self.chunks.iter().map(Bytes::len).sum::<usize>() + self.chunks.len()
    }

    /// The message as it goes on the wire.
    pub fn join(&self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.bytes_len() + 16);
        match self.format {
            Format::Proto => {
                self.chunks.iter().for_each(|chunk| joined.put_slice(chunk));
                joined.put_slice(&self.header);
            }
            Format::Json => {
                // The header is an object; the chunks become its last member.
                joined.put_slice(self.header.strip_suffix(b"}").unwrap_or(&self.header));
                joined.put_slice(b",\"cells\":[");
                for (index, chunk) in self.chunks.iter().enumerate() {
                    joined.put_slice(if index == 0 { b"" } else { b"," });
                    joined.put_slice(chunk);
                }
                joined.put_slice(b"]}");
            }
        }
        joined.freeze()
    }
}

/// Why the server ends a session: the numbers of `Bye.code`; the close code is 4000 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Goodbye {
    Shutdown = 1,
    AuthFailed = 2,
    AuthTimeout = 3,
    BadMessage = 4,
    NoProgress = 5,
    TooManySessions = 6,
    ViewRate = 7,
    KeyRevoked = 8,
    MessageTooLarge = 9,
}

impl Goodbye {
    pub fn code(self) -> u16 {
        self as u16
    }

    pub fn close_code(self) -> u16 {
        4_000 + self.code()
    }
}
