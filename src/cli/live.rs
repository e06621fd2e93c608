//! What a sweep shows: a line for each event, and on a terminal a bar for each trial that runs.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    experiment::sweep::{Event, Planned, Variant},
    train::history::{self, Epoch},
};

/// How often the bars look at what trials have written.
const REFRESH: Duration = Duration::from_millis(500);

/// Most characters of a sparkline.
const SPARKS: usize = 16;

/// Watches a sweep from the command line.
pub struct Live {
    bars: MultiProgress,
    running: Vec<(PathBuf, ProgressBar)>,
    refreshed: Instant,
}

impl Live {
    pub fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(4)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { bars: MultiProgress::with_draw_target(target), running: Vec::new(), refreshed: Instant::now() }
    }

    /// Writes a line to standard output. The sweep goes on when nobody reads it any more.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        });
    }

    /// Shows what happens to a trial.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started(planned) => {
                self.line(&format!("started  {}", name(&planned.variant)));
                self.start(planned);
            }
            Event::Waiting(planned) => {
                self.line(&format!("waiting  {}: another process still trains it", name(&planned.variant)));
            }
            Event::Finished(planned, result) => self.end(
                planned,
                &format!(
                    "finished {} - test accuracy: {:.2}% - {:.1} s",
                    name(&planned.variant),
                    100.0 * result.test_accuracy,
                    result.seconds
                ),
            ),
            Event::Failed(planned, reason) => {
                self.end(planned, &format!("failed   {}: {reason}", name(&planned.variant)));
            }
            Event::Paused(planned) => self.end(planned, &format!("paused   {}", name(&planned.variant))),
            Event::Stopped(planned, reason) => {
                self.end(planned, &format!("stopped  {}: {reason}", name(&planned.variant)));
            }
            Event::Tick if self.refreshed.elapsed() >= REFRESH => {
                self.refreshed = Instant::now();
                self.refresh();
            }
            Event::Tick => {}
        }
    }

    fn start(&mut self, planned: &Planned) {
        let epochs = planned.definition.experiment.train.epochs;
        let bar = self.bars.add(ProgressBar::new(u64::from(epochs)));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:16} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name(&planned.variant));
        self.running.push((planned.folder.clone(), bar));
    }

    fn end(&mut self, planned: &Planned, text: &str) {
        if let Some(at) = self.running.iter().position(|(folder, _)| *folder == planned.folder) {
            let (_, bar) = self.running.swap_remove(at);
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        self.line(text);
    }

    fn refresh(&self) {
        if self.bars.is_hidden() {
            return;
        }
        for (folder, bar) in &self.running {
            // A record that is being written is read at the next look.
            let epochs = history::read(&folder.join("metrics.jsonl")).unwrap_or_default();
            bar.set_position(epochs.len() as u64);
            bar.set_message(message(&epochs, bar.length().unwrap_or(0)));
        }
    }
}

/// Loss, accuracy, their course, and the time that is left.
fn message(epochs: &[Epoch], all: u64) -> String {
    let Some(last) = epochs.last() else { return "first epoch".to_owned() };
    let accuracy = |epoch: &Epoch| epoch.val_accuracy.unwrap_or(epoch.accuracy);
    let seconds = epochs.iter().map(|epoch| epoch.seconds).sum::<f64>() / epochs.len() as f64;
    let left = seconds * all.saturating_sub(epochs.len() as u64) as f64;
    let recent: Vec<f64> = epochs[epochs.len().saturating_sub(SPARKS)..].iter().map(accuracy).collect();
    format!(
        "loss {:.3} - val accuracy {:.2}% {} - ETA {left:.0} s",
        last.val_loss.unwrap_or(last.loss),
        100.0 * accuracy(last),
        sparkline(&recent)
    )
}

fn sparkline(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: &f64| {
        let share = if most > least { (value - least) / (most - least) } else { 0.5 };
        LEVELS[((share * 8.0) as usize).min(7)]
    };
    values.iter().map(level).collect()
}

/// `patch_size=4 depth=2`
pub fn name(variant: &Variant) -> String {
    variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::Means;

    #[test]
    fn a_bar_says_how_it_goes() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[0.3, 0.3]), "▅▅");
        let mut epoch = Epoch::new(1, Means { loss: 2.0, accuracy: 0.25, top_5_accuracy: 0.5 }, None, 1e-3);
        epoch.seconds = 3.0;
        assert_eq!(message(&[epoch], 5), "loss 2.000 - val accuracy 25.00% ▅ - ETA 12 s");
        assert_eq!(message(&[], 5), "first epoch");
    }
}
