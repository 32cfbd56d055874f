//! The source against real files: what people and programs do to them, and what is published.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::source::{Snapshot, Update};

/// Shorter than [`FULL_READ_EVERY`], so that a change which no watch saw fails the test.
const DEADLINE: Duration = Duration::from_secs(5);

struct Followed {
    updates: mpsc::Receiver<Update>,
    task: JoinHandle<()>,
}

impl Followed {
    fn new(path: &Path) -> Self {
        let (sender, updates) = mpsc::channel(64);
        let source = Box::new(FileSource::new(&FileRegistry { path: path.to_owned() }));
        Self { updates, task: tokio::spawn(source.follow(Publisher::new("local", sender))) }
    }

    async fn next(&mut self) -> Report {
        let update = tokio::time::timeout(DEADLINE, self.updates.recv()).await.expect("a report in time");
        update.expect("the source goes on").report
    }

    async fn snapshot(&mut self) -> Snapshot {
        match self.next().await {
            Report::Snapshot(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    async fn problem(&mut self) -> String {
        match self.next().await {
            Report::Problem(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the snapshot that gives `web` this weight; others may come before.
    async fn weight(&mut self, weight: u16) {
        loop {
            let snapshot = self.snapshot().await;
            if snapshot.get("web").is_some_and(|web| web.iter().all(|end| end.weight == weight)) {
                return;
            }
        }
    }
}

fn text(weight: u16) -> String {
    format!("service = 'web'\n[[backend]]\nid = 'a'\naddress = '10.0.0.1'\nport = 80\nweight = {weight}\n")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(path: &Path, weight: u16) {
    fs::write(path, text(weight)).expect("written");
}

#[tokio::test]
async fn a_directory_is_followed_through_edits_additions_and_removals() {
    let directory = directory();
    let (web, dns) = (directory.path().join("web.toml"), directory.path().join("dns.toml"));
    write(&web, 1);
    let mut followed = Followed::new(directory.path());
    followed.weight(1).await;
    write(&web, 2);
    followed.weight(2).await;
    fs::write(&dns, "service = 'dns'").expect("written");
    assert_eq!(followed.snapshot().await.into_keys().collect::<Vec<_>>(), ["dns", "web"]);
    fs::remove_file(&web).expect("removed");
    assert_eq!(followed.snapshot().await.into_keys().collect::<Vec<_>>(), ["dns"]);
}

#[tokio::test]
async fn a_malformed_file_is_named_and_its_mending_ends_the_problem() {
    let directory = directory();
    let web = directory.path().join("web.toml");
    write(&web, 1);
    let mut followed = Followed::new(directory.path());
    followed.weight(1).await;
    fs::write(&web, text(1).replace("weight = 1", "weight = -1")).expect("written");
    let expected = format!("{}:6: backend.a.weight: found -1, expected an integer from 0 to 65535", web.display());
    assert_eq!(followed.problem().await, expected);
    // The same content as before the problem: published all the same, as it ends the problem.
    write(&web, 1);
    followed.weight(1).await;
}

#[tokio::test]
async fn a_replaced_file_never_looks_removed() {
    let directory = directory();
    let (web, new, old) =
        (directory.path().join("web.toml"), directory.path().join("new"), directory.path().join("web.toml~"));
    write(&web, 1);
    for path in [directory.path(), web.as_path()] {
        let mut followed = Followed::new(path);
        followed.snapshot().await;
        for weight in 2..20 {
            // As vim does with 'backupcopy=no', and as everybody careful does.
            let begun = Instant::now();
            if weight % 2 == 0 {
                fs::rename(&web, &old).expect("renamed");
                write(&web, weight);
            } else {
                write(&new, weight);
                fs::rename(&new, &web).expect("renamed");
            }
            if begun.elapsed() < Duration::from_millis(40) {
                let snapshot = followed.snapshot().await;
                assert_eq!(snapshot.get("web").map(|web| web[0].weight), Some(weight));
            } else {
                // Held up by a busy machine for longer than any editor takes: it may have looked removed.
                while !matches!(followed.next().await, Report::Snapshot(found) if found.contains_key("web")) {}
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_not_read_half_written() {
    let directory = directory();
    let (web, dns) = (directory.path().join("web.toml"), directory.path().join("dns.toml"));
    write(&web, 1);
    let mut followed = Followed::new(directory.path());
    followed.weight(1).await;
    let mut file = fs::File::create(&web).expect("truncated");
    file.write_all(b"service = 'we").expect("written");
    // Another file is read meanwhile, and the half of the first is not.
    fs::write(&dns, "service = 'dns'").expect("written");
    let snapshot = followed.snapshot().await;
    assert_eq!(snapshot.get("web").map(|web| web[0].weight), Some(1));
    file.write_all(text(7).trim_start_matches("service = 'we").as_bytes()).expect("written");
    drop(file);
    followed.weight(7).await;
}

#[tokio::test]
async fn a_path_that_is_missing_is_a_problem_until_it_appears() {
    let directory = directory();
    let path = directory.path().join("later/services.d");
    let mut followed = Followed::new(&path);
    let problem = followed.problem().await;
    assert!(problem.starts_with(&format!("{}: cannot be read: No such file", path.display())), "{problem}");
    fs::create_dir_all(&path).expect("made");
    write(&path.join("web.toml"), 3);
    followed.weight(3).await;
    for weight in 4..8 {
        fs::remove_dir_all(&path).expect("removed");
        while !matches!(followed.next().await, Report::Problem(_)) {}
        fs::create_dir(&path).expect("made");
        write(&path.join("web.toml"), weight);
        followed.weight(weight).await;
        write(&path.join("web.toml"), 100 + weight);
        followed.weight(100 + weight).await;
    }
}

#[tokio::test]
async fn a_config_map_is_followed_through_its_links() {
    let directory = directory();
    let at = directory.path();
    let publish = |weight: u16| {
        let version = at.join(format!("..{weight}"));
        fs::create_dir(&version).expect("made");
        write(&version.join("web.toml"), weight);
        symlink(format!("..{weight}"), at.join("..data_tmp")).expect("linked");
        fs::rename(at.join("..data_tmp"), at.join("..data")).expect("renamed");
    };
    publish(1);
    symlink("..data/web.toml", at.join("web.toml")).expect("linked");
    for path in [at.to_owned(), at.join("web.toml")] {
        let mut followed = Followed::new(&path);
        let weight = followed.snapshot().await["web"][0].weight;
        for weight in weight + 1..weight + 5 {
            publish(weight);
            fs::remove_dir_all(at.join(format!("..{}", weight - 1))).expect("removed");
            followed.weight(weight).await;
        }
    }
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed_to_it() {
    let (directory, elsewhere) = (directory(), directory());
    let target = elsewhere.path().join("target");
    write(&target, 1);
    symlink(&target, directory.path().join("web.toml")).expect("linked");
    let mut followed = Followed::new(directory.path());
    followed.weight(1).await;
    write(&target, 2);
    followed.weight(2).await;
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let directory = directory();
    let mut followed = Followed::new(directory.path());
    followed.snapshot().await;
    drop(followed.updates);
    tokio::time::timeout(DEADLINE, followed.task).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn an_edit_is_published_within_milliseconds() {
    let directory = directory();
    let web = directory.path().join("web.toml");
    write(&web, 0);
    let mut followed = Followed::new(directory.path());
    followed.weight(0).await;
    let mut taken = Vec::new();
    for weight in 1..=101 {
        let edited = Instant::now();
        write(&web, weight);
        followed.weight(weight).await;
        taken.push(edited.elapsed());
    }
    taken.sort_unstable();
    println!("from an edit to its snapshot: median {:?}, worst {:?}", taken[50], taken[100]);
    // A tenth of the promise for the whole way to the kernel, with room for a busy machine.
    assert!(taken[50] < Duration::from_millis(20), "median {:?}", taken[50]);
}
