//! What a start makes of what it finds, before it does anything of its own.

use anyhow::{Context as _, Result, bail};
use aya::programs::ProgramInfo;
use lb_common::abi::Meta;

use super::link::{self, PinnedProgram};
use super::set::{MAPS, NEXT};
use super::{NEW, Pins};
use crate::dataplane::Capacity;

impl Pins {
    /// Puts in order what a crash left; says what is pinned, if anything is.
    pub(super) fn repair(&self) -> Result<Option<(Meta, Capacity)>> {
        const OURS: [&str; 4] = [MAPS, NEXT, NEW, link::LINKS];
        if let Some(foreign) = self.folder.names("")?.iter().find(|name| !OURS.contains(&name.as_str())) {
            bail!(
                "{}: found what Weir did not pin, expected {} alone: take it away, or name another folder as `state` \
                 under [weir]",
                self.folder.shown(foreign).display(),
                OURS.join(", ")
            );
        }
        // Before anything is touched: maps of another version stay as they are.
        let meta = self.maps().meta()?;
        let capacity = meta.map(|meta| self.maps().capacity(meta)).transpose()?;
        let links = self.links()?;
        let (Some(meta), Some(capacity)) = (meta, capacity) else {
            if let Some(link) = links.first() {
                bail!(
                    "{}: found a program on a device, and no whole set of maps in {MAPS}, expected both or none: `weir \
                     detach --state {}` takes it off",
                    self.folder.shown(link::path_of(link.name)).display(),
                    self.path().display()
                );
            }
            for set in [self.maps(), self.next()] {
                let swept = set.sweep()?;
                if swept > 0 {
                    tracing::warn!(maps = swept, "an earlier run ended while it made its maps: they are made anew");
                }
            }
            return Ok(None);
        };
        if self.next().names()?.is_empty() {
            self.sweep_next()?;
            return Ok(Some((meta, capacity)));
        }
        if self.is_next_in_use(&links)? {
            tracing::warn!("an earlier run ended while it moved to maps of another size: finishing that");
            self.catch_up()?;
            self.swap()?;
            self.sweep_next()?;
            let meta = self.maps().meta()?.context("the maps that were in use are not whole")?;
            return Ok(Some((meta, self.maps().capacity(meta)?)));
        }
        tracing::info!("an earlier run ended while it made maps of another size: they are taken away");
        self.sweep_next()?;
        Ok(Some((meta, capacity)))
    }

    /// Whether a program on a device works with the set that is being made.
    fn is_next_in_use(&self, links: &[PinnedProgram]) -> Result<bool> {
        if self.next().meta()?.is_none() {
            return Ok(false);
        }
        let next = self.next().ids()?;
        for name in self.folder.names(NEW)? {
            let shown = self.folder.shown(NEW).join(&name);
            let program = ProgramInfo::from_pin(self.folder.at(NEW).join(&name))
                .with_context(|| format!("opening {}", shown.display()))?;
            if links.iter().any(|link| link.program == program.id()) {
                let maps = program.map_ids().with_context(|| format!("asking which maps {} has", shown.display()))?;
                let maps = maps.context("the kernel does not say which maps a program works with")?;
                return Ok(maps.iter().any(|id| next.contains(id)));
            }
        }
        Ok(false)
    }
}
