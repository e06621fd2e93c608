use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{ExecutorEntry, packed::Packed};
use crate::{
    experiment::{
        ExperimentError,
        sweep::{Executor, How, Pool, executor::Ended},
    },
    files::append_to,
    threads,
    trial::Directory,
};

pub const ENTRY: ExecutorEntry = ExecutorEntry {
    name: "local",
    help: "Processes of this machine",
    takes: &["pack"],
    is_here: true,
    new: |setup| match setup.config.pack.filter(|size| size.packs()) {
        Some(size) => Ok(Box::new(Packed::new(setup.arguments, setup.pool, size, setup.options)?)),
        None => Ok(Box::new(Local::new(setup.arguments, setup.pool)?)),
    },
};

/// How long a trial that was asked to end may take to save.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// Trials as processes of this machine. What they print goes to `log.txt` in their directories.
#[derive(Debug)]
pub struct Local {
    program: PathBuf,
    /// Between `trial` and the directory.
    arguments: Vec<OsString>,
    /// Where trials compute on devices.
    pool: Option<Pool>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    folder: PathBuf,
    child: Child,
    device: Option<usize>,
    /// When it was asked to end.
    cancelled: Option<Instant>,
}

impl Local {
    /// Runs this very program, each trial on a device of the pool, if there is one.
    ///
    /// # Errors
    /// When the system does not tell where it lies.
    pub fn new(arguments: Vec<OsString>, pool: Option<Pool>) -> Result<Self, ExperimentError> {
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        Ok(Self { program, arguments, pool, running: Vec::new() })
    }
}

impl Executor for Local {
    fn has_room(&mut self, _folder: &Path) -> Result<bool, ExperimentError> {
        Ok(self.pool.as_mut().is_none_or(Pool::room))
    }

    fn let_go(&mut self) {
        self.pool.iter_mut().for_each(Pool::let_go);
    }

    fn notes(&mut self) -> Vec<String> {
        self.pool.as_mut().map_or_else(Vec::new, Pool::notes)
    }

    fn place(&self, folder: &Path) -> Option<String> {
        let running = self.running.iter().find(|running| running.folder == folder)?;
        running.device.map(|device| format!("on device {device}"))
    }

    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        let path = Directory::new(folder).log();
        let output = append_to(&path)?;
        let errors = output.try_clone().map_err(ExperimentError::io("open", &path))?;
        let mut command = Command::new(&self.program);
        command.arg("trial").args(&self.arguments);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // The scheduler has asked whether there is room; without, all share what there is.
        let place = self.pool.as_mut().and_then(Pool::take);
        let device = place.as_ref().map(|(device, _)| *device);
        if let Some((device, lock)) = place {
            command.arg("--device").arg(device.to_string());
            if let Some(lock) = lock {
                // The trial reads nothing, but it keeps the file open: the device stays taken for as long as it lives, even
                // where this process is killed.
                command.stdin(lock);
            }
        }
        // A directory may begin with a dash.
        command.arg("--").arg(folder);
        let child = spawned(&mut command, &self.program).inspect_err(|_| {
            if let (Some(pool), Some(device)) = (&mut self.pool, device) {
                pool.give_back(device);
            }
        })?;
        self.running.push(Running { folder: folder.to_owned(), child, device, cancelled: None });
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = Vec::new();
        for Running { folder, child, device, cancelled } in &mut self.running {
            if cancelled.is_some_and(|since| since.elapsed() > GRACE) {
                // It may have ended this moment; the next line tells.
                let _ = child.kill();
            }
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => how(status),
                Err(error) => How::Crashed(error.to_string()),
            };
            if let (Some(pool), Some(device)) = (&mut self.pool, *device) {
                pool.give_back(device);
            }
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

/// Starts a process that a terminal's Ctrl-C does not reach: the sweep alone, which then cancels.
pub(super) fn spawned(command: &mut Command, program: &Path) -> Result<Child, ExperimentError> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.spawn().map_err(|error| {
        let refused = error.kind() == std::io::ErrorKind::WouldBlock;
        let error = if refused { threads::explained(&error) } else { error };
        ExperimentError::io("run", program)(error)
    })
}

/// Asks a process to end. One that has just ended cannot be asked, and need not.
#[cfg(unix)]
pub(super) fn terminate(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Where no signal asks, its checkpoints have to do.
#[cfg(not(unix))]
pub(super) fn terminate(child: &mut Child) {
    let _ = child.kill();
}

#[cfg(unix)]
pub(super) fn how(status: ExitStatus) -> How {
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
pub(super) fn how(status: ExitStatus) -> How {
    status.code().map_or_else(|| How::Crashed(status.to_string()), How::Exited)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::wait::{until, until_some};

    /// A program that takes `trial` and does as `script` says.
    fn local(folder: &Path, script: &str) -> Local {
        let arguments = ["-c", script].map(OsString::from);
        // `sh trial -c ..` would read a file named trial: a wrapper drops it.
        let program = folder.join("program");
        std::fs::write(&program, "#!/bin/sh\nshift\nexec sh \"$@\"\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Local { program, arguments: arguments.to_vec(), pool: None, running: Vec::new() }
    }

    fn wait(local: &mut Local) -> How {
        until_some("its end", || local.poll().unwrap().pop()).how
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
        until("it has begun", || log().contains("begun"));
        local.cancel(&folder.path().join("another")).unwrap();
        assert_eq!(local.poll().unwrap(), []);
        local.cancel(folder.path()).unwrap();
        assert_eq!(wait(&mut local), How::Exited(7));
        assert!(log().contains("saved"));
    }

    /// A sweep of eight jobs on a machine with devices, with a program that writes what it is given.
    #[test]
    fn each_trial_is_told_a_device_and_holds_it() {
        use crate::{backend::DeviceLocks, experiment::sweep::pool::tests::devices};
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::in_folder(&folder.path().join("locks"));
        let devices = devices(8);
        let mut local = local(folder.path(), "echo $0 $1 >&2; while ! [ -e $3/end ]; do sleep 0.02; done");
        local.pool = Some(Pool::new(devices.clone(), locks.clone(), 8, "vitx sweep a".into()));
        let trials: Vec<PathBuf> = (0..8).map(|at| folder.path().join(at.to_string())).collect();
        for (at, trial) in trials.iter().enumerate() {
            std::fs::create_dir(trial).unwrap();
            assert!(local.has_room(trial).unwrap());
            local.submit(trial).unwrap();
            assert_eq!(local.place(trial), Some(format!("on device {at}")));
        }
        assert!(!local.has_room(&trials[0]).unwrap());
        let log = |trial: &Path| std::fs::read_to_string(trial.join("log.txt")).unwrap_or_default();
        for (at, trial) in trials.iter().enumerate() {
            until("what it is given", || log(trial).ends_with('\n'));
            assert_eq!(log(trial), format!("--device {at}\n"));
        }
        // The sweep ends; its trials go on, and so do their locks.
        let mut children: Vec<Child> = local.running.drain(..).map(|running| running.child).collect();
        drop(local);
        let mut others = Pool::new(devices, locks, 8, "vitx sweep b".into());
        assert!(others.take().is_none());
        std::fs::write(trials[5].join("end"), "").unwrap();
        children[5].wait().unwrap();
        // A program that another test starts has a copy of each open file, and its lock, until it runs.
        assert_eq!(until_some("a device", || others.take()).0, 5);
        for (trial, child) in trials.iter().zip(&mut children) {
            std::fs::write(trial.join("end"), "").unwrap();
            child.wait().unwrap();
        }
    }
}
