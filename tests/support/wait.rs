//! How tests wait: for what is to come, never for a time that should do.

use std::{
    thread,
    time::{Duration, Instant},
};

/// A machine may be slow, do much else, or leave a thread alone for a second: only what never comes takes so long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_some(what, || holds().then_some(()));
}

/// Waits for a value.
#[track_caller]
pub fn until_some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "it never comes to that: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
