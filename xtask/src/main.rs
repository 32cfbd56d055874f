//! Weir's own tasks: `cargo xtask VERB`.

mod bench;
mod cargo;
mod chaos;
mod ci;
mod demo;
mod fuzz;
mod mark;
mod privileges;
mod screen;
mod setup;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_tests::bench::Arguments as Bench;
use weir_tests::lab::{self, HttpServer, Kept, UdpEcho};

/// Weir's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Installs what is missing to build and test Weir, and says what and why first
    Setup {
        /// Only say what is missing; exit 1 if something is
        #[arg(long)]
        check: bool,
    },
    /// Shows Weir at work between network namespaces: real connections, weights, a registry that changes, a limit
    Demo(demo::Options),
    /// Changes, stops, kills and upgrades Weir while thousands of connections talk, and says what broke
    Chaos(chaos::Options),
    /// Sends packets made up through the host's build of the packet path and the kernel's, and says where they differ
    Fuzz(fuzz::Options),
    /// Measures how fast Weir is, beside others and in the same run; docs/performance.md says what the figures are
    Bench(Bench),
    /// Runs every test, or those whose names contain one of the filters; needs root
    Test {
        /// Parts of the names of the tests to run
        filters: Vec<String>,
    },
    /// What continuous integration runs: setup, test, clippy with warnings as errors, the formatter's check, the
    /// bench's gate
    Ci,
    /// Takes away what killed tests and demonstrations, and `demo --keep`, left on this machine
    Clean,
    /// Serves as one backend of a demonstration that was left standing
    #[command(hide = true)]
    Serve {
        /// The backend's name
        name: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup { check } => setup::run(check),
        Verb::Demo(options) => demo::run(&options),
        Verb::Chaos(options) => chaos::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Test { filters } => ci::test(&filters),
        Verb::Ci => ci::all(),
        Verb::Clean => clean(),
        Verb::Serve { name } => serve(&name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn clean() -> anyhow::Result<()> {
    privileges::require("clean")?;
    let swept = lab::sweep(Kept::Goes)?;
    swept.iter().for_each(|name| println!("removed {name}"));
    if swept.is_empty() {
        println!("nothing was left");
    }
    Ok(())
}

fn serve(name: &str) -> anyhow::Result<()> {
    let http = {
        let name = name.to_owned();
        std::thread::spawn(move || HttpServer::serve_forever(&name, lab::HTTP_PORT))
    };
    UdpEcho::serve_forever(name, lab::UDP_PORT)?;
    http.join().map_err(|_| anyhow::anyhow!("the HTTP server of {name} ended"))?
}
