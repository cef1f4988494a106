//! The pictures of the benchmarks: every value is in its place and written, and whatever a label says, the file stays XML.

#[expect(dead_code, reason = "a test uses its part of it")]
#[path = "../benches/plot.rs"]
mod plot;

use plot::Colour;
use plot::bars::{Bar, Bars, Fill, Group};
use plot::lines::{Axis, Lines, Mark, Series, Spread};

fn lines(spread: Spread, points: Vec<(f64, f64)>) -> String {
    let axis = |label: &str| Axis { label: label.to_owned(), spread };
    let series = vec![Series { name: "r8 & <r9>".to_owned(), points }, Series { name: "none".to_owned(), points: Vec::new() }];
    let mark = Some(Mark { value: 250.0, label: "budget".to_owned() });
    Lines { title: "\"Cost\"".to_owned(), note: "a < b".to_owned(), x: axis("sessions"), y: axis("ms"), series, mark }.svg()
}

/// The numbers of an attribute of all elements that begin so.
fn numbers(svg: &str, element: &str, attribute: &str) -> Vec<f64> {
    let of = |line: &str| line.split_once(&format!(" {attribute}=\""))?.1.split('"').next()?.parse().ok();
    svg.lines().filter(|line| line.starts_with(element)).filter_map(of).collect()
}

#[test]
fn a_decade_is_as_long_as_the_next_and_no_point_is_outside() {
    let svg = lines(Spread::Log, vec![(10.0, 1.0), (100.0, 10.0), (1_000.0, 3_000.0)]);
    let across = numbers(&svg, "<circle", "cx");
    let [.., first, second, third] = across.as_slice() else { panic!("three points") };
    assert!((second - first - (third - second)).abs() < 0.2, "{across:?}");
    let (top, bottom) =
        (0.0, svg.lines().next().and_then(|line| line.rsplit('"').nth(6)).map_or(f64::MAX, |height| height.parse().unwrap_or(f64::MAX)));
    assert!(numbers(&svg, "<circle", "cy").iter().all(|y| (top..bottom).contains(y)));
    // What has no place on the axis is left out, not drawn somewhere.
    assert_eq!(numbers(&lines(Spread::Log, vec![(0.0, 1.0), (10.0, 1.0), (20.0, 2.0)]), "<circle", "cx").len(), 1 + 2);
    assert_eq!(numbers(&lines(Spread::Linear, vec![(0.0, 1.0), (10.0, 1.0), (20.0, 2.0)]), "<circle", "cx").len(), 1 + 3);
}

#[test]
fn a_bar_is_as_long_as_its_value_and_the_value_is_written() {
    let bar = |label: &str, value| Bar { label: label.to_owned(), value, colour: Colour::Red, fill: Fill::Hollow };
    let group =
        Group { title: "t".to_owned(), unit: "/s".to_owned(), better: "longer is better", bars: vec![bar("a", 512_000.0), bar("b", 1_024_000.0)] };
    let svg = Bars { title: "t".to_owned(), note: String::new(), groups: vec![group] }.svg();
    let length = |line: &str| -> Option<f64> { line.split_once('h')?.1.split('a').next()?.parse().ok() };
    let lengths: Vec<f64> = svg.lines().filter(|line| line.starts_with("<path")).filter_map(|line| length(line.split_once(" d=")?.1)).collect();
    let [a, b] = lengths.as_slice() else { panic!("two bars: {lengths:?}") };
    assert!(((b + 3.0) / (a + 3.0) - 2.0).abs() < 0.01, "{lengths:?}");
    assert!(svg.contains(">512 k/s<") && svg.contains(">1.02 M/s<") && svg.contains(">2×<"), "{svg}");
}

#[test]
fn labels_cannot_break_a_picture() {
    let svg = lines(Spread::Linear, vec![(1.0, 1.0)]);
    let drawn = svg.replace("r8 &amp; &lt;r9&gt;", "").replace("&quot;Cost&quot;", "").replace("a &lt; b", "");
    assert!(!drawn.contains('&') && !drawn.contains("<r9"), "{drawn}");
    for (opened, closed) in [("<text", "</text>"), ("<svg", "</svg>"), ("<title", "</title>"), ("<desc", "</desc>")] {
        assert_eq!(svg.matches(opened).count(), svg.matches(closed).count(), "{opened}");
    }
}
