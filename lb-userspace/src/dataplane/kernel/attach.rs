//! The programs on devices.

use anyhow::{Context as _, Result};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, TcAttachType};

use super::Object;
use crate::config::Mode;

/// How the program runs on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attached {
    /// In the driver.
    Native,
    /// In the stack, on every packet the driver has already made a buffer for.
    Skb,
}

/// The programs on one device. Dropping it takes them off.
#[derive(Debug)]
pub struct Attachment {
    /// The device's name.
    pub device: String,
    /// How they run.
    pub attached: Attached,
    // Links of the kernel's: it takes the programs off when the last file descriptor is closed, also when this
    // process is killed.
    _xdp: XdpLink,
    _egress: SchedClassifierLink,
}

impl Attachment {
    /// Attaches both programs to a device of this network namespace.
    pub fn new(object: &mut Object, device: &str, mode: Mode) -> Result<Self> {
        let egress = object.egress()?;
        let link = egress.attach(device, TcAttachType::Egress).with_context(|| {
            format!("attaching the tc program to the egress of {device}, which takes Linux 6.6 or newer")
        })?;
        let egress = egress.take_link(link)?;
        let xdp = object.xdp()?;
        let (link, attached) = match mode {
            Mode::Native => (xdp.attach(device, XdpMode::Driver), Attached::Native),
            Mode::Skb => (xdp.attach(device, XdpMode::Skb), Attached::Skb),
            Mode::Auto => match xdp.attach(device, XdpMode::Driver) {
                Err(error) if !is_busy(&error) => {
                    tracing::warn!(
                        device,
                        error = %reason(&error),
                        "the driver does not take XDP: attaching in skb mode, which costs several times as much a packet"
                    );
                    (xdp.attach(device, XdpMode::Skb), Attached::Skb)
                }
                other => (other, Attached::Native),
            },
        };
        let link = link.map_err(|error| {
            let advice = if is_busy(&error) {
                "another XDP program is attached there: `ip link show` names its id; detach it first"
            } else if mode == Mode::Native {
                "the driver does not take it; `mode = \"auto\"` falls back to skb mode"
            } else {
                "`weir doctor` looks at what the device and the kernel can do"
            };
            anyhow::anyhow!("attaching the XDP program to {device}: {}: {advice}", reason(&error))
        })?;
        let xdp = xdp.take_link(link)?;
        Ok(Self { device: device.to_owned(), attached, _xdp: xdp, _egress: egress })
    }
}

/// The innermost reason, which is the kernel's.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether another program is in the way: EBUSY in the same mode, EEXIST in the other one (`dev_xdp_attach` of
/// net/core/dev.c).
fn is_busy(error: &ProgramError) -> bool {
    use std::io::ErrorKind::{AlreadyExists, ResourceBusy};
    match error {
        ProgramError::SyscallError(error) => matches!(error.io_error.kind(), ResourceBusy | AlreadyExists),
        _ => false,
    }
}
