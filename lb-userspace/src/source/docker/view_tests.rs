//! Events, inspections and listings in all orders in which an engine may give them.

use bollard::models::{ContainerInspectResponse, EventMessage};
use serde_json::json;

use super::*;

fn event(action: &str, id: &str, signal: Option<&str>) -> EventMessage {
    let attributes = signal.map_or(json!({}), |signal| json!({ "signal": signal }));
    let event = json!({ "Type": "container", "Action": action, "Actor": { "ID": id, "Attributes": attributes } });
    serde_json::from_value(event).expect("an event")
}

fn container(id: &str, running: bool, started: &str) -> Container {
    let answer = json!({
        "Id": id, "Name": format!("/{id}"), "State": { "Running": running, "StartedAt": started },
        "Config": { "StopSignal": "SIGQUIT" }
    });
    let answer: ContainerInspectResponse = serde_json::from_value(answer).expect("an answer");
    Container::read(answer).expect("complete")
}

fn summary(id: &str) -> ContainerSummary {
    ContainerSummary { id: Some(id.into()), names: Some(vec![format!("/{id}")]), ..ContainerSummary::default() }
}

fn states(view: &View) -> Vec<(&str, State)> {
    view.containers().iter().map(|one| (one.id.as_str(), one.state)).collect()
}

/// A view that knows of one container that runs.
fn knowing(id: &str) -> View {
    let mut view = View::default();
    view.hear(event("start", id, None));
    assert_eq!(view.ask(), Some((id.to_owned(), view.now())));
    assert_eq!(view.ask(), None);
    view.inspected(id, Ok(Some(container(id, true, "1"))));
    assert_eq!(states(&view), [(id, State::Serving)]);
    assert!(std::mem::take(&mut view.changed) && view.is_settled());
    view
}

#[test]
fn who_was_killed_does_not_come_back_by_an_inspection_from_before_its_death() {
    let mut view = knowing("a");
    view.hear(event("rename", "a", None));
    view.ask().expect("to be inspected");
    view.hear(event("kill", "a", Some("9")));
    assert_eq!(states(&view), []);
    // The answer is from before; the next one may be from before its death, too.
    view.inspected("a", Ok(Some(container("a", true, "1"))));
    view.ask().expect("to be inspected again");
    view.inspected("a", Ok(Some(container("a", true, "1"))));
    assert_eq!(states(&view), [("a", State::Stopping)]);
    view.hear(event("die", "a", None));
    assert_eq!(states(&view), []);
}

#[test]
fn a_stop_and_a_death_are_believed_at_once() {
    let mut view = knowing("a");
    // Not the signal that stops it.
    view.hear(event("kill", "a", Some("1")));
    assert!(!view.changed);
    view.hear(event("kill", "a", Some("3")));
    assert_eq!((states(&view), view.changed), (vec![("a", State::Stopping)], true));
    // Also after it was looked at again, and told to reload.
    view.hear(event("kill", "a", Some("1")));
    view.hear(event("rename", "a", None));
    view.ask().expect("to be inspected");
    view.inspected("a", Ok(Some(container("a", true, "1"))));
    assert_eq!(states(&view), [("a", State::Stopping)]);
    view.hear(event("die", "a", None));
    assert_eq!(states(&view), []);
    assert!(view.is_settled());
    view.hear(event("start", "a", None));
    view.ask().expect("to be inspected");
    view.inspected("a", Ok(Some(container("a", true, "2"))));
    assert_eq!(states(&view), [("a", State::Serving)]);
}

#[test]
fn an_answer_from_before_an_event_is_asked_for_again() {
    let mut view = View::default();
    view.hear(event("start", "a", None));
    view.ask().expect("to be inspected");
    view.hear(event("die", "a", None));
    view.inspected("a", Ok(Some(container("a", true, "1"))));
    assert_eq!(states(&view), [], "it has died since");
    view.ask().expect("to be inspected again");
    view.inspected("a", Ok(Some(container("a", false, "1"))));
    assert_eq!(view.ask(), None);
    assert!(states(&view).is_empty() && view.entries.is_empty());
}

#[test]
fn a_listing_repairs_what_events_did_not_say() {
    let mut view = knowing("gone");
    let asked = view.now();
    // Started after the listing was asked for: not being listed says nothing.
    view.hear(event("start", "later", None));
    view.ask().expect("to be inspected");
    view.inspected("later", Ok(Some(container("later", true, "1"))));
    view.list(asked, vec![summary("missed")]);
    assert_eq!(states(&view), [("later", State::Serving)]);
    assert_eq!(view.ask().map(|(id, _)| id).as_deref(), Some("missed"));
    view.inspected("missed", Ok(Some(container("missed", true, "1"))));
    // The same listing again asks for nothing, another one does.
    let both = || vec![summary("missed"), summary("later")];
    view.list(view.now(), both());
    assert_eq!(view.ask().map(|(id, _)| id).as_deref(), Some("later"), "listed for the first time");
    view.inspected("later", Ok(Some(container("later", true, "1"))));
    view.changed = false;
    view.list(view.now(), both());
    assert_eq!((view.ask(), view.changed), (None, false));
    let mut other = both();
    other[0].status = Some("Up 2 seconds (unhealthy)".to_owned());
    view.list(view.now(), other);
    assert_eq!(view.ask().map(|(id, _)| id).as_deref(), Some("missed"));
}

#[test]
fn what_cannot_be_inspected_is_told_and_tried_again() {
    let mut view = knowing("a");
    view.hear(event("rename", "a", None));
    view.ask().expect("to be inspected");
    view.inspected("a", Err("no answer".to_owned()));
    assert_eq!(states(&view), [("a", State::Serving)], "the last good state stands");
    assert_eq!(view.faults().collect::<Vec<_>>(), ["container a cannot be inspected: no answer"]);
    view.list(view.now(), vec![summary("a")]);
    view.ask().expect("to be inspected");
    view.inspected("a", Ok(Some(container("a", true, "1"))));
    assert_eq!(view.faults().count(), 0);
}

#[test]
fn after_the_connection_was_lost_everything_is_looked_at_again() {
    let mut view = knowing("a");
    view.hear(event("start", "b", None));
    view.ask().expect("to be inspected");
    view.begin();
    assert_eq!(states(&view), [("a", State::Serving)]);
    view.list(view.now(), vec![summary("a"), summary("b")]);
    let mut asked = vec![view.ask().expect("one").0, view.ask().expect("the other").0];
    asked.sort();
    assert_eq!(asked, ["a", "b"]);
}
