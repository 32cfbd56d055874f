//! The lab's server and client as a program, for containers.

use std::process::ExitCode;

use clap::Parser;
use weir_tests::lab::docker::{ServerArguments, run_server};

fn main() -> ExitCode {
    match run_server(ServerArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
