//! Curves over two axes, each with its unit, with a legend and a mark for a budget. Never draws between axes of different units: another unit is another picture.

use super::scale::Scale;
pub(crate) use super::scale::Spread;
use super::{Anchor, Canvas, Colour, MARGIN, WIDTH, short, width_of};

const HEIGHT: f64 = 320.0;

/// An axis: what it says, with the unit.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) spread: Spread,
}

#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// In the order in which they are joined.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A value on the upright axis that is to be seen across the picture.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// At most six curves: so many colours there are.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    pub(crate) mark: Option<Mark>,
}

/// Where the two axes lie.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Lines {
    pub(crate) fn svg(&self) -> String {
        let (mut canvas, y) = Canvas::new(&self.title, &self.note);
        let y = self.legend(&mut canvas, y + 30.0);
        canvas.text(MARGIN, y + 32.0, "quiet", Anchor::Start, &self.y.label);
        let points = || self.series.iter().flat_map(|series| &series.points);
        let marked = self.mark.iter().map(|mark| mark.value);
        let x = Scale::over(self.x.spread, points().map(|point| point.0));
        let up = Scale::over(self.y.spread, points().map(|point| point.1).chain(marked));
        let widest = up.ticks.iter().map(|tick| width_of(&short(*tick))).fold(0.0, f64::max);
        let top = y + 48.0;
        let frame = Frame { left: MARGIN + widest + 12.0, right: WIDTH - MARGIN - 12.0, top, bottom: top + HEIGHT, x, y: up };
        frame.draw(&mut canvas);
        if let Some(mark) = &self.mark {
            frame.mark(&mut canvas, mark);
        }
        for (series, colour) in self.series.iter().zip(Colour::ALL) {
            frame.curve(&mut canvas, series, colour);
        }
        canvas.text(f64::midpoint(frame.left, frame.right), frame.bottom + 46.0, "quiet", Anchor::Middle, &self.x.label);
        canvas.finish(frame.bottom + 46.0 + MARGIN - 6.0, &self.title, &self.said())
    }

    /// Names with their colour and point, in as many rows as they need. Returns where it ends; one curve needs no legend.
    fn legend(&self, canvas: &mut Canvas, mut y: f64) -> f64 {
        if self.series.len() < 2 {
            return y - 30.0;
        }
        let mut x = MARGIN;
        for (series, colour) in self.series.iter().zip(Colour::ALL) {
            let width = 34.0 + width_of(&series.name) + 22.0;
            if x + width > WIDTH - MARGIN + 22.0 && x > MARGIN {
                (x, y) = (MARGIN, y + 24.0);
            }
            canvas.line((x, y - 5.0), (x + 26.0, y - 5.0), &format!("curve o{}", colour.number()));
            canvas.put(&point(x + 13.0, y - 5.0, colour));
            canvas.text(x + 34.0, y, "", Anchor::Start, &series.name);
            x += width;
        }
        y
    }

    fn said(&self) -> String {
        let curve = |series: &Series| {
            let points: Vec<String> = series.points.iter().map(|(x, y)| format!("{} at {}", short(*y), short(*x))).collect();
            format!("{}: {}.", series.name, points.join(", "))
        };
        let curves: Vec<String> = self.series.iter().map(curve).collect();
        format!("{} by {}. {}", self.y.label, self.x.label, curves.join(" "))
    }
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let (along, up) = (self.x.place(x)?, self.y.place(y)?);
        Some((self.left + along * (self.right - self.left), self.bottom - up * (self.bottom - self.top)))
    }

    fn draw(&self, canvas: &mut Canvas) {
        for tick in &self.y.ticks {
            let y = self.bottom - self.y.place(*tick).unwrap_or(0.0) * (self.bottom - self.top);
            canvas.line((self.left, y), (self.right, y), "grid");
            canvas.text(self.left - 10.0, y + 4.5, "quiet", Anchor::End, &short(*tick));
        }
        for tick in &self.x.ticks {
            let x = self.left + self.x.place(*tick).unwrap_or(0.0) * (self.right - self.left);
            canvas.line((x, self.bottom), (x, self.bottom + 5.0), "axis");
            canvas.text(x, self.bottom + 22.0, "quiet", Anchor::Middle, &short(*tick));
        }
        canvas.line((self.left, self.bottom), (self.right, self.bottom), "axis");
    }

    fn mark(&self, canvas: &mut Canvas, mark: &Mark) {
        let y = self.bottom - self.y.place(mark.value).unwrap_or(0.0) * (self.bottom - self.top);
        canvas.line((self.left, y), (self.right, y), "mark");
        canvas.text(self.left + 8.0, y - 7.0, "quiet value", Anchor::Start, &mark.label);
    }

    fn curve(&self, canvas: &mut Canvas, series: &Series, colour: Colour) {
        let places: Vec<(f64, f64)> = series.points.iter().filter_map(|point| self.at(*point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        canvas.put(&format!("<polyline class=\"curve o{}\" points=\"{}\"/>", colour.number(), path.join(" ")));
        for (x, y) in places {
            canvas.put(&point(x, y, colour));
        }
    }
}

/// The point of a curve: each colour has a shape of its own.
fn point(x: f64, y: f64, colour: Colour) -> String {
    let class = format!("f{}", colour.number());
    let path = |corners: &[(f64, f64)]| {
        let corners: Vec<String> = corners.iter().map(|(east, south)| format!("{:.1},{:.1}", x + east, y + south)).collect();
        format!("<polygon class=\"{class}\" points=\"{}\"/>", corners.join(" "))
    };
    match colour {
        Colour::Blue => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.4\"/>"),
        Colour::Orange => path(&[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)]),
        Colour::Green => path(&[(0.0, -5.2), (5.0, 3.8), (-5.0, 3.8)]),
        Colour::Purple => path(&[(0.0, -5.6), (5.6, 0.0), (0.0, 5.6), (-5.6, 0.0)]),
        Colour::Red => path(&[(0.0, 5.2), (5.0, -3.8), (-5.0, -3.8)]),
        Colour::Grey => path(&[(-5.0, -1.6), (5.0, -1.6), (5.0, 1.6), (-5.0, 1.6)]),
    }
}
