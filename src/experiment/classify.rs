//! Pictures of files, classified by a trained network, some at a time.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{
    Definition, ExperimentError, best_weights, needs,
    training::{self, Options},
};
use crate::{
    backend::{Batch, Engine},
    data::{BatchPlace, Broken, Decoding, Loaded, Pipeline, Split, names::shown},
    threads,
    trial::Input,
};

/// The best weights of a trial, and what a picture becomes for them.
pub struct Classifier {
    pub(super) input: Input,
    pub(super) decoding: Decoding,
    pipeline: Pipeline,
    engine: Box<dyn Engine>,
    checkpoint: PathBuf,
    pub(super) batch: usize,
    classes: usize,
}

/// What a picture was found to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// Its path, as messages show it.
    pub name: String,
    /// `[classes]`: a probability of each class; or why the picture cannot be read.
    pub probabilities: Result<Vec<f32>, String>,
}

impl Classifier {
    /// Loads a trial's best weights, for at most `batch` pictures at a time.
    ///
    /// # Errors
    /// A directory that is no trial's or has no weights yet, and more memory than can be had.
    pub fn of_trial(directory: &Path, batch: usize, options: &Options) -> Result<Self, ExperimentError> {
        let definition = Definition::of_trial(directory)?;
        let checkpoint = best_weights(directory)?;
        let input = definition.input(directory)?;
        let size = (input.width as u32, input.height as u32);
        let decoding = Decoding { channels: input.channels, size, fit: definition.experiment.data.fit };
        let architecture = definition.architecture(&input.spec())?;
        let [height, width, _] = architecture.image_shape();
        let pipeline = Pipeline::new(&input.statistics, (input.height, input.width), input.channels, (height, width));
        needs::check_prediction(&definition, &input.spec(), batch, options)?;
        let classes = architecture.num_classes();
        let engine = training::trained(&definition, architecture, &checkpoint, options)?;
        Ok(Self { input, decoding, pipeline, engine, checkpoint, batch, classes })
    }

    /// How many classes the network has.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The name of a class; a network of a former version may have more than the data have names.
    pub fn class(&self, class: usize) -> String {
        self.input.class_names.get(class).cloned().unwrap_or_else(|| format!("(class {class})"))
    }

    /// Classifies pictures as they come, and gives what each is in their order. No more than a batch of them is in memory.
    ///
    /// # Errors
    /// Weights that give what is no number.
    pub fn run(
        &mut self,
        mut pictures: impl Iterator<Item = Result<PathBuf, Broken>>,
        mut each: impl FnMut(&Self, Classified),
    ) -> Result<(), ExperimentError> {
        loop {
            let some: Vec<Result<PathBuf, Broken>> = pictures.by_ref().take(self.batch).collect();
            if some.is_empty() {
                return Ok(());
            }
            let decoding = self.decoding;
            let decoded: Vec<(String, Result<Vec<u8>, String>)> =
                threads::together(|| some.into_par_iter().map(|picture| decode(decoding, picture)).collect());
            let fine: Vec<&[u8]> =
                decoded.iter().filter_map(|(_, pixels)| Some(pixels.as_ref().ok()?.as_slice())).collect();
            let mut rows = self.probabilities(&fine)?.into_iter();
            for (name, pixels) in decoded {
                let probabilities = pixels.map(|_| rows.next().unwrap_or_default());
                each(self, Classified { name, probabilities });
            }
        }
    }
}

impl Classifier {
    /// Of pictures `[height, width, channels]`, as many as there are.
    pub(super) fn probabilities(&mut self, pictures: &[&[u8]]) -> Result<Vec<Vec<f32>>, ExperimentError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let split = Split::new(pictures.concat(), vec![0; pictures.len()]);
        let indices: Vec<u32> = (0..pictures.len() as u32).collect();
        let mut loaded = Loaded::default();
        self.pipeline.batch(&split, &indices, BatchPlace::default(), None, &mut loaded)?;
        self.engine
            .evaluate(&Batch { images: &loaded.images, labels: &loaded.labels, mixed: None })
            .map_err(|error| ExperimentError::of_weights(&self.checkpoint, error))?;
        let logits = self.engine.logits();
        Ok(logits.chunks_exact((logits.len() / pictures.len()).max(1)).map(softmax).collect())
    }
}

/// The name of a picture, and its pixels at the size of the data set's.
fn decode(decoding: Decoding, picture: Result<PathBuf, Broken>) -> (String, Result<Vec<u8>, String>) {
    match picture {
        Ok(path) => (shown(path.as_os_str()), decoding.read(&path.into())),
        Err(Broken { name, reason }) => (name, Err(reason)),
    }
}

/// Probabilities that logits stand for.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|exponential| exponential / sum).collect()
}
