//! The Envoy that the bench measures Weir against.

use std::path::PathBuf;

use super::consul::cache_of;

/// Which one `cargo xtask bench` brings.
pub const ENVOY_VERSION: &str = "1.40.0";

/// Where `cargo xtask bench` unpacks it: below `$XDG_CACHE_HOME`, by default `~/.cache`.
pub fn envoy_cache_dir() -> PathBuf {
    cache_of("envoy").join(ENVOY_VERSION)
}

/// The Envoy to run: `$ENVOY_BINARY`, or the one that `cargo xtask bench` unpacked, or the one on the path.
pub fn envoy_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("ENVOY_BINARY") {
        return named.into();
    }
    let unpacked = envoy_cache_dir().join("envoy/_bin/envoy");
    if unpacked.exists() {
        return unpacked;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|dir| dir.join("envoy")).find(|path| path.is_file());
    installed.unwrap_or(unpacked)
}
