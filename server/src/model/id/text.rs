//! A text that is too long to lie in place of a pointer. Never says what is a valid id.

use std::sync::Arc;

/// A longer text. With its counts it takes the 64 bytes that the allocator has for it, and only one of more than 46 bytes asks for another piece.
pub(super) enum Text {
    Near { length: u8, bytes: [u8; MAX_NEAR] },
    Far(Box<str>),
}

const MAX_NEAR: usize = 46;

impl Text {
    pub(super) fn shared(text: &str) -> Arc<Self> {
        let mut bytes = [0; MAX_NEAR];
        Arc::new(match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Near { length, bytes }
            }
            _ => Self::Far(text.into()),
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Near { length, bytes } => &bytes[..usize::from(*length)],
            Self::Far(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Near { .. } => std::str::from_utf8(self.bytes()).expect("a text was put there"),
            Self::Far(text) => text,
        }
    }

    /// Looks at where it begins. What it returns says nothing.
    pub(super) fn glance(&self) -> u8 {
        if let Self::Near { length, .. } = self { *length } else { 0 }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Text {}
