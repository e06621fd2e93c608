//! A trial that has come as far as its sweep wants it may wait for the sweep to decide, with all that it has in memory: to
//! begin again takes longer than many an epoch. What comes out is the same.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::Interrupt;
use crate::{
    files::FileError,
    trial::{Stopped, Until},
};

/// How often it looks: less often once it has waited for longer.
const LOOK: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(2);

/// Waits for the sweep of a trial to want more than `epochs`, which are all saved: then, how far. `None` when it is not to
/// go on, or not in this process.
///
/// # Errors
/// A file that cannot be read.
pub fn linger(
    folder: &Path,
    epochs: u32,
    most: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Option<u32>>, FileError> {
    let begin = Instant::now();
    while begin.elapsed() < most && !interrupt.requested() && Stopped::read(folder)?.is_none() {
        let until = Until::read(folder)?.map(|until| until.epochs);
        if until.is_none_or(|until| until > epochs) {
            return Ok(Some(until));
        }
        thread::sleep(if begin.elapsed() < SOON { LOOK } else { 10 * LOOK });
    }
    Ok(None)
}
