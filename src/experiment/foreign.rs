//! A trained network as a folder of another library's: `model.safetensors` and the files beside it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value as Json;

use super::{
    ExperimentError,
    export::{Exported, invalid},
};
use crate::{
    backend::StateTensor,
    data::Fit,
    dsl::{Source, Value},
    graph::Builder,
    model::{Architecture, LayerNode, elaborate},
    onnx::Header,
    passes::{OnnxExport, onnx},
    trial::Input,
    weights::export::{About, Foreign, Param, export as named},
};

/// The files of a network for a library.
///
/// # Errors
/// A network that the library does not have.
pub fn export(
    library: &str,
    architecture: Architecture,
    weights: &[StateTensor],
    (input, fit): (&Input, Fit),
    metadata: Vec<(String, Json)>,
) -> Result<Exported, ExperimentError> {
    let channels = architecture.image_shape()[2];
    let per_channel = |of: &dyn Fn(usize) -> f64| (0..channels).map(|channel| of(channel) / 255.0).collect();
    let statistics = &input.statistics;
    let about = About {
        image: architecture.image_shape(),
        classes: (0..architecture.num_classes())
            .map(|class| input.class_names.get(class).cloned().unwrap_or_else(|| class.to_string()))
            .collect(),
        normalization: [
            per_channel(&|channel| statistics.mean[channel]),
            per_channel(&|channel| statistics.deviation(channel)),
        ],
        crop_mode: match fit {
            Fit::Squash => "squash",
            Fit::Crop => "center",
            Fit::Pad => "border",
        },
    };
    let foreign = named(library, weights, &about).map_err(|reason| refused(library, reason))?;
    same(&foreign, architecture, weights, input).map_err(|reason| refused(library, reason))?;
    let views = foreign.tensors.iter().map(|(name, (shape, values))| {
        TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    // `format` is what transformers asks for. One entry of ours, for a map has no order: the same weights are the same bytes.
    let metadata = Json::Object(metadata.into_iter().collect()).to_string();
    let entries = [("format".to_owned(), "pt".to_owned())].into_iter();
    let entries = match library {
        "hf" => entries.collect(),
        _ => [("vitx".to_owned(), metadata)].into(),
    };
    let bytes = safetensors::serialize(views, Some(entries)).map_err(invalid)?;
    let beside = foreign.files.iter().map(|(name, json)| (*name, format!("{json:#}\n").into_bytes())).collect();
    let about = format!("{} tensors by the names of {library}", foreign.tensors.len());
    Ok(Exported { bytes, beside, about })
}

fn refused(library: &str, reason: String) -> ExperimentError {
    ExperimentError::Foreign { library: library.to_owned(), reason }
}

/// Holds the network to that of the library: what both compute must be the same, down to the last number. Its names and
/// shapes alone do not tell an activation, an epsilon or a stride.
fn same(foreign: &Foreign, own: Architecture, weights: &[StateTensor], input: &Input) -> Result<(), String> {
    let params: BTreeMap<String, Value> = foreign
        .params
        .iter()
        .map(|(name, param)| {
            let value = match param {
                Param::Number(number) => Value::Int(*number),
                Param::List(numbers) => Value::List(numbers.iter().copied().map(Value::Int).collect()),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    let written: Vec<String> = foreign.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let theirs = format!("that of `experiments/zoo/{}.vitx` with {}", foreign.model, written.join(", "));
    let source = Source::new(format!("{}.vitx", foreign.model), foreign.text);
    let spec = crate::model::ImageSpec { num_classes: own.num_classes(), ..input.spec() };
    let reference =
        elaborate(&source, &params, &spec).map_err(|error| format!("it would be {theirs}, which is none: {error}"))?;
    let difference = difference(&own, &reference).map_or_else(String::new, |difference| format!(": {difference}"));
    let data: FxHashMap<&str, &[f32]> = weights.iter().map(|tensor| (&tensor.name[..], &tensor.data[..])).collect();
    let computed = |architecture: Architecture| {
        let lowering = move |builder: &mut Builder, batch| architecture.lower(builder, batch);
        let header = Header {
            name: String::new(),
            producer_name: String::new(),
            producer_version: String::new(),
            metadata: Vec::new(),
        };
        let export = OnnxExport { batch: None, channels_first: true, scales: None, probabilities: false, header };
        onnx(&lowering, |name| data.get(name).copied(), &export).map_err(|error| error.to_string())
    };
    match computed(own)? == computed(reference)? {
        true => Ok(()),
        false => Err(format!("it is not {theirs}{difference}")),
    }
}

/// The first layer that is another, or is one more, but for those that do nothing outside training.
fn difference(own: &Architecture, reference: &Architecture) -> Option<String> {
    let (mine, theirs) = (own.image_shape(), reference.image_shape());
    if mine != theirs {
        return Some(format!("it takes images of {mine:?}, that of {theirs:?}"));
    }
    let layers = |architecture: &'_ Architecture| -> Vec<String> {
        let evaluates = |node: &&LayerNode| !["dropout", "drop_path"].contains(&node.kind);
        let text = |node: &LayerNode| format!("`{}` {}({})", node.path, node.kind, node.arguments_text());
        architecture.layers().iter().filter(evaluates).map(text).collect()
    };
    let (mine, theirs) = (layers(own), layers(reference));
    let differ = mine.iter().zip(&theirs).find(|(mine, theirs)| mine != theirs);
    match differ {
        Some((mine, theirs)) => Some(format!("it has {mine}, that has {theirs}")),
        None if mine.len() != theirs.len() => Some(format!("it has {} layers, that has {}", mine.len(), theirs.len())),
        None => None,
    }
}
