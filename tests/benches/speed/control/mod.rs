//! (4) The control plane: from a registry's change to the kernel's maps, and the memory that both take.

mod apply;
mod end_to_end;
mod memory;
mod process;
mod table;
mod world;

use anyhow::Result;

use crate::context::Context;
use crate::report::Report;

/// Measures all of it.
pub(crate) fn run(context: &Context, report: &mut Report) -> Result<()> {
    table::run(context, report);
    if !context.privileged {
        let text = "control: maps cannot be made without CAP_BPF and CAP_NET_ADMIN: tables alone were measured";
        report.left_out.push(text.to_owned());
        return Ok(());
    }
    apply::run(context, report)?;
    end_to_end::run(context, report)?;
    memory::run(context, report)
}
