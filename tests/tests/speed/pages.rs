//! Pages with marks.

use crate::page::written;
use crate::sample::{report, run};

#[test]
fn what_is_between_marks_is_the_runs() {
    let page = "Before.\n\n<!-- bench: tables packet -->\nold\n<!-- /bench -->\n\nBetween.\n\n\
                <!-- bench: plots packet -->\n<!-- /bench -->\n<!-- bench: left-out -->\n<!-- /bench -->\nAfter.\n";
    let (run, report) = (run(), report());
    let once = written(page, &run, &report).unwrap();
    assert!(once.starts_with("Before.\n\n<!-- bench: tables packet -->\n**The table packet**\n\n|"), "{once}");
    assert!(once.contains("**missed**") && !once.contains("old") && !once.contains("The table frames"), "{once}");
    assert!(once.contains("![Time: ns by flows](performance/packet-flows.svg)\n<!-- /bench -->"), "{once}");
    assert!(once.ends_with("- There is no Envoy.\n<!-- /bench -->\nAfter.\n"), "{once}");
    assert_eq!(written(&once, &run, &report).unwrap(), once, "writing it again changes nothing");
}

#[test]
fn what_was_not_measured_is_said_so() {
    let page = "<!-- bench: tables nothing -->\nold\n<!-- /bench -->\n<!-- bench: highlights -->\n<!-- /bench -->\n";
    let page = written(page, &run(), &report()).unwrap();
    assert!(page.contains("Not measured in the last run.") && page.contains("**–**"), "{page}");
}

#[test]
fn marks_that_are_wrong_are_named() {
    for page in ["<!-- bench: left-out -->\n", "<!-- bench: left-out", "<!-- bench: x -->\n<!-- /bench -->"] {
        assert!(written(page, &run(), &report()).is_err(), "{page}");
    }
    let unclosed = "<!-- bench: left-out -->\n<!-- bench: left-out -->\n<!-- /bench -->";
    let error = written(unclosed, &run(), &report()).unwrap_err().to_string();
    assert!(error.contains("before the next mark"), "{error}");
}

#[test]
fn the_pages_of_this_repository_can_be_written() {
    for page in ["docs/performance.md", "README.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(page);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("<!-- bench: "), "{page}");
        written(&text, &run(), &report()).unwrap();
    }
}
