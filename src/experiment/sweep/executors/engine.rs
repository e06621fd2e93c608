use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    experiment::{ExperimentError, sweep::How},
    trial::Job,
};

/// What a cluster's engine can do: Slurm, Ray and others. Calls may take as long as the engine does; only the thread of
/// `worker.rs` makes them.
pub trait Engine: Send {
    /// How it is called, in messages and in `job.json`.
    fn name(&self) -> &'static str;

    /// How many jobs can be handed over in one call.
    fn wave(&self) -> usize {
        1
    }

    /// Hands jobs over, all of them or none: their ids, in order.
    ///
    /// # Errors
    /// [`Trouble`].
    fn submit(&mut self, jobs: &[Submission]) -> Result<Vec<String>, Trouble>;

    /// The jobs of this user, those of `ids` at least as long as the engine knows them. A job that is not listed has ended.
    ///
    /// # Errors
    /// [`Trouble`].
    fn list(&mut self, ids: &[String]) -> Result<Listing, Trouble>;

    /// Asks jobs to save and end, politely, and does not wait for it. All of them are asked, also where one cannot be. Jobs
    /// that have just ended are no error.
    ///
    /// # Errors
    /// [`Trouble`]. What is refused is told, and ends no sweep: those of the jobs that live on are asked again.
    fn cancel(&mut self, ids: &[String]) -> Result<(), Trouble>;
}

/// A trial on its way to an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// By which the engine lists it, where it has names: of no other job.
    pub name: String,
    /// From 1.
    pub attempt: u32,
    /// Of the trial, absolute.
    pub folder: PathBuf,
}

/// What an engine tells of all jobs at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// In no order.
    pub jobs: Vec<Listed>,
    /// How many more would begin at once; nothing where the engine has a queue of its own.
    pub free: Option<usize>,
    /// What is to be said once.
    pub note: Option<String>,
}

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub id: String,
    /// As in [`Submission`]; absent where the engine does not tell.
    pub name: Option<String>,
    pub state: JobState,
}

/// How far a job has come.
#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    /// In a queue, with the engine's reason if it gives one.
    Waiting(String),
    /// Running, or ending.
    Running,
    /// It has ended; how, if the engine tells.
    Ended(Option<How>),
}

/// Why an engine did not do what it was asked.
#[derive(Debug)]
pub enum Trouble {
    /// It will not, whenever it is asked: what is wrong, in its own words.
    Refused(String),
    /// It does not answer now. What was asked may have happened all the same.
    Absent(String),
}

/// What a program of an engine printed.
///
/// # Errors
/// [`Trouble::Refused`] with its own words where it fails, unless `absent` knows them as those of an engine that does not
/// answer.
pub fn output(command: &mut Command, input: &str, absent: &[&str]) -> Result<String, Trouble> {
    use std::io::Write;
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: a terminal's Ctrl-C is for the sweep.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Trouble::Refused(format!("`{program}` is not found on this machine")),
        std::io::ErrorKind::WouldBlock => Trouble::Absent(format!("`{program}` cannot be started: {error}")),
        _ => Trouble::Refused(format!("`{program}` cannot be started: {error}")),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read it says itself what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| Trouble::Absent(format!("`{program}`: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let words = if words.is_empty() { format!("it ended with {}", output.status) } else { words };
    let words = format!("`{program}`: {words}");
    match absent.iter().any(|known| words.contains(known)) {
        true => Err(Trouble::Absent(words)),
        false => Err(Trouble::Refused(words)),
    }
}

/// A text as one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command that trains, for a shell: without the directory, which comes last.
pub fn command_line(program: &Path, arguments: &[std::ffi::OsString]) -> String {
    let arguments = arguments.iter().map(|argument| quoted(&argument.to_string_lossy()));
    let words: Vec<String> =
        [quoted(&program.to_string_lossy()), "trial".into()].into_iter().chain(arguments).collect();
    words.join(" ")
}

/// The folder from which the sweep was started.
///
/// # Errors
/// When it is gone.
pub fn here() -> Result<PathBuf, ExperimentError> {
    std::env::current_dir().map_err(ExperimentError::io("find", "."))
}

/// What `job.json` keeps of a submission.
pub fn job(engine: &dyn Engine, submission: &Submission, id: &str) -> Job {
    let Submission { name, attempt, .. } = submission;
    Job { engine: engine.name().to_owned(), id: id.to_owned(), name: name.clone(), attempt: *attempt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through_a_shell_as_they_are() {
        for text in ["", "a b", "it's", "$HOME `x` \"y\"", "-a", "a\nb", "*", "ä"] {
            let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_program_that_fails_is_told_in_its_own_words() {
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            output(&mut command, "given", &["controller"])
        };
        assert_eq!(sh("cat").unwrap(), "given");
        assert!(
            matches!(sh("echo no such queue >&2; exit 1"), Err(Trouble::Refused(words)) if words == "`sh`: no such queue")
        );
        assert!(matches!(sh("echo no controller >&2; exit 1"), Err(Trouble::Absent(_))));
        assert!(matches!(sh("exit 3"), Err(Trouble::Refused(words)) if words.contains("exit status: 3")));
        let missing = output(&mut Command::new("vitx-no-such-program"), "", &[]);
        assert!(matches!(missing, Err(Trouble::Refused(words)) if words.contains("is not found")));
    }
}
