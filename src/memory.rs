//! How much memory this process has used, and how much it can have.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The most memory that was resident at once, in bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    of_process("VmHWM:")
}

/// Memory that can be had, and what limits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Available {
    /// That can still be had, at most.
    pub bytes: u64,
    /// What sets the limit, as messages say it.
    pub limit: &'static str,
}

/// Memory that new processes can have, in bytes: what the machine has free, what this process' control
/// groups may take yet, and the limits of its address space and its data, whichever is least. `None` where the
/// system does not tell.
pub fn available_bytes() -> Option<u64> {
    [machine(), control_group(0), limit("Max address space"), limit("Max data size")].into_iter().flatten().min()
}

/// Memory that this process can have yet, by the same limits, less what it has already. What can be
/// swapped out makes room, too.
pub fn available() -> Option<Available> {
    let swap = of_machine("SwapFree:").unwrap_or(0);
    let yet = |limit_of: &str, used: &str| Some(limit(limit_of)?.saturating_sub(of_process(used)?));
    [
        (machine().map(|bytes| bytes.saturating_add(swap)), "the machine has no more free"),
        (control_group(swap), "its control group has no more (memory.max)"),
        (yet("Max address space", "VmSize:"), "the address space is limited (ulimit -v)"),
        (yet("Max data size", "VmData:"), "its data are limited (ulimit -d)"),
    ]
    .into_iter()
    .filter_map(|(bytes, limit)| Some(Available { bytes: bytes?, limit }))
    .min()
}

/// What a process' threads reserve of its address space, in bytes, besides what they use of it.
pub const STACK_BYTES: u64 = 2 << 20;

/// A line `NAME  NUMBER kB`.
fn kibibytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn of_machine(name: &str) -> Option<u64> {
    kibibytes("/proc/meminfo", name)
}

fn of_process(name: &str) -> Option<u64> {
    kibibytes("/proc/self/status", name)
}

fn machine() -> Option<u64> {
    of_machine("MemAvailable:")
}

/// As `ulimit` sets it.
fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the control groups of this process may take yet: its own and all that it is part of. Of the machine's free
/// swap, as much as they may have counts.
fn control_group(swap: u64) -> Option<u64> {
    control_groups("memory").iter().filter_map(|folder| room(folder, swap)).min()
}

/// What a control group, of version 2 or 1, may take yet.
fn room(folder: &Path, swap: u64) -> Option<u64> {
    let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    // Cached files that nobody uses are given back when memory is wanted.
    let statistics = text("memory.stat").unwrap_or_default();
    let statistic = |name: &str| {
        let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok();
        statistics.lines().find_map(of_line).unwrap_or(0)
    };
    let yet = |limit: u64, used: u64, more: u64| limit.saturating_add(more).saturating_sub(used);
    if let (Some(limit), Some(used)) = (number("memory.max"), number("memory.current")) {
        let swapped = number("memory.swap.current").unwrap_or(0);
        let swap = number("memory.swap.max").map_or(swap, |most| most.saturating_sub(swapped).min(swap));
        return Some(yet(limit, used, statistic("inactive_file").saturating_add(swap)));
    }
    let (limit, used) = (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?);
    Some(yet(limit, used, statistic("total_inactive_file").saturating_add(swap)))
}

/// The folders of the control groups that this process is part of, its own first, for a controller.
pub fn control_groups(controller: &str) -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_below(Path::new("/sys/fs/cgroup"), &groups, controller)
}

/// As [`control_groups`], by the text of `/proc/self/cgroup`: lines `NUMBER:CONTROLLERS:PATH`. Version 2 names no
/// controllers, and is mounted at the root, or at `unified` beside those of version 1. In containers the path may be
/// that of the host, which is not there: then the root is the container's own.
fn groups_below(root: &Path, text: &str, controller: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mounts = match controllers {
            "" => vec![root.to_owned(), root.join("unified")],
            _ if controllers.split(',').any(|name| name == controller) => {
                vec![root.join(controllers), root.join(controller)]
            }
            _ => continue,
        };
        for mount in mounts {
            let own = mount.join(path.trim_start_matches('/'));
            let groups = own.ancestors().take_while(|folder| folder.starts_with(&mount));
            for folder in groups.filter(|folder| folder.is_dir()) {
                if !found.iter().any(|known| known == folder) {
                    found.push(folder.to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn grows_with_what_is_touched() {
        let before = super::peak_bytes().unwrap();
        let block = vec![1u8; 256 << 20];
        assert_eq!(block.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 256 << 20);
        assert!(super::peak_bytes().unwrap() >= before.min(256 << 20));
        assert!(super::peak_bytes().unwrap() >= 256 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_some_left() {
        assert!(super::available_bytes().unwrap() > 1 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn limits_of_all_groups_count() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str, files: &[(&str, &str)]| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
        };
        // Version 2: the group itself has no limit, the one above it has.
        group("slice/own", &[("memory.max", "max\n"), ("memory.current", "5000\n")]);
        let statistics = ("memory.stat", "anon 10\ninactive_file 300\n");
        group("slice", &[("memory.max", "9000\n"), ("memory.current", "6000\n"), statistics]);
        let groups = groups_below(root.path(), "0::/slice/own\n", "memory");
        assert_eq!(groups, ["slice/own", "slice", ""].map(|path| root.path().join(path)));
        let least = |swap| groups.iter().filter_map(|folder| room(folder, swap)).min();
        assert_eq!((least(0), least(50)), (Some(3300), Some(3350)));
        group("slice", &[("memory.swap.max", "70"), ("memory.swap.current", "40")]);
        assert_eq!(least(50), Some(3330));
        // Version 1, with a path that only the host knows.
        let limits = [("memory.limit_in_bytes", "800"), ("memory.usage_in_bytes", "1000")];
        group("memory", &limits);
        let groups = groups_below(root.path(), "4:cpu,memory:/docker/a:b\n3:pids:/x\n", "memory");
        assert_eq!(groups, [root.path().join("memory")]);
        assert_eq!(room(&groups[0], 0), Some(0));
        assert_eq!(groups_below(root.path(), "nonsense", "memory"), Vec::<PathBuf>::new());
    }
}
