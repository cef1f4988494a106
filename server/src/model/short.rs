//! Numbers that fit 56 bits in seven bytes, or 48 in six, at any place in a record: times and handles where there are very many of them. Never stands for what is absent.

use std::fmt;
use std::marker::PhantomData;

use super::id::Handle;
use super::time::UnixMs;

/// Is a number that mostly needs no more than 56 bits.
pub trait Brief: Copy {
    fn number(self) -> i64;
    fn of_number(number: i64) -> Self;
}

/// A million years from 1970 on both sides; what comes from outside lies in the years 1 to 9999. What lies beyond is the least or the greatest of all times,
/// as it was.
impl Brief for UnixMs {
    fn number(self) -> i64 {
        self.0
    }

    fn of_number(number: i64) -> Self {
        Self(match number {
            ..=MIN => i64::MIN,
            MAX.. => i64::MAX,
            number => number,
        })
    }
}

/// The greatest takes 53 bits; what stands for none takes all 64 and is minus one.
impl Brief for Handle {
    fn number(self) -> i64 {
        self.0.cast_signed()
    }

    fn of_number(number: i64) -> Self {
        Self(number.cast_unsigned())
    }
}

const MAX: i64 = i64::MAX >> 8;
const MIN: i64 = i64::MIN >> 8;

pub struct Short<T>([u8; 7], PhantomData<fn() -> T>);

impl<T: Brief> Short<T> {
    pub fn get(self) -> T {
        let mut bytes = [0; 8];
        bytes[1..].copy_from_slice(&self.0);
        T::of_number(i64::from_le_bytes(bytes) >> 8)
    }
}

impl<T: Brief> From<T> for Short<T> {
    fn from(value: T) -> Self {
        let bytes = value.number().clamp(MIN, MAX).to_le_bytes();
        Self(*bytes.first_chunk().expect("seven of eight"), PhantomData)
    }
}

impl<T> Clone for Short<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Short<T> {}

impl<T> PartialEq for Short<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Short<T> {}

impl<T: Brief + fmt::Debug> fmt::Debug for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A time that our own clock said, or that is not far ahead of it, as each fact's is (`ingest/stamp.rs`), in six bytes: more than four thousand years on both sides
/// of 1970. What lies beyond is the least or the greatest of all times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IngestMs([u8; 6]);

impl IngestMs {
    const MAX: i64 = i64::MAX >> 16;
    const MIN: i64 = i64::MIN >> 16;

    pub fn get(self) -> UnixMs {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0);
        UnixMs(match i64::from_le_bytes(bytes) >> 16 {
            ..=Self::MIN => i64::MIN,
            Self::MAX.. => i64::MAX,
            number => number,
        })
    }
}

impl From<UnixMs> for IngestMs {
    fn from(time: UnixMs) -> Self {
        let bytes = time.0.clamp(Self::MIN, Self::MAX).to_le_bytes();
        Self(*bytes.first_chunk().expect("six of eight"))
    }
}

impl fmt::Debug for IngestMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::PartitionId;

    proptest! {
        #[test]
        fn what_fits_seven_bytes_comes_back(time in -(1_i64 << 50)..1 << 50, partition in any::<u16>(), counter in 0..1_u64 << Handle::COUNTER_BITS) {
            prop_assert_eq!(Short::from(UnixMs(time)).get(), UnixMs(time));
            prop_assert_eq!(IngestMs::from(UnixMs(time >> 4)).get(), UnixMs(time >> 4));
            let handle = Handle::new(PartitionId(partition), counter);
            prop_assert_eq!(Short::from(handle).get(), handle);
        }
    }

    #[test]
    fn the_ends_of_time_stay_its_ends() {
        for time in [UnixMs(i64::MIN), UnixMs(i64::MAX), UnixMs(0), UnixMs(-1)] {
            assert_eq!((Short::from(time).get(), IngestMs::from(time).get()), (time, time));
        }
        assert_eq!(Short::from(Handle(u64::MAX)).get(), Handle(u64::MAX));
        assert_eq!((size_of::<Short<UnixMs>>(), align_of::<Short<UnixMs>>()), (7, 1));
    }
}
