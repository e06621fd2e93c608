//! How much memory this process has used.

/// The most memory that was resident at once, in bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Memory that new processes can have, in bytes: what the machine has free, what this process' control
/// group may take yet, and the limit of its address space, whichever is least. `None` where the
/// system does not tell.
pub fn available_bytes() -> Option<u64> {
    [machine(), control_group(), address_space()].into_iter().flatten().min()
}

fn machine() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Of version 2 or 1, as containers see their own.
fn control_group() -> Option<u64> {
    let group = |folder: &str, limit: &str, usage: &str, cache: &str| {
        let text = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).ok();
        let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
        // Cached files that nobody uses are given back when memory is wanted.
        let statistics = text("memory.stat").unwrap_or_default();
        let cached = statistics.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
        Some((number(limit)? + cached.unwrap_or(0)).saturating_sub(number(usage)?))
    };
    group("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ").or_else(|| {
        group("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
    })
}

/// As `ulimit -v` sets it.
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
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
}
