//! A value that may be absent and takes no more room than one that is there, for what there are millions of. Never stands for two absences.

use std::fmt;

use super::id::Handle;
use super::short::Short;
use super::time::UnixMs;

/// Has a value that stands for none.
pub trait Spare: Copy {
    const NONE: Self;

    fn is_none(self) -> bool;
}

/// The last moment of all.
impl Spare for UnixMs {
    const NONE: Self = Self(i64::MAX);

    fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl Spare for i64 {
    const NONE: Self = Self::MAX;

    fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// The greatest of all.
impl Spare for u32 {
    const NONE: Self = Self::MAX;

    fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// The greatest of all.
impl Spare for u16 {
    const NONE: Self = Self::MAX;

    fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// Beyond all partitions.
impl Spare for Handle {
    const NONE: Self = Self(u64::MAX);

    fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// What is no number was never measured.
impl Spare for f32 {
    const NONE: Self = Self::NAN;

    fn is_none(self) -> bool {
        self.is_nan()
    }
}

#[derive(Clone, Copy)]
pub struct Maybe<T>(T);

impl<T: Spare> Maybe<T> {
    pub const NONE: Self = Self(T::NONE);

    pub fn some(value: T) -> Self {
        Self(value)
    }

    pub fn get(self) -> Option<T> {
        (!self.0.is_none()).then_some(self.0)
    }

    pub fn take(&mut self) -> Option<T> {
        std::mem::replace(self, Self::NONE).get()
    }

    pub fn is_some(self) -> bool {
        !self.0.is_none()
    }

    pub fn is_none(self) -> bool {
        self.0.is_none()
    }
}

impl<T: Spare> Default for Maybe<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: Spare> From<Option<T>> for Maybe<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NONE, Self::some)
    }
}

impl<T: Spare + PartialEq> PartialEq for Maybe<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Spare + fmt::Debug> fmt::Debug for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A moment that may be absent, in seven bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MaybeMs(Short<UnixMs>);

impl MaybeMs {
    pub fn none() -> Self {
        Self(UnixMs::NONE.into())
    }

    pub fn some(moment: UnixMs) -> Self {
        Self(moment.into())
    }

    pub fn get(self) -> Option<UnixMs> {
        Some(self.0.get()).filter(|moment| !moment.is_none())
    }
}

impl Default for MaybeMs {
    fn default() -> Self {
        Self::none()
    }
}

impl From<Option<UnixMs>> for MaybeMs {
    fn from(moment: Option<UnixMs>) -> Self {
        moment.map_or_else(Self::none, Self::some)
    }
}

impl fmt::Debug for MaybeMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_none_is_none() {
        let mut heard = Maybe::some(UnixMs(-5));
        assert_eq!((heard.get(), heard.take(), heard.get()), (Some(UnixMs(-5)), Some(UnixMs(-5)), None));
        assert_eq!(Maybe::<f32>::from(None), Maybe::NONE);
        assert_ne!(Maybe::some(0.0_f32), Maybe::NONE);
        assert_eq!(size_of::<Maybe<f32>>(), 4);
    }
}
