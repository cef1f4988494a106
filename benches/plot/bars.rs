//! Bars in groups, each group with a scale of its own and a mark at the bar that the others are held against. Never leaves out a value: it is written beside its bar.

use super::{Anchor, Canvas, Colour, MARGIN, WIDTH, short, width_of};

const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Room right of the longest bar for what is written there.
const VALUES: f64 = 168.0;

/// How a bar is filled: a hollow one stands for something that promises less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Solid,
    Hollow,
}

#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) colour: Colour,
    pub(crate) fill: Fill,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) title: String,
    /// Stands after each value.
    pub(crate) unit: String,
    /// Which way is good, in words.
    pub(crate) better: &'static str,
    /// The first is the one that the others are held against.
    pub(crate) bars: Vec<Bar>,
}

#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) groups: Vec<Group>,
}

impl Bars {
    pub(crate) fn svg(&self) -> String {
        let (mut canvas, mut y) = Canvas::new(&self.title, &self.note);
        let labels = self.groups.iter().flat_map(|group| &group.bars).map(|bar| width_of(&bar.label)).fold(80.0, f64::max);
        let left = MARGIN + labels + 12.0;
        for group in self.groups.iter().filter(|group| !group.bars.is_empty()) {
            y += 36.0;
            y = group.draw(&mut canvas, left, y);
        }
        let said: Vec<String> = self.groups.iter().map(Group::said).collect();
        canvas.finish(y + MARGIN - 6.0, &self.title, &said.join(" "))
    }
}

impl Group {
    fn draw(&self, canvas: &mut Canvas, left: f64, mut y: f64) -> f64 {
        canvas.text(MARGIN, y, "group", Anchor::Start, &self.title);
        canvas.text(WIDTH - MARGIN, y, "quiet", Anchor::End, self.better);
        y += 12.0;
        let room = WIDTH - MARGIN - VALUES - left;
        let most = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let first = self.bars.first().map_or(0.0, |bar| bar.value);
        #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
        let bottom = y + ROW * self.bars.len() as f64;
        canvas.line((left, y), (left, bottom), "axis");
        // Drawn first, so that it runs through no bar; a value keeps it away by its halo.
        if self.bars.len() > 1 {
            let mark = left + room * first / most;
            canvas.line((mark, y + ROW * 0.2), (mark, bottom), "mark");
        }
        for bar in &self.bars {
            let (length, middle) = (room * bar.value / most, y + ROW / 2.0);
            canvas.text(left - 12.0, middle + 5.0, "", Anchor::End, &bar.label);
            canvas.put(&rect(left, middle - BAR / 2.0, length.max(1.5), bar));
            let (value, ratio) = (self.with_unit(bar.value), format!("{}×", short(bar.value / first)));
            // Both in one text, so that nothing has to know how wide the first is.
            canvas.put(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"value\"><tspan class=\"strong\">{}</tspan><tspan class=\"quiet\" dx=\"9\">{ratio}</tspan></text>",
                left + length.max(1.5) + 9.0,
                middle + 5.0,
                super::escaped(&value)
            ));
            y += ROW;
        }
        bottom
    }

    fn with_unit(&self, value: f64) -> String {
        let between = if self.unit.starts_with('/') { "" } else { " " };
        format!("{}{between}{}", short(value), self.unit)
    }

    fn said(&self) -> String {
        let bars: Vec<String> = self.bars.iter().map(|bar| format!("{} {}", bar.label, self.with_unit(bar.value))).collect();
        format!("{}: {}.", self.title, bars.join(", "))
    }
}

fn rect(x: f64, y: f64, width: f64, bar: &Bar) -> String {
    let number = bar.colour.number();
    let class = match bar.fill {
        Fill::Solid => format!("f{number}"),
        Fill::Hollow => format!("f{number} o{number} hollow"),
    };
    // Square where it stands on its axis, round where it ends.
    let round = 3.0_f64.min(width / 2.0);
    let flat = width - round;
    let side = BAR - 2.0 * round;
    format!(
        "<path class=\"{class}\" d=\"M{x:.1} {y:.1}h{flat:.1}a{round:.1} {round:.1} 0 0 1 {round:.1} {round:.1}v{side:.1}a{round:.1} {round:.1} 0 0 1 -{round:.1} {round:.1}h-{flat:.1}z\"/>"
    )
}
