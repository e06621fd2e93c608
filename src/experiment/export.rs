//! A trained network as a file for other programs.

use std::path::Path;

use rustc_hash::FxHashMap;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value as Json, json};

use super::{
    Definition, ExperimentError, best_weights, foreign, needs,
    training::{self, Options},
};
use crate::{
    choice::Choice,
    graph::Builder,
    onnx::Header,
    passes::{OnnxExport, onnx},
    trial::{Directory, Input, checkpoint},
};

/// What other programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The network and its weights.
    Onnx,
    /// The weights.
    Safetensors,
    /// A folder that timm loads.
    Timm,
    /// A folder that transformers loads.
    Hf,
}

impl ExportFormat {
    /// The library whose folder it is, by its word in [`FAMILIES`](crate::weights::FAMILIES).
    pub fn library(self) -> Option<&'static str> {
        match self {
            Self::Onnx | Self::Safetensors => None,
            Self::Timm | Self::Hf => Some(self.word()),
        }
    }
}

impl Choice for ExportFormat {
    const CHOICES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Onnx, "onnx", "the network with its weights, from pixels to logits"),
        (Self::Safetensors, "safetensors", "the weights alone, by their names"),
        (Self::Timm, "timm", "a folder for timm: the weights by its names, and config.json"),
        (Self::Hf, "hf", "a folder for transformers: the weights by its names, and config.json"),
    ];
}

/// The order of the axes of an ONNX file's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageLayout {
    /// `[batch, channels, height, width]`
    Nchw,
    /// `[batch, height, width, channels]`
    Nhwc,
}

impl Choice for ImageLayout {
    const CHOICES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Nchw, "nchw", "[batch, channels, height, width], as PyTorch has them"),
        (Self::Nhwc, "nhwc", "[batch, height, width, channels], as pictures are decoded"),
    ];
}

/// How a network is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// What is written.
    pub format: ExportFormat,
    /// Images of a batch; any number of them where it is not said.
    pub batch: Option<usize>,
    /// Of an ONNX file's images.
    pub layout: ImageLayout,
    /// Whether the softmax of the logits is an output, too.
    pub probabilities: bool,
}

/// A file, and what it takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Of the file.
    pub bytes: Vec<u8>,
    /// Names and contents of the files beside it, where the format is a folder.
    pub beside: Vec<(&'static str, Vec<u8>)>,
    /// In a line.
    pub about: String,
}

/// The network of a trial, with the weights that `vitx eval` tests: the best, averaged where the training evaluates the
/// average.
///
/// # Errors
/// A trial without weights, and what [`onnx`] cannot write.
pub fn export(folder: &Path, how: &ExportOptions, options: &Options) -> Result<Exported, ExperimentError> {
    let definition = Definition::of_trial(folder)?;
    let input = definition.input(folder)?;
    let architecture = definition.architecture(&input.spec())?;
    needs::check_prediction(&definition, &input.spec(), 1, options)?;
    let checkpoint = best_weights(folder)?;
    let about = metadata(folder, &definition, &input, architecture.name(), architecture.image_shape())?;
    let [height, width, channels] = architecture.image_shape();
    let (name, classes) = (architecture.name().to_owned(), architecture.num_classes());
    // By the way of an evaluation, which holds the checkpoint to the network.
    let engine = training::trained(&definition, architecture, &checkpoint, options)?;
    let weights = engine.weights()?;
    drop(engine);
    match how.format {
        ExportFormat::Safetensors => {
            let views = weights.iter().map(|tensor| {
                let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(&tensor.data));
                view.map(|view| (&tensor.name, view))
            });
            let views = views.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
            // One entry, for a map has no order: the same weights are the same bytes.
            let about = Json::Object(about.into_iter().collect()).to_string();
            let bytes = safetensors::serialize(views, Some([("vitx".to_owned(), about)].into())).map_err(invalid)?;
            Ok(Exported { bytes, beside: Vec::new(), about: format!("{} tensors", weights.len()) })
        }
        ExportFormat::Timm | ExportFormat::Hf => {
            let architecture = definition.architecture(&input.spec())?;
            foreign::export(how.format.word(), architecture, &weights, (&input, definition.experiment.data.fit), about)
        }
        ExportFormat::Onnx => {
            let architecture = definition.architecture(&input.spec())?;
            let lowering = move |builder: &mut Builder, batch| architecture.lower(builder, batch);
            let data: FxHashMap<&str, &[f32]> =
                weights.iter().map(|tensor| (&tensor.name[..], &tensor.data[..])).collect();
            let statistics = &input.statistics;
            let deviation = |channel| statistics.deviation(channel) as f32;
            let scales = [
                statistics.mean[..channels].iter().map(|&mean| mean as f32).collect(),
                (0..channels).map(deviation).collect(),
            ];
            let (given, axes) = match how.layout {
                ImageLayout::Nchw => ([channels, height, width], "[batch, channels, height, width]"),
                ImageLayout::Nhwc => ([height, width, channels], "[batch, height, width, channels]"),
            };
            let colours = if channels == 1 { "grey" } else { "RGB" };
            let of_images = format!("float32 {axes}, {colours}, 0 to 255, as pictures are decoded: it normalises them");
            let entry = |(key, value): (String, Json)| match value {
                Json::String(text) => (key, text),
                other => (key, other.to_string()),
            };
            let metadata = about.into_iter().chain([("images".to_owned(), json!(of_images))]).map(entry).collect();
            let header = Header {
                name,
                producer_name: "vitx".into(),
                producer_version: env!("CARGO_PKG_VERSION").into(),
                metadata,
            };
            let export = OnnxExport {
                batch: how.batch,
                channels_first: how.layout == ImageLayout::Nchw,
                scales: Some(scales),
                probabilities: how.probabilities,
                header,
            };
            let bytes = onnx(&lowering, |name| data.get(name).copied(), &export)?;
            let batch = how.batch.map_or_else(|| "batch".to_owned(), |batch| batch.to_string());
            let [a, b, c] = given;
            let about = format!("images [{batch}, {a}, {b}, {c}] of 0 to 255 to logits [{batch}, {classes}]");
            Ok(Exported { bytes, beside: Vec::new(), about })
        }
    }
}

pub(super) fn invalid(error: safetensors::SafeTensorError) -> ExperimentError {
    ExperimentError::Backend(crate::backend::BackendError::Other(format!("safetensors: {error}")))
}

/// What a file says of the network, besides its weights: keys and values.
fn metadata(
    folder: &Path,
    definition: &Definition,
    input: &Input,
    model: &str,
    [height, width, _]: [usize; 3],
) -> Result<Vec<(String, Json)>, ExperimentError> {
    let run = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let run = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let epoch = checkpoint::progress(&Directory::new(folder).best())?.and_then(|progress| progress.best);
    let entries = [
        ("vitx.version", json!(env!("CARGO_PKG_VERSION"))),
        ("vitx.run", json!(run)),
        ("vitx.model", json!(model)),
        ("vitx.data", json!(definition.experiment.data.name)),
        ("vitx.epoch", json!(epoch)),
        ("vitx.ema", json!(definition.experiment.train.evaluates_average())),
        ("class_names", json!(input.class_names)),
        ("image_size", json!([height, width])),
        // Where it is another, images are resized twice, as in training.
        ("data_size", json!([input.height, input.width])),
        ("resize", json!("bilinear, half-pixel centres, no antialiasing: from data_size to image_size")),
        ("mean", json!(input.statistics.mean)),
        ("variance", json!(input.statistics.variance)),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
