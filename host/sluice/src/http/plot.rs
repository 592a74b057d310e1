//! Plots as inline SVG: lines over the last hour.

use crate::metrics::history::{SAMPLES, STEP};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;

/// A line of the plot: a class for the style sheet, and points of age in seconds and value, oldest first.
pub(super) struct Line {
    pub(super) class: &'static str,
    pub(super) points: Vec<(u64, f64)>,
    /// Whether the space below is filled.
    pub(super) filled: bool,
}

/// The plot with its axes. `unit` writes a value of the vertical axis; its text is escaped by the caller's rule that
/// it holds digits and units only.
pub(super) fn plot(title: &str, lines: &[Line], unit: impl Fn(f64) -> String) -> String {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let top = nice(values.filter(|value| value.is_finite()).fold(0.0, f64::max));
    let paths: String = lines.iter().map(|line| path(line, top)).collect();
    let middle = HEIGHT / 2.0;
    let (high, half) = (unit(top), unit(top / 2.0));
    let span_min = SAMPLES as u64 * STEP.as_secs() / 60;
    format!(
        r#"<div class="plot"><div class="y"><span>{high}</span><span>{half}</span><span>0</span></div>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{title}">
<path class="grid" d="M0 .5H{WIDTH}M0 {middle}H{WIDTH}M0 {HEIGHT}H{WIDTH}"/>{paths}</svg>
<div class="x"><span>{span_min} min ago</span><span>{half_span} min ago</span><span>now</span></div></div>"#,
        half_span = span_min / 2
    )
}

fn path(line: &Line, top: f64) -> String {
    let span = SAMPLES as f64 * STEP.as_secs_f64();
    let spot = |(age, value): &(u64, f64)| {
        let x = (1.0 - *age as f64 / span).max(0.0) * WIDTH;
        let y = if value.is_finite() { (1.0 - (value / top).clamp(0.0, 1.0)) * HEIGHT } else { HEIGHT };
        (x, y)
    };
    let spots: Vec<(f64, f64)> = line.points.iter().map(spot).collect();
    let (Some((first, _)), Some((last, _))) = (spots.first(), spots.last()) else { return String::new() };
    let drawn: Vec<String> = spots.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let (class, drawn) = (line.class, drawn.join("L"));
    let area = if line.filled {
        format!(r#"<path class="area {class}" d="M{first:.1} {HEIGHT}L{drawn}L{last:.1} {HEIGHT}Z"/>"#)
    } else {
        String::new()
    };
    format!(r#"{area}<path class="line {class}" d="M{drawn}"/>"#)
}

/// The next of 1, 2, 3, 4, 6, 8, 10, 20, ... at or above `value`, so that its half is short too; 1 for nothing.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests;
