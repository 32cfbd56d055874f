//! Judging the folder where everything is pinned.

use super::Finding;
use super::facts::Facts;
use crate::dataplane::kernel::pins::Found;
use lb_common::abi::VERSION;

/// The finding about it.
pub(super) fn finding(facts: &Facts) -> Finding {
    let path = facts.wanted.state.display();
    match &facts.state {
        // Says what was found, what was expected, and what to do.
        Found::Refused(reason) => {
            let advice = "what is pinned outlives the controller: without such a folder it does not start";
            Finding::bad("state", reason, advice)
        }
        Found::Nothing => Finding::good("state", format!("nothing is pinned in {path}, and there can be")),
        Found::Pinned { version, maps, links, holder } => {
            let holder = match holder {
                Some(pid) => format!("process {pid} works with it"),
                None => "no process works with it".to_owned(),
            };
            let found =
                format!("pinned in {path}: {maps} maps of version {version}, {links} programs on devices; {holder}");
            if *version == VERSION {
                return Finding::good("state", found);
            }
            let advice = format!(
                "this Weir works with version {VERSION} and cannot migrate them: run the one that made them, or end \
                 what is pinned with weir detach --state {path}"
            );
            Finding::bad("state", found, advice)
        }
    }
}
