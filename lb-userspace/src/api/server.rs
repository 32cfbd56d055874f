//! The controller's side of the control socket.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::routes::router;
use super::top::Reading;
use super::types::{
    BackendRow, DrainOrder, DrainRow, DrainsOf, Ledger, LimitOrder, LimitRow, LimitsOf, PlanQuestion, PlanReport,
    ReloadOrder, ServiceRow, Status, WeightOrder, Which,
};

/// What the control socket asks of the controller.
#[derive(Debug)]
pub enum Request {
    /// How is it?
    Status(Answer<Status>),
    /// What is served?
    Services(Answer<Vec<ServiceRow>>),
    /// By whom? All backends, or one service's.
    Backends(Option<String>, Answer<Vec<BackendRow>>),
    /// Within which limits? All services', or one's.
    Limits(Option<String>, Answer<Vec<LimitRow>>),
    /// What is in the buckets that sources have of a service?
    Buckets(String, Answer<Reading>),
    /// Give a limit another rate, burst or outcome.
    SetLimit(LimitOrder, Answer<Vec<LimitRow>>),
    /// Have a service's limits as they are configured.
    UnsetLimits(LimitsOf, Answer<Vec<LimitRow>>),
    /// What became of every packet?
    Ledger(Answer<Ledger>),
    /// Whose flows are being handed over, and how far is that?
    Drains(DrainsOf, Answer<Vec<DrainRow>>),
    /// Give a backend no new flow.
    Drain(DrainOrder, Answer<Vec<DrainRow>>),
    /// Give it new flows again.
    Undrain(Which, Answer<Vec<DrainRow>>),
    /// Give it another weight than the registry's, or the registry's again.
    Weight(WeightOrder, Answer<Vec<BackendRow>>),
    /// What would a change do?
    Plan(PlanQuestion, Answer<PlanReport>),
    /// Read the configuration again.
    Reload(ReloadOrder, Answer<PlanReport>),
    /// Leave the host as it was, and end.
    Detach(Answer<()>),
}

/// Where an answer goes: what was asked for, or why not.
pub type Answer<T> = oneshot::Sender<Result<T, String>>;

/// How many requests may wait for the controller.
const QUEUE: usize = 64;

/// A control socket that is bound. The file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's file, removed on drop as long as it is still the one that was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket's file stays behind");
        }
    }
}

impl ControlSocket {
    /// Binds `path`, readable and writable by its owner alone. A socket file that nobody listens on is replaced.
    pub fn bind(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}, where the control socket goes", parent.display()))?;
        }
        let _alone = lock_directory(path);
        clear(path)?;
        // Bound under a name of its own, closed to others, and only then moved to where it is looked for: there is no
        // moment in which somebody else could connect.
        let new = path.with_file_name(format!(".{}", std::process::id()));
        if let Err(error) = std::fs::remove_file(&new)
            && error.kind() != ErrorKind::NotFound
        {
            bail!("cannot remove {}, left by an earlier run: {error}", new.display());
        }
        let listener =
            UnixListener::bind(&new).with_context(|| format!("cannot bind the control socket {}", path.display()))?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("cannot put the control socket at {}", path.display()))?;
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), inode: (meta.dev(), meta.ino()) } })
    }

    /// Serves until `stop` resolves, and then until the answers under way are given. Requests come out of the returned
    /// channel.
    pub fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (mpsc::Receiver<Request>, impl Future<Output = ()>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let serving = async move {
            let _file = self.file;
            let served = axum::serve(self.listener, router(requests)).with_graceful_shutdown(stop);
            if let Err(error) = served.await {
                tracing::error!(%error, "the control socket is not served any more");
            }
        };
        (receiver, serving)
    }
}

/// Keeps other runs from looking for a free path, and taking it, at the same time: the later one would take the
/// earlier one's socket away. Released on drop.
///
/// Whoever may read the directory may lock it too, and must not keep Weir from starting: without the lock it is only
/// the rare race that is not excluded.
fn lock_directory(path: &Path) -> Option<Flock<File>> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for _ in 0..TRIES {
        let opened = File::open(directory).ok()?;
        if let Ok(lock) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            return Some(lock);
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(directory = %directory.display(), "another process keeps the directory of the control socket locked");
    None
}

/// Sees to it that `path` is free.
fn clear(path: &Path) -> Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("cannot look at {}, where the control socket goes: {error}", path.display()),
    };
    if !meta.file_type().is_socket() {
        bail!(
            "{} is there and is no socket: move it away, or set `socket` under [weir] to another path",
            path.display()
        );
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let owner = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
                .map_or_else(|_| "another process".to_owned(), |peer| format!("process {}", peer.pid()));
            bail!(
                "{owner} already listens on the control socket {}: stop it, or set `socket` under [weir] to another \
                 path",
                path.display()
            )
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .with_context(|| format!("cannot remove {}, a socket that nobody listens on", path.display())),
        Err(error) => bail!("cannot tell whether somebody listens on {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_use_names_its_process_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        let first = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(path.exists());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_at_once_one_has_the_socket() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("weir.sock");
            // Left behind by a run that died.
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let bind = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let _inside = runtime.enter();
                ControlSocket::bind(&path).map(|socket| (socket, runtime))
            };
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            assert!(UnixStream::connect(&path).is_ok());
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(ControlSocket::bind(&path).unwrap());
        std::fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
