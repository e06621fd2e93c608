//! The row of a trial.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    report::measure,
    trial::{Epoch, Prediction, history},
};

/// Most characters of a sparkline.
const SPARKS: usize = 16;

/// What is known of a trial.
pub struct Trial {
    pub folder: PathBuf,
    pub name: String,
    pub state: State,
    pub epochs: u32,
    pub prediction: Prediction,
    pub record: Vec<Epoch>,
    /// When this process last started it, and how many epochs it had.
    pub started: Option<(Instant, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Elsewhere,
    Queued,
    Paused,
    Stopped,
    Failed,
    Finished,
}

impl State {
    pub const ALL: [Self; 7] =
        [Self::Running, Self::Elsewhere, Self::Queued, Self::Paused, Self::Stopped, Self::Failed, Self::Finished];

    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Elsewhere => "elsewhere",
            Self::Queued => "queued",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }

    pub fn ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Finished)
    }
}

impl Trial {
    /// Reads how far it has come. A record that is being written is read at the next look.
    pub fn look(&mut self) {
        self.record = record(&self.folder).unwrap_or_default();
    }

    /// Seconds until it is finished, by its own epochs or, before the first, by the prediction.
    pub fn left(&self) -> Option<f64> {
        if self.state.ended() {
            return None;
        }
        let done = self.record.len();
        let open = f64::from(self.epochs).max(done as f64) - done as f64;
        let epoch = match self.record.iter().map(|epoch| epoch.seconds).sum::<f64>() {
            seconds if done > 0 => seconds / done as f64,
            _ => self.prediction.epoch_seconds?,
        };
        // Part of the epoch that is under way has passed.
        let passed = match self.started {
            Some((since, 0)) if done == 0 => since.elapsed().as_secs_f64().min(epoch),
            _ => 0.0,
        };
        Some(open * epoch - passed)
    }

    /// State, epoch, loss, accuracy, its course, and the time that is left.
    pub fn row(&self, width: usize) -> String {
        let name: String = self.name.chars().take(width).collect();
        let mut row = format!("{:9} {name:width$} {:>3}/{}", self.state.word(), self.record.len(), self.epochs);
        if let Some(last) = self.record.last() {
            let recent: Vec<f64> = self.record.iter().rev().take(SPARKS).rev().map(Epoch::score).collect();
            row += &format!(
                "  loss {:.3}  val {:>7}  {}",
                last.val_loss.unwrap_or(last.loss),
                measure::percent(last.score()),
                sparkline(&recent)
            );
        }
        if let (State::Running, Some(left)) = (self.state, self.left()) {
            row += &format!("  ETA {}", clock(left));
        }
        row
    }
}

fn record(folder: &Path) -> Option<Vec<Epoch>> {
    history::read(folder).ok()
}

/// `0:07`, `12:30`, `3:05:00`
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

pub fn sparkline(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: &f64| {
        let share = if most > least { (value - least) / (most - least) } else { 0.5 };
        LEVELS[((share * 8.0) as usize).min(7)]
    };
    values.iter().map(level).collect()
}
