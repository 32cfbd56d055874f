//! Curves as SVG 1.1: a file that stands for itself, on white, so that it is read on a dark page, too.

use super::axis::Axis;
use super::number::short;
use super::{Plot, Samples};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
/// Where the frame begins, and how far it is from the other edges. The legend is to its right.
const LEFT: f64 = 70.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;
const RIGHT: f64 = 24.0;
/// A character of the legend, in pixels; names are of many kinds, and this is wide.
const CHARACTER: f64 = 6.9;
/// From one line of the legend to the next.
const LINE: f64 = 22.0;
/// Colours that people with any kind of colour vision tell apart (Okabe and Ito, "Color universal design", 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A plot's frame on the page.
struct Frame {
    x: Axis,
    y: Axis,
    right: f64,
}

/// The plot as a file's text.
pub(crate) fn svg(plot: &Plot) -> String {
    let names = plot.series.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let legend = 44.0 + CHARACTER * names as f64;
    let points = || plot.series.iter().flat_map(|(_, points)| points);
    let ys = points().flat_map(|(_, samples)| [samples.min(), samples.max()]);
    let frame = Frame {
        x: Axis::logarithmic(points().map(|(x, _)| *x)),
        y: if plot.log_y { Axis::logarithmic(ys) } else { Axis::linear(ys) },
        right: WIDTH - RIGHT - legend,
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"13\" \
         fill=\"#222\">\n<title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"#fff\"/>\n",
        escaped(&plot.title)
    );
    out += &text(LEFT - 46.0, 26.0, "start", &plot.title, " font-size=\"16\" font-weight=\"bold\"");
    out += &text(LEFT - 46.0, 48.0, "start", plot.y, " fill=\"#555\"");
    frame.grid(&mut out);
    out += &text(f64::midpoint(LEFT, frame.right), HEIGHT - 12.0, "middle", plot.x, " fill=\"#555\"");
    for (index, (name, points)) in plot.series.iter().enumerate() {
        frame.curve(&mut out, index, points);
        let y = TOP + 12.0 + LINE * index as f64;
        let x = frame.right + 18.0;
        out += &format!("<path d=\"M{x:.1} {y}h22\" stroke=\"{}\" stroke-width=\"2\"/>\n", colour(index));
        out += &mark(index, x + 11.0, y);
        out += &text(x + 30.0, y + 4.5, "start", name, "");
    }
    out + "</svg>\n"
}

impl Frame {
    fn x(&self, value: f64) -> Option<f64> {
        Some(LEFT + (self.right - LEFT) * self.x.position(value)?)
    }

    fn y(&self, value: f64) -> Option<f64> {
        Some(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * self.y.position(value)?)
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (self.right, HEIGHT - BOTTOM);
        let shade = |labelled| if labelled { "#d0d0d0" } else { "#efefef" };
        for tick in self.x.ticks() {
            let Some(x) = self.x(tick.value) else { continue };
            *out += &format!("<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{}\"/>\n", shade(tick.labelled));
            if tick.labelled {
                *out += &text(x, bottom + 18.0, "middle", &short(tick.value), "");
            }
        }
        for tick in self.y.ticks() {
            let Some(y) = self.y(tick.value) else { continue };
            *out += &format!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{}\"/>\n", shade(tick.labelled));
            if tick.labelled {
                *out += &text(LEFT - 8.0, y + 4.5, "end", &short(tick.value), "");
            }
        }
        *out += &format!("<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#555\"/>\n");
    }

    /// Medians, joined; at each a whisker from minimum to maximum.
    fn curve(&self, out: &mut String, index: usize, points: &[(f64, Samples)]) {
        let colour = colour(index);
        let placed = points.iter().filter_map(|(x, samples)| Some((self.x(*x)?, self.y(samples.median())?, samples)));
        let placed: Vec<_> = placed.collect();
        let path: Vec<String> = placed.iter().map(|(x, y, _)| format!("{x:.1} {y:.1}")).collect();
        if path.len() > 1 {
            let path = path.join("L");
            *out += &format!("<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n");
        }
        for (x, y, samples) in placed {
            if let (Some(low), Some(high)) = (self.y(samples.min()), self.y(samples.max())) {
                let (left, width) = (x - 3.0, 6.0);
                *out += &format!(
                    "<path d=\"M{left:.1} {low:.1}h{width}M{left:.1} {high:.1}h{width}M{x:.1} {low:.1}V{high:.1}\" \
                     stroke=\"{colour}\" fill=\"none\"/>\n"
                );
            }
            *out += &mark(index, x, y);
        }
    }
}

/// A curve's mark differs in form, too.
fn mark(index: usize, x: f64, y: f64) -> String {
    let form = match index % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"", x - 3.5, y - 3.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.5 8h-9z\"", y - 5.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l5 5l-5 5l-5-5z\"", y - 5.0),
    };
    format!("{form} fill=\"{}\" stroke=\"#fff\"/>\n", colour(index))
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn text(x: f64, y: f64, anchor: &str, text: &str, more: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{}</text>\n", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
