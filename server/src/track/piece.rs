//! A string of bytes without its length, in 48 bytes of whoever has it. Never knows what the bytes say.

use std::num::NonZeroU8;

use smallvec::SmallVec;

/// A byte that says what they are, then the bytes. Of those up to 47 lie here, with zeros after them: where they end has to be known to who reads them. More go on
/// elsewhere, in a piece that is as long as it must be.
#[derive(Clone, Debug)]
pub struct Piece(Cut);

/// The byte is never zero, so it also says whether they are whole.
#[derive(Clone, Debug)]
enum Cut {
    Whole { kind: NonZeroU8, bytes: [u8; Piece::WHOLE] },
    Begun { kind: NonZeroU8, head: [u8; HEAD], rest: Box<[u8]> },
}

const HEAD: usize = 23;
/// So many are joined without asking for memory.
const JOINED: usize = 256;

impl Piece {
    /// So many bytes lie here alone.
    pub const WHOLE: usize = 47;

    pub fn new(kind: NonZeroU8, bytes: &[u8]) -> Self {
        let mut whole = [0; Self::WHOLE];
        Self(if let Some(place) = whole.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            Cut::Whole { kind, bytes: whole }
        } else {
            let (head, rest) = bytes.split_first_chunk().expect("they are more than would be whole");
            Cut::Begun { kind, head: *head, rest: rest.into() }
        })
    }

    pub fn kind(&self) -> u8 {
        let (Cut::Whole { kind, .. } | Cut::Begun { kind, .. }) = &self.0;
        kind.get()
    }

    /// Calls `f` with the bytes, of very many with so many of them at least.
    pub fn read<R>(&self, at_least: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        match &self.0 {
            Cut::Whole { bytes, .. } => f(bytes),
            Cut::Begun { head, .. } if at_least <= HEAD => f(head),
            Cut::Begun { head, rest, .. } => {
                let mut joined: SmallVec<[u8; JOINED]> = SmallVec::from_slice(head);
                joined.extend_from_slice(&rest[..rest.len().min(at_least - HEAD)]);
                f(&joined)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_48_bytes() {
        assert_eq!(size_of::<Piece>(), 48);
    }

    #[test]
    fn bytes_come_back_however_many_they_are_and_no_more_than_is_asked_are_joined() {
        let all: Vec<u8> = (1..=250).cycle().take(1_000).collect();
        for length in [0, 1, HEAD, HEAD + 1, Piece::WHOLE - 1, Piece::WHOLE, Piece::WHOLE + 1, JOINED, JOINED + 1, 1_000] {
            let (bytes, kind) = (&all[..length], NonZeroU8::new(7).unwrap());
            let piece = Piece::new(kind, bytes);
            assert_eq!(piece.kind(), 7);
            for at_least in [0, 20, 30, usize::MAX] {
                piece.read(at_least, |read| {
                    assert_eq!(&read[..length.min(at_least)], &bytes[..length.min(at_least)]);
                    assert!(read.len() <= at_least.max(Piece::WHOLE) && read.iter().skip(length).all(|byte| *byte == 0));
                });
            }
        }
    }
}
