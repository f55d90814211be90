//! Plots as SVG: lines over a numeric axis. Colours follow the reader's light or dark setting; every line has its name beside it in the
//! legend and a mark of its own, so that colour isn't all that tells them apart.

use std::fmt::Write;

use super::table::figure;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 500.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 360.0;
const COLOURS: usize = 8;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:14px;font-weight:600}\
.axis{stroke:#57606a;fill:none}.grid{stroke:#d0d7de;fill:none}.line{fill:none;stroke-width:2}\
.c0{stroke:#0969da;fill:#0969da}.c1{stroke:#cf222e;fill:#cf222e}.c2{stroke:#1a7f37;fill:#1a7f37}.c3{stroke:#9a6700;fill:#9a6700}\
.c4{stroke:#8250df;fill:#8250df}.c5{stroke:#bf3989;fill:#bf3989}.c6{stroke:#1b7c83;fill:#1b7c83}.c7{stroke:#57606a;fill:#57606a}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#8b949e}.grid{stroke:#30363d}\
.c0{stroke:#58a6ff;fill:#58a6ff}.c1{stroke:#ff7b72;fill:#ff7b72}.c2{stroke:#3fb950;fill:#3fb950}.c3{stroke:#d29922;fill:#d29922}\
.c4{stroke:#bc8cff;fill:#bc8cff}.c5{stroke:#f778ba;fill:#f778ba}.c6{stroke:#39c5cf;fill:#39c5cf}.c7{stroke:#8b949e;fill:#8b949e}}\
.line{fill:none}";

/// A plot of lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The horizontal axis, with its unit.
    pub x: String,
    /// The vertical axis, with its unit.
    pub y: String,
    /// Whether the vertical axis is logarithmic; what isn't above 0 is left out then.
    pub logarithmic: bool,
    /// Names and points, ascending in x.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        let bend = |value: f64| if self.logarithmic { crate::maths::ln(value) } else { value };
        self.from + (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low)) * (self.to - self.from)
    }

    /// Round places: 1, 2, 5 times powers of ten.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            let mut decade = 1e-6;
            while decade <= self.high {
                ticks.extend([1.0, 2.0, 5.0].map(|step| step * decade));
                decade *= 10.0;
            }
        } else {
            let mut step = 1e-9;
            while (self.high - self.low) / step > 8.0 {
                let next = [2.0, 5.0, 10.0].into_iter().find(|times| (self.high - self.low) / (step * times) <= 8.0);
                step *= next.unwrap_or(10.0);
            }
            let first = (self.low / step).ceil() as i64;
            ticks.extend((0..20).map(|n| (first + n) as f64 * step));
        }
        ticks.retain(|&tick| tick >= self.low * 0.999_999 && tick <= self.high * 1.000_001);
        ticks
    }
}

impl Plot {
    fn range(&self, value: impl Fn(&(f64, f64)) -> f64, logarithmic: bool) -> (f64, f64) {
        let points = self.lines.iter().flat_map(|(_, points)| points).map(value);
        let kept = points.filter(|value| value.is_finite() && (!logarithmic || *value > 0.0));
        let (low, high) = kept.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (1.0, 2.0)
        } else if low == high {
            (low * 0.9, high * 1.1 + f64::from(u8::from(high == 0.0)))
        } else {
            (low, high)
        }
    }

    /// As a document of its own.
    pub fn svg(&self) -> String {
        let (low_x, high_x) = self.range(|point| point.0, false);
        let (low_y, high_y) = self.range(|point| point.1, self.logarithmic);
        let x = Scale { low: low_x, high: high_x, from: LEFT, to: RIGHT, logarithmic: false };
        let (low_y, high_y) = match self.logarithmic {
            true => (round_down(low_y), round_up(high_y)),
            // What differs by little is shown from near its least, all else from 0.
            false if low_y > 0.8 * high_y => (low_y - 0.1 * (high_y - low_y), high_y),
            false => (low_y.min(0.0), high_y * 1.02),
        };
        let y = Scale { low: low_y, high: high_y, from: BOTTOM, to: TOP, logarithmic: self.logarithmic };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\n\
             <style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"22\">{0}</text>\n",
            escaped(&self.title)
        );
        self.axes(&mut svg, &x, &y);
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let places: Vec<(f64, f64)> = points
                .iter()
                .filter(|point| point.1.is_finite() && (!self.logarithmic || point.1 > 0.0))
                .map(|point| (x.place(point.0), y.place(point.1)))
                .collect();
            line(&mut svg, number, name, &places);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        // Writing to a string cannot fail.
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            let label = figure(tick);
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, at + 4.0);
        }
        for tick in x.ticks() {
            let at = x.place(tick);
            let _ = writeln!(svg, "<path class=\"axis\" d=\"M{at:.1} {BOTTOM}v5\"/>");
            let label = figure(tick);
            let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", BOTTOM + 20.0);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
        let _ =
            writeln!(svg, "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", BOTTOM + 42.0, escaped(&self.x));
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"38\" text-anchor=\"middle\">{}</text>", escaped(&self.y));
    }
}

/// The next of 1, 2, 5 times a power of ten that isn't greater.
fn round_down(value: f64) -> f64 {
    let mut decade = 1e-9;
    while decade * 10.0 <= value {
        decade *= 10.0;
    }
    [5.0, 2.0, 1.0].into_iter().map(|step| step * decade).find(|round| *round <= value * 1.000_001).unwrap_or(value)
}

/// The next that isn't less.
fn round_up(value: f64) -> f64 {
    let below = round_down(value);
    [1.0, 2.0, 2.5].into_iter().map(|step| step * below).find(|round| *round >= value * 0.999_999).unwrap_or(value)
}

fn line(svg: &mut String, number: usize, name: &str, places: &[(f64, f64)]) {
    let colour = number % COLOURS;
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    if !path.is_empty() {
        let _ = writeln!(svg, "<path class=\"c{colour} line\" d=\"M{}\"/>", path.join("L"));
    }
    // Marks only where they can be told apart.
    if places.len() <= 40 {
        places.iter().for_each(|&place| mark(svg, number, place));
    }
    let (x, y) = (RIGHT + 24.0, TOP + 10.0 + 22.0 * number as f64);
    let _ = writeln!(svg, "<path class=\"c{colour} line\" d=\"M{:.1} {y:.1}h20\"/>", x - 10.0);
    mark(svg, number, (x, y));
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 16.0, y + 4.0, escaped(name));
}

fn mark(svg: &mut String, number: usize, (x, y): (f64, f64)) {
    let colour = number % COLOURS;
    let _ = match number % 4 {
        0 => writeln!(svg, "<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
        1 => writeln!(svg, "<rect class=\"c{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>", x - 3.5, y - 3.5),
        2 => writeln!(svg, "<path class=\"c{colour}\" d=\"M{x:.1} {:.1}l4 8h-8z\"/>", y - 5.0),
        _ => writeln!(svg, "<path class=\"c{colour}\" d=\"M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5-4.5z\"/>", y - 4.5),
    };
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_axes_and_lines_and_keeps_points_inside() {
        let plot = Plot {
            title: "p99 <by load>".to_owned(),
            x: "load".to_owned(),
            y: "p99, ms".to_owned(),
            logarithmic: true,
            lines: vec![("a & b".to_owned(), vec![(0.7, 100.0), (0.9, 2_000.0), (1.0, 0.0)])],
        };
        let svg = plot.svg();
        for text in ["p99 &lt;by load&gt;", ">load<", ">p99, ms<", "a &amp; b", ">1000<", "prefers-color-scheme:dark"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn logarithmic_axes_end_on_round_figures() {
        assert_eq!([0.3, 1.0, 7.0, 640.0].map(round_down).map(figure), ["0.2", "1", "5", "500"]);
        assert_eq!([0.3, 1.0, 7.0, 640.0].map(round_up).map(figure), ["0.4", "1", "10", "1000"]);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let scale = Scale { low: 0.0, high: 61.0, from: 0.0, to: 1.0, logarithmic: false };
        assert_eq!(scale.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }
}
