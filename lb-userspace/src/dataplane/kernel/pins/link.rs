//! Pinned links: the programs on devices, by names that say which program, how, and on which device.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};

use super::folder::Folder;
use crate::dataplane::kernel::Attached;
use crate::dataplane::kernel::fdinfo;

/// The folder of the links.
pub(super) const LINKS: &str = "links";

/// Which program, and how it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataplane::kernel) enum Hook {
    /// The XDP program.
    Xdp(Attached),
    /// The tc program on egress.
    Egress,
    /// The tc program on ingress.
    Ingress,
}

/// The name of a pinned link: `xdp_native_7`, `xdp_skb_7`, `egress_7`, `ingress_7`. (A BPF file system takes no dots.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataplane::kernel) struct LinkName {
    /// Which program.
    pub(in crate::dataplane::kernel) hook: Hook,
    /// The device's index.
    pub(in crate::dataplane::kernel) ifindex: u32,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Xdp(Attached::Native) => "xdp_native",
            Hook::Xdp(Attached::Skb) => "xdp_skb",
            Hook::Egress => "egress",
            Hook::Ingress => "ingress",
        };
        write!(f, "{hook}_{}", self.ifindex)
    }
}

impl FromStr for LinkName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (hook, ifindex) = text.rsplit_once('_').ok_or(())?;
        let hook = match hook {
            "xdp_native" => Hook::Xdp(Attached::Native),
            "xdp_skb" => Hook::Xdp(Attached::Skb),
            "egress" => Hook::Egress,
            "ingress" => Hook::Ingress,
            _ => return Err(()),
        };
        let name = Self { hook, ifindex: ifindex.parse().map_err(|_| ())? };
        // One device, one name.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// A link that is pinned. Dropping it leaves the program where it is.
#[derive(Debug)]
pub(in crate::dataplane::kernel) struct PinnedProgram {
    /// Its name.
    pub(in crate::dataplane::kernel) name: LinkName,
    /// Its id.
    pub(in crate::dataplane::kernel) id: u32,
    /// The id of the program that it ran when it was opened.
    pub(in crate::dataplane::kernel) program: u32,
    /// The index of the device that it is on, in that device's network namespace; 0 when the device is gone.
    pub(in crate::dataplane::kernel) ifindex: u32,
    link: FdLink,
}

impl PinnedProgram {
    /// Pins a link, which was just made.
    ///
    /// # Errors
    /// When it cannot be pinned: then the link is gone again. Or when it is not on the device that the name says.
    pub(super) fn pin(folder: &Folder, name: LinkName, link: FdLink) -> Result<Self> {
        let path = path_of(name);
        folder.make_below(LINKS)?;
        let mut link = Self::of(name, link)?;
        ensure!(link.ifindex == name.ifindex, "found the device to be another one meanwhile, expected index {name}");
        let pinned =
            link.link.pin(folder.at(&path)).with_context(|| format!("pinning {}", folder.shown(&path).display()));
        link.link = pinned?.into();
        Ok(link)
    }

    /// Opens a pinned link.
    ///
    /// # Errors
    /// When what is pinned there is no link of Weir's.
    pub(super) fn open(folder: &Folder, name: LinkName) -> Result<Self> {
        let path = path_of(name);
        let pinned = PinnedLink::from_pin(folder.at(&path));
        let pinned = pinned.with_context(|| format!("opening {}", folder.shown(&path).display()))?;
        Self::of(name, pinned.into()).with_context(|| {
            format!(
                "{}: found no link of a program to a device, expected one of Weir's: see what it is, and take it away",
                folder.shown(&path).display()
            )
        })
    }

    /// Learns about a link that is pinned by this name.
    pub(in crate::dataplane::kernel) fn of(name: LinkName, link: FdLink) -> Result<Self> {
        let id = link.info().context("asking the kernel about a link")?.id();
        let found = fdinfo::own_link(id).context("the kernel does not say on which device a link is")?;
        Ok(Self { name, id, program: found.program, ifindex: found.ifindex, link })
    }

    /// The link itself.
    pub(in crate::dataplane::kernel) fn into_link(self) -> FdLink {
        self.link
    }
}

/// Where a link is pinned, in the folder.
pub(super) fn path_of(name: LinkName) -> PathBuf {
    PathBuf::from(LINKS).join(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_said() {
        for hook in [Hook::Xdp(Attached::Native), Hook::Xdp(Attached::Skb), Hook::Egress, Hook::Ingress] {
            for ifindex in [1, 7, u32::MAX] {
                let name = LinkName { hook, ifindex };
                assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
        for text in ["", "xdp", "xdp_7", "xdp_native_", "xdp_native_07", "egress_+7", "egress_7_", "xdp_offload_7"] {
            assert_eq!(text.parse::<LinkName>(), Err(()), "{text:?}");
        }
    }
}
