//! The thread that sends while something else trains.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Destination, Sent, TrackingError, send};
use crate::printable;

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_secs(3);

/// After a failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of a training waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a directory again and again, in a thread of its own. Whoever trains writes to the directory alone: there is no
/// queue that could fill, and nothing that could wait.
pub struct Sender {
    end: SyncSender<()>,
    done: Receiver<Result<Sent, TrackingError>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    url: String,
}

impl Sender {
    /// Begins. What cannot be sent is told to `note`, the first time in a row.
    pub fn start(folder: &Path, to: Destination, note: fn(&str)) -> Self {
        let (end, ends) = mpsc::sync_channel(1);
        let (tell, done) = mpsc::sync_channel(1);
        let (own, url) = (folder.to_owned(), to.url().to_owned());
        let thread = thread::spawn(move || {
            // Whoever waited for the end may be gone.
            let _ = tell.send(run(&own, &to, &ends, note));
        });
        Self { end, done, thread: Some(thread), folder: folder.to_owned(), url }
    }

    /// Sends the rest, and waits for that, but not long: what is left is a remark, for the directory has it.
    pub fn finish(mut self) -> Option<String> {
        let _ = self.end.try_send(());
        let again = || format!("`vitx report {} --log mlflow={}`", printable::shell(&self.folder), self.url);
        let remark = match self.done.recv_timeout(PATIENCE + Duration::from_secs(5)) {
            Ok(Ok(Sent { left_out: 0, .. })) => None,
            Ok(Ok(Sent { left_out, .. })) => Some(format!(
                "{left_out} files were not sent to {}: it keeps files elsewhere (`mlflow server` takes them unless `--no-serve-artifacts`)",
                self.url
            )),
            Ok(Err(error)) => {
                Some(format!("not all was sent: {error}. It is in the directory, and is sent by {}", again()))
            }
            // A file that takes long: it goes with the process.
            Err(_) => {
                self.thread = None;
                Some(format!("not all was sent in time to {}; it is sent by {}", self.url, again()))
            }
        };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        remark
    }
}

fn run(folder: &Path, to: &Destination, ends: &Receiver<()>, note: fn(&str)) -> Result<Sent, TrackingError> {
    let (mut pause, mut silent) = (FIRST_PAUSE, false);
    loop {
        let wait = match send(folder, to, false) {
            Ok(_) => {
                (pause, silent) = (FIRST_PAUSE, false);
                EVERY
            }
            Err(error) => {
                if !silent {
                    note(&format!("{error}; training goes on, and sending is tried again"));
                }
                silent = true;
                pause = (2 * pause).min(LAST_PAUSE);
                pause
            }
        };
        match ends.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => break,
        }
    }
    let (began, mut pause) = (Instant::now(), FIRST_PAUSE / 2);
    loop {
        match send(folder, to, true) {
            Err(TrackingError::Absent { .. }) if began.elapsed() + pause < PATIENCE => {
                thread::sleep(pause);
                pause *= 2;
            }
            sent => return sent,
        }
    }
}
