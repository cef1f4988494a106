//! Figures as tables for people, as JSON for scripts and as pictures, each with what it takes to judge and to repeat them. Measures nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::live::Live;
use super::plot::bars::{Bar, Bars, Group};
use super::setup::Setup;
use super::systems::System;
use super::turns::Turn;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) setup: Setup,
    pub(crate) sections: Vec<Section>,
    pub(crate) live: Option<Live>,
}

/// One job for several systems.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) key: &'static str,
    pub(crate) title: String,
    /// What sets it apart from the other sections of its picture.
    pub(crate) heading: String,
    /// What is counted: `update` or `query`.
    pub(crate) unit: &'static str,
    /// The others are held against the first.
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) system: System,
    pub(crate) median: Turn,
    pub(crate) rounds: Vec<Turn>,
}

const ABOUT_UPDATES: &str = "All take turns on the same cores as the generator; the median of the rounds. Waypost answers when an event with all its fields is synced, \
    and its CPU is that until the map shows it; Redis and PostGIS are told the position alone (XADD: the same event). Hollow: answered before anything is on disk.";
const ABOUT_VIEWPORTS: &str = "All hold the same objects and answer the same boxes of 0.05 degrees with the id and position of each hit, over 8 connections, in turns on the \
    same cores as the generator; the median of the rounds. Hollow: nothing of it is on disk.";

impl Section {
    fn is_of_updates(&self) -> bool {
        self.unit == "update"
    }

    fn plural(&self) -> &'static str {
        if self.is_of_updates() { "updates" } else { "queries" }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n| system | {}/s | times the first | server CPU µs | times | p50 ms | p99 ms |", self.title, self.plural());
        out.push_str(if self.is_of_updates() { "\n|---|--:|--:|--:|--:|--:|--:|\n" } else { " hits |\n|---|--:|--:|--:|--:|--:|--:|--:|\n" });
        let Some(first) = self.rows.first().map(|row| &row.median) else { return out };
        for Row { name, median, .. } in &self.rows {
            let Turn { per_s, cpu_us, p50_ms, p99_ms, hits, .. } = median;
            let (rate, cost) = (per_s / first.per_s, cpu_us / first.cpu_us);
            write!(out, "| {name} | {per_s:.0} | {rate:.2} | {cpu_us:.2} | {cost:.2} | {p50_ms:.2} | {p99_ms:.2} |").expect("memory takes it");
            if !self.is_of_updates() {
                write!(out, " {hits:.1} |").expect("memory takes it");
            }
            out.push('\n');
        }
        out
    }

    /// Rate and cost; how long an answer takes stands in the table.
    fn groups(&self) -> [Group; 2] {
        let a = if self.is_of_updates() { "an" } else { "a" };
        let rate = Group {
            title: format!("{}: {} a second", self.heading, self.plural()),
            unit: "/s".to_owned(),
            better: "longer is better",
            bars: self.bars(|turn| turn.per_s),
        };
        let mut cost = Group {
            title: format!("{}: CPU of the server {a} {}", self.heading, self.unit),
            unit: "µs".to_owned(),
            better: "shorter is better",
            bars: self.bars(|turn| turn.cpu_us),
        };
        if cost.bars.iter().any(|bar| bar.value >= 1_000.0) {
            "ms".clone_into(&mut cost.unit);
            cost.bars.iter_mut().for_each(|bar| bar.value /= 1_000.0);
        }
        [rate, cost]
    }

    fn bars(&self, figure: fn(&Turn) -> f64) -> Vec<Bar> {
        let bar = |row: &Row| Bar { label: row.name.clone(), value: figure(&row.median), colour: row.system.colour(), fill: row.system.fill() };
        self.rows.iter().map(bar).collect()
    }
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from("# Waypost beside Redis and PostGIS\n\n");
        out.push_str(&self.setup.markdown());
        for (unit, about) in [("update", ABOUT_UPDATES), ("query", ABOUT_VIEWPORTS)] {
            let sections: Vec<&Section> = self.sections.iter().filter(|section| section.unit == unit).collect();
            let Some(first) = sections.first() else { continue };
            let (heading, file) =
                if first.is_of_updates() { ("Position updates", "peers-updates.svg") } else { ("Viewport queries", "peers-viewports.svg") };
            write!(out, "\n## {heading}\n\n{about}\n\n![{heading}]({file})\n\n").expect("memory takes it");
            out.push_str(&sections.iter().map(|section| section.markdown()).collect::<Vec<_>>().join("\n"));
        }
        if let Some(live) = &self.live {
            out.push_str(&live.markdown());
        }
        out
    }

    /// Writes `peers.json`, `peers.md` and the pictures.
    pub(crate) fn write(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        fs::write(folder.join("peers.json"), json + "\n")?;
        fs::write(folder.join("peers.md"), self.markdown())?;
        for (title, about, unit, file) in [
            ("Position updates", ABOUT_UPDATES, "update", "peers-updates.svg"),
            ("Viewport queries", ABOUT_VIEWPORTS, "query", "peers-viewports.svg"),
        ] {
            let groups: Vec<Group> = self.sections.iter().filter(|section| section.unit == unit).flat_map(Section::groups).collect();
            if !groups.is_empty() {
                let bars = Bars {
                    title: title.to_owned(),
                    note: format!("{about} {}", if unit == "update" { self.setup.short_with_disk() } else { self.setup.short() }),
                    groups,
                };
                fs::write(folder.join(file), bars.svg())?;
            }
        }
        if let Some(live) = &self.live {
            fs::write(folder.join("peers-live.svg"), live.bars(&self.setup.short()).svg())?;
        }
        Ok(())
    }
}
