use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
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

/// How long a program of an engine may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How long what a program has printed may take to come in after its end: what it has left in the background may never close
/// its output.
const REST: Duration = Duration::from_secs(2);

/// What a program of an engine printed. One that does not end in two minutes is killed, with all that it has begun.
///
/// # Errors
/// [`Trouble::Refused`] with its own words where it fails, unless `absent` knows them as those of an engine that does not
/// answer. [`Trouble::Absent`] where it does not end.
pub fn output(command: &mut Command, input: &str, absent: &[&str]) -> Result<String, Trouble> {
    output_within(LIMIT, command, input, absent)
}

fn output_within(limit: Duration, command: &mut Command, input: &str, absent: &[&str]) -> Result<String, Trouble> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: a terminal's Ctrl-C is for the sweep.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Refused(format!("`{program}` is not found on this machine")),
        io::ErrorKind::WouldBlock => Trouble::Absent(format!("`{program}` cannot be started: {error}")),
        _ => Trouble::Refused(format!("`{program}` cannot be started: {error}")),
    })?;
    let status = talk(&mut child, input).and_then(|pipes| Ok((pipes, end_of(&mut child, limit)?)));
    let (pipes, status) = match status {
        Ok((pipes, Some(status))) => (pipes, status),
        other => {
            kill(&mut child);
            let what = match other {
                Ok(_) => format!("`{program}` did not end in {} s", limit.as_secs_f32()),
                Err(error) => format!("`{program}`: {error}"),
            };
            return Err(Trouble::Absent(what));
        }
    };
    let until = Instant::now() + REST;
    let [printed, words] = pipes.map(|pipe| collected(&pipe, until));
    if status.success() {
        return Ok(printed);
    }
    let words = words.trim();
    let words = if words.is_empty() { format!("it ended with {status}") } else { words.to_owned() };
    let words = format!("`{program}`: {words}");
    match absent.iter().any(|known| words.contains(known)) {
        true => Err(Trouble::Absent(words)),
        false => Err(Trouble::Refused(words)),
    }
}

/// Gives a program its input, and reads its output and its errors, each in a thread of its own.
fn talk(child: &mut Child, input: &str) -> io::Result<[Receiver<Vec<u8>>; 2]> {
    let begin = || thread::Builder::new().name("engine".into());
    if let Some(mut stdin) = child.stdin.take().filter(|_| !input.is_empty()) {
        let input = input.to_owned();
        // A program that does not read it says itself what is wrong.
        begin().spawn(move || drop(stdin.write_all(input.as_bytes())))?;
    }
    let pipes: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
    let mut pieces = Vec::new();
    for pipe in pipes {
        let (says, said) = channel();
        if let Some(mut pipe) = pipe {
            begin().spawn(move || {
                let mut piece = [0; 8192];
                loop {
                    match pipe.read(&mut piece) {
                        Ok(count @ 1..) if says.send(piece[..count].to_vec()).is_ok() => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        _ => return,
                    }
                }
            })?;
        }
        pieces.push(said);
    }
    pieces.try_into().map_err(|_| io::Error::other("it has no output"))
}

/// How a program has ended; nothing where it has not after so long.
fn end_of(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        let status = child.try_wait()?;
        if status.is_some() || begin.elapsed() >= limit {
            return Ok(status);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

/// Ends a program and what it has begun.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // They may have ended this moment.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    // One that does not end even so, as where a file system hangs, is left.
    let _ = end_of(child, REST);
}

/// What has come in until the pipe was closed, or until then.
fn collected(pieces: &Receiver<Vec<u8>>, until: Instant) -> String {
    let mut all = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
        all.extend(piece);
    }
    String::from_utf8_lossy(&all).into_owned()
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
        let long = "0123456789abcdef\n".repeat(20_000);
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            output(&mut command, "given", &["controller"])
        };
        assert_eq!(sh("cat").unwrap(), "given");
        assert_eq!(output(&mut Command::new("cat"), &long, &[]).unwrap(), long);
        assert!(
            matches!(sh("echo no such queue >&2; exit 1"), Err(Trouble::Refused(words)) if words == "`sh`: no such queue")
        );
        assert!(matches!(sh("echo no controller >&2; exit 1"), Err(Trouble::Absent(_))));
        assert!(matches!(sh("exit 3"), Err(Trouble::Refused(words)) if words.contains("exit status: 3")));
        let missing = output(&mut Command::new("vitx-no-such-program"), "", &[]);
        assert!(matches!(missing, Err(Trouble::Refused(words)) if words.contains("is not found")));
    }

    /// An engine's client that hangs does not stop the sweep.
    #[cfg(unix)]
    #[test]
    fn a_program_that_does_not_end_is_killed_with_what_it_has_begun() {
        use rustix::process::{Pid, test_kill_process};
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).args(["-c", "sleep 1000 & echo $! >new; mv new pid; wait"]);
        // On a machine that is busy, the program has not come so far at the first try.
        let limits = [1, 4, 16, 64].map(Duration::from_secs);
        let pid = limits.into_iter().find_map(|limit| {
            let said = format!("`sh` did not end in {} s", limit.as_secs());
            let output = output_within(limit, &mut command, "", &[]);
            assert!(matches!(&output, Err(Trouble::Absent(words)) if *words == said), "{output:?}");
            std::fs::read_to_string(folder.path().join("pid")).ok()
        });
        let pid = Pid::from_raw(pid.unwrap().trim().parse().unwrap()).unwrap();
        // Where nobody asks how it ended, it stays as one that has.
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            test_kill_process(pid).is_err() || stat.contains(") Z ")
        };
        crate::wait::until("what it has begun ends", ended);
    }

    /// What is left in the background has the program's output open.
    #[cfg(unix)]
    #[test]
    fn what_a_program_leaves_in_the_background_is_not_waited_for() {
        use rustix::process::{Pid, Signal, kill_process};
        let begin = Instant::now();
        let printed = output(Command::new("sh").args(["-c", "sleep 1000 & echo $!"]), "", &[]).unwrap();
        kill_process(Pid::from_raw(printed.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(500), "{:?}", begin.elapsed());
    }
}
