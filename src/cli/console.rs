//! What a training shows: a bar on a terminal, plain lines where output is piped.

use std::{
    fs::File,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use miette::{IntoDiagnostic, miette};

use super::out;
use crate::{
    dsl::Problem,
    experiment::training::{INTERRUPTED, Outcome},
    metrics::Means,
    printable,
    report::plots,
    threads,
    train::{Interrupt, Observer},
    trial::{Directory, Epoch, history},
    weights::{Hub, HubFile, WeightsError},
};

/// Watches a training from the command line.
pub struct Console {
    bar: ProgressBar,
    to: To,
}

/// Where lines go.
enum To {
    Output,
    /// Each with the name of the trial, of which there are several.
    OutputOf(String),
    /// The trial's log.
    Log(File),
}

impl Console {
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(
            None,
            if std::io::stderr().is_terminal() {
                ProgressDrawTarget::stderr_with_hz(10)
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} - ETA {eta} - {msg}") {
            bar.set_style(style);
        }
        Self { bar, to: To::Output }
    }

    /// Of one of several trials: its lines have its name, and there is no bar.
    pub fn of(name: String) -> Self {
        Self { bar: ProgressBar::hidden(), to: To::OutputOf(name) }
    }

    /// Of one of several trials, whose lines go to its own log.
    pub fn to_log(log: File) -> Self {
        Self { bar: ProgressBar::hidden(), to: To::Log(log) }
    }

    /// Writes a line to standard output, past the bar, or where else lines go. Training goes on when nobody reads it any
    /// more.
    pub fn line(&self, text: &str) {
        match &self.to {
            To::Output => self.bar.suspend(|| out::line(text)),
            To::OutputOf(name) => text.lines().for_each(|line| out::line(&format!("{name}: {line}"))),
            To::Log(log) => {
                let _ = writeln!(&*log, "{}", printable::lines(text));
            }
        }
    }
}

/// A bar for what is fetched, in bytes.
pub fn bytes_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} - {bytes_per_sec} - ETA {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// Where a file of the hub is on this machine. If it has to be fetched, a bar shows how far that is.
pub fn of_hub(file: &HubFile, hub: &Hub) -> Result<PathBuf, WeightsError> {
    let bar = bytes_bar();
    bar.set_message(file.to_string());
    let path = file.get(hub, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    path
}

/// Prints what is most likely not meant, and lets the command go on.
pub fn warn(warnings: &[Problem]) {
    for warning in warnings {
        out::report(&warning.clone().into());
    }
}

impl Observer for Console {
    fn start(&mut self, description: &str) {
        self.line(description);
    }

    fn step(&mut self, done: usize, steps: usize, means: &Means) {
        if done <= 1 {
            self.bar.reset();
        }
        self.bar.set_length(steps as u64);
        self.bar.set_message(format!("loss: {:.4} - accuracy: {:.4}", means.loss, means.accuracy));
        self.bar.set_position(done as u64);
    }

    fn epoch(&mut self, epoch: &Epoch, epochs: u32) {
        let validation = match (epoch.val_loss, epoch.val_accuracy, epoch.val_top_5_accuracy) {
            (Some(loss), Some(accuracy), Some(top_5)) => {
                let of = if epoch.ema { " (ema)" } else { "" };
                format!(" - val_loss: {loss:.4} - val_accuracy: {accuracy:.4} - val_top_5_accuracy: {top_5:.4}{of}")
            }
            _ => String::new(),
        };
        let wait = 100.0 * epoch.loader_wait_seconds / epoch.seconds.max(f64::MIN_POSITIVE);
        self.line(&format!(
            "epoch {}/{epochs} - {:.1} s - {:.0} images/s - wait {wait:.1}% - loss: {:.4} - accuracy: {:.4} - \
             top_5_accuracy: {:.4}{validation}",
            epoch.epoch, epoch.seconds, epoch.images_per_second, epoch.loss, epoch.accuracy, epoch.top_5_accuracy,
        ));
    }
}

/// Lets Ctrl-C ask for a clean end, which `words` announce; a second one ends the process at once.
pub fn handle_interrupts(interrupt: &Interrupt, words: &'static str) -> miette::Result<()> {
    let interrupt = interrupt.clone();
    let set = ctrlc::set_handler(move || {
        if interrupt.requested() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        interrupt.request();
        out::note(words);
    });
    match set {
        Err(ctrlc::Error::System(error)) => Err(miette!("cannot wait for Ctrl-C: {}", threads::explained(&error))),
        set => set.into_diagnostic(),
    }
}

/// What Ctrl-C does to a training.
pub const AFTER_THIS_STEP: &str = "stopping after this step; once more to stop now";

/// Draws the curves of a trial, prints how it ended, and gives the exit code that says so.
pub fn report(console: &Console, folder: &Path, outcome: &Outcome) -> u8 {
    console.bar.finish_and_clear();
    let drawn = history::read(folder).and_then(|epochs| Ok(plots::write(folder, &epochs)?));
    if let Err(error) = drawn {
        // The training itself has succeeded.
        out::note(&format!("no plots: {error}"));
    }
    match outcome {
        Outcome::Finished(result) | Outcome::FinishedBefore(result) => {
            if let Outcome::FinishedBefore(_) = outcome {
                let when = Directory::new(folder).finished_at();
                let when = when.map_or_else(|_| String::new(), |when| format!(", on {}", date(when)));
                console
                    .line(&format!("{} was finished before{when}; remove the folder to train again", folder.display()));
            }
            let time = Duration::from_secs_f64(result.seconds.max(0.0));
            // Without validation, none was chosen.
            let epoch = if result.best_val_accuracy.is_some() { "Best epoch" } else { "Epoch" };
            console.line(&format!("{epoch}: {} of {}, trained in {time:.1?}", result.best_epoch, result.epochs));
            if let Some(reason) = &result.stopped {
                console.line(&format!("Stopped after epoch {}: {reason}", result.epochs));
            }
            let what = if result.ema { "Test (ema)" } else { "Test" };
            print_accuracy(console, what, result.test_accuracy, result.test_top_5_accuracy);
            0
        }
        Outcome::Paused => {
            console.line("Paused: its sweep wants it no further for now");
            0
        }
        Outcome::Interrupted => {
            console.line(&format!("Interrupted, and saved. To continue: vitx trial {}", printable::shell(folder)));
            INTERRUPTED
        }
    }
}

/// `2026-11-27 01:30 UTC`
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, minutes) = (seconds / 86400, seconds % 86400 / 60);
    // Eras of 400 years, which begin on the first of March (Hinnant, chrono-compatible date algorithms).
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// The two lines that the Keras example prints.
pub fn print_accuracy(console: &Console, split: &str, accuracy: f64, top_5_accuracy: f64) {
    console.line(&format!("{split} accuracy: {:.2}%", 100.0 * accuracy));
    console.line(&format!("{split} top 5 accuracy: {:.2}%", 100.0 * top_5_accuracy));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_the_calendar() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_000_000_000), "2001-09-09 01:46 UTC");
        assert_eq!(at(4_107_542_399), "2100-02-28 23:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
