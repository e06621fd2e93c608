//! The record of epochs once more, as TensorBoard reads it: `tensorboard/train` and
//! `tensorboard/validation`, with the names of Keras' `TensorBoard` callback.
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

use super::{history::Epoch, names::TENSORBOARD};
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
    #[prost(float, tag = "2")]
    simple_value: f32,
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
    let scalar = |(tag, value): (&str, Option<f64>)| Some(Scalar { tag: tag.into(), simple_value: value? as f32 });
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
        assert_eq!(summary.value[0], Scalar { tag: "epoch_loss".into(), simple_value: 1.5 });
        EventFiles::create(folder.path(), &epochs[..1], false).unwrap();
        assert!(!path.exists());
    }
}
