//! What a training shows: a bar on a terminal, plain lines where output is piped.

use std::{io::IsTerminal, path::Path, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use miette::IntoDiagnostic;

use super::out;
use crate::{
    experiment::trial::{INTERRUPTED, Outcome},
    printable,
    report::plots,
    train::{
        Interrupt, Observer,
        history::{self, Epoch},
        metrics::Means,
    },
};

/// Watches a training from the command line.
pub struct Console {
    bar: ProgressBar,
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
        Self { bar }
    }

    /// Writes a line to standard output, past the bar. Training goes on when nobody reads it any more.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| out::line(text));
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
                format!(" - val_loss: {loss:.4} - val_accuracy: {accuracy:.4} - val_top_5_accuracy: {top_5:.4}")
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
    ctrlc::set_handler(move || {
        if interrupt.requested() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        interrupt.request();
        out::note(words);
    })
    .into_diagnostic()
}

/// What Ctrl-C does to a training.
pub const AFTER_THIS_STEP: &str = "stopping after this step; once more to stop now";

/// Draws the curves of a trial, prints how it ended, and gives the exit code that says so.
pub fn report(console: &Console, folder: &Path, outcome: &Outcome) -> ExitCode {
    console.bar.finish_and_clear();
    let drawn = history::read(&folder.join("metrics.jsonl")).and_then(|epochs| plots::write(folder, &epochs));
    if let Err(error) = drawn {
        // The training itself has succeeded.
        out::note(&format!("no plots: {error}"));
    }
    match outcome {
        Outcome::Finished(result) => {
            let time = Duration::from_secs_f64(result.seconds.max(0.0));
            console.line(&format!("Best epoch: {} of {}, trained in {:.1?}", result.best_epoch, result.epochs, time));
            print_accuracy(console, "Test", result.test_accuracy, result.test_top_5_accuracy);
            ExitCode::SUCCESS
        }
        Outcome::Paused => {
            console.line("Paused: its sweep wants it no further for now");
            ExitCode::SUCCESS
        }
        Outcome::Interrupted => {
            console.line(&format!("Interrupted, and saved. To continue: vitx trial {}", printable::shell(folder)));
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// The two lines that the Keras example prints.
pub fn print_accuracy(console: &Console, split: &str, accuracy: f64, top_5_accuracy: f64) {
    console.line(&format!("{split} accuracy: {:.2}%", 100.0 * accuracy));
    console.line(&format!("{split} top 5 accuracy: {:.2}%", 100.0 * top_5_accuracy));
}
