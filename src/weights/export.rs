//! A network's weights by the names of a library and in its order of axes, with the files by which it makes the network: what
//! [`import`](super::import) does, the other way.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

pub use super::family::{Param, Params};
use super::{
    Dialect, FAMILIES, Family,
    family::{Facts, name_of},
    import::Config,
    layout::to_torch,
};
use crate::backend::StateTensor;

/// What a library's files say of a network besides the shapes of its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// `[height, width, channels]` of its images.
    pub image: [usize; 3],
    /// In the order of the logits.
    pub classes: Vec<String>,
    /// Mean and deviation of each channel, of pixels from 0 to 1.
    pub normalization: [Vec<f64>; 2],
    /// How pictures are fitted to the image, in timm's word: `squash`, `center` or `border`.
    pub crop_mode: &'static str,
}

/// What a library's files are made of.
pub struct Described<'a> {
    /// The parameters of the text of ours.
    pub params: &'a Params,
    /// The rest.
    pub about: &'a About,
}

impl Described<'_> {
    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> i64 {
        match self.params.iter().find(|(own, _)| *own == name) {
            Some((_, Param::Number(number))) => *number,
            _ => 0,
        }
    }

    /// A parameter that is a list.
    pub fn list(&self, name: &str) -> &[i64] {
        match self.params.iter().find(|(own, _)| *own == name) {
            Some((_, Param::List(numbers))) => numbers,
            _ => &[],
        }
    }
}

/// A network of a library's: tensors, and the files beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// By their names: shape and values, row-major.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Names and contents.
    pub files: Vec<(&'static str, Json)>,
    /// The name of the text in `experiments/zoo` of which the library's network is.
    pub model: &'static str,
    /// The text.
    pub text: &'static str,
    /// Its parameters. The library's network is that of the text with these, and no other.
    pub params: Params,
}

/// Names a network's weights as a library does.
///
/// # Errors
/// Why the library has no such network, for people.
pub fn export(library: &str, weights: &[StateTensor], about: &About) -> Result<Foreign, String> {
    for family in FAMILIES.iter().filter(|family| family.library == library) {
        let there = |name: &&&str| !weights.iter().any(|tensor| tensor.name == **name);
        if family.signature.iter().find(there).is_some() {
            continue;
        }
        // The first is the one: another may have the same names, and less of them.
        return of_family(family, weights, about);
    }
    let known = FAMILIES.iter().filter(|family| family.library == library && family.described.is_ok());
    let known: Vec<&str> = known.map(|family| family.about).collect();
    Err(format!("its layers are those of no network of {library} that vitx knows: {}", known.join("; ")))
}

fn of_family(family: &'static Family, weights: &[StateTensor], about: &About) -> Result<Foreign, String> {
    let described = family.described?;
    let prefix = family.prefixes[0];
    let mut parts: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for tensor in weights {
        let Some(name) = name_of(family.rules(), family.dialect, prefix, &tensor.name) else {
            return Err(format!("`{}` has no name there", tensor.name));
        };
        let (shape, data) = stored(family.dialect, &name.text, tensor, about.image[2])
            .ok_or_else(|| format!("`{}` {:?} has no form there", tensor.name, tensor.shape))?;
        let (index, of) = name.slice.unwrap_or((0, 1));
        parts.entry(name.text).or_default().push(Part { index, of, shape, data });
    }
    let mut tensors = BTreeMap::new();
    for (name, mut parts) in parts {
        parts.sort_by_key(|part| part.index);
        let all = parts.iter().enumerate().all(|(index, part)| {
            part.index == index && part.of == parts.len() && part.shape == parts[0].shape && !part.shape.is_empty()
        });
        if !all {
            return Err(format!("`{name}` is there of parts that the network has others of"));
        }
        let mut shape = parts[0].shape.clone();
        shape[0] *= parts.len();
        tensors.insert(name, (shape, parts.into_iter().flat_map(|part| part.data).collect::<Vec<f32>>()));
    }
    let their_name = |ours: &str| Some(name_of(family.rules(), family.dialect, prefix, ours)?.text);
    let shape = |ours: &str| tensors.get(&their_name(ours)?).map(|(shape, _)| shape.clone());
    let query = weights.iter().find(|tensor| tensor.name.ends_with("/query/kernel"));
    let heads = query.and_then(|tensor| tensor.shape.get(1));
    let [height, width, channels] = about.image;
    let network =
        json!({ "num_attention_heads": heads, "pretrained_cfg": { "input_size": [channels, height, width] } });
    let params = (family.params)(&Facts { shape: &shape, config: &Config { network: Some(network), images: None } })?;
    let files = described(&Described { params: &params, about });
    Ok(Foreign { tensors, files, model: family.model, text: family.text, params })
}

/// One of equal parts of a tensor along its first axis.
struct Part {
    index: usize,
    of: usize,
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// A parameter of ours in a dialect's form; `None` for a shape that is not of its layer.
fn stored(dialect: Dialect, name: &str, tensor: &StateTensor, channels: usize) -> Option<(Vec<usize>, Vec<f32>)> {
    let shape = form(&tensor.name, &tensor.shape, channels)?;
    Some(match dialect {
        Dialect::Torch if name.ends_with(".weight") => to_torch(&shape, &tensor.data),
        Dialect::Torch | Dialect::Vitx | Dialect::Flax => (shape, tensor.data.clone()),
    })
}

/// The same values with axes joined or split, as PyTorch's layers have them.
fn form(name: &str, shape: &[usize], channels: usize) -> Option<Vec<usize>> {
    let (layer, last) = name.rsplit_once('/')?;
    let layer = layer.rsplit('/').next()?;
    Some(match (layer, last, shape) {
        ("query" | "key" | "value", "kernel", &[dim, heads, width]) => vec![dim, heads * width],
        ("query" | "key" | "value", "bias", &[heads, width]) => vec![heads * width],
        ("attention_output", "kernel", &[heads, width, dim]) => vec![heads * width, dim],
        ("depthwise_conv2d", "kernel", &[height, width, channels, multiplier]) => {
            vec![height, width, 1, channels * multiplier]
        }
        ("class_token", "token", &[tokens, dim]) => vec![1, tokens, dim],
        ("position_embedding", "embeddings", &[tokens, dim]) => vec![1, tokens, dim],
        // A dense layer on patches, which is a convolution there.
        ("embed", "kernel", &[inputs, dim]) => {
            let side = (inputs / channels).isqrt();
            (side * side * channels == inputs).then_some(vec![side, side, channels, dim])?
        }
        _ => shape.to_vec(),
    })
}
