//! What a directory has and its server has not, sent in an order that can break off anywhere: each part is noted in the
//! directory once the server has it, and what is sent twice is the same both times.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Destination, TrackingError,
    mlflow::{Heard, MOST_METRICS, MOST_PARAMETERS, Metric, Mlflow, Run},
};
use crate::{
    experiment::{
        Definition, ExperimentError,
        sweep::{self, About},
    },
    random::{Philox, Stream},
    report::{Record, flat, measure},
    trial::{Directory, Epoch, Lock, Tracked, variant},
};

/// The tag by which a run is found again.
const KEY: &str = "vitx.key";

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Runs that the server has all of.
    pub runs: usize,
    /// Files that the server does not take, because it keeps them elsewhere.
    pub left_out: usize,
}

/// Sends what a trial's directory has, or a sweep's with all of its trials, each as a child of the sweep's run. `over` says
/// that whoever holds the directory trains no more.
///
/// # Errors
/// What cannot be sent now, or cannot be read. What was sent before it stays sent.
pub fn send(folder: &Path, to: &Destination, over: bool) -> Result<Sent, TrackingError> {
    send_heard(folder, to, over, &Heard::default())
}

/// As [`send`], and tells when the server was heard.
pub(super) fn send_heard(folder: &Path, to: &Destination, over: bool, heard: &Heard) -> Result<Sent, TrackingError> {
    let mlflow = &Mlflow::new(to, heard);
    let folder = &*std::path::absolute(folder).map_err(ExperimentError::io("find", folder))?;
    let mut sent = Sent::default();
    if Directory::new(folder).is_defined() {
        let parent = parent(folder, to)?;
        let experiment = &experiment(parent.as_ref().map_or(folder, |(sweep, _)| sweep));
        let waits = parent.as_ref().is_some_and(|(sweep, _)| Lock::is_held(sweep));
        let record = Record::read(folder)?;
        let parent = parent.map(|(_, run)| run);
        Sending { mlflow, to, experiment, parent, over, waits }.trial(&record, &mut sent)?;
        return Ok(sent);
    }
    let records = match Record::read_all(folder) {
        // A sweep that has just begun has nothing to send.
        Err(_) if !over && (sweep::is_sweep(folder) || !folder.exists()) => return Ok(sent),
        records => records?,
    };
    let experiment = &experiment(folder);
    let waits = !over && Lock::is_held(folder);
    let sending = Sending { mlflow, to, experiment, parent: None, over, waits };
    if !sweep::is_sweep(folder) {
        // Runs beside each other are children of none.
        records.iter().try_for_each(|record| sending.trial(record, &mut sent))?;
        return Ok(sent);
    }
    let run = sending.sweep(folder, &records, false)?;
    let children = Sending { parent: Some(run), ..sending.clone() };
    let trials = records.iter().filter(|record| Directory::new(&record.folder).is_defined());
    trials.into_iter().try_for_each(|record| children.trial(record, &mut sent))?;
    sending.sweep(folder, &records, true)?;
    sent.runs += 1;
    Ok(sent)
}

/// Of how many trials of a directory its server has not all; and how many there are.
///
/// # Errors
/// What cannot be read.
pub(super) fn missing(folder: &Path, to: &Destination) -> Result<(usize, usize), ExperimentError> {
    let records = match Directory::new(folder).is_defined() {
        true => vec![Record::read(folder)?],
        false => Record::read_all(folder)?,
    };
    let there = |record: &&Record| {
        let known = Tracked::read(&record.folder).ok().flatten().filter(|tracked| tracked.server == to.url);
        let last = record.epochs.last().map_or(0, |epoch| epoch.epoch);
        known.is_some_and(|known| known.status.is_some_and(|status| has_ended(&status)) && known.epochs >= last)
    };
    Ok((records.len() - records.iter().filter(there).count(), records.len()))
}

/// Whether a state of MLflow is one of a run's end.
fn has_ended(status: &str) -> bool {
    ["FINISHED", "FAILED", "KILLED"].contains(&status)
}

/// The last part of a path.
fn last(folder: &Path) -> String {
    folder.file_name().map_or_else(|| "vitx".into(), |name| name.to_string_lossy().into_owned())
}

/// The name of MLflow's experiment: that of the directory, without the hash at its end. So runs and sweeps of one
/// experiment file lie side by side.
fn experiment(folder: &Path) -> String {
    const HASH: usize = 12;
    let name = last(folder);
    let is_hash = |hash: &str| hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('-') {
        Some((stem, hash)) if !stem.is_empty() && is_hash(hash) => stem.to_owned(),
        _ => name,
    }
}

/// The sweep that a trial lies in, and the sweep's run, if the server has it.
fn parent(folder: &Path, to: &Destination) -> Result<Option<(PathBuf, String)>, TrackingError> {
    let Some(sweep) = folder.parent().and_then(Path::parent).filter(|sweep| sweep::is_sweep(sweep)) else {
        return Ok(None);
    };
    let tracked = Tracked::read(sweep)?.filter(|tracked| tracked.server == to.url);
    Ok(tracked.and_then(|tracked| tracked.run).map(|run| (sweep.to_owned(), run)))
}

#[derive(Clone)]
struct Sending<'a> {
    mlflow: &'a Mlflow<'a>,
    to: &'a Destination,
    experiment: &'a str,
    /// The run of the sweep.
    parent: Option<String>,
    over: bool,
    /// Whether a sweep runs that goes on with trials which nobody trains now.
    waits: bool,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// A name that nobody else has.
fn drawn(folder: &Path) -> String {
    let seed =
        folder.as_os_str().as_encoded_bytes().iter().fold(now() ^ u64::from(std::process::id()) << 40, |seed, byte| {
            seed.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
        });
    let block = Philox::new(seed, Stream::Search).block([now() as u32, std::process::id(), 0, 0]);
    block.map(|word| format!("{word:08x}")).concat()
}

impl Sending<'_> {
    /// The run of a directory: the one that it names, the one that has its key, or a new one.
    fn run(&self, folder: &Path, name: &str, began: u64) -> Result<(Tracked, Run), TrackingError> {
        let known = Tracked::read(folder)?.filter(|tracked| tracked.server == self.to.url);
        // Nobody can have made the run of a key that is drawn now.
        let is_new = known.is_none();
        let fresh =
            || Tracked { server: self.to.url.clone(), key: drawn(folder), started: began, ..Tracked::default() };
        let mut tracked = known.unwrap_or_else(fresh);
        if let (Some(id), Some(artifacts)) = (&tracked.run, &tracked.artifacts) {
            let run = Run { id: id.clone(), artifacts: artifacts.clone() };
            return Ok((tracked, run));
        }
        // Before the server makes it, so that it is found where the answer is lost.
        tracked.write(folder)?;
        let experiment = self.mlflow.experiment(self.experiment)?;
        let found = if is_new { None } else { self.mlflow.find(&experiment, KEY, &tracked.key)? };
        let run = match found {
            Some(run) => run,
            None => {
                let mut tags = vec![
                    (KEY, tracked.key.clone()),
                    ("mlflow.source.name", "vitx".to_owned()),
                    ("vitx.version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("vitx.directory", folder.display().to_string()),
                ];
                tags.extend(self.parent.clone().map(|parent| ("mlflow.parentRunId", parent)));
                self.mlflow.create(&experiment, name, tracked.started, &tags)?
            }
        };
        (tracked.run, tracked.artifacts) = (Some(run.id.clone()), Some(run.artifacts.clone()));
        tracked.write(folder)?;
        Ok((tracked, run))
    }

    /// The sweep's own run: at first that it is there, at the end what came of it.
    fn sweep(&self, folder: &Path, records: &[Record], end: bool) -> Result<String, TrackingError> {
        let (mut tracked, run) = self.run(folder, &last(folder), now())?;
        if !end {
            return Ok(run.id);
        }
        let ended = |record: &Record| record.result.is_some() || record.failure.is_some() || record.stopped.is_some();
        let status = match records.iter().all(ended) {
            true => "FINISHED",
            false if self.waits => "RUNNING",
            false => "KILLED",
        };
        let finished = records.iter().filter(|record| record.result.is_some()).count();
        let about = About::read(folder)?;
        let said = about.line();
        let told =
            [Some(format!("{status} {finished}")), said.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if tracked.status.as_deref() == Some(&told) {
            return Ok(run.id);
        }
        let best = records.iter().filter_map(|record| (measure::ACCURACY.of)(record)).reduce(f64::max);
        let metric = |key, value| Metric { key, value, timestamp: tracked.started, step: finished as u32 };
        let metrics: Vec<Metric> = best.map(|best| metric("best_test_accuracy", best)).into_iter().collect();
        let mut tags = vec![("vitx.trials", records.len().to_string()), ("vitx.finished", finished.to_string())];
        // What was said before, and is said no more, is replaced by nothing.
        let before = tracked.status.as_deref().is_some_and(|told| told.split(' ').count() > 2);
        if said.is_some() || before {
            tags.push(("vitx.tags", about.tags.join(", ")));
            tags.push(("mlflow.note.content", about.note.unwrap_or_default()));
        }
        self.mlflow.log(&run.id, &[], &metrics, &tags)?;
        self.mlflow.update(&run.id, status, (status != "RUNNING").then(now))?;
        tracked.status = Some(told);
        tracked.write(folder)?;
        Ok(run.id)
    }

    /// All of a trial that the server has not.
    fn trial(&self, record: &Record, sent: &mut Sent) -> Result<(), TrackingError> {
        let folder = &record.folder;
        let past: f64 = record.epochs.iter().map(|epoch| epoch.seconds).sum();
        let name = match record.variant.is_empty() {
            true => last(folder),
            false => variant::shown(&record.variant),
        };
        let (mut tracked, run) = self.run(folder, &name, now().saturating_sub((1000.0 * past) as u64))?;
        if !tracked.parameters {
            for batch in parameters(record)?.chunks(MOST_PARAMETERS) {
                self.mlflow.log(&run.id, batch, &[], &[])?;
            }
            tracked.parameters = true;
            tracked.write(folder)?;
        }
        self.epochs(record, &run, &mut tracked)?;
        let status = self.status(record);
        let ended = has_ended(status);
        // What belongs to the end comes before the word that it has ended.
        if tracked.status.as_deref() != Some(status) {
            self.mlflow.log(&run.id, &[], &results(record, &tracked), &reasons(record))?;
        }
        sent.left_out += self.files(record, &run, &mut tracked, ended)?;
        if tracked.status.as_deref() != Some(status) {
            self.mlflow.update(&run.id, status, ended.then(now))?;
            tracked.status = Some(status.to_owned());
            tracked.write(folder)?;
        }
        sent.runs += 1;
        Ok(())
    }

    fn status(&self, record: &Record) -> &'static str {
        if record.result.is_some() {
            "FINISHED"
        } else if record.failure.is_some() || record.damaged.is_some() {
            "FAILED"
        } else if record.stopped.is_some() {
            "KILLED"
        } else if record.running && !self.over {
            "RUNNING"
        } else if self.waits {
            "SCHEDULED"
        } else {
            "KILLED"
        }
    }

    fn epochs(&self, record: &Record, run: &Run, tracked: &mut Tracked) -> Result<(), TrackingError> {
        let mut milliseconds = tracked.started as f64;
        let timed = record.epochs.iter().map(|epoch| {
            milliseconds += 1000.0 * epoch.seconds;
            (epoch, milliseconds as u64)
        });
        let timed: Vec<(&Epoch, u64)> = timed.filter(|(epoch, _)| epoch.epoch > tracked.epochs).collect();
        for batch in timed.chunks(MOST_METRICS / FIGURES.len()) {
            let metrics: Vec<Metric> = batch.iter().flat_map(|(epoch, timestamp)| figures(epoch, *timestamp)).collect();
            self.mlflow.log(&run.id, &[], &metrics, &[])?;
            if let Some((epoch, _)) = batch.last() {
                tracked.epochs = epoch.epoch;
                tracked.write(&record.folder)?;
            }
        }
        Ok(())
    }

    /// Sends the files that have changed; gives how many the server has no place for.
    fn files(&self, record: &Record, run: &Run, tracked: &mut Tracked, ended: bool) -> Result<usize, TrackingError> {
        let directory = Directory::new(&record.folder);
        let mut left_out = 0;
        for path in directory.documents(ended, ended && self.to.weights) {
            let Ok(about) = fs::metadata(&path) else { continue };
            let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let state = format!("{}:{}", about.len(), changed.map_or(0, |time| time.as_millis()));
            let name = last(&path);
            if tracked.files.get(&name) == Some(&state) {
                continue;
            }
            match self.mlflow.upload(&run.artifacts, &name, &path)? {
                true => {
                    tracked.files.insert(name, state);
                    tracked.write(&record.folder)?;
                }
                false => left_out += 1,
            }
        }
        Ok(left_out)
    }
}

/// A figure of an epoch, where it has it.
type Figure = fn(&Epoch) -> Option<f64>;

/// The figures of an epoch by their names.
const FIGURES: [(&str, Figure); 10] = [
    ("loss", |epoch| Some(epoch.loss)),
    ("accuracy", |epoch| Some(epoch.accuracy)),
    ("top_5_accuracy", |epoch| Some(epoch.top_5_accuracy)),
    ("val_loss", |epoch| epoch.val_loss),
    ("val_accuracy", |epoch| epoch.val_accuracy),
    ("val_top_5_accuracy", |epoch| epoch.val_top_5_accuracy),
    ("learning_rate", |epoch| Some(f64::from(epoch.learning_rate))),
    ("epoch_seconds", |epoch| Some(epoch.seconds)),
    ("images_per_second", |epoch| Some(epoch.images_per_second)),
    ("loader_wait_seconds", |epoch| Some(epoch.loader_wait_seconds)),
];

fn figures(epoch: &Epoch, timestamp: u64) -> impl Iterator<Item = Metric> {
    let metric = move |(key, of): (&'static str, fn(&Epoch) -> Option<f64>)| {
        Some(Metric { key, value: of(epoch).filter(|value| value.is_finite())?, timestamp, step: epoch.epoch })
    };
    FIGURES.into_iter().filter_map(metric)
}

/// The figures of the end.
fn results(record: &Record, tracked: &Tracked) -> Vec<Metric> {
    let Some(result) = &record.result else { return Vec::new() };
    let timestamp = tracked.started + (1000.0 * result.seconds) as u64;
    let figures = [
        ("test_loss", Some(result.test_loss)),
        ("test_accuracy", Some(result.test_accuracy)),
        ("test_top_5_accuracy", Some(result.test_top_5_accuracy)),
        ("best_epoch", Some(f64::from(result.best_epoch))),
        ("parameters", Some(result.parameters as f64)),
        ("flops", Some(result.flops as f64)),
        ("seconds", Some(result.seconds)),
        ("peak_memory_bytes", result.peak_memory_bytes.map(|bytes| bytes as f64)),
    ];
    let metric = |(key, value): (&'static str, Option<f64>)| {
        Some(Metric { key, value: value.filter(|value| value.is_finite())?, timestamp, step: result.epochs })
    };
    figures.into_iter().filter_map(metric).collect()
}

/// Why it did not finish.
fn reasons(record: &Record) -> Vec<(&'static str, String)> {
    let failure = record.failure.as_ref().map(|failure| ("vitx.failure", failure.reason.clone()));
    let stopped = record.stopped.as_ref().map(|reason| ("vitx.stopped", reason.clone()));
    failure.into_iter().chain(stopped).collect()
}

/// What defines a trial: the keys of its experiment, and what its sweep changed by the names that it has there.
fn parameters(record: &Record) -> Result<Vec<(String, String)>, TrackingError> {
    let mut all: BTreeMap<String, String> = flat(&Definition::of_trial(&record.folder)?).into_iter().collect();
    // A text without the quotes that it has in JSON.
    all.values_mut().for_each(|value| {
        if let Ok(text) = serde_json::from_str::<String>(value) {
            *value = text;
        }
    });
    all.extend(record.variant.iter().map(|(key, value)| (key.clone(), value.plain())));
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_experiment_lie_side_by_side() {
        let of = |name: &str| experiment(Path::new(name));
        assert_eq!(of("runs/digits_vit-76d813208cd4"), "digits_vit");
        assert_eq!(of("runs/sweeps/digits_vit-1a2b3c4d5e6f"), "digits_vit");
        for name in ["out", "vit-small", "76d813208cd4", "-76d813208cd4", "vit-76d813208cdx"] {
            assert_eq!(of(name), name);
        }
    }
}
