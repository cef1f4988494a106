//! Numbers of markers on the wire: `Cell.moves`, and a cell's checksum. Never knows what they are of.

use crate::formats::scalars::zigzag;
use crate::model::id::Handle;

/// A handle's counter, and its partition's number: in this order handles of all partitions are near each other.
pub(super) fn parts_of(handle: Handle) -> (u64, u64) {
    (handle.0 & ((1 << Handle::COUNTER_BITS) - 1), handle.0 >> Handle::COUNTER_BITS)
}

/// `Cell.moves`: five numbers a marker.
pub(super) fn columns(mut moved: Vec<((u64, u64), i32, i32, u32)>) -> Vec<u64> {
    moved.sort_unstable_by_key(|(handle, ..)| *handle);
    let mut columns = Vec::with_capacity(moved.len() * 5);
    let mut before = 0;
    for ((counter, partition), dlat, dlng, meta) in moved {
        columns.extend([counter - before, partition, zigzag(dlat), zigzag(dlng), u64::from(meta)]);
        before = counter;
    }
    columns
}

/// An entry's share of its cell's checksum, as ARCHITECTURE.md, "Cell checksum", defines it.
pub(super) fn checksum_of(handle: u64, lat_e7: i32, lng_e7: i32, meta: u32) -> u32 {
    let low = u32::try_from(handle & 0xffff_ffff).expect("masked to 32 bits");
    let high = u32::try_from(handle >> 32).expect("32 bits remain");
    let start = mix(low ^ 0x9e37_79b9);
    [high, lat_e7.cast_unsigned(), lng_e7.cast_unsigned(), meta].into_iter().fold(start, |hash, word| mix(hash ^ word))
}

fn mix(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
