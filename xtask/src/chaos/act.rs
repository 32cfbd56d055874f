//! How each kind of event is carried out.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use weir_tests::lab::traffic::Keystream;

use super::config::Side;
use super::event::Kind;
use super::roster::{SERVICES, pick};
use super::stage::Stage;

/// One event in so many is for all services at once.
const ALL_SERVICES_ONE_IN: u64 = 4;
/// How long a drain with a deadline lets connections be.
const DEADLINE: &str = "2s";
/// How long SIGSTOP lasts.
const STOPPED: Duration = Duration::from_secs(1);
/// The largest weight that is given.
const HEAVIEST: u64 = 400;

/// Does it, and says to whom. `None` when nothing is there to do it to: another kind has to be chosen.
pub(super) fn carry_out(stage: &mut Stage, kind: Kind, choices: &mut Keystream) -> Result<Option<String>> {
    let note = match kind {
        Kind::Add | Kind::Remove | Kind::Reweight | Kind::Flap => return registry(stage, kind, choices),
        Kind::Drain | Kind::Undrain | Kind::Weight | Kind::DrainDeadline => return operator(stage, kind, choices),
        Kind::Reload => reload(stage, choices)?,
        Kind::Restart => {
            stage.weir.stop()?;
            stage.weir.restart(&stage.lab)?;
            String::new()
        }
        Kind::Upgrade => {
            stage.weir.stop()?;
            stage.binaries.swap(0, 1);
            stage.weir.restart_with_binary(&stage.lab, &stage.binaries[0])?;
            String::new()
        }
        Kind::Kill => {
            stage.weir.kill()?;
            stage.weir.restart(&stage.lab)?;
            String::new()
        }
        Kind::KillMidway => kill_midway(stage, choices)?,
        Kind::Stop => {
            stage.weir.signal(Signal::SIGSTOP)?;
            let changed = registry(stage, Kind::Reweight, choices);
            std::thread::sleep(STOPPED);
            stage.weir.signal(Signal::SIGCONT)?;
            changed?.unwrap_or_default()
        }
        Kind::RegistryGone | Kind::RegistryGoneKill => registry_gone(stage, kind == Kind::RegistryGoneKill, choices)?,
        Kind::RegistryEmpty | Kind::RegistryMalformed => {
            let service = service(choices);
            let text = if kind == Kind::RegistryEmpty { format!("service = {service:?}\n") } else { "[[[".to_owned() };
            stage.registry.write(&format!("{service}.toml"), &text)?;
            moment(choices, 200, 600);
            stage.publish(service)?;
            service.to_owned()
        }
        Kind::KillBackend => {
            let index = usize::try_from(choices.below(stage.lab.backends.len() as u64))?;
            stage.kill_backend(index)?;
            stage.lab.backends[index].name.clone()
        }
    };
    Ok(Some(note))
}

/// What is said in the registry.
fn registry(stage: &mut Stage, kind: Kind, choices: &mut Keystream) -> Result<Option<String>> {
    let mut notes = Vec::new();
    for service in services(choices) {
        let chosen = match kind {
            Kind::Add => stage.roster.any(service, choices, |member| !member.registered),
            Kind::Reweight => stage.roster.any(service, choices, |member| member.registered),
            _ => stage.roster.spare(service, choices),
        };
        let Some(backend) = chosen else { continue };
        let member = stage.roster.member(service, &backend);
        match kind {
            Kind::Add => member.registered = true,
            Kind::Remove => member.registered = false,
            Kind::Reweight => member.weight = weight(choices),
            _ => {}
        }
        let mut note = format!("{service}/{backend}");
        if kind == Kind::Reweight {
            note += &format!("={}", member.weight);
        }
        stage.publish(service)?;
        if kind == Kind::Flap {
            for _ in 0..3 + choices.below(3) {
                for registered in [false, true] {
                    stage.roster.member(service, &backend).registered = registered;
                    stage.publish(service)?;
                    moment(choices, 0, 30);
                }
            }
        }
        notes.push(note);
    }
    Ok((!notes.is_empty()).then(|| notes.join(" ")))
}

/// What is said on the command line.
fn operator(stage: &mut Stage, kind: Kind, choices: &mut Keystream) -> Result<Option<String>> {
    let service = service(choices);
    let chosen = match kind {
        Kind::Undrain => stage.roster.any(service, choices, |member| member.registered && member.drained),
        Kind::Weight => stage.roster.any(service, choices, |member| member.registered),
        _ => stage.roster.spare(service, choices),
    };
    let Some(backend) = chosen else { return Ok(None) };
    let named = [backend.as_str(), "--service", service];
    let mut note = format!("{service}/{backend}");
    match kind {
        Kind::Drain => {
            stage.tell(&[&["drain"], &named[..]].concat())?;
            stage.roster.member(service, &backend).drained = true;
        }
        Kind::Undrain => {
            stage.tell(&[&["undrain"], &named[..]].concat())?;
            stage.roster.member(service, &backend).drained = false;
        }
        Kind::Weight if stage.roster.member(service, &backend).override_weight.is_some() => {
            stage.tell(&[&["weight"], &named[..], &["--clear"]].concat())?;
            stage.roster.member(service, &backend).override_weight = None;
            note += " --clear";
        }
        Kind::Weight => {
            let weight = weight(choices);
            stage.tell(&["weight", &backend, &weight.to_string(), "--service", service])?;
            stage.roster.member(service, &backend).override_weight = Some(weight);
            note += &format!("={weight}");
        }
        _ => {
            let then = if choices.below(2) == 0 { "remove" } else { "reset" };
            let _excused = stage.ledger.excuse(&backend);
            stage.tell(&[&["drain"], &named[..], &["--wait", "--deadline", DEADLINE, "--then", then]].concat())?;
            stage.tell(&[&["undrain"], &named[..]].concat())?;
            note += &format!(" --then {then}");
        }
    }
    Ok(Some(note))
}

fn reload(stage: &mut Stage, choices: &mut Keystream) -> Result<String> {
    let (side, note) = match stage.side {
        Side::Limited { .. } if choices.below(2) == 0 => (Side::Absent, "side is removed".to_owned()),
        _ => {
            let rate = 100 + choices.below(10_000);
            (Side::Limited { rate }, format!("side is there, {rate}/s"))
        }
    };
    stage.side = side;
    stage.write_config()?;
    stage.tell(&["reload"])?;
    Ok(note)
}

fn kill_midway(stage: &mut Stage, choices: &mut Keystream) -> Result<String> {
    if choices.below(2) == 0 {
        let changed = registry(stage, Kind::Reweight, choices)?;
        let after = moment(choices, 0, 40);
        stage.weir.kill()?;
        stage.weir.restart(&stage.lab)?;
        return Ok(format!("{after} ms after {}", changed.unwrap_or_default()));
    }
    stage.weir.kill()?;
    let binary = stage.binaries[0].clone();
    stage.weir.restart_unready(&stage.lab, &binary)?;
    let after = moment(choices, 0, 900);
    stage.weir.kill()?;
    stage.weir.restart(&stage.lab)?;
    Ok(format!("again, {after} ms after its start"))
}

fn registry_gone(stage: &mut Stage, kill: bool, choices: &mut Keystream) -> Result<String> {
    let here = stage.registry.dir().to_owned();
    let away = here.with_extension("away");
    std::fs::rename(&here, &away).context("cannot move the registry away")?;
    if kill {
        stage.weir.kill()?;
        let binary = stage.binaries[0].clone();
        stage.weir.restart_unready(&stage.lab, &binary)?;
    }
    let time = moment(choices, 200, 800);
    std::fs::rename(&away, &here).context("cannot move the registry back")?;
    if kill {
        // It may have refused to start without a registry; the kernel goes on all the same.
        if stage.weir.ended()?.is_some() {
            stage.weir.restart(&stage.lab)?;
            return Ok(format!("for {time} ms; it did not start without"));
        }
        stage.weir.await_ready()?;
    }
    Ok(format!("for {time} ms"))
}

fn service(choices: &mut Keystream) -> &'static str {
    pick(SERVICES.to_vec(), choices).expect("there are services")
}

fn services(choices: &mut Keystream) -> Vec<&'static str> {
    if choices.below(ALL_SERVICES_ONE_IN) == 0 { SERVICES.to_vec() } else { vec![service(choices)] }
}

fn weight(choices: &mut Keystream) -> u16 {
    u16::try_from(1 + choices.below(HEAVIEST)).expect("a small weight")
}

/// Waits a random time and says how many milliseconds.
fn moment(choices: &mut Keystream, least: u64, most: u64) -> u64 {
    let time = least + choices.below(most - least);
    std::thread::sleep(Duration::from_millis(time));
    time
}
