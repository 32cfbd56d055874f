//! Figures: medians, ratios, targets, text, JSON.

use crate::report::number::{short, shown};
use crate::report::{Samples, json, table as markdown};
use crate::sample::{at_most, report, row, run, samples, table};

#[test]
fn a_median_is_the_middle_of_whatever_order() {
    assert_eq!(Samples(vec![9.0, 1.0, 5.0]).median(), 5.0);
    assert_eq!(Samples(vec![9.0, 1.0]).median(), 5.0);
    assert!(Samples(vec![]).median().is_nan());
}

#[test]
fn ratios_are_of_the_same_round() {
    // The second round was slow as a whole.
    let (own, other) = (Samples(vec![20.0, 200.0]), Samples(vec![10.0, 100.0]));
    assert_eq!(own.over(&other), Samples(vec![2.0, 2.0]));
    assert_eq!(own.less(&other), Samples(vec![10.0, 100.0]));
}

#[test]
fn a_target_without_a_figure_is_missed() {
    assert_eq!(row("", Some(40.0), at_most(40.0)).met(), Some(true));
    assert_eq!(row("", Some(40.1), at_most(40.0)).met(), Some(false));
    assert_eq!(row("", None, at_most(40.0)).met(), Some(false));
    assert_eq!(row("", Some(f64::NAN), at_most(40.0)).met(), Some(false));
    assert_eq!(row("", Some(1.0), None).met(), None);
    let least = crate::report::Target { column: 0, most: None, least: Some(0.92) };
    assert!(least.met(&samples(0.92)) && !least.met(&samples(0.91)));
    assert_eq!(least.shown(), "≥ 0.92");
}

#[test]
fn numbers_are_shown_for_people() {
    let numbers = [(1_234_567.0, 0, "1,234,567"), (999.96, 1, "1,000.0"), (-12.5, 1, "-12.5"), (-0.01, 1, "0.0")];
    for (value, digits, text) in numbers {
        assert_eq!(shown(value, digits), text);
    }
    assert_eq!(shown(f64::NAN, 2), "–");
    for (value, text) in [(1.0, "1"), (65_536.0, "65.5 k"), (1_048_576.0, "1.05 M"), (0.5, "0.5"), (0.01, "0.01")] {
        assert_eq!(short(value), text);
    }
}

#[test]
fn a_missed_target_is_called_missed() {
    let text = markdown(&table("t", vec![row("a", Some(38.0), at_most(40.0)), row("b|c", Some(41.0), at_most(40.0))]));
    assert!(text.contains("| a | **38.0** (19.0..76.0) | ≤ 40 | met |"), "{text}");
    assert!(text.contains("| b\\|c | **41.0** (20.5..82.0) | ≤ 40 | **missed** |"), "{text}");
    assert!(text.ends_with("\nA note."), "{text}");
}

#[test]
fn the_keys_of_the_json_stay() {
    let json = json(&run(), &report());
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected =
        ["version", "build", "machine", "noise", "rounds", "quick", "parts", "tables", "plots", "left_out"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let row = &json["tables"][0]["rows"][1];
    assert_eq!(row["name"], "missed");
    assert_eq!(row["target"]["met"], false);
    assert_eq!(row["cells"][0]["median"], 1041.25);
    assert_eq!(row["cells"][0]["rounds"].as_array().unwrap().len(), 3);
    assert!(json["tables"][1]["rows"][0]["cells"][0].is_null());
    assert_eq!(json["plots"][0]["series"][0]["points"][1]["x"], 1e6);
}
