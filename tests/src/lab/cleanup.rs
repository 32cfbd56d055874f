//! What a lab has made on the machine, and how it goes away: on drop, on a signal, or by the next run's sweep.
//!
//! Everything a lab makes carries its id, `weir-PID-N`: its directory under the temporary directory, and its network
//! namespaces, `weir-PID-N-ROLE`. So a run that was killed leaves nothing that cannot be told from the living.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use anyhow::{Context, Result};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::bpffs;
use super::command::run;
use super::docker::remains;
use super::ending::end_processes;

/// The file in a lab's directory that says it was left standing on purpose.
const KEPT: &str = "kept";
/// The directory in a lab's directory that a BPF file system is mounted on.
const BPFFS: &str = "bpf";

/// The labs of this process that stand.
static LIVE: Mutex<Vec<Arc<Resources>>> = Mutex::new(Vec::new());

/// What one lab has made.
#[derive(Debug)]
pub(crate) struct Resources {
    id: String,
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    namespaces: Vec<String>,
    pids: Vec<Pid>,
    gone: bool,
    kept: bool,
}

impl Resources {
    /// Makes the directory of the lab with this number, and has everything that follows taken away by a signal.
    pub(crate) fn new(number: u32) -> Result<Arc<Self>> {
        watch_signals();
        let id = format!("weir-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        // Not `create_dir_all`: whatever is there already is not ours.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make the lab's directory {}", dir.display()))?;
        let resources = Arc::new(Self { id, dir, state: Mutex::default() });
        lock(&LIVE).push(Arc::clone(&resources));
        Ok(resources)
    }

    /// Mounts a BPF file system of the lab's own in its directory.
    pub(crate) fn mount_bpffs(&self) -> Result<()> {
        let _state = self.open();
        bpffs::mount(&self.bpffs())
    }

    /// Where [`Resources::mount_bpffs`] mounts.
    pub(crate) fn bpffs(&self) -> PathBuf {
        self.dir.join(BPFFS)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the namespace of this role.
    pub(crate) fn namespace_name(&self, role: &str) -> String {
        format!("{}-{role}", self.id)
    }

    /// Runs what makes namespaces of these names; they are taken away even when only some of them came to be.
    pub(crate) fn make_namespaces(&self, names: &[String], make: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.open();
        state.namespaces.extend_from_slice(names);
        make()
    }

    /// Runs what starts a process.
    pub(crate) fn start_process<T>(&self, start: impl FnOnce() -> Result<(Pid, T)>) -> Result<T> {
        let mut state = self.open();
        let (pid, process) = start()?;
        state.pids.push(pid);
        Ok(process)
    }

    /// Forgets a process, before its id may be given to another.
    pub(crate) fn forget_process(&self, pid: Pid) {
        lock(&self.state).pids.retain(|known| *known != pid);
    }

    /// Whether this process was not forgotten.
    pub(crate) fn has_process(&self, pid: Pid) -> bool {
        lock(&self.state).pids.contains(&pid)
    }

    /// Leaves everything standing when this process ends.
    pub(crate) fn keep(&self) -> Result<()> {
        std::fs::write(self.dir.join(KEPT), b"").context("cannot mark the lab as kept")?;
        lock(&self.state).kept = true;
        Ok(())
    }

    pub(crate) fn kept(&self) -> bool {
        lock(&self.state).kept
    }

    /// Takes everything away, once.
    pub(crate) fn tear_down(&self) {
        let mut state = lock(&self.state);
        if state.gone || state.kept {
            return;
        }
        state.gone = true;
        end_processes(&state.pids);
        if let Err(error) = remains::take_away(&self.id, &self.dir, &state.namespaces) {
            eprintln!("lab: {error:#}");
        }
        for problem in state.namespaces.iter().filter_map(|name| delete_namespace(name).err()) {
            eprintln!("lab: {problem:#}");
        }
        if let Err(error) = bpffs::unmount(&self.bpffs()) {
            eprintln!("lab: {error:#}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("lab: cannot remove {}: {error}", self.dir.display());
        }
        drop(state);
        lock(&LIVE).retain(|live| live.id != self.id);
    }

    /// The state, to add to it. Whoever comes after the end has come between a signal and the end of this process.
    fn open(&self) -> MutexGuard<'_, State> {
        let state = lock(&self.state);
        if !state.gone {
            return state;
        }
        drop(state);
        loop {
            std::thread::park();
        }
    }
}

/// A lab is taken away after a panic too: what a panic left half done has to be cleaned all the more.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the first lab on, SIGINT, SIGTERM and SIGHUP take the labs away before they end the process.
fn watch_signals() {
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("lab-signals".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let number = runtime.block_on(async {
                    let listen = |kind: SignalKind| -> Stream { signal(kind).expect("a signal can be listened to") };
                    let mut interrupt = listen(SignalKind::interrupt());
                    let mut terminate = listen(SignalKind::terminate());
                    let mut hangup = listen(SignalKind::hangup());
                    ready.send(()).expect("the first lab waits for this");
                    tokio::select! {
                        _ = interrupt.recv() => 2,
                        _ = terminate.recv() => 15,
                        _ = hangup.recv() => 1,
                    }
                });
                let live = lock(&LIVE).clone();
                eprintln!("\ninterrupted: taking the lab away");
                live.iter().for_each(|resources| resources.tear_down());
                std::process::exit(128 + number);
            })
            .expect("a thread can be started");
        wait.recv().expect("the thread listens");
    });
}

/// What a sweep does with labs that were left standing on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They stay.
    Stays,
    /// They go too.
    Goes,
}

/// Takes away what dead runs left: their containers, the processes in their namespaces, the namespaces, their BPF file systems with all
/// that is pinned in them, their directories. Returns the names of what went.
///
/// # Errors
/// When something of them cannot be taken away.
pub fn sweep(kept: Kept) -> Result<Vec<String>> {
    let dir = std::env::temp_dir();
    let goes = |id: &str| kept == Kept::Goes || !dir.join(id).join(KEPT).exists();
    let mut swept = Vec::new();
    let namespaces = names_in(Path::new("/run/netns"));
    for id in names_in(&dir).into_iter().filter(|name| dead_id(name) == Some(name) && goes(name)) {
        let own: Vec<String> = namespaces.iter().filter(|name| dead_id(name) == Some(id.as_str())).cloned().collect();
        remains::take_away(&id, &dir.join(&id), &own)?;
    }
    for name in namespaces.into_iter().filter(|name| dead_id(name).is_some_and(goes)) {
        end_processes(&pids_in(&name)?);
        delete_namespace(&name)?;
        swept.push(name);
    }
    for name in names_in(&dir).into_iter().filter(|name| dead_id(name) == Some(name) && goes(name)) {
        let path = dir.join(&name);
        bpffs::unmount(&path.join(BPFFS))?;
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        swept.push(path.display().to_string());
    }
    Ok(swept)
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The id, `weir-PID-N`, that `name` begins with, if it is of a lab whose process is dead.
fn dead_id(name: &str) -> Option<&str> {
    let (pid, rest) = name.strip_prefix("weir-")?.split_once('-')?;
    let number = rest.split('-').next()?;
    number.parse::<u32>().ok()?;
    let id = &name[.."weir-".len() + pid.len() + 1 + number.len()];
    let pid = Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?);
    let dead = if pid == Pid::this() {
        // A dead process's id may have been given to this one.
        !lock(&LIVE).iter().any(|resources| resources.id == id)
    } else {
        kill(pid, None) == Err(nix::errno::Errno::ESRCH)
    };
    dead.then_some(id)
}

/// The processes in a namespace.
pub(super) fn pids_in(namespace: &str) -> Result<Vec<Pid>> {
    let pids = run(Command::new("ip").args(["netns", "pids", namespace]))?;
    Ok(pids.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect())
}

fn delete_namespace(name: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(name);
    if !path.exists() {
        return Ok(());
    }
    match run(Command::new("ip").args(["netns", "delete", name])) {
        Err(error) if path.exists() => Err(error),
        // It may have been another sweep's.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::dead_id;

    #[test]
    fn only_what_a_dead_lab_made_is_swept() {
        let own = std::process::id();
        assert_eq!(dead_id(&format!("weir-{own}-4000-c1")), Some(format!("weir-{own}-4000").as_str()));
        // Process 1 lives.
        for other in ["weir-1-0-c1", "weir-x-0", "weir-1", "weir-0-0", "weir--1-0", "other-1-0"] {
            assert_eq!(dead_id(other), None, "{other}");
        }
    }
}
