//! `weir status`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Output, Socket};
use crate::api::types::{Change, Moving, Status};
use crate::config::Share;

/// How often a Weir that is not ready is asked again.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Wait until it is ready, at most this long; exit with 1 if it is not
    #[arg(long, value_name = "SECONDS")]
    wait_ready: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let client = self.socket.client()?;
        let deadline = Instant::now() + Duration::from_secs(self.wait_ready.unwrap_or(0));
        let status = loop {
            let answer: Result<Status> = client.get("status", &[]).await;
            let ready = answer.as_ref().is_ok_and(|status| status.ready);
            if self.wait_ready.is_none() || ready {
                break answer?;
            }
            if Instant::now() >= deadline {
                match answer {
                    Ok(status) if status.problems.is_empty() => {
                        bail!("not ready: {} has not answered yet", waiting(&status))
                    }
                    Ok(status) => bail!("not ready: {}", status.problems.join("; ")),
                    Err(error) => return Err(error),
                }
            }
            tokio::time::sleep(POLL).await;
        };
        self.output.print(&status, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The registries that have not spoken.
fn waiting(status: &Status) -> String {
    let names = status.registries.iter().filter(|row| row.state == "waiting").map(|row| row.name.as_str());
    match names.collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "the kernel".to_owned(),
        names => format!("registry {names}"),
    }
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let Status {
        version,
        pid,
        ready,
        generation,
        uptime_s,
        interfaces,
        registries,
        services,
        backends,
        problems,
        moving,
        last_change,
        on_exit,
        state,
        abi,
        adopted,
        ..
    } = status;
    let ready = if *ready { "ready" } else { "not ready" };
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    line(format!("weir {version}, process {pid}, {ready}, up {uptime_s} s"));
    line(format!("{services} service(s), {backends} backend(s), generation {generation}"));
    let adopted = if *adopted { ", adopted from an earlier run" } else { "" };
    // An older Weir does not say.
    if !state.is_empty() {
        line(format!("state {state}, maps of version {abi}{adopted}; at the end: {on_exit}"));
    }
    line(moves(moving));
    if let Some(change) = last_change {
        line(changed(change));
    }
    for interface in interfaces {
        line(format!("interface {}: {}", interface.name, interface.mode));
    }
    for registry in registries {
        let age = registry.last_good_s.map_or("never".to_owned(), |s| format!("{s} s ago"));
        line(format!("registry {} ({}): {}, last good answer {age}", registry.name, registry.source, registry.state));
    }
    match problems.as_slice() {
        [] => line("no problems".to_owned()),
        problems => {
            for problem in problems {
                line(format!("problem: {}", problem.replace('\n', "\n         ")));
            }
        }
    }
    text
}

/// What is being handed over, in a line.
fn moves(moving: &Moving) -> String {
    let Moving { slots, services, flows, flow_lookups, flows_expired, inserts_refused } = moving;
    let now = match slots {
        0 => "every slot is settled".to_owned(),
        slots => format!("{slots} slot(s) of {services} service(s) hand over, {flows} flow(s) remembered"),
    };
    format!("{now}; in all {flow_lookups} looked up, {flows_expired} expired, {inserts_refused} not remembered")
}

/// The last change, in a line.
fn changed(change: &Change) -> String {
    let services = change.services.iter().filter(|service| service.change != "same");
    let services: Vec<String> = services
        .map(|service| format!("{} ({} of {} slots)", service.service, service.slots_moved, service.slots))
        .collect();
    let most = Share(change.moved_ppm);
    format!("last change {} s ago moved at most {most} of a service's slots: {}", change.at_s_ago, services.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::PlannedService;

    /// As a Weir before connections were kept has it.
    const OLD: &str = r#"{"version": "0.1.0", "pid": 7, "ready": true, "generation": 4, "uptime_s": 41,
        "interfaces": [{"name": "front", "mode": "native"}], "registries": [], "services": 1, "backends": 2,
        "problems": [], "bpf_toolchain": "rustc"}"#;

    #[test]
    fn what_is_handed_over_and_what_was_changed_is_said() {
        let service = PlannedService {
            service: "web".into(),
            change: "changed".into(),
            slots: 251,
            slots_moved: 5,
            flows_sampled: 0,
            flows_moved: 0,
            backends: Vec::new(),
        };
        let same = PlannedService { service: "dns".into(), change: "same".into(), ..service.clone() };
        let status = Status {
            moving: Moving { slots: 5, services: 1, flows: 3, flow_lookups: 90, flows_expired: 2, inserts_refused: 1 },
            last_change: Some(Change { at_s_ago: 12, services: vec![service, same], moved_ppm: 19_921 }),
            on_exit: "keep".into(),
            state: "/sys/fs/bpf/weir".into(),
            abi: 3,
            adopted: true,
            ..serde_json::from_str(OLD).expect("a status")
        };
        let expected = "\
weir 0.1.0, process 7, ready, up 41 s
1 service(s), 2 backend(s), generation 4
state /sys/fs/bpf/weir, maps of version 3, adopted from an earlier run; at the end: keep
5 slot(s) of 1 service(s) hand over, 3 flow(s) remembered; in all 90 looked up, 2 expired, 1 not remembered
last change 12 s ago moved at most 1.9921% of a service's slots: web (5 of 251 slots)
interface front: native
no problems
";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn an_older_weirs_answer_is_understood() {
        let status: Status = serde_json::from_str(OLD).expect("a status");
        let text = text(&status);
        assert!(text.contains("generation 4\nevery slot is settled; in all 0 looked up"), "{text}");
    }
}
