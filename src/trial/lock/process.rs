//! Which process on which machine, as others can tell.

use serde::{Deserialize, Serialize};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine's name.
    pub host: String,
    /// What numbers of processes belong to: the start of the machine, and the namespace. `None` where the system does not
    /// tell: then no process is known to have died.
    pub boot: Option<String>,
    /// Its number.
    pub pid: u32,
    /// When it started, in the system's own count: a number is given again.
    pub started: Option<u64>,
}

impl Process {
    /// This one. `VITX_HOST` is the name of its machine, for machines that share one.
    pub fn this() -> Self {
        let pid = std::process::id();
        let host = std::env::var("VITX_HOST").ok().filter(|host| !host.is_empty());
        Self {
            host: host.unwrap_or_else(system::host),
            boot: system::boot(),
            pid,
            started: system::started(pid).ok().flatten(),
        }
    }

    /// Whether it is known to have died: by a process of the same machine.
    pub fn is_dead(&self, from: &Self) -> bool {
        self.is_near(from) && system::is_dead(self.pid, self.started)
    }

    /// Whether both run on one machine, and see the same numbers of processes.
    pub fn is_near(&self, other: &Self) -> bool {
        self.boot.is_some() && self.boot == other.boot && self.host == other.host
    }
}

#[cfg(unix)]
mod system {
    use std::{fs, io};

    use rustix::{
        io::Errno,
        process::{Pid, test_kill_process},
    };

    pub fn host() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// Containers of one machine may have one name, but each has processes numbered of its own.
    pub fn boot() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    }

    /// When a process started; `None` for one that has ended and waits for its parent to notice.
    pub fn started(pid: u32) -> io::Result<Option<u64>> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name stands in parentheses, and may hold any letter.
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let (_, rest) = text.rsplit_once(')').ok_or_else(invalid)?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return Ok(None);
        }
        // Field 22 of proc(5), of which two stand before the rest.
        let start = fields.get(19).and_then(|field| field.parse().ok());
        start.map(Some).ok_or_else(invalid)
    }

    pub fn is_dead(pid: u32, expected: Option<u64>) -> bool {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
        if test_kill_process(number) == Err(Errno::SRCH) {
            return true;
        }
        // Processes of other users may be hidden in `/proc`: those are not known to be dead.
        match (started(pid), expected) {
            (Ok(None), _) => true,
            (Ok(Some(now)), Some(expected)) => now != expected,
            _ => false,
        }
    }
}

#[cfg(not(unix))]
mod system {
    pub fn host() -> String {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".into())
    }

    pub fn boot() -> Option<String> {
        None
    }

    pub fn started(_pid: u32) -> std::io::Result<Option<u64>> {
        Ok(None)
    }

    pub fn is_dead(_pid: u32, _expected: Option<u64>) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_told_from_the_living() {
        let this = Process::this();
        assert!(!this.is_dead(&this), "{this:?}");
        // Its number was given to another process since.
        let former = Process { started: this.started.map(|started| started - 1), ..this.clone() };
        assert!(former.is_dead(&this));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let of_child = Process { pid: child.id(), started: None, ..this.clone() };
        // One that has ended and was not waited for lets go of its locks as well.
        crate::wait::until("it has ended", || of_child.is_dead(&this));
        child.wait().unwrap();
        assert!(of_child.is_dead(&this));
        // Of other machines, starts and containers nothing is known.
        for far in [
            Process { host: "elsewhere".into(), ..of_child.clone() },
            Process { boot: Some("before".into()), ..of_child.clone() },
            Process { boot: None, ..of_child.clone() },
        ] {
            assert!(!far.is_dead(&this), "{far:?}");
        }
    }
}
