//! Everything about a host's network that Weir must leave as it was.

use std::path::Path;

use weir_tests::lab::{Lab, Netns};

/// Routes, rules, devices, queueing disciplines, filters, permanent neighbours, parameters; and the lab's files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostState {
    asked: Vec<(String, String)>,
    files: Vec<String>,
}

impl HostState {
    pub(crate) fn of(lab: &Lab) -> Self {
        let host = &lab.weir;
        let ip = |arguments: &str| (format!("ip {arguments}"), stable(&host.ip(arguments).unwrap()));
        let tc = |arguments: &[&str]| (format!("tc {arguments:?}"), host.command("tc", arguments).unwrap());
        let asked = vec![
            ip("-4 route show table all"),
            ip("-6 route show table all"),
            ip("-4 rule show"),
            ip("-6 rule show"),
            ip("-details link show"),
            ip("address show"),
            ip("neigh show nud permanent"),
            ip("neigh show proxy"),
            tc(&["qdisc", "show"]),
            tc(&["filter", "show", "dev", "front", "egress"]),
            tc(&["filter", "show", "dev", "back", "egress"]),
            ("parameters".to_owned(), parameters(host)),
            // Nothing pinned, nor a folder for it.
            ("bpffs".to_owned(), names(lab.state().parent().unwrap()).join(" ")),
        ];
        let ours = |name: &String| !name.ends_with(".log") && name != "weir.toml" && name != "services.d";
        Self { asked, files: names(lab.dir()).into_iter().filter(ours).collect() }
    }

    /// Panics at the first difference.
    pub(crate) fn assert_same(&self, after: &Self) {
        for ((what, before), (_, after)) in self.asked.iter().zip(&after.asked) {
            assert_eq!(before, after, "{what}");
        }
        assert_eq!(self.files, after.files);
    }
}

/// Without the time that is left of what the kernel learnt.
fn stable(text: &str) -> String {
    text.lines().filter(|line| !line.contains(" expires ")).map(|line| format!("{}\n", line.trim())).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What `sysctl` says of both devices and of forwarding.
fn parameters(host: &Netns) -> String {
    let mut text = String::new();
    host.run(|| {
        for dir in ["ipv4/conf/all", "ipv4/conf/front", "ipv4/conf/back", "ipv6/conf/all", "ipv6/conf/front"] {
            let dir = Path::new("/proc/sys/net").join(dir);
            for name in names(&dir) {
                // Some can only be written, and some only be read once they were.
                let value = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
                text += &format!("{}/{name} {value}", dir.display());
            }
        }
    });
    assert!(text.contains("rp_filter"), "{text}");
    text
}
