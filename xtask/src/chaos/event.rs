//! What may happen: the kinds, and how often each is chosen.

use std::fmt;

use serde::Serialize;
use weir_tests::lab::traffic::Keystream;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:literal $weight:literal,)+) => {
        /// A kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum Kind { $($(#[doc = $doc])+ #[value(name = $name)] $kind,)+ }

        impl Kind {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)+];

            /// What it is called.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// How often it is chosen, relative to the others.
            fn weight(self) -> u64 {
                match self { $(Self::$kind => $weight,)+ }
            }
        }
    };
}

kinds! {
    /// A backend comes back into the registry
    Add "add" 14,
    /// A backend leaves the registry; its process lives on
    Remove "remove" 12,
    /// weir drain
    Drain "drain" 10,
    /// weir undrain
    Undrain "undrain" 8,
    /// weir drain --deadline --then remove|reset, then weir undrain: ends connections
    DrainDeadline "drain-deadline" 2,
    /// A backend's weight is edited in the registry
    Reweight "reweight" 10,
    /// weir weight
    Weight "weight" 8,
    /// A backend leaves and comes back several times at once
    Flap "flap" 8,
    /// A service is added, removed or limited otherwise in the configuration; weir reload
    Reload "reload" 8,
    /// SIGTERM, and a start
    Restart "restart" 6,
    /// SIGKILL, and a start
    Kill "kill" 5,
    /// SIGKILL while a change is written, or while it starts, and a start
    KillMidway "kill-midway" 5,
    /// SIGSTOP for a second
    Stop "stop" 4,
    /// SIGTERM, and a start of the build with the other program
    Upgrade "upgrade" 5,
    /// The registry's directory is away for a moment
    RegistryGone "registry-gone" 4,
    /// The same, and the controller is killed and started meanwhile
    RegistryGoneKill "registry-gone-kill" 3,
    /// A service's file has no backends for a moment
    RegistryEmpty "registry-empty" 4,
    /// A service's file is none of its language for a moment
    RegistryMalformed "registry-malformed" 4,
    /// A backend's server is killed and started again: ends connections
    KillBackend "kill-backend" 2,
}

impl Kind {
    /// One of these, by their weights. Not of an empty list.
    pub(super) fn choose(from: &[Self], choices: &mut Keystream) -> Self {
        let total: u64 = from.iter().map(|kind| kind.weight()).sum();
        let mut at = choices.below(total.max(1));
        for kind in from {
            match at.checked_sub(kind.weight()) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        unreachable!("the weights sum up to {total}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_chosen_by_its_weight() {
        let mut choices = Keystream::new(3);
        let chosen: Vec<Kind> = (0..20_000).map(|_| Kind::choose(Kind::ALL, &mut choices)).collect();
        let total: u64 = Kind::ALL.iter().map(|kind| kind.weight()).sum();
        for kind in Kind::ALL {
            let share = chosen.iter().filter(|chosen| *chosen == kind).count() as f64 / 20_000.0;
            let wanted = kind.weight() as f64 / total as f64;
            assert!((share - wanted).abs() < 0.02, "{kind}: {share} instead of {wanted}");
        }
    }
}
