//! The result as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

mod plot;

use std::fmt::Write;

use serde::Serialize;
use sluice_core::units::Hashrate;

use self::plot::{Line, plot};
use super::observe::{Point, Settled, Summary};
use super::payout::{Comparison, Line as Account};
use super::quantity::Span;
use super::simulate::Trial;
use crate::commands::grouped;

const STYLE: &str = include_str!("report/style.css");
/// Accounts of the page; the JSON has all.
const ACCOUNTS: usize = 100;

/// A policy that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Policy {
    pub file: String,
    pub name: String,
    pub version: String,
    pub sha256: String,
}

impl Policy {
    /// Name and version, or the file where it says neither.
    pub fn title(&self) -> String {
        if self.name.is_empty() { self.file.clone() } else { format!("{} {}", self.name, self.version) }
    }
}

/// A vardiff policy and what it did.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    pub policy: Policy,
    #[serde(flatten)]
    pub trial: Trial,
}

/// The result of `backtest vardiff`.
#[derive(Clone, Debug, Serialize)]
pub struct VardiffBacktest {
    /// The scenario or data directory.
    pub source: String,
    pub target_per_minute: f64,
    pub candidate: Tried,
    pub against: Option<Tried>,
}

/// The result of `backtest payout`.
#[derive(Clone, Debug, Serialize)]
pub struct PayoutBacktest {
    pub source: String,
    pub candidate: Policy,
    /// `None`: the policies of the time, as recorded.
    pub against: Option<Policy>,
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// A time in words; a dash for none.
pub fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(dash, |seconds| Span(seconds).to_string())
}

/// A number with as many digits as matter; a dash for none.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return dash() };
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.01 => format!("{value:.2e}"),
        small if small < 0.1 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 1e4 => format!("{value:.0}"),
        large => {
            let units = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
            let unit = units.into_iter().find(|(size, _)| large >= *size);
            unit.map_or_else(|| value.to_string(), |(size, name)| format!("{:.1}{name}", value / size))
        }
    }
}

/// A part in percent.
pub fn percent(part: Option<f64>) -> String {
    part.map_or_else(dash, |part| format!("{:.1} %", part * 100.0))
}

fn dash() -> String {
    "-".to_owned()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
    )
}

fn policy_line(class: &str, what: &str, policy: &Policy) -> String {
    let (title, hash) = (escaped(&policy.title()), escaped(&policy.sha256));
    format!("<p class=\"note\"><span class=\"key {class}\">{what}</span> {title} <code>{hash}</code></p>\n")
}

/// The page of a vardiff policy.
pub fn vardiff(result: &VardiffBacktest) -> String {
    let (source, target) = (escaped(&result.source), result.target_per_minute);
    let mut body = format!(
        "<p class=\"note\">Miners: {source}</p>\n\
         <p class=\"note\"><span class=\"key goal\">target</span> {target} shares a minute and miner</p>\n"
    );
    body += &policy_line("one", "candidate", &result.candidate.policy);
    if let Some(against) = &result.against {
        body += &policy_line("two", "against", &against.policy);
    }
    body += &trial_table("Candidate", &result.candidate.trial);
    if let Some(against) = &result.against {
        body += &trial_table("Against", &against.trial);
    }
    for (index, group) in result.candidate.trial.groups.iter().enumerate() {
        let other = result.against.as_ref().and_then(|against| against.trial.groups.get(index));
        body += &group_card(group, other, result.target_per_minute);
    }
    page("Vardiff backtest", &body)
}

/// The columns of a table of groups; the terminal has the same.
pub const COLUMNS: [&str; 13] = [
    "group",
    "miners",
    "hash rate",
    "within 2x",
    "worst",
    "stays",
    "within 1.5x",
    "shares/min",
    "variance",
    "changes/h",
    "swing",
    "difficulty",
    "lost",
];
/// What they mean, in short.
const MEANINGS: [&str; 13] = [
    "",
    "",
    "of one miner",
    "from the first hash until the expected share rate is within a factor of 2 of the target: of the median miner",
    "the same, of the slowest miner",
    "part of the hashing time after that within the factor",
    "the same for a factor of 1.5: of the median miner",
    "accepted, after it has settled",
    "of the shares of a minute against the target: 1 is chance alone",
    "changes of difficulty in an hour, after it has settled",
    "the highest difficulty of a miner over its lowest, after it has settled: of the worst",
    "the lowest and the highest of the group, after it has settled",
    "shares refused because the difficulty had changed, and their part of the work",
];

/// A group as cells under [`COLUMNS`].
pub fn cells(group: &Summary) -> [String; 13] {
    let took = |settled: &Settled, which: Option<f64>| match settled.never {
        0 => span(which),
        never if never == group.miners => "never".to_owned(),
        never => format!("{} ({never} never)", span(which)),
    };
    let range = |(low, high)| format!("{} to {}", number(Some(low)), number(Some(high)));
    [
        group.name.clone(),
        group.miners.to_string(),
        Hashrate(group.hashrate).to_string(),
        took(&group.within_2, group.within_2.median_s),
        span(group.within_2.worst_s),
        percent(group.within_2.stayed),
        took(&group.within_1_5, group.within_1_5.median_s),
        number(group.shares_per_minute),
        number(group.variance),
        number(group.changes_per_hour),
        number(group.swing),
        group.settled_difficulty.map_or_else(dash, range),
        format!("{} ({})", group.lost_shares, percent(Some(group.lost_work))),
    ]
}

/// `meanings` are shown where one points at a column.
fn table(title: &str, columns: &[&str], meanings: &[&str], rows: &str) -> String {
    let meanings = meanings.iter().copied().chain(std::iter::repeat(""));
    let head = |(column, meaning): (&&str, &str)| match meaning {
        "" => format!("<th>{}</th>", escaped(column)),
        meaning => format!("<th title=\"{}\">{}</th>", escaped(meaning), escaped(column)),
    };
    let head: String = columns.iter().zip(meanings).map(head).collect();
    format!(
        "<section class=\"card\"><h2>{title}</h2><div class=\"wide\"><table><thead><tr>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div></section>\n"
    )
}

fn group_row(group: &Summary) -> String {
    let cells: String = cells(group).iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
    let class = if group.within_2.never > 0 { " class=\"bad\"" } else { "" };
    format!("<tr{class}>{cells}</tr>")
}

fn trial_table(title: &str, trial: &Trial) -> String {
    let rows: String = trial.groups.iter().map(group_row).collect();
    let failed = match trial.failures {
        0 => String::new(),
        failures => {
            let said: Vec<String> = trial.failed.iter().map(|said| escaped(said)).collect();
            let calls = trial.calls;
            format!("<p class=\"bad\">{failures} of {calls} calls failed: {}</p>\n", said.join("; "))
        }
    };
    let left_out = match trial.left_out {
        0 => String::new(),
        left_out => format!("<p class=\"note\">{left_out} workers left out, of all sizes</p>\n"),
    };
    table(title, &COLUMNS, &MEANINGS, &rows) + &left_out + &failed
}

fn group_card(group: &Summary, other: Option<&Summary>, target: f64) -> String {
    let lines = |of: fn(&Point) -> Option<f64>| {
        let points = |group: &Summary| -> Vec<(f64, f64)> {
            group.points.iter().filter_map(|point| Some((point.at_s, of(point)?))).collect()
        };
        let mut lines = vec![Line { class: "one", points: points(group) }];
        lines.extend(other.map(|other| Line { class: "two", points: points(other) }));
        lines
    };
    // Points stand in the middle of their time.
    let end = match group.points.as_slice() {
        [first, .., last] => first.at_s + last.at_s,
        _ => 1.0,
    };
    let plots = [
        plot("Accepted shares a minute and miner", &lines(|p| p.shares_per_minute), Some(target), end),
        plot("Difficulty", &lines(|p| p.difficulty), None, end),
        plot("Variance against the target (1: chance alone)", &lines(|p| p.variance), Some(1.0), end),
    ];
    let (name, rate) = (escaped(&group.name), Hashrate(group.hashrate));
    format!(
        "<section class=\"card\"><h2>{name}: {} of {rate}</h2><div class=\"plots\">{}</div></section>\n",
        group.miners,
        plots.concat()
    )
}

/// The page of a payout policy.
pub fn payout(result: &PayoutBacktest) -> String {
    let comparison = &result.comparison;
    let mut body = format!("<p class=\"note\">Questions: {}</p>\n", escaped(&result.source));
    body += &policy_line("one", "candidate", &result.candidate);
    match &result.against {
        Some(against) => body += &policy_line("two", "current", against),
        None => {
            body += "<p class=\"note\"><span class=\"key two\">current</span> the policies of the time, as recorded</p>\n";
        }
    }
    for said in facts(comparison) {
        let _ = writeln!(body, "<p class=\"note\">{}</p>", escaped(&said));
    }
    body += &account_table(&comparison.accounts);
    page("Payout backtest", &body)
}

/// Columns of a table of accounts.
pub const ACCOUNT_COLUMNS: [&str; 5] =
    ["account", "current (sat)", "candidate (sat)", "difference (sat)", "of current"];

/// An account as cells under [`ACCOUNT_COLUMNS`].
pub fn account_cells(line: &Account) -> [String; 5] {
    let account = if line.account.is_empty() { "(the house)" } else { &line.account };
    let part = (line.current_sat != 0).then(|| line.difference_sat as f64 / line.current_sat.abs() as f64);
    [
        account.to_owned(),
        signed(line.current_sat),
        signed(line.candidate_sat),
        if line.difference_sat > 0 {
            format!("+{}", signed(line.difference_sat))
        } else {
            signed(line.difference_sat)
        },
        percent(part),
    ]
}

fn signed(sats: i64) -> String {
    let sign = if sats < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(sats.unsigned_abs()))
}

/// What was compared, in sentences.
pub fn facts(comparison: &Comparison) -> Vec<String> {
    let Comparison { rounds, reward_sat, accruals, folded, held, failures, accounts } = comparison;
    let mut facts = vec![format!(
        "{rounds} rounds of {} sat together, {accruals} stretches of work credited without a block, {} accounts",
        grouped(*reward_sat),
        accounts.len()
    )];
    if *folded > 0 {
        facts.push(format!("{folded} rounds left out: of their shares the log has only hours left"));
    }
    if *held > 0 {
        facts.push(format!("{held} questions left out, which the pool would hold: {}", failures.join("; ")));
    }
    facts
}

/// The columns of the page: [`ACCOUNT_COLUMNS`], with bars.
const BAR_COLUMNS: [&str; 7] = [
    "account",
    "current, candidate",
    "current (sat)",
    "candidate (sat)",
    "difference (sat)",
    "of current",
    "less, more",
];

fn account_table(accounts: &[Account]) -> String {
    let shown = || accounts.iter().take(ACCOUNTS);
    let most = shown().map(|line| line.current_sat.max(line.candidate_sat)).max().unwrap_or(0).max(1);
    let furthest = shown().map(|line| change(line).abs()).fold(f64::MIN_POSITIVE, f64::max);
    let rows: String = shown().map(|line| account_row(line, most, furthest)).collect();
    let meanings =
        ["", "as a part of what the largest account gets", "", "", "", "", "of current; at most 100 %"];
    let more = match accounts.len().saturating_sub(ACCOUNTS) {
        0 => String::new(),
        more => format!("<p class=\"note\">and {more} more; --json has all</p>\n"),
    };
    table("Credits by account, the largest difference first", &BAR_COLUMNS, &meanings, &rows) + &more
}

/// The difference as a part of what the account gets now, from -1 to 1.
fn change(line: &Account) -> f64 {
    match (line.current_sat, line.difference_sat) {
        (_, 0) => 0.0,
        (0, more) => more.signum() as f64,
        (now, more) => (more as f64 / now.abs() as f64).clamp(-1.0, 1.0),
    }
}

fn account_row(line: &Account, most: i64, furthest: f64) -> String {
    let [account, current, candidate, difference, part] = account_cells(line).map(|cell| escaped(&cell));
    let wide = |sats: i64| 100.0 * sats.max(0) as f64 / most as f64;
    let bars = format!(
        "<svg viewBox=\"0 0 100 16\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"credits of {account}\">\
         <rect class=\"two\" x=\"0\" y=\"1\" width=\"{:.2}\" height=\"6\"/>\
         <rect class=\"one\" x=\"0\" y=\"9\" width=\"{:.2}\" height=\"6\"/></svg>",
        wide(line.current_sat),
        wide(line.candidate_sat)
    );
    let change = 50.0 * change(line) / furthest;
    let class = if change < 0.0 { "less" } else { "more" };
    let change = format!(
        "<svg viewBox=\"-50 0 100 16\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"change of {account}\">\
         <path class=\"grid\" d=\"M0 0V16\"/>\
         <rect class=\"{class}\" x=\"{:.2}\" y=\"3\" width=\"{:.2}\" height=\"10\"/></svg>",
        change.min(0.0),
        change.abs()
    );
    format!(
        "<tr><td>{account}</td><td class=\"bar\">{bars}</td><td>{current}</td><td>{candidate}</td>\
         <td>{difference}</td><td>{part}</td><td class=\"bar\">{change}</td></tr>"
    )
}

#[cfg(test)]
mod tests;
