//! What registries said, as far as it is believed.

use std::sync::Arc;

use crate::source::Endpoint;

/// What the registries said of a service, after doubts were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The endpoints that stand: the last ones, or the last good ones.
    pub endpoints: Arc<[Endpoint]>,
    /// Why the last answer was not taken, when it was not.
    pub held: Option<String>,
    /// The endpoints were read from the data plane, and no registry has named them yet.
    pub remembered: bool,
    /// The registry knows at every moment what there is: what it does not name is gone, and its connections with it.
    pub authoritative: bool,
}

impl Roster {
    /// Takes what a registry says now. An answer without any endpoint removes nothing, unless it is `authoritative`: a
    /// registry that was emptied by accident, or lies, must not take a service down. Deliberate removal is done where the
    /// service is configured.
    pub fn hear(&mut self, said: Option<&Arc<[Endpoint]>>, authoritative: bool) {
        let said = said.cloned().unwrap_or_default();
        if said.is_empty() && !self.endpoints.is_empty() && !authoritative {
            self.held = Some(format!(
                "the registry names no backend any more; the last {} stand. To stop the service take it out of the \
                 configuration and reload",
                self.endpoints.len()
            ));
            return;
        }
        // The same list said anew is the same one.
        let same = Arc::ptr_eq(&said, &self.endpoints) || said == self.endpoints;
        let endpoints = if same { Arc::clone(&self.endpoints) } else { said };
        *self = Self { endpoints, held: None, remembered: false, authoritative };
    }

    /// Whether it is the same one, as far as can be told without looking through it.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoints, &other.endpoints)
            && (&self.held, self.remembered) == (&other.held, other.remembered)
            && self.authoritative == other.authoritative
    }
}
