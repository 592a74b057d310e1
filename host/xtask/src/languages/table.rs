//! The figures as tables of Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use super::Language;
use super::figures::{Asked, Figures, Measured};

/// What must be there beforehand, and what the build loads.
const fn toolchain(language: Language) -> &'static str {
    match language {
        Language::Rust => "cargo with a standard library for wasm32-unknown-unknown; wit-bindgen",
        Language::C => "Python with venv; ziglang",
        Language::QuickJs => "Node.js with npm; componentize-qjs",
        Language::StarlingMonkey => "Node.js with npm; componentize-js",
        Language::Python => "Python with venv; componentize-py",
    }
}

/// Every table; the first kind measured stands for the others where they hardly differ.
pub(super) fn render(all: &[(Language, Vec<Measured>)]) -> String {
    [build(all), loading(all), calls(all), fuel(all)].join("\n")
}

fn build(all: &[(Language, Vec<Measured>)]) -> String {
    let mut rows = table(&[
        "vardiff starter",
        "toolchain: beforehand; loaded",
        "on disk",
        "first build, processor",
        "again, processor",
        "WASI imports",
        "without stubbing",
    ]);
    for (language, kinds) in all {
        let Some(one) = kinds.first() else { continue };
        let wasi = one.imports.iter().filter(|name| name.starts_with("wasi:")).count().to_string();
        row(
            &mut rows,
            &[
                language.title().to_owned(),
                toolchain(*language).to_owned(),
                size(one.tools),
                seconds(one.first_build),
                seconds(one.next_build),
                wasi.clone(),
                one.unstubbed.map_or(wasi, |count| count.to_string()),
            ],
        );
    }
    rows
}

/// Of each kind: size, machine code, instance.
fn loading(all: &[(Language, Vec<Measured>)]) -> String {
    let mut rows = table(&[
        "vardiff / auth / payout",
        "component",
        "compiled",
        "from the cache",
        "fresh instance",
        "memory",
    ]);
    let mut line = |title: &str, of: &dyn Fn(&Measured) -> &Figures, kinds: &[Measured]| {
        let each = |figure: &dyn Fn(&Figures) -> String| {
            kinds.iter().map(|one| figure(of(one))).collect::<Vec<_>>().join(" / ")
        };
        row(
            &mut rows,
            &[
                title.to_owned(),
                each(&|one| size(one.bytes)),
                each(&|one| time(one.compile_cold_ns)),
                each(&|one| time(one.compile_cached_ns)),
                each(&|one| time(one.instantiate_ns.p50)),
                each(&|one| size(one.memory)),
            ],
        );
    };
    for (language, kinds) in all {
        line(language.title(), &|one| &one.plugin, kinds);
    }
    if let Some((_, kinds)) = all.first() {
        let names: Vec<_> = kinds.iter().map(|one| one.shipped.name.as_str()).collect();
        line(&format!("shipped: {}", names.join(", ")), &|one| &one.shipped, kinds);
    }
    rows
}

fn calls(all: &[(Language, Vec<Measured>)]) -> String {
    by_question(all, "first call; then p50, p99; p50 in times the shipped one", &|own, shipped| {
        let ratio = shipped.map(|shipped| ratio(own.time_ns.p50, shipped.time_ns.p50)).unwrap_or_default();
        format!("{}; {}, {}{ratio}", time(own.first_ns), time(own.time_ns.p50), time(own.time_ns.p99))
    })
}

fn fuel(all: &[(Language, Vec<Measured>)]) -> String {
    by_question(all, "fuel, p50; in times the shipped one", &|own, shipped| {
        let ratio = shipped.map(|shipped| ratio(own.fuel.p50, shipped.fuel.p50)).unwrap_or_default();
        format!("{}{ratio}", count(own.fuel.p50))
    })
}

/// Questions down, languages across, the shipped policies last.
fn by_question(
    all: &[(Language, Vec<Measured>)],
    title: &str,
    cell: &dyn Fn(&Asked, Option<&Asked>) -> String,
) -> String {
    let languages = all.iter().map(|(language, _)| language.title());
    let mut rows = table(&[title].into_iter().chain(languages).chain(["shipped"]).collect::<Vec<_>>());
    let Some((_, kinds)) = all.first() else { return rows };
    for (kind, shipped) in kinds.iter().map(|one| &one.shipped).enumerate() {
        for (index, shipped) in shipped.questions.iter().enumerate() {
            let own = |kinds: &[Measured]| {
                let asked = kinds.get(kind).and_then(|one| one.plugin.questions.get(index));
                asked.map(|asked| cell(asked, Some(shipped))).unwrap_or_default()
            };
            let cells = all.iter().map(|(_, kinds)| own(kinds));
            let name = format!("`{}`", shipped.question);
            row(&mut rows, &[name].into_iter().chain(cells).chain([cell(shipped, None)]).collect::<Vec<_>>());
        }
    }
    rows
}

fn table(titles: &[&str]) -> String {
    format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()))
}

fn row(rows: &mut String, cells: &[String]) {
    // Writing to a string cannot fail.
    let _ = writeln!(rows, "| {} |", cells.join(" | "));
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn time(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} us", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.1} s", n / 1e9),
    }
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.0} KB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

fn count(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1} k", n / 1e3),
        n => format!("{:.1} M", n / 1e6),
    }
}

fn ratio(own: u64, other: u64) -> String {
    let times = own as f64 / other.max(1) as f64;
    if times < 10.0 { format!(" (x{times:.1})") } else { format!(" (x{times:.0})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::languages::figures::Spread;

    fn figures(name: &str, nanos: u64) -> Figures {
        let spread = |p50: u64| Spread { p50, p99: 2 * p50 };
        let (time_ns, fuel) = (spread(nanos), spread(7 * nanos));
        let asked = Asked { question: "open".to_owned(), first_ns: 3 * nanos, time_ns, fuel };
        Figures {
            name: name.to_owned(),
            bytes: 12_600,
            compile_cold_ns: 53_000_000,
            compile_cached_ns: 500_000,
            instantiate_ns: spread(10_000),
            memory: 1_100_000,
            questions: vec![asked],
        }
    }

    #[test]
    fn every_row_has_a_cell_for_every_column_and_ratios_are_to_the_shipped_policy() {
        let measured = Measured {
            first_build: Duration::from_millis(12_340),
            next_build: Duration::from_millis(900),
            tools: 80_000_000,
            imports: vec!["sluice:policy/log@0.1.1".to_owned()],
            unstubbed: Some(25),
            plugin: figures("simple-vardiff", 1500),
            shipped: figures("vardiff-steady", 500),
        };
        let text = render(&[(Language::Python, vec![measured])]);
        for table in text.split("\n\n") {
            let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.windows(2).all(|two| two[0] == two[1]), "{table}");
        }
        for part in
            ["4.5 us; 1.5 us, 3.0 us (x3.0)", "| 80.0 MB | 12.3 s | 0.9 s | 0 | 25 |", "10.5 k (x3.0)"]
        {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }
}
