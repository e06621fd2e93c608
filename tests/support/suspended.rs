//! Processes that stand still.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::until;

/// Suspends a process, unless it has ended. A thread that is in the middle of writing finishes that first, when it has a processor
/// again, so all of them are waited for.
pub fn suspend(pid: Pid) {
    let _ = kill_process(pid, Signal::STOP);
    let stands = |task: &Path| {
        let stat = fs::read(task.join("stat")).unwrap_or_default();
        String::from_utf8_lossy(&stat).rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['T', 'Z']))
    };
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    until("all its threads stand still", || {
        fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().all(|task| stands(&task.path())))
            || !Path::new(&tasks).exists()
    });
}
