use super::{Line, nice, plot};

fn line(points: Vec<(u64, f64)>) -> Line {
    Line { class: "a", points, filled: true }
}

#[test]
fn axis_ends_at_a_round_number() {
    for (value, expected) in
        [(0.0, 1.0), (f64::NAN, 1.0), (1.0, 1.0), (1.1, 2.0), (37.0, 40.0), (6.1e12, 8e12), (99.0, 100.0)]
    {
        assert_eq!(nice(value), expected, "{value}");
    }
}

#[test]
fn newest_point_is_at_the_right_and_the_highest_at_the_top() {
    let svg = plot("t", &[line(vec![(3600, 0.0), (0, 6.0)])], |value| format!("{value}"));
    assert!(svg.contains(r#"d="M0.0 160.0L720.0 0.0""#), "{svg}");
    assert!(svg.contains("<span>6</span><span>3</span><span>0</span>"), "{svg}");
}

#[test]
fn nothing_and_nonsense_still_make_a_plot() {
    for points in [vec![], vec![(0, 1.0)], vec![(u64::MAX, f64::INFINITY), (0, f64::NAN), (5, -1.0)]] {
        let svg = plot("t", &[line(points)], |value| format!("{value}"));
        assert!(svg.contains("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
