//! What was published of a registry, so that only news is.

use std::sync::Arc;

use super::listing::Listing;
use crate::source::declared::Declared;
use crate::source::{Publisher, Snapshot, are_same};

/// What was published last.
#[derive(Debug)]
pub(in crate::source) struct Teller {
    pub(in crate::source) publisher: Publisher,
    declared: Option<Arc<Declared>>,
    pub(in crate::source) snapshot: Option<Snapshot>,
    problem: Option<String>,
}

impl Teller {
    /// One that has published nothing.
    pub(in crate::source) const fn new(publisher: Publisher) -> Self {
        Self { publisher, declared: None, snapshot: None, problem: None }
    }

    /// Publishes how the engine is, as far as it is news. Returns `false` when nobody listens any more.
    pub(in crate::source) async fn tell(&mut self, listing: Listing) -> bool {
        let problem = listing.problem();
        let Listing { mut snapshot, declared, .. } = listing;
        // Whoever hears a list again that did not change need not look through it.
        for (name, list) in &mut snapshot {
            let before = self.snapshot.as_ref().and_then(|before| before.get(name));
            if let Some(before) = before.filter(|before| *before == list) {
                *list = Arc::clone(before);
            }
        }
        let mut says = !self.snapshot.as_ref().is_some_and(|before| are_same(before, &snapshot));
        if self.declared.as_deref() != Some(&declared) {
            let declared = Arc::new(declared);
            if !self.publisher.declared(Arc::clone(&declared)).await {
                return false;
            }
            (self.declared, says) = (Some(declared), true);
        }
        // A snapshot ends every problem.
        says |= self.problem.is_some() && self.problem != problem;
        if says && !self.publisher.snapshot(snapshot.clone()).await {
            return false;
        }
        self.snapshot = Some(snapshot);
        let is_news = says || self.problem != problem;
        self.problem.clone_from(&problem);
        match problem {
            Some(problem) if is_news => self.publisher.problem(problem).await,
            Some(_) | None => true,
        }
    }

    /// Says why the engine cannot be read. Returns `false` when nobody listens any more.
    pub(in crate::source) async fn fail(&mut self, problem: String) -> bool {
        if self.problem.as_ref() == Some(&problem) {
            return true;
        }
        self.problem = Some(problem.clone());
        self.publisher.problem(problem).await
    }
}
