//! What registries said, as far as it is believed.

use crate::source::Endpoint;

/// What the registries said of a service, after doubts were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The endpoints that stand: the last ones, or the last good ones.
    pub endpoints: Vec<Endpoint>,
    /// Why the last answer was not taken, when it was not.
    pub held: Option<String>,
    /// The endpoints were read from the data plane, and no registry has named them yet.
    pub remembered: bool,
}

impl Roster {
    /// Takes what a registry says now. An answer without any endpoint removes nothing: a registry that was emptied by
    /// accident, or lies, must not take a service down. Deliberate removal is done where the service is configured.
    pub fn hear(&mut self, said: Option<&Vec<Endpoint>>) {
        let said = said.map(Vec::as_slice).unwrap_or_default();
        if said.is_empty() && !self.endpoints.is_empty() {
            self.held = Some(format!(
                "the registry names no backend any more; the last {} stand. To stop the service take it out of the \
                 configuration and reload",
                self.endpoints.len()
            ));
            return;
        }
        *self = Self { endpoints: said.to_vec(), held: None, remembered: false };
    }
}
