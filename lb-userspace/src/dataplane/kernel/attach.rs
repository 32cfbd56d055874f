//! The programs on devices.

use anyhow::{Context as _, Result};
use aya::programs::links::FdLink;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpLinkId, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};

use super::Object;
use super::fdinfo;
use super::pins::{Gone, Hook, LinkName, PinnedProgram, Pins};
use crate::config::Mode;
use crate::netlink::socket::Requests;
use crate::netlink::{ROUTE, link};

/// How the program runs on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attached {
    /// In the driver.
    Native,
    /// In the stack, on every packet the driver has already made a buffer for.
    Skb,
}

impl Attached {
    /// Whether it is as the configuration wants it. `auto` is content with what there is: to find out whether the driver
    /// would do by now, the program would have to come off.
    pub(super) fn suits(self, mode: Mode) -> bool {
        match mode {
            Mode::Auto => true,
            Mode::Native => self == Self::Native,
            Mode::Skb => self == Self::Skb,
        }
    }

    /// For a person.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Skb => "skb",
        }
    }
}

/// A device as it is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its index.
    pub(super) ifindex: u32,
    /// Its name.
    pub(super) device: &'a str,
    /// How to attach.
    pub(super) mode: Mode,
}

/// The programs on one device, pinned. Dropping it leaves them where they are.
#[derive(Debug)]
pub struct Attachment {
    /// How they run.
    pub attached: Attached,
    pub(super) xdp: PinnedProgram,
    pub(super) egress: PinnedProgram,
}

impl Attachment {
    /// Attaches both programs to a device of this network namespace, and pins them; both, or none.
    pub(super) fn new(object: &mut Object, pins: &Pins, target: Target<'_>) -> Result<Self> {
        let egress = attach_egress(object, pins, target)?;
        match attach_xdp(object, pins, target) {
            Ok((attached, xdp)) => Ok(Self { attached, xdp, egress }),
            Err(error) => {
                pins.unpin(egress.name)?;
                Err(error)
            }
        }
    }

    /// Takes over what an earlier run attached: the same links, with this run's programs.
    ///
    /// `egress` may be missing when that run was killed between the two.
    pub(super) fn adopt(
        object: &mut Object,
        pins: &Pins,
        target: Target<'_>,
        attached: Attached,
        (xdp, egress): (PinnedProgram, Option<PinnedProgram>),
    ) -> Result<Self> {
        let egress = match egress {
            Some(old) => replace_tc(object, old)?,
            None => attach_egress(object, pins, target)?,
        };
        Ok(Self { attached, xdp: replace_xdp(object, xdp)?, egress })
    }

    /// The links, for who waits until they are gone.
    pub(super) fn links(&self) -> [Gone; 2] {
        [Gone::from(&self.xdp), Gone::from(&self.egress)]
    }

    /// Takes the programs off. The kernel does so a moment later.
    pub(super) fn take_off(self, pins: &Pins) -> Result<()> {
        pins.unpin(self.xdp.name)?;
        pins.unpin(self.egress.name)
    }
}

fn attach_egress(object: &mut Object, pins: &Pins, target: Target<'_>) -> Result<PinnedProgram> {
    attach_tc(object, pins, LinkName { hook: Hook::Egress, ifindex: target.ifindex }, target.device)
}

/// Attaches a tc program to a device of this network namespace, and pins it. What comes in meets it before others' programs:
/// it sends packets past those.
pub(super) fn attach_tc(object: &mut Object, pins: &Pins, name: LinkName, device: &str) -> Result<PinnedProgram> {
    let (program, at, order) = match name.hook {
        Hook::Ingress => (object.ingress()?, TcAttachType::Ingress, LinkOrder::first()),
        Hook::Egress | Hook::Xdp(_) => (object.egress()?, TcAttachType::Egress, LinkOrder::default()),
    };
    let link = program.attach_with_options(device, at, TcAttachOptions::TcxOrder(order)).with_context(|| {
        let side = if name.hook == Hook::Ingress { "ingress" } else { "egress" };
        format!("attaching the tc program to the {side} of {device}, which takes Linux 6.6 or newer")
    })?;
    let link = FdLink::try_from(program.take_link(link)?).context("the tc program is attached without a link")?;
    pins.pin(name, link)
}

/// Has a link run the program of this object.
pub(super) fn replace_tc(object: &mut Object, old: PinnedProgram) -> Result<PinnedProgram> {
    let name = old.name;
    let replace = || {
        let program = if name.hook == Hook::Ingress { object.ingress()? } else { object.egress()? };
        let id = program.attach_to_link(SchedClassifierLink::try_from(old.into_link())?)?;
        anyhow::Ok(FdLink::try_from(program.take_link(id)?)?)
    };
    PinnedProgram::of(name, replace().with_context(|| format!("replacing the program of {name}"))?)
}

/// Whether a link of a tc program is on the device of this name.
pub(super) fn is_tc_here(link: &PinnedProgram, device: &str) -> bool {
    let at = if link.name.hook == Hook::Ingress { TcAttachType::Ingress } else { TcAttachType::Egress };
    // Whoever may not ask has found the XDP programs here.
    SchedClassifier::query_tcx(device, at)
        .map_or(true, |(_, programs)| programs.iter().any(|program| program.id() == link.program))
}

fn attach_xdp(object: &mut Object, pins: &Pins, target: Target<'_>) -> Result<(Attached, PinnedProgram)> {
    let Target { ifindex, device, mode } = target;
    let xdp = object.xdp()?;
    let (link, attached) = attach_in_mode(xdp, ifindex, device, mode)?;
    let link = FdLink::try_from(xdp.take_link(link)?).context("the XDP program is attached without a link")?;
    Ok((attached, pins.pin(LinkName { hook: Hook::Xdp(attached), ifindex }, link)?))
}

/// Attaches an XDP program as the mode has it, and says how that was.
pub(crate) fn attach_in_mode(xdp: &mut Xdp, ifindex: u32, device: &str, mode: Mode) -> Result<(XdpLinkId, Attached)> {
    let (link, attached) = match mode {
        Mode::Native => (xdp.attach_to_if_index(ifindex, XdpMode::Driver), Attached::Native),
        Mode::Skb => (xdp.attach_to_if_index(ifindex, XdpMode::Skb), Attached::Skb),
        Mode::Auto => match xdp.attach_to_if_index(ifindex, XdpMode::Driver) {
            Err(error) if !is_busy(&error) => {
                tracing::warn!(
                    device,
                    error = %reason(&error),
                    "the driver does not take XDP: attaching in skb mode, which costs several times as much a packet"
                );
                (xdp.attach_to_if_index(ifindex, XdpMode::Skb), Attached::Skb)
            }
            other => (other, Attached::Native),
        },
    };
    let link = link.map_err(|error| {
        let advice = if is_busy(&error) {
            in_the_way(ifindex)
        } else if mode == Mode::Native {
            "the driver does not take it; mode \"auto\" falls back to skb mode".to_owned()
        } else {
            "`weir doctor` looks at what the device and the kernel can do".to_owned()
        };
        anyhow::anyhow!("attaching the XDP program to {device}: {}: {advice}", reason(&error))
    })?;
    Ok((link, attached))
}

fn replace_xdp(object: &mut Object, old: PinnedProgram) -> Result<PinnedProgram> {
    let name = old.name;
    let replace = || {
        let xdp = object.xdp()?;
        let id = xdp.attach_to_link(XdpLink::try_from(old.into_link())?)?;
        anyhow::Ok(FdLink::try_from(xdp.take_link(id)?)?)
    };
    PinnedProgram::of(name, replace().with_context(|| format!("replacing the program of {name}"))?)
}

/// Whose program is on a device that has no room for another, and what to do.
fn in_the_way(ifindex: u32) -> String {
    let Some(program) = program_on(ifindex) else {
        return "another XDP program is attached there: `ip link show` names its id; detach it first".to_owned();
    };
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|found| found.id() == program)
        .and_then(|found| found.name_as_str().map(|name| format!("{name}, ")))
        .unwrap_or_default();
    let found = format!("another XDP program is attached there ({name}id {program})");
    let holders = fdinfo::holders(program);
    if holders.is_empty() {
        return format!(
            "{found}, which no process holds: it is pinned, or was attached by `ip link`. An earlier Weir's with another \
             `state` goes by `weir detach --state` with that folder; whatever else it is: detach it first"
        );
    }
    let holders: Vec<_> = holders.iter().map(|holder| format!("process {} ({})", holder.pid, holder.name)).collect();
    format!("{found}, held by {}: stop that one first", holders.join(" and "))
}

/// The id of the XDP program on a device of this network namespace.
pub(super) fn program_on(ifindex: u32) -> Option<u32> {
    let links = Requests::open(ROUTE).ok()?.dump(&link::list()).ok()?;
    let device = links.iter().filter_map(|payload| link::parse(payload)).find(|link| link.ifindex == ifindex)?;
    device.xdp.map(|(_, program)| program)
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
