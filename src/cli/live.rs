//! What a sweep shows while it runs: on a terminal a row for each trial, as many as fit; plain lines
//! where output is piped.

mod row;

use std::{
    collections::HashSet,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::row::{State, Trial, clock};
use super::{console::warn, out};
use crate::{
    dsl::Problem,
    experiment::sweep::{Event, Planned, Planning},
    report::measure,
    trial::variant,
};

/// How often the rows look at what trials have written.
const REFRESH: Duration = Duration::from_millis(500);

/// How long planning may take before a word is said of it, and how often one is where output is piped.
const PATIENCE: Duration = Duration::from_secs(2);
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Rows of a terminal that does not tell its height.
const ROWS: usize = 24;

/// Watches a sweep from the command line.
pub struct Live {
    bars: MultiProgress,
    /// The summary, then a row for each trial shown.
    rows: Vec<ProgressBar>,
    trials: Vec<Trial>,
    jobs: usize,
    began: Instant,
    refreshed: Instant,
    /// When it was last said how far planning has come.
    planned: Option<Instant>,
    /// What was warned of.
    warned: HashSet<String>,
}

impl Live {
    pub fn new(jobs: usize) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(4)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        let now = Instant::now();
        let warned = HashSet::new();
        Self { bars, rows: Vec::new(), trials: Vec::new(), jobs, began: now, refreshed: now, planned: None, warned }
    }

    /// Writes a line to standard output. The sweep goes on when nobody reads it any more.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| out::line(text));
    }

    /// Writes warnings to standard error, each once in a sweep.
    pub fn warn(&mut self, warnings: &[Problem]) {
        let new: Vec<Problem> =
            warnings.iter().filter(|warning| self.warned.insert(warning.message().to_owned())).cloned().collect();
        self.bars.suspend(|| warn(&new));
    }

    /// Takes the rows away.
    pub fn clear(&self) {
        // What cannot be cleared is a terminal that went away.
        let _ = self.bars.clear();
    }

    /// Shows how far planning has come, once it takes longer than a moment: on a terminal in a row, otherwise in a line
    /// now and then.
    pub fn planning(&mut self, planning: Planning) {
        let pause = if self.bars.is_hidden() { SAID_EVERY } else { REFRESH };
        if self.began.elapsed() < PATIENCE || self.planned.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.planned = Some(Instant::now());
        let text = match planning {
            Planning::Checked(count) => format!("planning: {count} variants checked"),
            Planning::Costed { done, of } => format!("planning: {done} of {of} trials costed"),
        };
        if self.bars.is_hidden() {
            return self.line(&text);
        }
        if self.rows.is_empty() {
            self.row();
        }
        if let Some(bar) = self.rows.first() {
            bar.set_message(text);
            bar.tick();
        }
    }

    /// A row more.
    fn row(&mut self) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        self.rows.push(bar);
    }

    /// Trials that will be run.
    pub fn add(&mut self, trials: &[Planned]) {
        for planned in trials {
            let mut trial = Trial {
                folder: planned.folder.clone(),
                name: variant::shown(&planned.variant),
                state: if planned.finished { State::Finished } else { State::Queued },
                epochs: planned.definition.experiment.train.epochs,
                prediction: planned.prediction,
                record: Vec::new(),
                started: None,
            };
            trial.look();
            self.trials.push(trial);
        }
        self.draw();
    }

    /// Shows what happens to a trial.
    pub fn show(&mut self, event: &Event) {
        // A terminal's rows show how trials come and go; only what needs a reason is also a line.
        let piped = self.bars.is_hidden();
        let (planned, state, text, always) = match event {
            Event::Queued(planned, place) => (planned, State::Queued, placed("queued  ", planned, place), false),
            Event::Started(planned, place) => (planned, State::Running, placed("started ", planned, place), false),
            Event::Note(note) => {
                self.line(note);
                return;
            }
            Event::Waiting(planned) => {
                let text = format!("waiting  {}: another process trains it", variant::shown(&planned.variant));
                (planned, State::Elsewhere, text, false)
            }
            Event::GoesOn(planned) => {
                (planned, State::Running, format!("goes on  {}", variant::shown(&planned.variant)), false)
            }
            Event::Finished(planned, result) => {
                let text = format!(
                    "finished {} - test accuracy: {} - {}",
                    variant::shown(&planned.variant),
                    measure::percent(result.test_accuracy),
                    measure::seconds(result.seconds)
                );
                (planned, State::Finished, text, false)
            }
            Event::Failed(planned, reason) => {
                (planned, State::Failed, format!("failed   {}: {reason}", variant::shown(&planned.variant)), true)
            }
            Event::Impossible(variant, reason) => {
                self.line(&format!("failed   {}: {reason}", variant::shown(*variant)));
                return;
            }
            Event::Again(planned, reason) => {
                let text = format!("again    {}: {reason}", variant::shown(&planned.variant));
                (planned, State::Queued, text, true)
            }
            Event::Paused(planned) => {
                (planned, State::Paused, format!("paused   {}", variant::shown(&planned.variant)), false)
            }
            Event::Stopped(planned, reason) => {
                (planned, State::Stopped, format!("stopped  {}: {reason}", variant::shown(&planned.variant)), true)
            }
            Event::Tick => {
                if self.refreshed.elapsed() >= REFRESH {
                    self.refreshed = Instant::now();
                    self.draw();
                }
                return;
            }
        };
        if piped || always {
            self.line(&text);
        }
        if let Some(trial) = self.trials.iter_mut().find(|trial| trial.folder == planned.folder) {
            trial.state = state;
            trial.look();
            trial.started = (state == State::Running).then(|| (Instant::now(), trial.record.len()));
        }
        self.draw();
    }

    fn draw(&mut self) {
        if self.bars.is_hidden() {
            return;
        }
        for trial in self.trials.iter_mut().filter(|trial| matches!(trial.state, State::Running | State::Elsewhere)) {
            trial.look();
        }
        let height = terminal_size::terminal_size().map_or(ROWS, |(_, height)| usize::from(height.0));
        let lines = self.lines(height.saturating_sub(2).max(3));
        while self.rows.len() < lines.len() {
            self.row();
        }
        for bar in self.rows.drain(lines.len()..) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        for (bar, line) in self.rows.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
    }

    /// The summary and the trials' rows, at most so many lines: in order where all fit, otherwise
    /// those first that need a look.
    fn lines(&self, most: usize) -> Vec<String> {
        let mut shown: Vec<&Trial> = self.trials.iter().collect();
        if shown.len() + 1 > most {
            let rank = |trial: &&Trial| State::ALL.iter().position(|state| *state == trial.state);
            shown.sort_by_key(rank);
        }
        let hidden = if shown.len() + 1 > most { shown.split_off(most.saturating_sub(2)).len() } else { 0 };
        let width = shown.iter().map(|trial| trial.name.chars().count()).max().unwrap_or(0).min(48);
        let mut lines = vec![self.summary()];
        lines.extend(shown.iter().map(|trial| trial.row(width)));
        if hidden > 0 {
            lines.push(format!("... and {hidden} more"));
        }
        lines
    }

    fn summary(&self) -> String {
        let count = |state: State| self.trials.iter().filter(|trial| trial.state == state).count();
        let parts = State::ALL.iter().rev().filter(|state| count(**state) > 0);
        let parts: Vec<String> = parts.map(|state| format!("{} {}", count(*state), state.word())).collect();
        let left: f64 = self.trials.iter().filter_map(Trial::left).sum();
        let open = self.trials.iter().filter(|trial| !trial.state.ended()).count();
        // Others may train, too.
        let jobs = self.jobs.max(count(State::Running) + count(State::Elsewhere)).clamp(1, open.max(1)) as f64;
        format!(
            "{} trials: {} - {} so far - ETA {}",
            self.trials.len(),
            parts.join(", "),
            clock(self.began.elapsed().as_secs_f64()),
            clock(left / jobs)
        )
    }
}

/// A line of a trial that was handed over, with where to.
fn placed(what: &str, planned: &Planned, place: &Option<String>) -> String {
    let place = place.as_ref().map_or(String::new(), |place| format!(" {place}"));
    format!("{what} {}{place}", variant::shown(&planned.variant))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{row::sparkline, *};
    use crate::{
        metrics::Means,
        trial::{Epoch, Prediction},
    };

    fn trial(number: u32, state: State, epochs: u32) -> Trial {
        let epoch = |epoch: u32| {
            let means = Means { loss: 2.0, accuracy: f64::from(epoch) / 8.0, top_5_accuracy: 0.5 };
            Epoch { seconds: 3.0, ..Epoch::new(epoch, means, None, 1e-3) }
        };
        let prediction = Prediction {
            parameters: 1,
            flops: 1,
            epoch_seconds: Some(2.0),
            first_seconds: 0.0,
            memory_bytes: 1,
            threads: 1,
        };
        let name = format!("depth={number}");
        let record = (1..=epochs).map(epoch).collect();
        Trial { folder: PathBuf::new(), name, state, epochs: 5, prediction, record, started: None }
    }

    #[test]
    fn rows_say_how_it_goes() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[0.3, 0.3]), "▅▅");
        assert_eq!([7.4, 750.0, 11_100.0].map(clock), ["0:07", "12:30", "3:05:00"]);
        let mut live = Live::new(2);
        live.trials = vec![
            trial(1, State::Finished, 5),
            trial(2, State::Running, 2),
            trial(3, State::Queued, 0),
            trial(12, State::Failed, 1),
        ];
        insta::assert_snapshot!([live.lines(9).join("\n"), live.lines(4).join("\n")].join("\n\n"));
    }
}
