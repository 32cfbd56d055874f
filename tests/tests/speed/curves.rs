//! Curves as SVG.

use crate::report::svg;
use crate::sample::plot;

/// The values of an attribute of all elements.
fn values(svg: &str, attribute: &str) -> Vec<f64> {
    let opening = format!(" {attribute}=\"");
    svg.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

fn labels(svg: &str) -> Vec<&str> {
    svg.split("<text").skip(1).map(|rest| rest.split_once('>').unwrap().1.split('<').next().unwrap()).collect()
}

#[test]
fn a_decade_is_as_wide_as_another() {
    let svg = svg(&plot("p", true, &[(1.0, 10.0), (10.0, 100.0), (100.0, 1000.0)]));
    // The last circle is the legend's.
    let (x, y) = (values(&svg, "cx"), values(&svg, "cy"));
    assert_eq!(x.len(), 4, "{svg}");
    assert!((x[1] - x[0] - (x[2] - x[1])).abs() < 0.2, "{x:?}");
    assert!((y[1] - y[0] - (y[2] - y[1])).abs() < 0.2 && y[2] < y[0], "{y:?}");
}

#[test]
fn an_axis_that_is_not_logarithmic_begins_with_0() {
    let svg = svg(&plot("p", false, &[(1.0, 30.0), (1e6, 60.0)]));
    let labels = labels(&svg);
    for label in ["0", "20", "120", "1", "1 k", "1 M"] {
        assert!(labels.contains(&label), "{label} in {labels:?}");
    }
}

#[test]
fn names_are_text() {
    assert!(labels(&svg(&plot("p", false, &[(1.0, 1.0)]))).contains(&"a &lt; b &amp; c"));
}

#[test]
fn what_cannot_be_shown_is_left_out() {
    for points in [&[][..], &[(0.0, 1.0)], &[(1.0, f64::NAN)], &[(1.0, 0.0)], &[(5.0, 5.0)]] {
        for log_y in [false, true] {
            let svg = svg(&plot("p", log_y, points));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.len() < 20_000, "{points:?}: {svg}");
        }
    }
}
