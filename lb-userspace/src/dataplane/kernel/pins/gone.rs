//! Links that go: the kernel takes its time.

use aya::programs::loaded_links;

use super::link::PinnedProgram;
use crate::dataplane::kernel::attach::program_on;

/// Waits until the kernel has taken links away, which it does a moment after their last pin or descriptor has gone. Links
/// are asked for where that is allowed (CAP_SYS_ADMIN), devices for the XDP programs they run anyway.
pub(in crate::dataplane::kernel) fn await_gone(links: &[Gone]) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);
    let deadline = std::time::Instant::now() + PATIENCE;
    let is_listed = || loaded_links().flatten().any(|link| links.iter().any(|gone| gone.link == link.id()));
    let is_on = |gone: &Gone| gone.ifindex != 0 && program_on(gone.ifindex) == Some(gone.program);
    while !links.is_empty() && (links.iter().any(is_on) || is_listed()) {
        if std::time::Instant::now() >= deadline {
            tracing::warn!("programs are still on devices: something else holds their links");
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A link that is about to go.
#[derive(Debug, Clone, Copy)]
pub(in crate::dataplane::kernel) struct Gone {
    /// Its id.
    pub(in crate::dataplane::kernel) link: u32,
    /// Its program's.
    pub(in crate::dataplane::kernel) program: u32,
    /// Its device's index; 0 when that is gone.
    pub(in crate::dataplane::kernel) ifindex: u32,
}

impl From<&PinnedProgram> for Gone {
    fn from(link: &PinnedProgram) -> Self {
        Self { link: link.id, program: link.program, ifindex: link.ifindex }
    }
}
