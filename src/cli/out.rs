//! The one place that writes to standard output and standard error.
//!
//! What cannot be written is remembered, and makes an error of the command at its end: a training goes on when nobody
//! reads its lines any more, but a table that a full disk has swallowed is not there. A pipe whose reader is gone, as
//! `head` is, is no error: the exit code is what it would have been.

use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use miette::{Diagnostic, MietteHandlerOpts, ReportHandler, miette};

use crate::printable;

/// How long to wait for a pipe that was opened not to block, and is full.
const FULL: Duration = Duration::from_millis(2);

/// Why nothing is written any more.
static ENDED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a result, and ends its line. What would act on a terminal is shown instead.
pub fn line(text: &str) {
    exact(format!("{}\n", printable::lines(text)).as_bytes());
}

/// Writes bytes as they are: a formatted model, a page, a picture.
pub fn exact(bytes: &[u8]) {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    if ended.is_none() {
        *ended = write(bytes).err();
    }
}

/// Writes a remark to standard error. Nobody reading it is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable::lines(text));
}

/// Writes to standard error what is coloured already.
pub fn note_exact(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints an error.
pub fn report(report: &miette::Report) {
    // Its colours are escape sequences, too: where something else in it is one, it has no colours.
    let plain = Plain(report.as_ref()).to_string();
    match printable::lines(&plain) {
        shown if shown == plain => note_exact(&format!("{report:?}\n")),
        shown => note_exact(&format!("{shown}\n")),
    }
}

/// The exit code of a command that is over: that of a failure if its results could not be written.
pub fn finish(code: ExitCode) -> ExitCode {
    let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ended {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            report(&miette!(
                code = "vitx::output",
                help = "what was to be printed is lost, or a part of it",
                "cannot write to standard output: {error}"
            ));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Standard output without the buffer of the standard library's, which also takes a bad descriptor for an empty pit.
#[cfg(unix)]
fn open() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn open() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

fn write(mut bytes: &[u8]) -> io::Result<()> {
    static OPEN: OnceLock<Option<File>> = OnceLock::new();
    let mut file = OPEN.get_or_init(|| open().ok()).as_ref().ok_or(ErrorKind::NotConnected)?;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A diagnostic without colours and links.
struct Plain<'a>(&'a dyn Diagnostic);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MietteHandlerOpts::new().color(false).terminal_links(false).build().debug(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Whatever is printed goes through this file.
    #[test]
    fn nothing_else_prints() {
        fn walk(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("cli/out.rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let own = text.split("#[cfg(test)]").next().unwrap_or_default();
                    let prints = |line: &&str| {
                        // Whether it is a terminal may be asked anywhere.
                        let line = line.replace("stdout().is_terminal()", "").replace("stderr().is_terminal()", "");
                        ["println!(", "print!(", "stdout()", "io::stderr()", "dbg!("]
                            .iter()
                            .any(|word| line.contains(word))
                    };
                    found.extend(own.lines().filter(prints).map(|line| format!("{}: {line}", path.display())));
                }
            }
        }
        let mut found = Vec::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        // Tests of kernels say what they leave out, and those of searches show what they measure.
        found.retain(|line| {
            !["nvrtc.rs", "resources.rs", "tests/speeds.rs", "search/published.rs"]
                .iter()
                .any(|file| line.contains(file))
        });
        assert!(found.is_empty(), "use cli::out, or return the text:\n{}", found.join("\n"));
    }
}
