//! The thread that sends while something else trains.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Destination, Sent, TrackingError,
    mlflow::Heard,
    sync::{missing, send_heard},
};
use crate::printable;

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_secs(3);

/// After a failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of a training waits for a server that does not answer, and for one that does.
const SILENCE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(25);

/// How often it looks which of them it is.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a directory again and again, in a thread of its own. Whoever trains writes to the directory alone: there is no
/// queue that could fill, and nothing that could wait.
pub struct Sender {
    end: SyncSender<()>,
    done: Receiver<Result<Sent, TrackingError>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    to: Destination,
    heard: Arc<Heard>,
}

impl Sender {
    /// Waits for the last word, as long as the server is heard, and not long at all.
    fn wait(&self) -> Result<Result<Sent, TrackingError>, RecvTimeoutError> {
        let began = Instant::now();
        loop {
            match self.done.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout)
                    if began.elapsed() < PATIENCE && self.heard.silent_since(began) < SILENCE => {}
                ended => return ended,
            }
        }
    }

    /// What the server has not, in a sentence; nothing where the directory does not tell.
    fn left(&self) -> String {
        match missing(&self.folder, &self.to) {
            Ok((1, 1)) => "The run is not there, or not all of it. ".into(),
            Ok((left, all)) => format!("{left} of {all} trials are not there, or not all of them. "),
            Err(_) => String::new(),
        }
    }

    /// Begins. What cannot be sent is told to `note`, the first time in a row.
    pub fn start(folder: &Path, to: Destination, note: fn(&str)) -> Self {
        let (end, ends) = mpsc::sync_channel(1);
        let (tell, done) = mpsc::sync_channel(1);
        let heard = Arc::new(Heard::default());
        let (own_folder, own_to, own_heard) = (folder.to_owned(), to.clone(), heard.clone());
        let thread = thread::spawn(move || {
            // Whoever waited for the end may be gone.
            let _ = tell.send(run(&own_folder, &own_to, &own_heard, &ends, note));
        });
        Self { end, done, thread: Some(thread), folder: folder.to_owned(), to, heard }
    }

    /// Sends the rest, and waits for that, but not long: what is left is a remark, for the directory has it.
    pub fn finish(mut self) -> Option<String> {
        let _ = self.end.try_send(());
        let url = self.to.url();
        let again = || format!("`vitx report {} --log mlflow={url}`", printable::shell(&self.folder));
        let remark = match self.wait() {
            Ok(Ok(Sent { left_out: 0, .. })) => None,
            Ok(Ok(Sent { left_out, .. })) => Some(format!(
                "{left_out} files were not sent to {url}: it keeps files elsewhere (`mlflow server` takes them unless `--no-serve-artifacts`)"
            )),
            Ok(Err(error)) => {
                let left = self.left();
                Some(format!("not all was sent: {error}. {left}It is in the directory, and is sent by {}", again()))
            }
            // The thread goes with the process.
            Err(_) => {
                let left = self.left();
                self.thread = None;
                Some(format!("{url} did not answer in time. {left}What it has not is sent by {}", again()))
            }
        };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        remark
    }
}

fn run(
    folder: &Path,
    to: &Destination,
    heard: &Heard,
    ends: &Receiver<()>,
    note: fn(&str),
) -> Result<Sent, TrackingError> {
    let (mut pause, mut silent) = (FIRST_PAUSE, false);
    loop {
        let wait = match send_heard(folder, to, false, heard) {
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
        match send_heard(folder, to, true, heard) {
            Err(TrackingError::Absent { .. }) if began.elapsed() + pause < SILENCE => {
                thread::sleep(pause);
                pause *= 2;
            }
            sent => return sent,
        }
    }
}
