//! Draws results as SVG: bars side by side, curves over axes that may be logarithmic. Measures nothing and judges nothing.
//!
//! A picture brings its own surface and follows the reader's light or dark scheme, so it is legible on any page. Colours are told apart by readers who see few of
//! them, curves by the shape of their points as well. Text is not measured: widths are estimated from the number of letters.

// By path, so that a test can take this file in from elsewhere.
#[path = "plot/bars.rs"]
pub(crate) mod bars;
#[path = "plot/lines.rs"]
pub(crate) mod lines;
#[path = "plot/scale.rs"]
mod scale;

use std::fmt::Write as _;

/// How wide every picture is.
pub(crate) const WIDTH: f64 = 880.0;
/// From the picture's edge to what is drawn.
pub(crate) const MARGIN: f64 = 28.0;
/// One letter of the text in a chart, on average.
const LETTER: f64 = 7.7;

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif;font-size:14px;fill:#1c2530}
.surface{fill:#ffffff;stroke:#d8dee6}
.title{font-size:20px;font-weight:650}
.group{font-size:15px;font-weight:650}
.quiet{fill:#5a6676;font-size:13px}
.strong{font-weight:650}
.value{paint-order:stroke;stroke:#ffffff;stroke-width:6px;stroke-linejoin:round}
.grid{stroke:#e4e8ee}
.axis{stroke:#8a95a3}
.mark{stroke:#8a95a3;stroke-dasharray:3 4}
.f0{fill:#1d6ad4}.f1{fill:#c8620a}.f2{fill:#12805a}.f3{fill:#7d4fc2}.f4{fill:#bf3b4a}.f5{fill:#667282}
.o0{stroke:#1d6ad4}.o1{stroke:#c8620a}.o2{stroke:#12805a}.o3{stroke:#7d4fc2}.o4{stroke:#bf3b4a}.o5{stroke:#667282}
.hollow{fill-opacity:.16;stroke-width:1.5}
.curve{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
@media (prefers-color-scheme:dark){
text{fill:#e7ecf2}
.surface{fill:#141920;stroke:#2e3743}
.quiet{fill:#9ba8b7}
.value{stroke:#141920}
.grid{stroke:#28303b}
.axis,.mark{stroke:#6d7988}
.f0{fill:#6aa9ff}.f1{fill:#f2a354}.f2{fill:#4cc993}.f3{fill:#b795f2}.f4{fill:#f27f8b}.f5{fill:#98a4b4}
.o0{stroke:#6aa9ff}.o1{stroke:#f2a354}.o2{stroke:#4cc993}.o3{stroke:#b795f2}.o4{stroke:#f27f8b}.o5{stroke:#98a4b4}
}
";

/// One of the six colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Blue,
    Orange,
    Green,
    Purple,
    Red,
    Grey,
}

impl Colour {
    /// In the order in which curves take them.
    pub(crate) const ALL: [Self; 6] = [Self::Blue, Self::Orange, Self::Green, Self::Purple, Self::Red, Self::Grey];

    fn number(self) -> usize {
        self as usize
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture being drawn, from its top to its bottom.
#[derive(Debug)]
pub(crate) struct Canvas {
    body: String,
}

impl Canvas {
    /// With the title and, below it, the note in lines that fit. Returns where the rest begins.
    pub(crate) fn new(title: &str, note: &str) -> (Self, f64) {
        let mut canvas = Self { body: String::new() };
        let mut y = MARGIN + 16.0;
        canvas.text(MARGIN, y, "title", Anchor::Start, title);
        y += 8.0;
        for line in wrapped(note, (WIDTH - 2.0 * MARGIN) / (LETTER * 0.9)) {
            y += 18.0;
            canvas.text(MARGIN, y, "quiet", Anchor::Start, &line);
        }
        (canvas, y)
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, class: &str, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.put(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\"{anchor}>{}</text>", escaped(text)));
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.put(&format!("<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>", from.0, from.1, to.0, to.1));
    }

    /// A piece of SVG, in a line of its own.
    pub(crate) fn put(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole file. `description` is for who does not see it.
    pub(crate) fn finish(self, height: f64, title: &str, description: &str) -> String {
        let mut out = String::new();
        let (edge_x, edge_y) = (WIDTH - 1.0, height - 1.0);
        write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" role=\"img\" \
             aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n<style>{STYLE}</style>\n\
             <rect x=\".5\" y=\".5\" width=\"{edge_x:.0}\" height=\"{edge_y:.0}\" rx=\"10\" class=\"surface\"/>\n{}</svg>\n",
            escaped(title),
            escaped(description),
            self.body
        )
        .expect("memory takes it");
        out
    }
}

/// How wide a text in a chart is, about.
pub(crate) fn width_of(text: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the letters of a label")]
    let letters = text.chars().count() as f64;
    letters * LETTER
}

/// A number for a reader: three digits, thousands as k, millions as M.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, " M"),
        size if size >= 999.5 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.0995 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn wrapped(text: &str, letters: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            #[expect(clippy::cast_precision_loss, reason = "the letters of a line")]
            Some(line) if ((line.chars().count() + 1 + word.chars().count()) as f64) <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
