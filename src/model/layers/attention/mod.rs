//! Multi-head attention: of tokens to each other, and of tokens to others.

mod heads;
mod options;

use self::heads::Heads;
use super::{Argument, Default, Inputs, Kind, LayerKind, Misfit, initializers, show};

const NUM_HEADS: Argument = Argument::required("num_heads", Kind::Size);
const KEY_DIM: Argument = Argument::required("key_dim", Kind::Size);
const VALUE_DIM: Argument = Argument::optional("value_dim", Kind::Size, Default::Same("key_dim"));
const DROPOUT: Argument = Argument::optional("dropout", Kind::Rate, Default::Float(0.0));
const USE_BIAS: Argument = Argument::optional("use_bias", Kind::Bool, Default::Bool(true));
/// Of queries, keys and values, and of talking heads.
const QKV_BIAS: Argument = Argument::rare("qkv_bias", Kind::Bool, Default::Same("use_bias"));
const TEMPERATURE: Argument =
    Argument::rare("temperature", Kind::Choice(options::TEMPERATURES), Default::Word(options::TEMPERATURES[0]));
const QK_NORM: Argument = Argument::rare("qk_norm", Kind::Choice(options::NORMS), Default::Word(options::NORMS[0]));
const TALKING_HEADS: Argument = Argument::rare("talking_heads", Kind::Bool, Default::Bool(false));

/// `attention(num_heads, key_dim, value_dim = key_dim, dropout = 0, use_bias = true, ..)`: self-attention over tokens, as
/// `keras.layers.MultiHeadAttention`; dropout is on the weights. What else it may have is explained in `docs/LANGUAGE.md`.
pub const KIND: LayerKind = LayerKind {
    name: "attention",
    meaning: "multi-head self-attention over tokens; dropout is on the weights; options below",
    shape: "`[.., tokens, dim]` to itself",
    source: "`keras.layers.MultiHeadAttention`",
    inputs: Inputs::Current,
    arguments: &[
        NUM_HEADS,
        KEY_DIM,
        VALUE_DIM,
        DROPOUT,
        USE_BIAS,
        initializers::KERNEL,
        QKV_BIAS,
        TEMPERATURE,
        Argument::rare("mask", Kind::Choice(options::MASKS), Default::Word(options::MASKS[0])),
        QK_NORM,
        Argument::rare("positions", Kind::Choice(options::POSITIONS), Default::Word(options::POSITIONS[0])),
        Argument::rare("grid", Kind::Extent, Default::Word(options::SQUARE)),
        Argument::rare("shift", Kind::Extent, Default::Word(options::HALF)),
        TALKING_HEADS,
    ],
    build: |kind, shapes, arguments| {
        let [shape] = shapes else { return Err(no_tokens(kind.name, shapes)) };
        let Some((leading, &[tokens, dim])) = shape.split_last_chunk::<2>() else {
            return Err(no_tokens(kind.name, shapes));
        };
        Ok(Box::new(Heads::new(
            leading,
            [tokens, tokens],
            [dim, dim],
            arguments,
            options::of_itself(arguments, leading, tokens)?,
        )))
    },
};

/// `cross_attention(queries, memory, num_heads = .., key_dim = .., ..)`: attention of tokens to others, as
/// `keras.layers.MultiHeadAttention` called with a query and a value; of one class token, the class attention of CaiT.
pub const CROSS: LayerKind = LayerKind {
    name: "cross_attention",
    meaning: "multi-head attention of the tokens of the first tensor to those of the second",
    shape: "`[.., tokens, dim]` and `[.., sources, n]` to `[.., tokens, dim]`",
    source: "`keras.layers.MultiHeadAttention`; class attention: CaiT, Touvron et al. 2021",
    inputs: Inputs::Listed,
    arguments: &[
        NUM_HEADS,
        KEY_DIM,
        VALUE_DIM,
        DROPOUT,
        USE_BIAS,
        initializers::KERNEL,
        QKV_BIAS,
        TEMPERATURE,
        QK_NORM,
        TALKING_HEADS,
    ],
    build: |kind, shapes, arguments| {
        let [queries, memory] = shapes else {
            return Err(Misfit::new(
                format!("`cross_attention` takes two tensors, not {}", shapes.len()),
                "needs queries and what they attend to",
            ));
        };
        let parts = queries.split_last_chunk::<2>().zip(memory.split_last_chunk::<2>());
        let Some(((leading, &[tokens, dim]), (other, &[sources, width]))) = parts else {
            return Err(no_tokens(kind.name, shapes));
        };
        if leading != other {
            return Err(Misfit::new(
                format!("tokens of {leading:?} cannot attend to those of {other:?}: shapes {}", show(shapes)),
                "needs tensors that agree in every axis but the last two",
            ));
        }
        Ok(Box::new(Heads::new(leading, [tokens, sources], [dim, width], arguments, options::of_others(arguments))))
    },
};

fn no_tokens(layer: &str, shapes: &[Vec<usize>]) -> Misfit {
    Misfit::new(format!("`{layer}` takes tokens, not a tensor of shape {}", show(shapes)), "needs [.., tokens, dim]")
        .help("`patches` or `reshape` make tokens")
}
