//! `cargo xtask setup`: brings what building and testing Weir takes and this machine lacks.
//!
//! The machine is looked at first, and what is missing becomes a plan: steps, each with its reason and its commands.
//! The plan is printed before any of it is done. Where it may not be done, printing it is all that happens.

mod consul;
mod debian;
mod engine;
mod linker;
mod step;
mod toolchain;

use anyhow::{Result, bail};

use step::Step;

/// For what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To build Weir and to run it in the lab.
    Lab,
    /// To run it in the lab with containers.
    Containers,
    /// To run every test: the real registries too.
    Everything,
}

/// `cargo xtask setup [--check]`.
pub(crate) fn run(check: bool) -> Result<()> {
    let plan = plan(Scope::Everything)?;
    if plan.is_empty() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    if check {
        print!("{}", shown(&plan, ""));
        bail!("{} missing; `cargo xtask setup` brings what is", count(&plan));
    }
    apply(&plan)
}

/// What the other verbs do first: the same, and silent when nothing is missing.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    let plan = plan(scope)?;
    if plan.is_empty() { Ok(()) } else { apply(&plan) }
}

/// In the order in which they depend on each other.
fn plan(scope: Scope) -> Result<Vec<Step>> {
    let machine = debian::Machine::look();
    let rust = toolchain::Rust::look()?;
    let mut plan = Vec::new();
    plan.extend(debian::plan(&machine, &rust));
    plan.extend(toolchain::plan(&machine, &rust)?);
    plan.extend(linker::plan(&rust)?);
    if scope != Scope::Lab {
        plan.extend(engine::plan(&machine));
    }
    if scope == Scope::Everything {
        plan.extend(consul::plan(&machine)?);
    }
    Ok(plan)
}

fn apply(plan: &[Step]) -> Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    if let Some(forbidden) = plan.iter().find(|step| step.needs_root && !is_root) {
        eprint!("{}", shown(plan, "sudo "));
        bail!("{} missing, and only root may install {}: run the commands above", count(plan), forbidden.what);
    }
    if let Some(foreign) = plan.iter().find(|step| step.by_hand) {
        eprint!("{}", shown(plan, ""));
        bail!("{} missing, and setup cannot bring {} to this system by itself: see above", count(plan), foreign.what);
    }
    eprint!("{}", shown(plan, ""));
    for (step, number) in plan.iter().zip(1..) {
        eprintln!("setup: {number} of {}: {}", plan.len(), step.what);
        step.apply()?;
    }
    eprintln!("setup: done");
    Ok(())
}

fn count(plan: &[Step]) -> String {
    if plan.len() == 1 { "one thing is".to_owned() } else { format!("{} things are", plan.len()) }
}

fn shown(plan: &[Step], root_prefix: &str) -> String {
    let mut text = format!("setup: {} missing\n", count(plan));
    for (step, number) in plan.iter().zip(1..) {
        text += &format!("\n{number}. {}\n   Why: {}\n", step.what, step.why);
        let prefix = if step.needs_root { root_prefix } else { "" };
        for action in &step.actions {
            text += &format!("     {}\n", action.shown(prefix).replace('\n', "\n     "));
        }
    }
    text + "\n"
}
