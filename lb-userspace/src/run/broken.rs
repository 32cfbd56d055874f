//! What has ended that never should.

/// Why parts have ended that never should: traffic goes on without them, and `weir status` says so.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) hops: Option<String>,
    pub(super) clients: Option<String>,
}

impl Broken {
    pub(super) fn note(place: &mut Option<String>, problem: String) {
        let problem = format!("{problem}; traffic goes on by what is known, start Weir anew");
        tracing::error!("{problem}");
        *place = Some(problem);
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.hops.iter().chain(&self.clients).cloned()
    }
}
