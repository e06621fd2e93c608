use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{Ended, Executor};
use crate::experiment::ExperimentError;

/// Trials as processes of this machine. What they print goes to `log.txt` in their directories.
#[derive(Debug)]
pub struct Local {
    program: PathBuf,
    /// Appended to `trial DIR`.
    arguments: Vec<OsString>,
    running: Vec<(PathBuf, Child)>,
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
        let path = folder.join("log.txt");
        let open = || {
            let log = File::options().create(true).append(true).open(&path)?;
            Ok((log.try_clone()?, log))
        };
        let (output, errors) = open().map_err(ExperimentError::io("open", &path))?;
        let child = Command::new(&self.program)
            .arg("trial")
            .arg(folder)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(ExperimentError::io("run", &self.program))?;
        self.running.push((folder.to_owned(), child));
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = Vec::new();
        let mut running = Vec::new();
        for (folder, mut child) in self.running.drain(..) {
            match child.try_wait() {
                Ok(None) => running.push((folder, child)),
                Ok(Some(status)) => ended.push(Ended { folder, how: describe(status) }),
                Err(error) => ended.push(Ended { folder, how: error.to_string() }),
            }
        }
        self.running = running;
        Ok(ended)
    }

    fn cancel(&mut self) {
        for (_, child) in &mut self.running {
            // A trial survives kill -9 by its checkpoints; one that has just ended cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.running.clear();
    }
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => "killed by signal 9, as when memory runs out".to_owned(),
        Some(signal) => format!("killed by signal {signal}"),
        None => status.to_string(),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    status.to_string()
}
