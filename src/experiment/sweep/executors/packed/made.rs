//! A trial's engine with made-up images, to be timed or weighed.

use crate::{
    backend::{BackendError, Drawing, Engine, ImageSet, Part},
    data::{self, Pipeline, Spec, Split, Statistics},
    experiment::{
        Definition, ExperimentError, image_size,
        training::{self, Options},
    },
    graph::Builder,
};

/// An engine, and what the images of its trial are like.
pub struct Made<'a> {
    definition: &'a Definition,
    pub spec: Spec,
    pipeline: Pipeline,
    pub engine: Box<dyn Engine>,
    /// As the experiment has it: there may be fewer images.
    pub batch_size: usize,
    /// Images to train on, to validate with, and to test with.
    pub counts: [usize; 3],
    /// Sizes of training images by their first epochs, once they are added.
    sizes: Vec<(u32, (usize, usize))>,
}

impl<'a> Made<'a> {
    /// With the network's initial weights, and no images.
    ///
    /// # Errors
    /// As the engine's.
    pub fn new(definition: &'a Definition, options: &Options) -> Result<Self, ExperimentError> {
        let data = &definition.experiment.data;
        let spec = data::describe(&data.name, &definition.data_options(options.data_dir.clone()))?;
        let architecture = definition.architecture(&spec.image())?;
        let (training, validation) = spec.split(data.train_limit, data.validation_split)?;
        let test = data.test_limit.map_or(spec.test, |limit| limit.min(spec.test));
        let (batch_size, counts) = (definition.experiment.train.batch_size, [training, validation, test]);
        let [height, width, _] = architecture.image_shape();
        let statistics = Statistics::of(&images(&spec, 1), spec.channels)?;
        let pipeline = Pipeline::new(&statistics, (spec.height, spec.width), spec.channels, (height, width));
        let engine = training::engine(definition, architecture, options)?;
        Ok(Self { definition, spec, pipeline, engine, batch_size, counts, sizes: Vec::new() })
    }

    /// Has images be as small in some epochs as the experiment says; without this all are of the network's own size.
    ///
    /// # Errors
    /// As of [`image_size::networks`], and the engine's.
    pub fn add_sizes(&mut self) -> Result<(), ExperimentError> {
        let image = self.spec.image();
        for network in image_size::networks(self.definition, &image, &self.definition.architecture(&image)?)? {
            self.engine.add_size(Box::new(move |builder: &mut Builder, batch| network.lower(builder, batch)))?;
        }
        self.sizes = image_size::of_epochs(self.definition);
        Ok(())
    }

    /// Offers images to the engine; false where it has no room for them. Those to train on are drawn, with a rate for each
    /// step.
    ///
    /// # Errors
    /// As the engine's.
    pub fn keep(&mut self, part: Part, split: &Split, rates: &[f32]) -> Result<bool, ExperimentError> {
        let experiment = &self.definition.experiment;
        let augmentation = &experiment.augmentation.plan(self.pipeline.size());
        let drawing = Drawing { seed: experiment.train.seed, repeats: 1, augmentation, rates, sizes: &self.sizes };
        let drawing = (part == Part::Training).then_some(drawing);
        let set = ImageSet { split, pipeline: &self.pipeline, batch_size: self.batch_size, drawing };
        let resident = self.engine.resident();
        let resident = resident.ok_or_else(|| BackendError::Other("the engine keeps no images".into()))?;
        Ok(resident.keep_images(part, &set)?)
    }

    /// Numbers of an image as the network takes it where it evaluates.
    pub fn pixels(&self) -> usize {
        let [height, width] = self.pipeline.size();
        height * width * self.pipeline.channels()
    }

    /// Numbers of an image as it is trained on in the epochs, each once.
    pub fn pixels_of_training(&self) -> Vec<usize> {
        if self.sizes.is_empty() {
            return vec![self.pixels()];
        }
        let pixels = |&(_, (height, width)): &(u32, (usize, usize))| height * width * self.pipeline.channels();
        let mut all: Vec<usize> = self.sizes.iter().map(pixels).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// So many images that are not all the same.
pub fn images(spec: &Spec, count: usize) -> Split {
    let pixels = (0..count * bytes(spec)).map(|at| (at * 7919 % 251) as u8).collect();
    labelled(spec, count, pixels)
}

/// So many images that nobody looks at.
pub fn black(spec: &Spec, count: usize) -> Split {
    labelled(spec, count, vec![0; count * bytes(spec)])
}

fn labelled(spec: &Spec, count: usize, pixels: Vec<u8>) -> Split {
    Split::new(pixels, (0..count).map(|at| (at % spec.num_classes) as u32).collect())
}

fn bytes(spec: &Spec) -> usize {
    spec.height * spec.width * spec.channels
}
