//! The record of epochs once more, as TensorBoard reads it: `tensorboard/train` and
//! `tensorboard/validation`, with the names of Keras' `TensorBoard` callback. A sweep's trial has what was changed and
//! how it ended in `tensorboard` itself, for the plugin `hparams`.
//!
//! An event file is a row of records: length, its checksum, bytes, their checksum (TensorFlow,
//! `lib/io/record_writer.h`); the bytes are an `Event` (`tensorflow/core/util/event.proto`).

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;

use super::{
    RunResult,
    history::Epoch,
    hparams::{self, HparamsSummary},
    names::TENSORBOARD,
    variant,
};
use crate::files::{FileError, PART, append_to, make_folder, remove, replace};

/// The fields of `Event` that are used.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Written where it is 0, too: one of several fields of which a value has one.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    /// What a plugin needs a tensor for.
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

/// `TensorProto`: a vector of one zero, which stands beside a plugin's content.
#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(float, repeated, tag = "5")]
    values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    axes: Vec<Axis>,
}

#[derive(Clone, PartialEq, Message)]
struct Axis {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// `SummaryMetadata`
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

impl Scalar {
    fn new(tag: &str, value: f64) -> Self {
        Self { tag: tag.into(), simple_value: Some(value as f32), tensor: None, metadata: None }
    }

    fn of_plugin(summary: HparamsSummary) -> Self {
        let tensor = Tensor { dtype: 1, shape: Some(Shape { axes: vec![Axis { size: 1 }] }), values: vec![0.0] };
        let plugin = Plugin { name: hparams::PLUGIN.into(), content: summary.content };
        let metadata = Some(Metadata { plugin: Some(plugin) });
        Self { tag: summary.tag.into(), simple_value: None, tensor: Some(tensor), metadata }
    }
}

fn record(event: &Event) -> Vec<u8> {
    // TensorFlow's masked CRC-32C: a checksum of data that holds checksums is weak otherwise.
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let body = event.encode_to_vec();
    let length = (body.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &body, &masked(&body)].concat()
}

const FILE: &str = "events.out.tfevents.vitx";

/// The event files of one trial.
#[derive(Debug)]
pub struct EventFiles {
    train: PathBuf,
    validation: PathBuf,
}

impl EventFiles {
    /// Writes the files anew with the epochs so far: what an interrupted run wrote after its last
    /// checkpoint goes, and so do files that it left unfinished. The folder is that of one training, which
    /// this process has.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn create(folder: &Path, epochs: &[Epoch], validated: bool) -> Result<Self, FileError> {
        let path = |split: &str| folder.join(TENSORBOARD).join(split).join(FILE);
        begin_session(folder, epochs)?;
        let files = Self { train: path("train"), validation: path("validation") };
        let past: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
        let start = now() - past;
        for (path, validation) in [(&files.train, false), (&files.validation, true)] {
            clear(path)?;
            if validation && !validated {
                continue;
            }
            let mut bytes = head(start);
            let mut time = start;
            for epoch in epochs {
                time += epoch.seconds;
                bytes.extend(events(epoch, validation, time));
            }
            make_folder(path.parent().unwrap_or(path))?;
            replace(path, &bytes)?;
        }
        Ok(files)
    }

    /// Adds an epoch.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn append(&self, epoch: &Epoch) -> Result<(), FileError> {
        for (path, validation) in [(&self.train, false), (&self.validation, true)] {
            if validation && epoch.val_loss.is_none() {
                continue;
            }
            append_to(path)?.write_all(&events(epoch, validation, now())).map_err(FileError::io("write", path))?;
        }
        Ok(())
    }
}

/// Writes what a sweep changed. A run that no sweep made has changed nothing.
fn begin_session(folder: &Path, epochs: &[Epoch]) -> Result<(), FileError> {
    let path = session(folder);
    clear(&path)?;
    let variant = variant::read(folder)?;
    if variant.is_empty() {
        return Ok(());
    }
    let start = now() - epochs.iter().map(|epoch| epoch.seconds).sum::<f64>();
    let value = vec![Scalar::of_plugin(hparams::start(&variant, start))];
    let event = Event { wall_time: start, step: 0, file_version: None, summary: Some(Summary { value }) };
    make_folder(path.parent().unwrap_or(&path))?;
    replace(&path, &[head(start), record(&event)].concat())
}

fn session(folder: &Path) -> PathBuf {
    folder.join(TENSORBOARD).join(FILE)
}

/// How a trial of a sweep ended.
#[derive(Debug, Clone, Copy)]
pub enum SessionEnd<'a> {
    /// After its last epoch.
    Finished(&'a RunResult),
    /// Where a rule of its sweep stopped it: well, and without a result.
    Stopped,
    /// By a failure.
    Failed,
}

/// Writes how a trial of a sweep ended.
///
/// # Errors
/// A file that cannot be written.
pub fn end_session(folder: &Path, how: SessionEnd) -> Result<(), FileError> {
    let path = session(folder);
    if !path.exists() {
        return Ok(());
    }
    let of = |result: &RunResult| {
        let figures = [
            ("test_loss", result.test_loss),
            ("test_accuracy", result.test_accuracy),
            ("test_top_5_accuracy", result.test_top_5_accuracy),
        ];
        figures.map(|(tag, value)| Scalar::new(tag, value)).to_vec()
    };
    let (mut value, step) = match how {
        SessionEnd::Finished(result) => (of(result), i64::from(result.epochs)),
        SessionEnd::Stopped | SessionEnd::Failed => (Vec::new(), 0),
    };
    value.push(Scalar::of_plugin(hparams::end(!matches!(how, SessionEnd::Failed), now())));
    let event = Event { wall_time: now(), step, file_version: None, summary: Some(Summary { value }) };
    append_to(&path)?.write_all(&record(&event)).map_err(FileError::io("write", &path))
}

/// Takes an event file away, and what killed processes left beside it: TensorBoard reads all that it finds there.
fn clear(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(path);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(FileError::io("read", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(FileError::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == FILE || name.starts_with(PART) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn head(wall_time: f64) -> Vec<u8> {
    record(&Event { wall_time, step: 0, file_version: Some("brain.Event:2".into()), summary: None })
}

fn events(epoch: &Epoch, validation: bool, wall_time: f64) -> Vec<u8> {
    let scalars = if validation {
        vec![
            ("epoch_loss", epoch.val_loss),
            ("epoch_accuracy", epoch.val_accuracy),
            ("epoch_top_5_accuracy", epoch.val_top_5_accuracy),
        ]
    } else {
        vec![
            ("epoch_loss", Some(epoch.loss)),
            ("epoch_accuracy", Some(epoch.accuracy)),
            ("epoch_top_5_accuracy", Some(epoch.top_5_accuracy)),
            ("epoch_learning_rate", Some(f64::from(epoch.learning_rate))),
        ]
    };
    let scalar = |(tag, value): (&str, Option<f64>)| Some(Scalar::new(tag, value?));
    let value = scalars.into_iter().filter_map(scalar).collect();
    // Keras counts epochs from 0 here.
    let step = i64::from(epoch.epoch) - 1;
    record(&Event { wall_time, step, file_version: None, summary: Some(Summary { value }) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::metrics::Means;

    /// Reads records as TensorBoard does, checksums included.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let event = Event::decode(&rest[12..12 + length]).unwrap();
            assert_eq!(record(&event), rest[..16 + length]);
            events.push(event);
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn the_first_record_is_tensorflows() {
        // `Event(wall_time=0, file_version="brain.Event:2")` by TensorFlow's `EventFileWriter`: its
        // length, the masked checksum of the length, the message.
        let bytes =
            record(&Event { wall_time: 0.0, step: 0, file_version: Some("brain.Event:2".into()), summary: None });
        assert_eq!(bytes[..8], 15_u64.to_le_bytes());
        assert_eq!(&bytes[12..27], b"\x1a\x0dbrain.Event:2");
        // A published check value: CRC-32C of "123456789".
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn resuming_drops_what_will_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let means = Means { loss: 1.5, accuracy: 0.25, top_5_accuracy: 0.5 };
        let epochs: Vec<Epoch> = (1..=3).map(|epoch| Epoch::new(epoch, means, Some(means), 1e-3)).collect();
        let files = EventFiles::create(folder.path(), &[], true).unwrap();
        epochs.iter().for_each(|epoch| files.append(epoch).unwrap());
        let path = folder.path().join("tensorboard/validation/events.out.tfevents.vitx");
        assert_eq!(read(&path).iter().map(|event| event.step).collect::<Vec<_>>(), [0, 0, 1, 2]);
        // What a killed process leaves beside it goes as well.
        let left = path.with_file_name(".part1");
        fs::write(&left, "half").unwrap();
        // Killed in its first epoch, it begins again: nothing of before stays.
        EventFiles::create(folder.path(), &[], true).unwrap();
        assert_eq!(read(&path).len(), 1);
        assert!(!left.exists());
        let files = EventFiles::create(folder.path(), &epochs[..1], true).unwrap();
        files.append(&epochs[1]).unwrap();
        let events = read(&path);
        assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 0, 1]);
        let summary = events[2].summary.as_ref().unwrap();
        assert_eq!(summary.value[0], Scalar::new("epoch_loss", 1.5));
        EventFiles::create(folder.path(), &epochs[..1], false).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_trial_of_a_sweep_says_what_was_changed_and_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        EventFiles::create(folder.path(), &[], false).unwrap();
        end_session(folder.path(), SessionEnd::Failed).unwrap();
        assert!(!session(folder.path()).exists(), "no sweep has made it");
        variant::note(folder.path(), &vec![("depth".into(), crate::dsl::Value::Int(2))]).unwrap();
        for (how, status) in [(SessionEnd::Failed, 2), (SessionEnd::Stopped, 1)] {
            EventFiles::create(folder.path(), &[], false).unwrap();
            end_session(folder.path(), how).unwrap();
            let events = read(&session(folder.path()));
            let tags = events.iter().flat_map(|event| &event.summary).flat_map(|summary| &summary.value);
            let tags: Vec<&str> = tags.map(|value| value.tag.as_str()).collect();
            assert_eq!(tags, ["_hparams_/session_start_info", "_hparams_/session_end_info"]);
            let end = events.last().unwrap().summary.as_ref().unwrap().value[0].metadata.as_ref().unwrap();
            assert_eq!(end.plugin.as_ref().unwrap().content[2..4], [8, status]);
        }
    }

    #[test]
    fn a_zero_is_written() {
        // Nobody could tell it from nothing: TensorBoard drops a value that has no field.
        assert_eq!(Scalar::new("a", 0.0).encode_to_vec(), [10, 1, b'a', 21, 0, 0, 0, 0]);
    }
}
