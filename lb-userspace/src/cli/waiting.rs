//! Waiting for drains to end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::drains;
use crate::api::client::Client;
use crate::api::types::{BackendRow, DrainRow, Status};
use crate::config::show_duration;

/// How often is asked.
const POLL: Duration = Duration::from_millis(200);

/// How long Weir may not answer: it is started anew, and goes on with the drain then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which drain: service, backend's id, address and port.
type Key = (String, String, String, u16);

fn key(row: &DrainRow) -> Key {
    (row.service.clone(), row.id.clone(), row.address.clone(), row.port)
}

/// Drains that are waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    drains: BTreeMap<Key, DrainRow>,
    /// Those whose backend is there no more.
    gone: Vec<Key>,
    /// Whether they end with the backend being taken out.
    then: bool,
    /// The service that was named.
    service: Option<String>,
}

impl Waiting {
    /// Waits for these; with `then` until the backends are taken out.
    pub(super) fn new(rows: Vec<DrainRow>, then: bool, service: Option<String>) -> Self {
        let drains = rows.into_iter().map(|row| (key(&row), row)).collect();
        Self { drains, gone: Vec::new(), then, service }
    }

    /// How far they are.
    pub(super) fn rows(&self) -> Vec<DrainRow> {
        self.drains.values().cloned().collect()
    }

    /// Returns when all have ended. Says on standard error how far they are, whenever that has changed.
    ///
    /// # Errors
    /// When the deadline has passed, a drain was taken back, or Weir does not answer for too long.
    pub(super) async fn until_done(&mut self, client: &Client, deadline: Option<Duration>) -> Result<()> {
        let began = Instant::now();
        let mut heard = began;
        for row in self.drains.values() {
            eprintln!("{}", drains::progress(row));
        }
        while !self.is_done() {
            if let Some(deadline) = deadline.filter(|deadline| began.elapsed() >= *deadline) {
                bail!(self.too_late(deadline));
            }
            tokio::time::sleep(POLL).await;
            match self.ask(client).await {
                Ok(rows) => {
                    heard = Instant::now();
                    for line in self.hear(rows) {
                        eprintln!("{line}");
                    }
                    self.look_for_missing(client).await?;
                }
                Err(error) if heard.elapsed() >= PATIENCE => return Err(error),
                // Perhaps it is being started anew.
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn ask(&self, client: &Client) -> Result<Vec<DrainRow>> {
        // Not by the backend's name: once it is gone, nobody knows that.
        let query: Vec<(&str, &str)> = self.service.iter().map(|service| ("service", service.as_str())).collect();
        client.get("drains", &query).await
    }

    /// Takes in how far all drains are, and returns what is new, a line each. Those that nothing was said of are gone
    /// until [`Self::look_for_missing`] has looked.
    fn hear(&mut self, rows: Vec<DrainRow>) -> Vec<String> {
        let mut said: BTreeMap<Key, DrainRow> = rows.into_iter().map(|row| (key(&row), row)).collect();
        let mut lines = Vec::new();
        self.gone.clear();
        for (key, known) in &mut self.drains {
            let Some(row) = said.remove(key) else {
                self.gone.push(key.clone());
                continue;
            };
            let figures = |row: &DrainRow| (row.state.clone(), row.slots, row.flows, row.unseen);
            if figures(&row) != figures(known) {
                lines.push(drains::progress(&row));
            }
            *known = row;
        }
        lines
    }

    /// Finds out why nothing was said of some drains: an error if they were taken back. Whoever cannot be found out
    /// about is waited for.
    async fn look_for_missing(&mut self, client: &Client) -> Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        let status: Result<Status> = client.get("status", &[]).await;
        let backends: Result<Vec<BackendRow>> = client.get("backends", &[]).await;
        match (status, backends) {
            // Before it is ready it does not know all backends.
            (Ok(status), Ok(backends)) if status.ready => self.missing(&backends),
            _ => {
                self.gone.clear();
                Ok(())
            }
        }
    }

    fn missing(&mut self, backends: &[BackendRow]) -> Result<()> {
        let states: BTreeMap<Key, &str> = backends
            .iter()
            .map(|row| ((row.service.clone(), row.id.clone(), row.address.clone(), row.port), row.state.as_str()))
            .collect();
        let is_back = |key: &&Key| matches!(states.get(key), Some(&("active" | "ramping")));
        if let Some((service, id, ..)) = self.gone.iter().find(is_back) {
            bail!("{service}: {id} is not drained any more: somebody has taken that back");
        }
        // The others are about to be said something of.
        self.gone.retain(|key| !states.contains_key(key));
        for key in &self.gone {
            let Some(row) = self.drains.get_mut(key) else { continue };
            if row.state == "draining" {
                eprintln!("{}: {} is there no more", row.service, row.id);
            }
            // It has no slot and no flow, or it would be there.
            *row = DrainRow { state: "removed".into(), slots: 0, flows: 0, unseen: false, ..row.clone() };
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.drains.values().all(|row| self.has_ended(row))
    }

    fn has_ended(&self, row: &DrainRow) -> bool {
        row.state == "removed" || (row.state == "drained" && !self.then)
    }

    fn too_late(&self, deadline: Duration) -> String {
        let left = self.drains.values().filter(|row| !self.has_ended(row));
        let left = left.map(|row| format!("{}: {} has {} left", row.service, row.id, drains::left(row)));
        format!(
            "not drained within {}: {}. It goes on draining: wait again, or end it with --then remove or --then reset",
            show_duration(deadline),
            left.collect::<Vec<_>>().join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::drains::tests::row;
    use super::*;

    fn backend(id: &str, state: &str) -> BackendRow {
        serde_json::from_value(serde_json::json!({
            "service": "web", "id": id, "address": "10.0.1.11", "port": 8080, "weight": 100, "zone": null,
            "slots": 1, "state": state, "slots_moving": 0, "delivery": "stack: not looked up yet",
            "packets": 0, "bytes": 0, "reply_packets": 0, "reply_bytes": 0,
        }))
        .expect("a row")
    }

    #[test]
    fn it_ends_when_all_are_drained() {
        let mut waiting = Waiting::new(vec![row("a", "draining", 7, 2), row("b", "draining", 5, 0)], false, None);
        assert!(waiting.hear(vec![row("a", "draining", 7, 2), row("b", "draining", 5, 0)]).is_empty(), "nothing new");
        let lines =
            waiting.hear(vec![row("b", "drained", 0, 0), row("a", "draining", 7, 1), row("c", "drained", 0, 0)]);
        assert_eq!(lines, ["web: a is draining: 7 slot(s) and 1 flow(s) left", "web: b is drained"]);
        assert!(!waiting.is_done());
        let late = waiting.too_late(Duration::from_secs(90));
        assert!(late.starts_with("not drained within 1m30s: web: a has 7 slot(s) and 1 flow(s) left. It"), "{late}");
        waiting.hear(vec![row("b", "drained", 0, 0), row("a", "drained", 0, 0)]);
        assert!(waiting.is_done());
    }

    #[test]
    fn the_end_that_was_asked_for_is_waited_for() {
        let mut waiting = Waiting::new(vec![row("a", "draining", 7, 2)], true, None);
        waiting.hear(vec![row("a", "drained", 0, 0)]);
        assert!(!waiting.is_done());
        waiting.hear(vec![row("a", "removed", 0, 0)]);
        assert!(waiting.is_done());
    }

    #[test]
    fn one_that_is_gone_has_ended_and_one_that_was_taken_back_has_not() {
        let mut waiting = Waiting::new(vec![row("a", "draining", 7, 2)], false, None);
        waiting.hear(Vec::new());
        assert!(!waiting.is_done(), "nobody has looked yet");
        waiting.missing(&[backend("a", "draining")]).expect("still there");
        assert!(!waiting.is_done());
        waiting.hear(Vec::new());
        let error = waiting.missing(&[backend("a", "active")]).expect_err("taken back").to_string();
        assert_eq!(error, "web: a is not drained any more: somebody has taken that back");
        waiting.hear(Vec::new());
        waiting.missing(&[backend("b", "active")]).expect("gone");
        assert!(waiting.is_done());
    }
}
