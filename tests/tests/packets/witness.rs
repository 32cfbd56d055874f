//! Others look at the frames of the tables: tshark at every one that is meant to be well-formed, and at all that are
//! expected to come out; scapy builds the latter again.

use std::path::PathBuf;

use weir_tests::frame::{Fact, Frame, Transport};
use weir_tests::lab::{self, Tshark};

use crate::tables::TABLES;
use crate::tables::cast::GUE_PORT;

/// Frames, and what they are.
fn frames(inputs: bool) -> Vec<(String, Frame)> {
    let mut frames = Vec::new();
    for table in TABLES {
        for row in (table.rows)() {
            let what = format!("{}: {}", table.topic, row.what);
            if inputs && row.input.is_sound() {
                frames.push((format!("{what} (in)"), row.input.clone()));
            }
            if let Some(output) = row.fate.output() {
                frames.push((format!("{what} (out)"), output.clone()));
            }
        }
    }
    frames
}

/// A file that ends with the test.
struct Capture(PathBuf);

impl Capture {
    fn of(name: &str, frames: &[(String, Frame)]) -> Self {
        let path = std::env::temp_dir().join(format!("weir-{name}-{}.pcap", std::process::id()));
        let bytes: Vec<Vec<u8>> = frames.iter().map(|(_, frame)| frame.bytes()).collect();
        lab::write_capture(&path, bytes.iter().map(Vec::as_slice)).expect("a file");
        Self(path)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// tshark takes a fragment of SCTP that it does not put together for all of a packet.
fn is_misread(frame: &Frame) -> bool {
    let inner = frame.inner.as_deref().unwrap_or(frame);
    inner.part.is_some() && matches!(inner.transport, Transport::Sctp { .. })
}

#[test]
fn tshark_sees_what_the_tables_say() {
    let mut frames = frames(true);
    frames.retain(|(_, frame)| !is_misread(frame));
    let capture = Capture::of("tables", &frames);
    let tshark = Tshark::new(GUE_PORT).each_fragment_alone();
    let verdict = tshark.verdict(&capture.0).unwrap_or_else(|error| panic!("{error:?}"));
    let faults: Vec<String> =
        verdict.faults.iter().map(|(number, fault)| format!("{}: {fault}", frames[number - 1].0)).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(verdict.packets, frames.len());
    assert!(verdict.good_checksums > frames.len(), "{verdict}");
    let seen = tshark.fields(&capture.0, Fact::FIELDS).expect("as before");
    let mut wrong = Vec::new();
    for ((what, frame), seen) in frames.iter().zip(&seen) {
        for Fact { field, values } in frame.facts() {
            let column = Fact::FIELDS.iter().position(|known| *known == field).expect("a known field");
            if !seen[column].starts_with(&values) {
                wrong.push(format!("{what}: {field} is {:?}, not {values:?}", seen[column]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn scapy_builds_the_same() {
    let frames: Vec<(String, Frame)> = frames(false).into_iter().filter(|(_, frame)| frame.is_sound()).collect();
    let capture = Capture::of("rebuilt", &frames);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packets/rebuild.py");
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.arg(script).arg(&capture.0).arg(GUE_PORT.to_string());
    let said = lab::run(&mut command).unwrap_or_else(|error| panic!("scapy: {error:#}"));
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some(format!("{} frames", frames.len()).as_str()));
    let others: Vec<String> = lines
        .map(|line| {
            let (number, said) = line.split_once(' ').expect("a number and more");
            format!("{}: {said}", frames[number.parse::<usize>().expect("a number")].0)
        })
        .collect();
    assert!(others.is_empty(), "{} differ:\n{}", others.len(), others.join("\n"));
}
