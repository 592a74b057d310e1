//! Lines over time as SVG.

use super::super::quantity::Span;
use super::{escaped, number};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;

/// A class of the style sheet, and points of seconds and value.
pub(super) struct Line {
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Where a value lies: by its logarithm; what is not above zero is left out.
fn place(value: f64) -> Option<f64> {
    (value > 0.0 && value.is_finite()).then(|| value.log10())
}

/// The plot with its axes, from 0 to `end` seconds; `goal` is a dashed line.
pub(super) fn plot(title: &str, lines: &[Line], goal: Option<f64>, end: f64) -> String {
    let title = escaped(title);
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).chain(goal);
    let places: Vec<f64> = values.filter_map(place).collect();
    let Some(low) = places.iter().copied().reduce(f64::min) else {
        return format!("<div class=\"plot\"><h3>{title}</h3><p class=\"note\">nothing to show</p></div>");
    };
    let high = places.iter().copied().fold(low, f64::max);
    // At least a factor of four, so that chance does not look like change.
    let room = ((0.6 - (high - low)) / 2.0).max(0.05);
    let (low, high) = (low - room, high + room);
    let spot = |at: f64, value: f64| {
        let height = place(value)?;
        Some((at / end * WIDTH, (1.0 - (height - low) / (high - low)) * HEIGHT))
    };
    let paths: String = lines.iter().map(|line| path(line, &spot)).collect();
    let dashes = goal.and_then(|goal| spot(0.0, goal));
    let dashes =
        dashes.map_or_else(String::new, |(_, y)| format!("<path class=\"goal\" d=\"M0 {y:.1}H{WIDTH}\"/>"));
    let [top, middle, bottom] = [high, (high + low) / 2.0, low].map(|place| number(Some(10f64.powf(place))));
    format!(
        "<div class=\"plot\"><h3>{title}</h3><div class=\"frame\">\
         <div class=\"y\"><span>{top}</span><span>{middle}</span><span>{bottom}</span></div>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}\">\
         <path class=\"grid\" d=\"M0 .5H{WIDTH}M0 {half}H{WIDTH}M0 {HEIGHT}H{WIDTH}\"/>{dashes}{paths}</svg>\
         <div class=\"x\"><span>0</span><span>{}</span><span>{}</span></div></div></div>",
        Span(end / 2.0),
        Span(end),
        half = HEIGHT / 2.0
    )
}

fn path(line: &Line, spot: &dyn Fn(f64, f64) -> Option<(f64, f64)>) -> String {
    let spots: Vec<String> = line
        .points
        .iter()
        .filter_map(|(at, value)| spot(*at, *value))
        .map(|(x, y)| format!("{x:.1} {y:.1}"))
        .collect();
    if spots.is_empty() {
        return String::new();
    }
    format!("<path class=\"{}\" d=\"M{}\"/>", line.class, spots.join("L"))
}
