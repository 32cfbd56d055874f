//! The log of the programs.

use anyhow::{Context as _, Result};

use crate::dataplane::kernel::Object;

/// Writes what the programs log to this process's log.
#[expect(deprecated, reason = "its successor is unsafe to call; the logger owns its file descriptor and keeps it open")]
pub(super) fn follow_trace(object: &mut Object) -> Result<()> {
    let logger = aya_log::EbpfLogger::init(object.ebpf()).context("cannot read the log of the programs")?;
    let mut logger = tokio::io::unix::AsyncFd::with_interest(logger, tokio::io::Interest::READABLE)?;
    tokio::spawn(async move {
        loop {
            match logger.readable_mut().await {
                Ok(mut guard) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                Err(error) => {
                    tracing::error!(%error, "the log of the programs cannot be read any more");
                    return;
                }
            }
        }
    });
    Ok(())
}
