//! The layers, one file each: arguments, shape rule, parameters and initialisers, lowering, FLOPs.
//!
//! A new layer is a new file and one line in `OWN`; an activation is one in `crate::graph::activations`. Shapes are those of one image: the batch
//! axis comes in front when a layer is lowered.

mod activation;
mod affine;
mod aliases;
mod arguments;
mod attention;
mod axes;
mod batch_norm;
mod catalogue;
mod class_token;
mod concat;
mod conv2d;
mod dense;
mod depthwise_conv2d;
mod drop_path;
mod dropout;
mod flatten;
mod global_average_pool;
mod group_norm;
pub mod initializers;
mod layer_norm;
mod layer_scale;
mod merge;
mod mlp;
mod patch_encoder;
mod patches;
mod pool2d;
mod position_embedding;
mod reduce;
mod reshape;
mod rms_norm;
mod scale;
mod sequence_pool;
mod take;
mod translate;
mod transpose;
mod weighted_sum;
mod windows;
mod zero_padding2d;

use std::{fmt::Debug, sync::LazyLock};

pub use activation::Function;
pub use aliases::{Elsewhere, argument_alias, elsewhere, says_trained};
pub use arguments::{Argument, Arguments, Default, Kind, Padding};
pub use catalogue::{Described, DescribedArgument, catalogue, markdown, signature};
pub use merge::{Arithmetic, stretched};

use crate::graph::{Builder, Initializer, Value};

/// Layers with a file of their own.
const OWN: &[&LayerKind] = &[
    &affine::KIND,
    &attention::CROSS,
    &attention::KIND,
    &batch_norm::KIND,
    &class_token::KIND,
    &concat::KIND,
    &conv2d::KIND,
    &dense::KIND,
    &depthwise_conv2d::KIND,
    &drop_path::KIND,
    &dropout::KIND,
    &flatten::KIND,
    &global_average_pool::KIND,
    &group_norm::KIND,
    &layer_norm::KIND,
    &layer_scale::KIND,
    &mlp::KIND,
    &patch_encoder::KIND,
    &patches::KIND,
    &pool2d::AVERAGE,
    &pool2d::MAX,
    &position_embedding::KIND,
    &reduce::MAX,
    &reduce::MEAN,
    &reshape::KIND,
    &rms_norm::KIND,
    &scale::KIND,
    &sequence_pool::KIND,
    &take::KIND,
    &translate::PAD,
    &translate::ROLL,
    &translate::SHIFT,
    &translate::SLICE,
    &transpose::KIND,
    &weighted_sum::KIND,
    &zero_padding2d::KIND,
];

/// All layers of the language, by name: those above, the activations, and what merges tensors element by element.
pub static LAYERS: LazyLock<Vec<&'static LayerKind>> = LazyLock::new(|| {
    let activations: &'static [LayerKind] = Vec::leak(activation::kinds());
    let mut layers: Vec<&LayerKind> = OWN.iter().copied().chain(activations).chain(merge::KINDS).collect();
    layers.sort_by_key(|layer| layer.name);
    layers
});

/// The layer of a name.
pub fn find(name: &str) -> Option<&'static LayerKind> {
    LAYERS.iter().copied().find(|layer| layer.name == name)
}

/// A layer's constructor, from the shapes of its inputs. It is given the kind for those that are made alike.
pub type Build = fn(&LayerKind, &[Vec<usize>], &Arguments) -> Result<Box<dyn Layer>, Misfit>;

/// A layer of the language: its name, its arguments, and how an instance is made.
#[derive(Debug)]
pub struct LayerKind {
    /// As the language calls it.
    pub name: &'static str,
    /// What it does, in one line.
    pub meaning: &'static str,
    /// What it makes of which shape, without the batch.
    pub shape: &'static str,
    /// Whose layer it computes the same as.
    pub source: &'static str,
    /// The current tensor, or named ones.
    pub inputs: Inputs,
    /// In the order of calls.
    pub arguments: &'static [Argument],
    /// Makes an instance for inputs of these shapes, which holds the shape rule.
    pub build: Build,
}

/// What a layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// The current tensor.
    Current,
    /// The tensors given as positional arguments, at least two.
    Listed,
}

/// A layer instance: arguments resolved, shapes known.
pub trait Layer: Debug + Send + Sync {
    /// Shape of the output for one image.
    fn output_shape(&self) -> Vec<usize>;

    /// The trainable tensors, in the order of [`Layer::lower`]'s `parameters`.
    fn parameters(&self) -> Vec<ParameterSpec> {
        Vec::new()
    }

    /// How many layers it counts as: those it is made of.
    fn layers(&self) -> usize {
        1
    }

    /// Elements of the largest tensor that it makes for one image, those within it counted; saturates.
    fn largest(&self) -> usize {
        volume(&self.output_shape())
    }

    /// The function that its output is the result of.
    fn activation(&self) -> Option<Function> {
        None
    }

    /// Whether each vector along the last axis of its output is one of its inputs', or a mean or a sum of some, where
    /// that axis is as long as theirs.
    fn keeps_last_axis(&self) -> bool {
        false
    }

    /// How many tokens it puts in front that all start the same.
    fn equal_tokens(&self) -> usize {
        0
    }

    /// Floating-point operations of matrix products in a forward pass over one image, a
    /// multiply-add counting two.
    fn flops(&self) -> u64 {
        0
    }

    /// Adds the layer to a graph: inputs `[batch, ..]`, parameters in their graph shapes.
    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value;
}

/// A tensor of a layer that is learned, or kept from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Within the layer, e.g. `query/kernel`.
    pub name: String,
    /// As Keras stores it.
    pub stored_shape: Vec<usize>,
    /// As the graph computes with it.
    pub shape: Vec<usize>,
    /// How it starts.
    pub initializer: Initializer,
    /// The momentum of a moving average, which no optimizer changes.
    pub averaged: Option<f32>,
}

impl ParameterSpec {
    /// A tensor that is stored as it is computed with.
    pub fn plain(name: &str, shape: &[usize], initializer: Initializer) -> Self {
        let (name, stored_shape) = (name.to_owned(), shape.to_vec());
        Self { name, stored_shape, shape: shape.to_vec(), initializer, averaged: None }
    }

    /// The same tensor as a moving average.
    #[must_use]
    pub fn averaged(self, momentum: f32) -> Self {
        Self { averaged: Some(momentum), ..self }
    }

    /// The same tensor under another shape for the graph.
    #[must_use]
    pub fn computed_as(self, shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), ..self }
    }

    /// Number of elements; saturates.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, length| product.saturating_mul(*length))
    }

    /// True when some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a layer cannot take its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What does not fit, in one sentence.
    pub message: String,
    /// What the layer asks for, for the label at the layer.
    pub needs: String,
    /// The argument to blame, if one is.
    pub argument: Option<&'static str>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Misfit {
    /// A message, and what the layer asks for; both are shown.
    pub fn new(message: impl Into<String>, needs: impl Into<String>) -> Self {
        Self { message: message.into(), needs: needs.into(), argument: None, help: None }
    }

    /// Names the argument that is at fault, which the diagnostic points to.
    pub fn blame(self, argument: &'static str) -> Self {
        Self { argument: Some(argument), ..self }
    }

    /// Says what to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// `keras.initializers.GlorotUniform` of a kernel's shape: fans as `keras.src.initializers.compute_fans`
/// has them, where all axes but the last two count as a receptive field.
pub fn glorot(shape: &[usize]) -> Initializer {
    let (fan_in, fan_out) = fans(shape);
    Initializer::GlorotUniform { fan_in, fan_out }
}

/// The fans of a kernel; saturate.
fn fans(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [only] => (*only, *only),
        [field @ .., fan_in, fan_out] => {
            let field = field.iter().fold(1, |product: usize, length| product.saturating_mul(*length));
            (fan_in.saturating_mul(field), fan_out.saturating_mul(field))
        }
    }
}

/// Number of elements of a shape; saturates.
pub fn volume(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, length| product.saturating_mul(*length))
}

/// Product of sizes as FLOPs; saturates.
fn flops(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor as u64))
}

/// A shape with the batch axis in front.
fn batched(input: &Value, shape: &[usize]) -> Vec<usize> {
    let batch = input.shape.first().copied().unwrap_or(1);
    [&[batch], shape].concat()
}

/// The one input, as `[tokens, dim]`.
fn tokens(layer: &str, shapes: &[Vec<usize>]) -> Result<(usize, usize), Misfit> {
    match shapes {
        [shape] if shape.len() == 2 => Ok((shape[0], shape[1])),
        _ => Err(Misfit::new(
            format!("`{layer}` takes tokens, not a tensor of shape {}", show(shapes)),
            "needs [tokens, dim]",
        )
        .help("`patches` or `reshape` make tokens")),
    }
}

/// The shape of the one input, which has an axis at least.
fn last_axis(layer: &str, shapes: &[Vec<usize>]) -> Result<(Vec<usize>, usize), Misfit> {
    match shapes {
        [shape] if !shape.is_empty() => Ok((shape.clone(), shape[shape.len() - 1])),
        _ => Err(Misfit::new(
            format!("`{layer}` takes a tensor with an axis at least, not {}", show(shapes)),
            "needs [.., dim]",
        )),
    }
}

fn show(shapes: &[Vec<usize>]) -> String {
    shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(", ")
}
