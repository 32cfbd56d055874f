//! Weir itself: the real binary, with `nat`, as an operator configures it.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::{BACK, Entry, FRONT, FileRegistry, Lab, WeirProcess, wait_until, weir_binary};

use super::super::stage::PORT;

/// The service's name.
const SERVICE: &str = "web";

/// Starts it, and waits until it delivers to every backend from XDP.
pub(super) fn start(lab: &Lab, vip: SocketAddrV4) -> Result<WeirProcess> {
    let backends = lab.backends.iter().map(|backend| Entry::new(&backend.name, backend.v4, PORT, 100));
    FileRegistry::new(lab)?.publish(SERVICE, &backends.collect::<Vec<_>>())?;
    let (socket, state) = (lab.socket(), lab.state());
    let config = format!(
        "[weir]\nsocket = {socket:?}\nstate = {state:?}\n\n\
         [[interface]]\nname = {FRONT:?}\nmode = \"native\"\n\n[[interface]]\nname = {BACK:?}\nmode = \"native\"\n\n\
         [registry.local]\ntype = \"file\"\npath = \"services.d\"\n\n\
         [[service]]\nname = {SERVICE:?}\nvip = \"{}\"\nport = {}\nprotocol = \"tcp\"\nregistry = \"local\"\n",
        vip.ip(),
        vip.port(),
    );
    let weir = WeirProcess::start(lab, &weir_binary(), &config)?;
    wait_until("ways out to the backends", Duration::from_secs(10), || {
        let rows = match weir.json(&["backends", SERVICE]) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        let leaves = |row: &serde_json::Value| row["delivery"].as_str().is_some_and(|way| way.starts_with("xdp "));
        let there = rows.as_array().filter(|rows| rows.len() == lab.backends.len());
        there.is_some_and(|rows| rows.iter().all(leaves)).then_some(Ok(()))
    })??;
    Ok(weir)
}
