//! `weir check`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use lb_common::abi::PORT_WORDS;
use serde::Serialize;

use super::{Format, Output, print};
use crate::config::{Config, Limit, Quic, Unit, show_duration};
use crate::limiter;
use crate::source;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Verdict {
    good: bool,
    problems: Vec<String>,
}

impl Args {
    pub(super) fn execute(self) -> Result<ExitCode> {
        let config = match Config::load(&self.config) {
            Ok(config) => config,
            Err(error) if self.output.format == Format::Json => {
                let problems = error.to_string().lines().map(str::to_owned).collect();
                self.output.print(&Verdict { good: false, problems }, |_| String::new())?;
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        let wrong = config.registries.values().filter_map(|registry| source::check(registry).err());
        let problems: Vec<String> = wrong.flat_map(|all| all.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        if !problems.is_empty() {
            if self.output.format == Format::Json {
                self.output.print(&Verdict { good: false, problems }, |_| String::new())?;
                return Ok(ExitCode::FAILURE);
            }
            anyhow::bail!(problems.join("\n"));
        }
        match self.output.format {
            Format::Json => self.output.print(&Verdict { good: true, problems: Vec::new() }, |_| String::new())?,
            Format::Text => print(&summary(&config)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(config: &Config) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "{}: good: {} interface(s), {} registry(ies), {} service(s)",
        config.path.display(),
        config.interfaces.len(),
        config.registries.len(),
        config.services.len()
    )?;
    let weir = &config.weir;
    writeln!(
        text,
        "  tables for {} service(s): {}; room for {} flow(s) of slots that move: {}",
        weir.max_services,
        mebibytes(weir.table_bytes()),
        weir.max_flows,
        mebibytes(weir.flow_bytes())
    )?;
    writeln!(text, "  pinned in {} while running; at the end: {}", weir.state.display(), weir.on_exit.name())?;
    if !weir.snat_addresses.is_empty() {
        let ports = weir.max_snat_backends * weir.snat_stride();
        writeln!(
            text,
            "  ports for {} backend(s) of snat from {} address(es): {}; room for {} flow(s)",
            weir.max_snat_backends,
            weir.snat_addresses.len(),
            mebibytes(u64::from(ports) * u64::from(PORT_WORDS) * 8),
            weir.max_snat_flows
        )?;
    }
    for service in &config.services {
        let forward = service.forward.name();
        writeln!(text, "  {} at {} by {forward}, backends from {}", service.name, service.vip, service.registry)?;
        if let Some(Quic { server_id_length, config }) = service.quic {
            writeln!(text, "    connection ids of configuration {config} name backends by {server_id_length} byte(s)")?;
        }
        writeln!(text, "    flows are believed for {} of silence", show_duration(service.idle))?;
        if let Some(slow_start) = &service.slow_start {
            let (over, max_moved) = (show_duration(slow_start.over), slow_start.max_moved);
            writeln!(text, "    slow start over {over}, in steps of at most {max_moved} of the table")?;
        }
        for (index, limit) in service.limits.iter().enumerate() {
            writeln!(text, "    limit {limit}, {}", kept(limit))?;
            if service.limits.iter().take(index).any(|other| other.is_same(limit)) {
                writeln!(
                    text,
                    "      like one before it: both are kept, and `weir limits set` cannot tell them apart"
                )?;
            }
        }
    }
    Ok(text)
}

/// How long packets are of which is told what is kept of a rate of bytes: the usual MTU, and the shortest frame.
const LONG: u32 = 1_500;
const SHORT: u32 = 64;

/// The rate that is truly kept.
fn kept(limit: &Limit) -> String {
    if limit.unit == Unit::Connections {
        return "counted one by one".to_owned();
    }
    let kept = limiter::kept(limit, LONG);
    let error = percent(kept.error_percent);
    let unit = limit.unit.name();
    if !limit.unit.is_bytes() {
        return format!("kept as {:.3} {unit} ({error})", kept.rate);
    }
    let short = percent(limiter::kept(limit, SHORT).error_percent);
    format!("kept as {:.3} {unit} ({error}) of packets of {LONG} bytes, {short} of {SHORT}", kept.rate)
}

/// By how much a rate is another one.
fn percent(error: f64) -> String {
    if error == 0.0 {
        "exactly".to_owned()
    } else if error.abs() < 0.0001 {
        format!("{:+.4} ppm", error * 10_000.0)
    } else {
        format!("{error:+.4} %")
    }
}

/// Bytes of memory, in MiB with one digit.
#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_matters_is_said() {
        let text = "
            weir.snat_addresses = ['192.0.2.5', '192.0.2.6']
            interface = [{ name = 'eth0' }]
            registry.local = { path = 'services.d' }
            [[service]]
            name = 'web'
            vip = '192.0.2.10'
            port = 80
            protocol = 'tcp'
            slow_start = { over = '30s', max_moved = '0.5%' }
            [[service.limit]]
            per = 'source'
            rate = 1000
            unit = 'packets/s'
            [[service.limit]]
            per = 'source'
            rate = 5000
            unit = 'packets/s'
            [[service.limit]]
            per = 'service'
            rate = 5000
            unit = 'packets/s'
            [[service]]
            name = 'dns'
            vip = '192.0.2.10'
            port = 53
            protocol = 'udp'
            forward = 'snat'
            quic = { server_id_length = 4, config = 1 }";
        let config = Config::parse(text, Path::new("weir.toml")).expect("good");
        let expected = "weir.toml: good: 1 interface(s), 1 registry(ies), 2 service(s)
  tables for 16 service(s): 16.0 MiB; room for 131072 flow(s) of slots that move: 16.0 MiB
  pinned in /sys/fs/bpf/weir while running; at the end: detach
  ports for 64 backend(s) of snat from 2 address(es): 1.0 MiB; room for 131072 flow(s)
  web at 192.0.2.10:80/tcp by nat, backends from local
    flows are believed for 1h of silence
    slow start over 30s, in steps of at most 0.5% of the table
    limit 1000 packets/s per source, strict, kept as 1000.000 packets/s (exactly)
    limit 5000 packets/s per source, strict, kept as 5000.000 packets/s (exactly)
      like one before it: both are kept, and `weir limits set` cannot tell them apart
    limit 5000 packets/s per service, strict, kept as 5000.000 packets/s (exactly)
  dns at 192.0.2.10:53/udp by snat, backends from local
    connection ids of configuration 1 name backends by 4 byte(s)
    flows are believed for 1m of silence
";
        assert_eq!(summary(&config).expect("written"), expected);
    }
}
