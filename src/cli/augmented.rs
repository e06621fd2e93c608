//! `data show --augmented`: what training sees.

use std::path::{Path, PathBuf};

use miette::miette;

use super::{folder_args::FolderArgs, named, out, output};
use crate::{
    data::{
        self, Augmentation, BatchPlace, DataError, DataOptions, Draws, Loaded, Pipeline, Split, Statistics, Subset,
        picture, sources,
    },
    experiment::{Definition, Experiment, Overrides, Setup, overrides},
};

/// Images of a sheet, one below the other.
const ROWS: usize = 8;

/// What is drawn.
pub struct Sheet<'a> {
    /// A data set, or the file of an experiment.
    pub name: &'a str,
    /// Keys of the experiment that are set.
    pub set: &'a [String],
    /// How many epochs.
    pub epochs: u32,
    /// The first image.
    pub index: usize,
    /// Of the images of a data set that no experiment's model resizes.
    pub image_size: Option<usize>,
    pub data_dir: Option<PathBuf>,
    /// Of what the user says of `image_folder` and `npz`.
    pub folder: &'a FolderArgs,
    pub output: &'a Path,
}

/// Training images, and what is done to them.
struct Input {
    name: String,
    images: Split,
    pipeline: Pipeline,
    augmentation: Augmentation,
    seed: u64,
}

impl Sheet<'_> {
    /// Draws some images as they are, and beside them in one epoch after the other.
    ///
    /// # Errors
    /// Data that are not there, an experiment that does not fit them, and a picture that cannot be written.
    pub fn draw(&self) -> miette::Result<()> {
        let Input { name, images, pipeline, augmentation, seed } = self.input()?;
        let count = images.len();
        if self.index >= count {
            let help = format!("the first is 0, the last {}", count - 1);
            return Err(miette!(help = help, "there is no image {}", self.index));
        }
        let indices: Vec<u32> = (self.index..count.min(self.index + ROWS)).map(|index| index as u32).collect();
        let plan = augmentation.plan(pipeline.size());
        if !plan.changes() {
            return Err(miette!(
                help =
                    "e.g. --set 'augmentation=[random_crop, random_flip, rand_augment]'; docs/AUGMENTATION.md has all",
                "`{}` has no augmentation",
                self.name
            ));
        }
        let mut shares = Vec::new();
        let batches: Result<Vec<Vec<f32>>, DataError> = (0..=self.epochs)
            .map(|column| {
                let mut loaded = Loaded::default();
                let draws = column.checked_sub(1).map(|epoch| Draws { seed, epoch, repeats: 1 });
                pipeline.batch(
                    &images,
                    &indices,
                    BatchPlace::default(),
                    draws.map(|draws| (&*plan, draws)),
                    &mut loaded,
                )?;
                shares.extend(loaded.mixed().map(|mixed| format!("{:.2}", mixed[0].weight)));
                Ok(loaded.images)
            })
            .collect();
        let batches = batches?;
        output::write(self.output, &output::png(&picture::sheet(&batches, pipeline.levels(), pipeline.size()))?)?;
        // Where the picture itself goes to standard output, nothing else does.
        let say = if output::is_standard(self.output) { out::note } else { out::line };
        let last = self.index + indices.len() - 1;
        say(&format!("Images {} to {last} of {name}: as they are, and in epochs 1 to {}", self.index, self.epochs));
        if !shares.is_empty() {
            say(&format!("Mixed with one another, as one batch; the larger shares: {}", shares.join(", ")));
        }
        Ok(())
    }

    fn input(&self) -> miette::Result<Input> {
        // A data set goes before an experiment of its name.
        let file = match sources::find(self.name) {
            Ok(_) => PathBuf::from(self.name),
            Err(error) => named::experiment(Some(Path::new(self.name)), None).or(Err(error))?,
        };
        if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            let changes = Overrides { set: self.set.to_vec(), path: self.folder.path.clone(), ..Overrides::default() };
            let definition = Definition::read(&file, &changes)?.settled()?;
            let Setup { dataset, training, pipeline, .. } =
                Setup::new(&definition, self.data_dir.clone(), None, &Subset::ALL)?;
            let Experiment { augmentation, train, .. } = definition.experiment;
            return Ok(Input { name: dataset.name, images: training, pipeline, augmentation, seed: train.seed });
        }
        let source = sources::find(self.name)?;
        // The keys of an experiment on it, whatever its model.
        let text = format!("model: model.vitx\ndata: {{ name: {}, path: . }}\n", source.name());
        let text = if source.is_own() { text } else { text.replace(", path: .", "") };
        let begin = Experiment::parse("experiment", &text)?;
        let experiment = self.set.iter().try_fold(begin, |experiment, set| overrides::apply(&experiment, set))?;
        let model_size = self.image_size.map(|size| [size; 2]);
        let options = DataOptions { model_size, ..self.folder.options(self.data_dir.clone()) };
        let set = data::load(source.name(), &options)?;
        let own = (set.height, set.width);
        let size = self.image_size.map_or(own, |size| (size, size));
        let pipeline = Pipeline::new(&Statistics::of(&set.train, set.channels)?, own, set.channels, size);
        let Experiment { augmentation, train, .. } = experiment;
        Ok(Input { name: set.name, images: set.train, pipeline, augmentation, seed: train.seed })
    }
}
