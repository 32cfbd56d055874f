//! Who holds what of the kernel's BPF, by what the kernel says of file descriptors (proc_pid_fdinfo(5)).
//!
//! bpf(2) says of a link neither its device nor who has it; its descriptor's file says the first, and the list of all
//! descriptors the second.

use std::path::Path;

/// A link of a program to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkFd {
    /// The link's id.
    pub(super) link: u32,
    /// The id of the program that it runs.
    pub(super) program: u32,
    /// The device's index in its own network namespace; 0 when the device is gone.
    pub(super) ifindex: u32,
}

/// A process that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// Its id.
    pub(super) pid: u32,
    /// Its name, as `ps -o comm` shows it.
    pub(super) name: String,
}

/// A link of this process's own, by its id.
pub(super) fn own_link(id: u32) -> Option<LinkFd> {
    links(Path::new("/proc/self")).find(|found| found.link == id)
}

/// The processes that hold a link of this program to a device, as far as they can be seen.
pub(super) fn holders(program: u32) -> Vec<Holder> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return vec![] };
    let mut holders = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if links(&process.path()).any(|found| found.program == program) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.push(Holder { pid, name: name.trim().to_owned() });
        }
    }
    holders.sort_by_key(|holder| holder.pid);
    holders
}

/// The links of one process.
fn links(process: &Path) -> impl Iterator<Item = LinkFd> {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| {
        // `bpf_link` or `bpf-link`, by the kernel's version; a look at each file's text would take far longer.
        let target = std::fs::read_link(descriptor.path()).ok()?;
        if !target.to_string_lossy().contains("bpf") {
            return None;
        }
        let info = descriptor.path().parent()?.with_file_name("fdinfo").join(descriptor.file_name());
        parse(&std::fs::read_to_string(info).ok()?)
    })
}

fn parse(info: &str) -> Option<LinkFd> {
    let number = |key: &str| -> Option<u32> {
        info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
    };
    Some(LinkFd { link: number("link_id")?, program: number("prog_id")?, ifindex: number("ifindex")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read() {
        let info = "pos:\t0\nflags:\t02000000\nmnt_id:\t16\nino:\t1057\nlink_type:\txdp\nlink_id:\t5\n\
                    prog_tag:\t5ed7e0a8cf1e5a09\nprog_id:\t12\nifindex:\t7\n";
        assert_eq!(parse(info), Some(LinkFd { link: 5, program: 12, ifindex: 7 }));
        assert_eq!(parse("pos:\t0\nprog_type:\t6\nprog_id:\t12\n"), None);
    }

    #[test]
    fn nobody_holds_a_program_that_does_not_exist() {
        assert_eq!(holders(0), []);
    }
}
