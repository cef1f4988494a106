//! Holds the source to the house's rules: floors, first lines, lengths. Reads the tree and runs none of it.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, top to bottom, as ARCHITECTURE.md draws them: a module imports only from those that stand after it.
const FLOORS: [&str; 28] = [
    "main",
    "cli",
    "app",
    "http",
    "ingest",
    "track",
    "marker",
    "live",
    "map",
    "log",
    "dead_letters",
    "devices",
    "formats",
    "logging",
    "metrics",
    "config",
    "data_dir",
    "progress",
    "attention",
    "readiness",
    "slots",
    "beat",
    "courtesy",
    "ended",
    "clock",
    "wire",
    "model",
    "lib",
];
const MAX_LINES: usize = 300;
/// Files that were longer when this rule came, at the length they had: they may only shrink, and leave this list when split.
const STILL_LONG: [(&str, usize); 0] = [];

fn sources(under: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(under);
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{under} holds sources");
    files
}

fn all_sources() -> Vec<PathBuf> {
    ["server/src", "simulator/src", "tests", "benches"]
        .into_iter()
        .flat_map(|under| if under == "benches" && !has_benches() { Vec::new() } else { sources(under) })
        .collect()
}

fn has_benches() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../benches")
        .read_dir()
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))))
}

fn floor_of(file: &Path) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = file.strip_prefix(root).expect("a server source").components().next().expect("a name");
    let name = Path::new(first.as_os_str()).file_stem().expect("a name").to_string_lossy().into_owned();
    let floor = floor(&name);
    assert!(floor.is_some(), "{name} stands on no floor: give it one in tests/tidy.rs and ARCHITECTURE.md");
    floor.unwrap_or_default()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

#[test]
fn every_module_imports_only_from_floors_below_it() {
    let mut wrong = Vec::new();
    for file in sources("server/src") {
        let own = floor_of(&file);
        let text = fs::read_to_string(&file).expect("readable");
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let Some(used) = floor(&name) else {
                    continue;
                };
                if used < own {
                    wrong.push(format!("{}:{}: {} looks up at {name}", file.display(), number + 1, FLOORS[own]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_on_its_first_line_what_it_is_for() {
    let silent: Vec<_> = all_sources()
        .into_iter()
        .filter(|file| !fs::read_to_string(file).expect("readable").starts_with("//! "))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no //! on line 1:\n{}", silent.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut long = Vec::new();
    for file in sources("server/src").into_iter().chain(sources("simulator/src")) {
        let text = fs::read_to_string(&file).expect("readable");
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        let max = STILL_LONG.iter().find(|(name, _)| file.ends_with(name)).map_or(MAX_LINES, |(_, max)| *max);
        if lines > max {
            long.push(format!("{}: {lines} lines without its tests, at most {max}", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
