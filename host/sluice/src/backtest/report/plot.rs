//! Lines over time as SVG.

use std::fmt::Write;

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
    let axis = Axis { low: low - room, high: high + room };
    let spot = |at: f64, value: f64| Some((at / end * WIDTH, axis.part(place(value)?) * HEIGHT));
    let paths: String = lines.iter().map(|line| path(line, &spot)).collect();
    let dashes = goal.and_then(|goal| spot(0.0, goal));
    let dashes =
        dashes.map_or_else(String::new, |(_, y)| format!("<path class=\"goal\" d=\"M0 {y:.1}H{WIDTH}\"/>"));
    let (mut grid, mut labels) = (format!("M0 {HEIGHT}H{WIDTH}"), String::new());
    for tick in axis.ticks() {
        let part = axis.part(tick);
        let _ = write!(grid, "M0 {:.1}H{WIDTH}", part * HEIGHT);
        let _ = write!(labels, "<span style=\"top:{:.1}%\">{}</span>", part * 100.0, label(10f64.powf(tick)));
    }
    format!(
        "<div class=\"plot\"><h3>{title}</h3><div class=\"frame\"><div class=\"y\">{labels}</div>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}\">\
         <path class=\"grid\" d=\"{grid}\"/>{dashes}{paths}</svg>\
         <div class=\"x\"><span>0</span><span>{}</span><span>{}</span></div></div></div>",
        Span(end / 2.0),
        Span(end)
    )
}

/// Of values, by their logarithm to base 10; the lowest is below the highest.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// From the top, as a part of the height.
    fn part(&self, place: f64) -> f64 {
        1.0 - (place - self.low) / (self.high - self.low)
    }

    /// Round numbers, as many as there is room for.
    fn ticks(&self) -> Vec<f64> {
        let decades = self.high - self.low;
        let round: &[f64] = match decades {
            few if few <= 0.8 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            some if some <= 1.6 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = (decades / 4.0).ceil().max(1.0) as i32;
        let powers = (self.low.floor() as i32..=self.high.ceil() as i32)
            .filter(|power| round.len() > 1 || power.rem_euclid(every) == 0);
        let ticks = powers.flat_map(|power| round.iter().map(move |one| f64::from(power) + one.log10()));
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// A round number without zeros at its end.
fn label(value: f64) -> String {
    let text = number(Some(value));
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_few_round_numbers() {
        let said = |low: f64, high: f64| {
            let axis = Axis { low: low.log10(), high: high.log10() };
            axis.ticks().into_iter().map(|tick| label(10f64.powf(tick))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said(8.6, 34.0), "10 15 20 30");
        assert_eq!(said(0.19, 4.2), "0.2 0.5 1 2");
        assert_eq!(said(3.1e-4, 203.0), "0.01 1 100");
        assert_eq!(said(36_000.0, 143_000.0), "50k 70k 100k");
    }
}
