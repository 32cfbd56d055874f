//! From start to the host left as it was.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::decap::{MAX_OURS, MAX_SENDERS};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::device::Device;
use super::{Object, Report, Sender};
use crate::config::Mode;
use crate::doctor;
use crate::run::tell_systemd;

/// How often the device is looked at: its addresses, its MTU, and whether it is there.
const LOOK: Duration = Duration::from_secs(1);

/// What `weir decap` was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device.
    pub interface: String,
    /// Where tunnels may come from.
    pub senders: Vec<Sender>,
    /// Where they may end; nowhere said: at the device's own addresses.
    pub ours: BTreeSet<IpAddr>,
    /// The UDP port of gue.
    pub gue_port: u16,
    /// How to attach.
    pub mode: Mode,
    /// Whether SYN-ACKs' MSS is lowered.
    pub clamps: bool,
    /// The largest packet tunnels carry, in bytes; nothing said: the device's MTU.
    pub mtu: Option<u32>,
    /// How often to report, besides at the end and at SIGUSR1.
    pub every: Option<Duration>,
}

/// Unwraps until SIGTERM or SIGINT, then leaves the host as it was. `report` gets what was counted.
///
/// # Errors
/// Whatever keeps it from starting, when nothing is attached or left; or the device's end.
pub async fn run(options: Options, mut report: impl FnMut(&Report) -> Result<()>) -> Result<()> {
    must_be_possible()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut asked = signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
    for (what, found, most) in [("--from", options.senders.len(), MAX_SENDERS), ("--to", options.ours.len(), MAX_OURS)]
    {
        ensure!(found <= most as usize, "{what}: found {found}, expected at most {most}: a prefix can stand for many");
    }
    let mut device = Device::find(&options.interface)?;
    let mut object = Object::load(&options.senders, options.gue_port, options.clamps)?;
    let (ours, mtu) = look(&mut device, &options)?;
    if ours.is_empty() {
        bail!("{}: found no address on it, expected at least one: name where tunnels end with --to", device.name());
    }
    object.set_mtu(mtu)?;
    object.end_at(&ours)?;
    let mode = object.attach(device.ifindex(), device.name(), options.mode, options.clamps)?;
    tracing::info!(
        device = device.name(),
        mode = mode.name(),
        "unwrapping ipip, and gue on UDP port {}",
        options.gue_port
    );
    tracing::info!(from = list(&options.senders), to = list(&ours), "tunnels");
    if options.clamps {
        tracing::info!(mtu, "lowering the MSS of SYN-ACKs from addresses whose packets come in tunnels");
    }
    tell_systemd(&[NotifyState::Ready]);

    let mut looking = tokio::time::interval(LOOK);
    let mut reporting = options.every.map(|every| tokio::time::interval_at(tokio::time::Instant::now() + every, every));
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => { tracing::info!("SIGTERM"); break Ok(()) }
            _ = interrupt.recv() => { tracing::info!("SIGINT"); break Ok(()) }
            _ = asked.recv() => report(&object.report(device.name())?)?,
            () = tick(&mut reporting) => report(&object.report(device.name())?)?,
            _ = looking.tick() => if let Err(error) = follow(&mut object, &mut device, &options) { break Err(error) },
        }
    };
    tell_systemd(&[NotifyState::Stopping]);
    let counted = object.report(device.name());
    drop(object);
    tracing::info!("detached");
    report(&counted?)?;
    ended
}

/// Where tunnels end, and how large a packet they carry, now.
fn look(device: &mut Device, options: &Options) -> Result<(BTreeSet<IpAddr>, u32)> {
    let mtu = device.mtu()?;
    let ours = if options.ours.is_empty() { device.addresses()? } else { options.ours.clone() };
    ensure!(
        ours.len() <= MAX_OURS as usize,
        "{}: found {} addresses, expected at most {MAX_OURS}: name those of tunnels with --to",
        device.name(),
        ours.len()
    );
    Ok((ours, options.mtu.unwrap_or(mtu)))
}

/// Goes by what the device is now.
fn follow(object: &mut Object, device: &mut Device, options: &Options) -> Result<()> {
    let (ours, mtu) = look(device, options)?;
    object.set_mtu(mtu)?;
    if object.end_at(&ours)? {
        tracing::info!(to = list(&ours), "tunnels end at other addresses");
    }
    Ok(())
}

fn list<T: ToString>(of: impl IntoIterator<Item = T>) -> String {
    of.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Refuses on a host where nothing can work.
fn must_be_possible() -> Result<()> {
    for doctor::Finding { check, level, found, advice, .. } in doctor::examine(None) {
        if level == doctor::Level::Bad && matches!(check, "kernel" | "privileges") {
            bail!("{check}: {found}; {}", advice.unwrap_or_default());
        }
    }
    Ok(())
}
