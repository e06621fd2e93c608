//! Checkpoints: safetensors files that are replaced whole or not at all.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::{BufWriter, ErrorKind, Read, Write},
    path::Path,
};

use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo},
};
use serde::{Deserialize, Deserializer, Serialize};

use super::TrialError;
use crate::{
    backend::{OPTIMIZER, StateTensor},
    files::{FileError, kept, replace_by},
    metrics::Totals,
    random::VERSION,
};

/// Key of the progress in a file's metadata.
const PROGRESS: &str = "vitx.progress";

/// The longest header of safetensors' format.
const MOST_HEADER: u64 = 100_000_000;

/// Where training stood when a checkpoint was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the epoch that is under way.
    pub step: u32,
    /// Optimizer steps in all.
    pub iteration: u64,
    /// What the epoch under way has summed so far.
    pub totals: Totals,
    /// Wall time of the epoch under way, in seconds.
    #[serde(default)]
    pub seconds: f64,
    /// How much of it was waiting for images.
    #[serde(default)]
    pub loader_wait_seconds: f64,
    /// The epoch (from 1) whose weights are the best so far. Its figures stand in the record of epochs.
    #[serde(default, deserialize_with = "best")]
    pub best: Option<u32>,
    /// By which training draws.
    #[serde(default = "Numbers::first")]
    pub numbers: Numbers,
}

/// The version of the random numbers that a run began with, see [`VERSION`]: it goes on with no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers(u32);

impl Numbers {
    /// Of checkpoints that do not say.
    fn first() -> Self {
        Self(1)
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self(VERSION)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the best epoch, also where an accuracy stands before it, as former versions wrote it.
fn best<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Best {
        Epoch(u32),
        Former((f64, u32)),
    }
    let best = Option::<Best>::deserialize(deserializer)?;
    Ok(best.map(|best| match best {
        Best::Epoch(epoch) | Best::Former((_, epoch)) => epoch,
    }))
}

impl Progress {
    /// What cannot be of a training of `epochs` epochs over so many images.
    pub fn fault(&self, images: usize, batch_size: usize, epochs: u32) -> Option<String> {
        let steps = images.div_ceil(batch_size.max(1)) as u64;
        let Self { epoch, step, iteration, totals, best, .. } = self;
        if *epoch > epochs {
            return Some(format!("it is of epoch {epoch} of {epochs}"));
        }
        if u64::from(*step) > steps {
            return Some(format!("it is of step {step} of {steps}"));
        }
        let iterations = u64::from(*epoch) * steps + u64::from(*step);
        if *iteration != iterations {
            return Some(format!("it counts {iteration} steps in all, expected {iterations}"));
        }
        let seen = (u64::from(*step) * batch_size as u64).min(images as u64);
        if totals.images != seen || totals.correct > seen || totals.correct_top_5 > seen {
            let Totals { images, correct, correct_top_5, .. } = totals;
            return Some(format!(
                "it counts {images} images, {correct} and {correct_top_5} of them right, after {seen} images"
            ));
        }
        if best.is_some_and(|best| best == 0 || best > *epoch) || best.is_none() != (*epoch == 0) {
            let best = best.map_or_else(|| "none".into(), |best| best.to_string());
            return Some(format!("its best epoch is {best}, after {epoch} epochs"));
        }
        let amounts = [("seconds", self.seconds), ("loader_wait_seconds", self.loader_wait_seconds)];
        let mut amounts = amounts.into_iter().filter_map(|(name, value)| kept::amount(name, value));
        kept::loss("loss", totals.loss).or_else(|| amounts.next())
    }
}

/// Writes a checkpoint by [`replace_by`].
///
/// # Errors
/// [`FileError::Io`] names the file.
pub fn save(path: &Path, progress: &Progress, tensors: &[StateTensor]) -> Result<(), FileError> {
    let invalid = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
    let progress = serde_json::to_string(progress).map_err(|error| FileError::io("write", path)(invalid(&error)))?;
    // By name, as the format's own writer has them.
    let mut tensors: Vec<&StateTensor> = tensors.iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let begin = end;
        end += size_of_val(&tensor.data[..]);
        let info = TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (begin, end) };
        (tensor.name.clone(), info)
    });
    let metadata = HashMap::from([(PROGRESS.to_owned(), progress)]);
    let header = Metadata::new(Some(metadata), infos.collect()).map_err(|error| error.to_string());
    let header = header.and_then(|header| serde_json::to_string(&header).map_err(|error| error.to_string()));
    let header = header.map_err(|error| FileError::io("write", path)(invalid(&error)))?;
    // Straight to disk, and by the file that is to be replaced: the format's own writer either copies all
    // parameters and moments in memory, or has a temporary file of its own, which a killed process leaves.
    replace_by(path, |file| {
        let length = header.len().next_multiple_of(8);
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&(length as u64).to_le_bytes())?;
        // Not by a width of `format!`, which ends at 65,535: a network of many layers has a longer header.
        file.write_all(header.as_bytes())?;
        file.write_all(&b" ".repeat(length - header.len()))?;
        for tensor in tensors {
            file.write_all(bytemuck::cast_slice(&tensor.data))?;
        }
        file.flush()
    })
}

/// Where training stood when a checkpoint was written; its tensors are not read. `None` where there is none.
///
/// # Errors
/// As [`load`].
pub fn progress(path: &Path) -> Result<Option<Progress>, TrialError> {
    let problem = |problem: String| TrialError::Checkpoint { path: path.to_owned(), problem };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(FileError::io("read", path))?,
    };
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| problem(error.to_string()))?;
    let length = u64::from_le_bytes(length).min(MOST_HEADER);
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
    progress_of(header.metadata.as_ref()).map(Some).map_err(problem)
}

/// The header of a safetensors file, without its tensors.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
}

fn progress_of(metadata: Option<&HashMap<String, String>>) -> Result<Progress, String> {
    let text = metadata.and_then(|metadata| metadata.get(PROGRESS));
    let text = text.ok_or_else(|| format!("its metadata has no `{PROGRESS}`"))?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads a checkpoint back.
///
/// # Errors
/// [`FileError::Io`] when it cannot be read, [`TrialError::Checkpoint`] when it is something else.
pub fn load(path: &Path) -> Result<(Progress, Vec<StateTensor>), TrialError> {
    let problem = |problem: String| TrialError::Checkpoint { path: path.to_owned(), problem };
    let bytes = fs::read(path).map_err(FileError::io("read", path))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| problem(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| problem(error.to_string()))?;
    let progress = progress_of(metadata.metadata().as_ref()).map_err(problem)?;
    let tensors = file.iter().map(|(name, view)| {
        if view.dtype() != Dtype::F32 {
            return Err(problem(format!("`{name}` is {:?}, not float32", view.dtype())));
        }
        // The bytes of a tensor need not be aligned to its elements.
        let data =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        Ok(StateTensor { name: renamed(name), shape: view.shape().to_vec(), data: data.collect() })
    });
    let mut tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((progress, tensors))
}

/// The name of a tensor today: former versions had the moments of AdamW, the only optimizer, under its name.
fn renamed(name: &str) -> String {
    match name.strip_prefix("adamw/") {
        Some(rest) => format!("{OPTIMIZER}{rest}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<StateTensor> {
        let data = vec![0.1, -0.0, f32::MIN_POSITIVE / 2.0, 3.0e38, 1.0, 2.0];
        vec![
            StateTensor { name: "a/kernel".into(), shape: vec![2, 3], data },
            StateTensor { name: "optimizer/m/a/kernel".into(), shape: vec![1], data: vec![7.0] },
        ]
    }

    #[test]
    fn comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let totals = Totals { images: 3, loss: 0.1 + 0.2, correct: 1, correct_top_5: 2 };
        let progress = Progress { epoch: 2, step: 5, iteration: 105, totals, best: Some(2), ..Progress::default() };
        save(&path, &Progress::default(), &[]).unwrap();
        save(&path, &progress, &tensors()).unwrap();
        let (read, state) = load(&path).unwrap();
        // As the format's own writer has it.
        let views = tensors().into_iter().map(|tensor| {
            let bytes = bytemuck::cast_slice(&tensor.data).to_vec();
            (tensor.name, (tensor.shape, bytes))
        });
        let all: Vec<_> = views.collect();
        let views = all.iter().map(|(name, (shape, bytes))| {
            (name, safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        let metadata = HashMap::from([(PROGRESS.to_owned(), serde_json::to_string(&progress).unwrap())]);
        assert_eq!(fs::read(&path).unwrap(), safetensors::serialize(views, Some(metadata)).unwrap());
        assert_eq!(read, progress);
        assert_eq!(super::progress(&path).unwrap(), Some(progress));
        assert_eq!(state, tensors());
        assert_eq!(state[0].data[1].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_network_of_many_layers_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let name = |index: usize| format!("stage0/layer{index:05}/attention/query/kernel");
        let tensors: Vec<_> = (0..2000)
            .map(|index| StateTensor { name: name(index), shape: vec![1], data: vec![index as f32] })
            .collect();
        save(&path, &Progress::default(), &tensors).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > 100_000);
        assert_eq!(load(&path).unwrap().1, tensors);
        assert_eq!(super::progress(&path).unwrap(), Some(Progress::default()));
    }

    #[test]
    fn former_versions_wrote_an_accuracy_with_the_best_epoch() {
        let totals = r#""epoch": 3, "step": 0, "iteration": 12, "totals": {"images": 0, "loss": 0.0, "correct": 0, "correct_top_5": 0}"#;
        let read = |best: &str| serde_json::from_str::<Progress>(&format!("{{{totals}{best}}}")).unwrap().best;
        assert_eq!(read(r#", "best": [0.75, 2]"#), Some(2));
        assert_eq!(read(r#", "best": 2"#), Some(2));
        assert_eq!(read(r#", "best": null"#), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn former_versions_had_moments_under_adamws_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let mut old = tensors();
        old[1].name = "adamw/m/a/kernel".into();
        save(&path, &Progress::default(), &old).unwrap();
        assert_eq!(load(&path).unwrap().1, tensors());
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        // 10 images in batches of 4: 3 steps an epoch.
        let totals = Totals { images: 8, loss: 1.0, correct: 8, correct_top_5: 8 };
        let fine = Progress { epoch: 2, step: 2, iteration: 8, totals, best: Some(1), ..Progress::default() };
        let fault = |progress: Progress| progress.fault(10, 4, 5);
        assert_eq!(fault(fine.clone()), None);
        assert_eq!(fault(Progress::default()), None);
        let last = Totals { images: 10, ..totals };
        assert_eq!(fault(Progress { step: 3, iteration: 9, totals: last, ..fine.clone() }), None);
        let many = u64::MAX - 1;
        let wrong = [
            Progress { epoch: 6, ..fine.clone() },
            Progress { step: 4, ..fine.clone() },
            Progress { iteration: many, ..fine.clone() },
            Progress { totals: Totals { images: many, ..totals }, ..fine.clone() },
            Progress { totals: Totals { correct: many, ..totals }, ..fine.clone() },
            Progress { totals: Totals { correct_top_5: 9, ..totals }, ..fine.clone() },
            Progress { totals: Totals { loss: -1.0, ..totals }, ..fine.clone() },
            Progress { best: Some(3), ..fine.clone() },
            Progress { best: None, ..fine.clone() },
            Progress { seconds: 1e300, ..fine.clone() },
            Progress { loader_wait_seconds: -1.0, ..fine },
        ];
        let faults = wrong.map(|progress| fault(progress).unwrap());
        insta::assert_snapshot!(faults.join("\n"));
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        fs::write(&path, b"no checkpoint").unwrap();
        assert!(matches!(load(&path), Err(TrialError::Checkpoint { .. })));
        assert!(matches!(progress(&path), Err(TrialError::Checkpoint { .. })));
        assert_eq!(progress(&folder.path().join("missing")).unwrap(), None);
        assert!(matches!(load(&folder.path().join("missing")), Err(TrialError::File(_))));
    }

    #[test]
    fn a_missing_folder_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/last.safetensors");
        let error = save(&path, &Progress::default(), &tensors()).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
