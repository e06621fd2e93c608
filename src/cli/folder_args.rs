use std::path::PathBuf;

use super::choice::words;
use crate::data::{DataOptions, Fit, Nested};

/// What `data.KEY` of an experiment says of the user's own pictures.
#[derive(Debug, Clone, clap::Args)]
pub struct FolderArgs {
    /// The folder of `image_folder`, the file of `npz`, the folder or the file of `parquet`
    #[arg(long)]
    pub path: Option<PathBuf>,
    /// A table of pictures with the columns path, label and split, instead of folders of classes
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The share of each class that tests, where there are no images to test on
    #[arg(long, value_name = "SHARE")]
    test_split: Option<f64>,
    /// Whether pictures in folders within that of a class belong to the class, or are classes of their own
    #[arg(long, value_parser = words::<Nested>())]
    nested: Option<Nested>,
    /// The column of pictures of `parquet`, where there are several
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,
    /// The column of labels of `parquet`, where there are several
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// 1 for grey images
    #[arg(long)]
    channels: Option<usize>,
    /// What becomes of a picture's aspect ratio: `squash`, unless it is said
    #[arg(long, value_parser = words::<Fit>())]
    fit: Option<Fit>,
    /// Leaves out pictures that cannot be read, as `data.skip_broken` does
    #[arg(long)]
    skip_broken: bool,
}

impl FolderArgs {
    /// The same, as an experiment has it; `data_dir` is searched first.
    pub fn options(&self, data_dir: Option<PathBuf>) -> DataOptions {
        let Self { path, csv, test_split, nested, image_column, label_column, channels, fit, skip_broken } =
            self.clone();
        let fit = fit.unwrap_or_default();
        DataOptions {
            data_dir,
            path,
            csv,
            test_split,
            nested,
            image_column,
            label_column,
            channels,
            fit,
            skip_broken,
            ..DataOptions::default()
        }
    }
}
