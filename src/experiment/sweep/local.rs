use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{Executor, How, executor::Ended};
use crate::{experiment::ExperimentError, files::append_to, threads, trial::Directory};

/// How long a trial that was asked to end may take to save.
const GRACE: Duration = Duration::from_secs(30);

/// Trials as processes of this machine. What they print goes to `log.txt` in their directories.
#[derive(Debug)]
pub struct Local {
    program: PathBuf,
    /// Between `trial` and the directory.
    arguments: Vec<OsString>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    folder: PathBuf,
    child: Child,
    /// When it was asked to end.
    cancelled: Option<Instant>,
}

impl Local {
    /// Runs this very program.
    ///
    /// # Errors
    /// When the system does not tell where it lies.
    pub fn new(arguments: Vec<OsString>) -> Result<Self, ExperimentError> {
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        Ok(Self { program, arguments, running: Vec::new() })
    }
}

impl Executor for Local {
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        let path = Directory::new(folder).log();
        let output = append_to(&path)?;
        let errors = output.try_clone().map_err(ExperimentError::io("open", &path))?;
        let mut command = Command::new(&self.program);
        // A directory may begin with a dash.
        command.arg("trial").args(&self.arguments).arg("--").arg(folder);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // A group of its own: a terminal's Ctrl-C reaches the sweep alone, which then cancels.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(|error| {
            let refused = error.kind() == std::io::ErrorKind::WouldBlock;
            let error = if refused { threads::explained(&error) } else { error };
            ExperimentError::io("run", &self.program)(error)
        })?;
        self.running.push(Running { folder: folder.to_owned(), child, cancelled: None });
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = Vec::new();
        for Running { folder, child, cancelled } in &mut self.running {
            if cancelled.is_some_and(|since| since.elapsed() > GRACE) {
                // It may have ended this moment; the next line tells.
                let _ = child.kill();
            }
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => how(status),
                Err(error) => How::Crashed(error.to_string()),
            };
            ended.push(Ended { folder: folder.clone(), how });
        }
        self.running.retain(|running| ended.iter().all(|ended| ended.folder != running.folder));
        Ok(ended)
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        for running in self.running.iter_mut().filter(|running| running.folder == folder) {
            if running.cancelled.is_none() {
                running.cancelled = Some(Instant::now());
                terminate(&mut running.child);
            }
        }
        Ok(())
    }
}

/// Asks a process to end. One that has just ended cannot be asked, and need not.
#[cfg(unix)]
fn terminate(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Where no signal asks, its checkpoints have to do.
#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ = child.kill();
}

#[cfg(unix)]
fn how(status: ExitStatus) -> How {
    use rustix::process::Signal;
    use std::os::unix::process::ExitStatusExt;
    let outside = [Signal::HUP, Signal::INT, Signal::KILL, Signal::TERM, Signal::XCPU];
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exited(code),
        (None, Some(signal)) if outside.iter().any(|outside| outside.as_raw() == signal) => {
            How::Killed(format!("killed by signal {signal}"))
        }
        (None, Some(signal)) => How::Crashed(format!("it crashed with signal {signal}")),
        (None, None) => How::Crashed(status.to_string()),
    }
}

#[cfg(not(unix))]
fn how(status: ExitStatus) -> How {
    status.code().map_or_else(|| How::Crashed(status.to_string()), How::Exited)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A program that takes `trial` and does as `script` says.
    fn local(folder: &Path, script: &str) -> Local {
        let arguments = ["-c", script].map(OsString::from);
        // `sh trial -c ..` would read a file named trial: a wrapper drops it.
        let program = folder.join("program");
        std::fs::write(&program, "#!/bin/sh\nshift\nexec sh \"$@\"\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Local { program, arguments: arguments.to_vec(), running: Vec::new() }
    }

    fn wait(local: &mut Local) -> How {
        for _ in 0..400 {
            if let Some(ended) = local.poll().unwrap().pop() {
                return ended.how;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("it does not end");
    }

    #[test]
    fn says_how_trials_end() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ("exit 3", How::Exited(3)),
            ("kill -9 $$", How::Killed("killed by signal 9".into())),
            ("kill -6 $$", How::Crashed("it crashed with signal 6".into())),
        ];
        for (script, expected) in cases {
            let mut local = local(folder.path(), script);
            local.submit(folder.path()).unwrap();
            assert_eq!(wait(&mut local), expected, "{script}");
            assert!(local.running.is_empty());
        }
    }

    #[test]
    fn a_cancelled_trial_may_save_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut local =
            local(folder.path(), "trap 'echo saved; exit 7' TERM; echo begun; while :; do sleep 0.05; done");
        local.submit(folder.path()).unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log.txt")).unwrap_or_default();
        while !log().contains("begun") {
            std::thread::sleep(Duration::from_millis(10));
        }
        local.cancel(&folder.path().join("another")).unwrap();
        assert_eq!(local.poll().unwrap(), []);
        local.cancel(folder.path()).unwrap();
        assert_eq!(wait(&mut local), How::Exited(7));
        assert!(log().contains("saved"));
    }
}
