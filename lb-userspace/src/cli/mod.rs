//! The command line. Exit codes: 0 good, 1 refused or failed, 2 wrong usage.

mod backends;
mod check;
mod decap;
mod detach;
mod doctor;
mod drain;
mod drains;
mod limits;
mod plan;
mod refusals;
mod reload;
mod report;
mod run;
mod services;
mod status;
mod table;
mod undrain;
mod waiting;
mod weight;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::client::Client;
use crate::api::types::{MAX_DEADLINE_S, Which};
use crate::config::{DEFAULT_SOCKET, parse_duration};
use crate::memory;

/// How long what is under way may take once the answer is known.
const LINGER: Duration = Duration::from_secs(1);

/// Weir: a layer-4 load balancer for containers, in XDP
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, infer_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start balancing in the foreground: attach, follow the registries, until SIGTERM or Ctrl-C
    Run(run::Args),
    /// Say whether a configuration is good, without touching anything
    Check(check::Args),
    /// Show how the running Weir is: interfaces, registries, problems
    Status(status::Args),
    /// List the services and what they carried
    Services(Listing),
    /// List the backends: their slots of the table, their way out, what they carried
    Backends(backends::Args),
    /// List the rate limits and what they said; show who presses hardest on them; change one
    Limits(limits::Args),
    /// Say what became of every packet: forwarded, or why not, and what to do about it
    Refusals(refusals::Args),
    /// Give a backend no new flow, and let it finish those it has
    Drain(drain::Args),
    /// Give a backend that was drained, or removed after that, new flows again
    Undrain(undrain::Args),
    /// Give a backend another weight than its registry does
    Weight(weight::Args),
    /// Say what a change would do, how many slots and flows would move, and change nothing
    Plan(plan::Args),
    /// Have the running Weir read its configuration again
    Reload(reload::Args),
    /// On a backend's host: unwrap the tunnels of balancers, in the foreground, until SIGTERM or Ctrl-C
    Decap(decap::Args),
    /// Look at this host and say what to change for Weir to work well
    Doctor(doctor::Args),
    /// Stop the running Weir, or take off what one has kept, and leave the host as it was
    Detach(detach::Args),
}

/// Where the running Weir is.
#[derive(Debug, Args)]
struct Socket {
    /// The control socket of the running Weir
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

impl Socket {
    fn client(&self) -> Result<Client> {
        Client::new(&self.socket)
    }
}

/// Which backend is meant.
#[derive(Debug, Args)]
struct Backend {
    /// The backend: its id in the registry, ADDRESS, or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)
    #[arg(value_name = "BACKEND")]
    backend: String,
    /// Only as a backend of this service, instead of all that it serves
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

impl Backend {
    fn which(self) -> Which {
        Which { backend: self.backend, service: self.service }
    }
}

/// A duration on the command line.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| duration.as_secs() <= MAX_DEADLINE_S)
        .ok_or_else(|| "expected a duration in whole seconds of at most 720h, such as 30s, 10m or 1h30m".to_owned())
}

/// How to print.
#[derive(Debug, Args)]
struct Output {
    /// How to print
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// For a program
    Json,
}

impl Output {
    /// Prints `what` as JSON, or as `text` makes of it.
    fn print<T: Serialize>(&self, what: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(what)? + "\n",
            Format::Text => text(what),
        };
        print(&text)
    }
}

/// What every verb takes that lists something of the running Weir.
#[derive(Debug, Args)]
struct Listing {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Listing {
    /// Asks for `/v1/PATH` and prints the rows, as `text` makes of them or as JSON.
    async fn show<T>(&self, path: &str, query: &[(&str, &str)], text: fn(&[T]) -> String) -> Result<ExitCode>
    where
        T: DeserializeOwned + Serialize,
    {
        let rows: Vec<T> = self.socket.client()?.get(path, query).await?;
        self.output.print(&rows, |rows| text(rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints to standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    // Exits with 2 on wrong usage, with 0 after --help and --version.
    let cli = Cli::parse();
    memory::share_one_pool();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.verb {
            Verb::Run(args) => args.execute().await,
            Verb::Check(args) => args.execute(),
            Verb::Status(args) => args.execute().await,
            Verb::Services(listing) => services::execute(listing).await,
            Verb::Backends(args) => args.execute().await,
            Verb::Limits(args) => args.execute().await,
            Verb::Refusals(args) => args.execute().await,
            Verb::Drain(args) => args.execute().await,
            Verb::Undrain(args) => args.execute().await,
            Verb::Weight(args) => args.execute().await,
            Verb::Plan(args) => args.execute().await,
            Verb::Reload(args) => args.execute().await,
            Verb::Decap(args) => args.execute().await,
            Verb::Doctor(args) => args.execute(),
            Verb::Detach(args) => args.execute().await,
        }
    });
    // Not dropped: that would wait for a thread that looks a name up, or reads a file that a network file system does
    // not give, for as long as those take.
    runtime.shutdown_timeout(LINGER);
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_contradicts_itself_is_wrong_usage() {
        let refused = |words: &str| Cli::try_parse_from(words.split(' ')).err().map(|error| error.kind());
        for good in [
            "weir drain b1",
            "weir drain 10.0.1.1:80 --service web --wait --deadline 10m",
            "weir drain b1 --deadline 720h --then remove",
            "weir drain b1 --wait --then reset",
            "weir undrain [2001:db8::1]:80",
            "weir weight b1 0",
            "weir weight b1 --clear --service web",
            "weir limits",
            "weir limits --service web --wide -o json",
            "weir limits --interval 2",
            "weir limits top web --seconds 5 --count 20",
            "weir limits set web --rate 50Mbit/s --burst 65536 --over mark",
            "weir limits set web --per source --unit packets/s --rate 1000 --strict",
            "weir limits set web --per source-prefix --prefix-v4 24 --prefix-v6 56 --rate 1000",
            "weir limits unset web",
            "weir plan --config weir.toml",
            "weir plan --backend web/10.0.1.1:80=1 --backend web/10.0.1.2:80=0",
            "weir reload --max-moved 0.5%",
            "weir detach --state /sys/fs/bpf/weir",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for wrong in [
            "weir drain",
            "weir drain b1 --deadline 10m",
            "weir drain b1 --wait --deadline 10",
            "weir drain b1 --wait --deadline 721h",
            "weir drain b1 --then explode",
            "weir weight b1",
            "weir weight b1 1 --clear",
            "weir weight b1 65536",
            "weir limits top",
            "weir limits top web --seconds 0",
            "weir limits top web --count 1001",
            "weir limits set web --burst 5 --strict",
            "weir limits set web --over shape",
            "weir limits set web --per client",
            "weir limits set web --prefix-v4 33",
            "weir limits set web --prefix-v6 0",
            "weir limits --interval 0",
            "weir plan",
            "weir plan --config weir.toml --backend web/10.0.1.1:80=1",
            "weir plan --backend web/10.0.1.1:80",
            "weir reload --max-moved 2",
            "weir reload --max-moved 101%",
        ] {
            assert!(refused(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn every_verb_and_argument_has_a_line_of_help() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", verb.get_name(), argument.get_id());
            }
        }
    }
}
