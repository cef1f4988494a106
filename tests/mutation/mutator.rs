//! Damages valid samples in ways that readers stumble over. The same number always gives the same input; knows no parser.

use super::parsers::Dialect;

/// Longest input made; a reader that is slow or greedy shows well below.
const MAX_BYTES: usize = 64 << 10;
/// What replaces a number: too large, too long, too precise, no number.
const NUMBERS: [&str; 16] = [
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "-0",
    "1e-400",
    "0.1e1",
    "01",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "4294967296",
    "1.7976931348623159e308",
    "",
    "\u{0663}",
];
/// What is put in between: openings without an end, escapes, what looks like an end.
const WORDS: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00\\ud800",
    "\\u",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "null",
    "true",
    "false",
    "\n",
    "\r\n",
    "//",
    "/*",
    "{}",
    "[]",
    "\"event_id\":",
    "\"payload\":{",
    "%00",
    "%ff",
    "&",
    "=",
];
/// No UTF-8: a lone follower, an overlong NUL, a surrogate, a code point beyond the last.
const BROKEN: [&[u8]; 4] = [&[0x80], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80]];

pub(super) struct Mutator<'a> {
    samples: &'a [Vec<u8>],
    dialect: Dialect,
}

impl<'a> Mutator<'a> {
    pub(super) fn new(samples: &'a [Vec<u8>], dialect: Dialect) -> Self {
        assert!(!samples.is_empty() && samples.iter().all(|sample| !sample.is_empty()));
        Self { samples, dialect }
    }

    /// The input of this number: one of the samples with one to four damages.
    pub(super) fn input(&self, number: u64) -> Vec<u8> {
        let mut dice = Dice(number);
        let mut input = self.samples[dice.below(self.samples.len())].clone();
        for _ in 0..=dice.below(4) {
            self.damage(&mut input, &mut dice);
            input.truncate(MAX_BYTES);
        }
        input
    }

    fn damage(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let at = dice.below(input.len() + 1);
        match dice.below(10) {
            0 => flip(input, dice),
            1 => drop(input.drain(range(input, dice))),
            2 => input.truncate(at),
            3 => self.splice(input, at, dice),
            4 => repeat(input, dice),
            5 => swap(input, dice),
            _ if self.dialect == Dialect::Binary => damage_binary(input, dice),
            6 => insert(input, at, WORDS[dice.below(WORDS.len())].as_bytes()),
            7 => insert(input, at, BROKEN[dice.below(BROKEN.len())]),
            8 => nest(input, at, dice),
            _ => blow_up(input, dice),
        }
    }

    /// Puts a piece of another sample in.
    fn splice(&self, input: &mut Vec<u8>, at: usize, dice: &mut Dice) {
        let other = &self.samples[dice.below(self.samples.len())];
        insert(input, at, &other[range(other, dice)]);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(input.splice(at..at, piece.iter().copied()));
}

/// A piece of at most some dozens of bytes, so that most of the sample stays whole.
fn range(input: &[u8], dice: &mut Dice) -> std::ops::Range<usize> {
    let from = dice.below(input.len() + 1);
    let length = if dice.below(4) == 0 { dice.below(input.len() - from + 1) } else { dice.below(24).min(input.len() - from) };
    from..from + length
}

fn flip(input: &mut [u8], dice: &mut Dice) {
    if !input.is_empty() {
        let at = dice.below(input.len());
        input[at] ^= 1 << dice.below(8);
    }
}

fn repeat(input: &mut Vec<u8>, dice: &mut Dice) {
    let piece = range(input, dice);
    let times = if dice.below(16) == 0 { dice.below(2_000) } else { dice.below(6) };
    let repeated = input[piece.clone()].repeat(times);
    insert(input, piece.end, &repeated[..repeated.len().min(MAX_BYTES)]);
}

/// Two neighbouring pieces change places: members out of order, a value before its name.
fn swap(input: &mut [u8], dice: &mut Dice) {
    let piece = range(input, dice);
    if !piece.is_empty() {
        let middle = dice.below(piece.len());
        input[piece].rotate_left(middle);
    }
}

fn nest(input: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let opening = ["[", "{\"a\":", "[{\"a\":", "{\"payload\":"][dice.below(4)];
    let depth = [2, 30, 33, 200, 10_000][dice.below(5)];
    insert(input, at, opening.repeat(depth).as_bytes());
}

/// One of the numbers in it becomes one that no reader expects.
fn blow_up(input: &mut Vec<u8>, dice: &mut Dice) {
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let length = input[at..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        if length > 0 {
            numbers.push(at..at + length);
        }
        at += length + 1;
    }
    if numbers.is_empty() {
        return;
    }
    let number = numbers[dice.below(numbers.len())].clone();
    let other = match dice.below(8) {
        0 => "9".repeat(400),
        1 => format!("0.{}1", "0".repeat(400)),
        2 => dice.next().to_string(),
        _ => NUMBERS[dice.below(NUMBERS.len())].to_owned(),
    };
    drop(input.splice(number, other.into_bytes()));
}

/// Another tag, another wire type, a length that is none, a number without an end.
fn damage_binary(input: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let tag = u8::try_from(dice.below(32) << 3 | dice.below(8)).expect("a byte");
    match dice.below(7) {
        0 => insert(input, at, &[0xff; 11][..dice.below(12)]),
        1 => insert(input, at, &[tag]),
        2 => insert(input, at, &[tag, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        3 => insert(input, at, &f64::NAN.to_le_bytes()),
        4 => insert(input, at, &BROKEN[dice.below(BROKEN.len())].repeat(3)),
        5 => insert(input, at, &[tag; 64].repeat(dice.below(40))),
        _ if at < input.len() => input[at] = [0, 0x7f, 0x80, 0xff, tag][dice.below(5)],
        _ => {}
    }
}

/// Splitmix: the same numbers everywhere, and one input needs no other.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

#[test]
fn a_number_gives_the_same_input_again_and_another_gives_another() {
    let samples = vec![br#"{"event_id":"e1","lat":57.7}"#.to_vec(), vec![0x0a, 3, b'a', b'b', b'c']];
    for dialect in [Dialect::Text, Dialect::Binary] {
        let inputs: Vec<_> = (0..1_000).map(|number| Mutator::new(&samples, dialect).input(number)).collect();
        assert!(inputs.iter().all(|input| input.len() <= MAX_BYTES));
        assert!((0..1_000).zip(&inputs).all(|(number, input)| Mutator::new(&samples, dialect).input(number) == *input));
        let mut distinct: Vec<_> = inputs.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 600, "{} distinct inputs", distinct.len());
    }
}
