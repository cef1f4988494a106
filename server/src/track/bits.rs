//! Numbers, bytes and texts as bits, for what there is so much of that a byte is too large. Never leaves memory; what goes to disk is written by `bytes.rs`.

use smallvec::SmallVec;

/// How wide a number may be: the few first widths are chosen by so many bits, each of the last four by two more. The greatest is 64.
pub struct Widths {
    pub chosen_by: u32,
    pub widths: &'static [u32],
}

/// So many bytes are written without asking for memory.
pub const USUAL: usize = 128;
const LENGTHS: Widths = Widths { chosen_by: 2, widths: &[4, 6, 8, 12, 16, 32, 64] };

/// The least bit first.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: SmallVec<[u8; USUAL]>,
    /// Fewer than eight between two calls.
    begun: u64,
    count: u32,
}

/// Beyond the end there are zeros.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    begun: u64,
    count: u32,
}

impl BitWriter {
    /// A number of at most so many bits.
    pub fn put(&mut self, number: u64, width: u32) {
        debug_assert!(width >= width_of(number), "{number} takes more than {width} bits");
        if width > 32 {
            self.put(number & u64::from(u32::MAX), 32);
            return self.put(number >> 32, width - 32);
        }
        self.begun |= number << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.begun.to_le_bytes()[0]);
            self.begun >>= 8;
            self.count -= 8;
        }
    }

    pub fn put_flag(&mut self, flag: bool) {
        self.put(u64::from(flag), 1);
    }

    pub fn put_number(&mut self, number: u64, of: &Widths) {
        let needed = width_of(number);
        let choice = of.widths.iter().position(|width| *width >= needed).expect("no number takes more than 64 bits");
        let (width, further) = (of.widths[choice], (1 << of.chosen_by) - 1);
        if choice < further {
            self.put(choice as u64, of.chosen_by);
        } else {
            self.put(further as u64, of.chosen_by);
            self.put((choice - further) as u64, 2);
        }
        self.put(number, width);
    }

    /// A difference to what was expected, near zero mostly.
    pub fn put_step(&mut self, step: i64, of: &Widths) {
        self.put_number(((step << 1) ^ (step >> 63)).cast_unsigned(), of);
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        if self.count == 0 {
            return self.bytes.extend_from_slice(bytes);
        }
        for byte in bytes {
            self.put(u64::from(*byte), 8);
        }
    }

    pub fn put_str(&mut self, text: &str) {
        self.put_number(text.len() as u64, &LENGTHS);
        self.put_bytes(text.as_bytes());
    }

    pub fn into_bytes(mut self) -> SmallVec<[u8; USUAL]> {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.bytes
    }
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, begun: 0, count: 0 }
    }

    pub fn take(&mut self, width: u32) -> u64 {
        if width > 32 {
            let low = self.take(32);
            return low | self.take(width - 32) << 32;
        }
        while self.count < width {
            let (byte, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
            self.begun |= u64::from(*byte) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
        let number = self.begun & ((1 << width) - 1);
        self.begun >>= width;
        self.count -= width;
        number
    }

    pub fn take_flag(&mut self) -> bool {
        self.take(1) != 0
    }

    pub fn take_number(&mut self, of: &Widths) -> u64 {
        let (choice, further) = (self.take(of.chosen_by), (1 << of.chosen_by) - 1);
        let choice = if choice < further { choice } else { further + self.take(2) };
        self.take(usize::try_from(choice).ok().and_then(|choice| of.widths.get(choice)).copied().unwrap_or(0))
    }

    pub fn take_step(&mut self, of: &Widths) -> i64 {
        let step = self.take_number(of);
        (step >> 1).cast_signed() ^ -(step & 1).cast_signed()
    }

    pub fn take_array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.take_byte())
    }

    pub fn take_string(&mut self) -> String {
        let length = self.take_number(&LENGTHS);
        let bytes = (0..length).map(|_| self.take_byte()).collect();
        String::from_utf8(bytes).expect("a text was put there")
    }

    fn take_byte(&mut self) -> u8 {
        self.take(8).to_le_bytes()[0]
    }
}

fn width_of(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTHS: Widths = Widths { chosen_by: 2, widths: &[0, 5, 18, 24, 33, 40, 64] };

    proptest! {
        #[test]
        fn what_was_put_comes_out_in_its_order(put in prop::collection::vec((any::<u64>(), 0..=64_u32, any::<[u8; 3]>(), "[a-zö]{0,20}"), 0..20)) {
            let mut bits = BitWriter::default();
            let number = |number: u64, width: u32| number.checked_shr(64 - width).unwrap_or(0);
            for (of, width, bytes, text) in &put {
                bits.put(number(*of, *width), *width);
                bits.put_flag(of % 2 == 0);
                bits.put_number(number(*of, *width), &WIDTHS);
                bits.put_step(number(*of, *width).cast_signed(), &WIDTHS);
                bits.put_bytes(bytes);
                bits.put_str(text);
            }
            let bytes = bits.into_bytes();
            let mut bits = BitReader::new(&bytes);
            for (of, width, bytes, text) in &put {
                prop_assert_eq!(bits.take(*width), number(*of, *width));
                prop_assert_eq!(bits.take_flag(), of % 2 == 0);
                prop_assert_eq!(bits.take_number(&WIDTHS), number(*of, *width));
                prop_assert_eq!(bits.take_step(&WIDTHS), number(*of, *width).cast_signed());
                prop_assert_eq!(&bits.take_array(), bytes);
                prop_assert_eq!(&bits.take_string(), text);
            }
            prop_assert_eq!(bits.take(64), 0);
        }
    }

    #[test]
    fn a_number_takes_the_least_of_its_widths_and_what_chooses_it() {
        let mut bits = BitWriter::default();
        for number in [0, 31, 32] {
            bits.put_number(number, &WIDTHS);
        }
        assert_eq!(bits.into_bytes().len(), (2 + (2 + 5) + (2 + 18_usize)).div_ceil(8));
        let mut bits = BitWriter::default();
        for step in [-1, 1] {
            bits.put_step(step, &WIDTHS);
        }
        assert_eq!(bits.into_bytes().len(), (2 * (2 + 5_usize)).div_ceil(8));
    }
}
