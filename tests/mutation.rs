//! The corpus runner: every parser of foreign bytes is fed valid samples that were damaged, and neither panics nor takes memory without bound.
//!
//! 20,000 inputs a parser; a million with `WAYPOST_SOAK=1`. Each input has a number of its own: what fails is printed with it, and
//! `WAYPOST_SEED=number` feeds that one again. Where two readers of the same bytes exist, they are held against each other.
//! A new parser is one more row of `parsers::all`.

mod judges;
mod mutator;
mod parsers;
mod phones;

use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};

use mutator::Mutator;
use parsers::{Dialect, Parser};

/// Inputs of one parser.
fn inputs() -> u64 {
    if std::env::var_os("WAYPOST_SOAK").is_some() { 1_000_000 } else { 20_000 }
}

/// How much the process may grow while one parser is fed: far more than any input asks for, far less than a bomb takes.
const MAX_GROWTH_KIB: u64 = 256 << 10;
/// Inputs between two looks at the memory.
const LOOK_EVERY: u64 = 1_000;

#[test]
fn no_mutated_text_makes_a_parser_panic_or_swell() {
    alone("mutation::no_mutated_text_makes_a_parser_panic_or_swell", || run(Dialect::Text));
}

#[test]
fn no_mutated_bytes_make_a_parser_panic_or_swell() {
    alone("mutation::no_mutated_bytes_make_a_parser_panic_or_swell", || run(Dialect::Binary));
}

/// In a process of its own, as nextest runs each test: what tests beside it take would count as the parser's.
fn alone(name: &str, test: impl FnOnce()) {
    const INSIDE: &str = "WAYPOST_MUTATION_INSIDE";
    if ["NEXTEST", INSIDE].iter().any(|set| std::env::var_os(set).is_some()) {
        return test();
    }
    let binary = std::env::current_exe().expect("this test has a binary");
    let ended = Command::new(binary).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").stdout(Stdio::null()).status();
    assert!(ended.expect("the binary runs").success(), "{name} failed: see above");
}

fn run(dialect: Dialect) {
    let only: Option<u64> = std::env::var("WAYPOST_SEED").ok().map(|seed| seed.parse().expect("WAYPOST_SEED is a number"));
    for parser in parsers::all().iter().filter(|parser| parser.dialect == dialect) {
        let numbers = only.map_or(0..inputs(), |only| only..only + 1);
        let began = std::time::Instant::now();
        feed(parser, numbers);
        say(&format!("{:32} {} inputs in {:.1} s", parser.name, only.map_or(inputs(), |_| 1), began.elapsed().as_secs_f64()));
    }
}

fn feed(parser: &Parser, numbers: std::ops::Range<u64>) {
    let mutator = Mutator::new(&parser.samples, parser.dialect);
    for sample in &parser.samples {
        (parser.feed)(sample);
    }
    forget_peak();
    let before = peak_kib();
    let (mut taken, mut fed) = (0_u64, 0_u64);
    for number in numbers {
        let input = mutator.input(number);
        // The panic itself was told where it happened.
        let fed_well = std::panic::catch_unwind(AssertUnwindSafe(|| (parser.feed)(&input)));
        assert!(fed_well.is_ok(), "{} failed on input {number}, {}: replay with WAYPOST_SEED={number}", parser.name, shown(&input));
        taken += u64::from(fed_well.unwrap_or_default());
        fed += 1;
        if fed.is_multiple_of(LOOK_EVERY) {
            let grown = peak_kib().saturating_sub(before);
            assert!(grown < MAX_GROWTH_KIB, "{} took {grown} KiB by input {number}, {}", parser.name, shown(&input));
        }
    }
    // A mutator that breaks everything tests only the first check of each parser, and one that breaks nothing tests none.
    assert!(fed < LOOK_EVERY || (fed / 200..fed).contains(&taken), "{}: {taken} of {fed} inputs were taken", parser.name);
}

/// So that it can be read and, by `printf`, be made again.
fn shown(input: &[u8]) -> String {
    let text: String = input.iter().take(2_000).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    format!("{} bytes: {text}", input.len())
}

/// The greatest resident size since `forget_peak`, where the system tells.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn forget_peak() {
    // Where this is not allowed the bound is looser by what came before.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{line}").expect("stderr takes it");
}
