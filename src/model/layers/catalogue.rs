//! The layers and standard blocks as `vitx layers` and the documents list them: from the table that
//! calls are checked against, and from the text of the blocks.

use serde::Serialize;

use super::{Argument, Default, Inputs, LAYERS};
use crate::dsl::{
    Source, notes, parse,
    syntax::{Definition, File},
};

/// A layer or standard block, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// As calls name it.
    pub name: String,
    /// `layer` or `block`.
    pub kind: &'static str,
    /// What it does, in one line.
    pub meaning: String,
    /// What it makes of which shape, without the batch.
    pub shape: String,
    /// Whose layer it computes the same as.
    pub source: String,
    /// Whether it takes tensors that were named, as `add(x, y)`, and not the current one.
    pub takes_tensors: bool,
    /// In the order of calls.
    pub arguments: Vec<DescribedArgument>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DescribedArgument {
    /// As calls name it.
    pub name: String,
    /// As it is written; an argument without one must be given.
    pub default: Option<String>,
    /// What it may be; a block's argument is what its layers take.
    pub expected: Option<String>,
}

const PRELUDE: &str = include_str!("../../../grammar/prelude.vitx");

/// All layers, then the standard blocks.
pub fn catalogue() -> Vec<Described> {
    let layers = LAYERS.iter().map(|layer| Described {
        name: layer.name.to_owned(),
        kind: "layer",
        meaning: layer.meaning.to_owned(),
        shape: layer.shape.to_owned(),
        source: layer.source.to_owned(),
        takes_tensors: layer.inputs == Inputs::Listed,
        arguments: layer.arguments.iter().map(argument).collect(),
    });
    let file = parse(&Source::new("prelude.vitx", PRELUDE)).unwrap_or_default();
    layers.chain(file.definitions.iter().map(|block| described(block, PRELUDE, &file))).collect()
}

fn argument(argument: &Argument) -> DescribedArgument {
    let default = match argument.default {
        Default::Required => None,
        Default::Int(number) => Some(number.to_string()),
        Default::Float(0.0) => Some("0".to_owned()),
        Default::Float(number) => Some(format!("{number:?}")),
        Default::Bool(flag) => Some(flag.to_string()),
        Default::Word(word) | Default::Same(word) => Some(word.to_owned()),
    };
    DescribedArgument { name: argument.name.to_owned(), default, expected: Some(argument.kind.expected()) }
}

/// A block by the comment that stands right before it.
fn described(block: &Definition, text: &str, file: &File) -> Described {
    let mut lines: Vec<&str> = Vec::new();
    let mut start = block.span.start;
    for comment in file.comments.iter().rev().filter(|comment| comment.span.end <= block.span.start) {
        let between = text.get(comment.span.end..start).unwrap_or_default();
        if between.matches('\n').count() > 1 {
            break;
        }
        start = comment.span.start;
        lines.insert(0, comment.text.trim_start_matches('/').trim());
    }
    let mut all = Described {
        name: block.name.text.clone(),
        kind: "block",
        meaning: String::new(),
        shape: String::new(),
        source: String::new(),
        takes_tensors: false,
        arguments: Vec::new(),
    };
    for line in lines {
        match (line.strip_prefix("Shape: "), line.strip_prefix("Source: ")) {
            (Some(shape), _) => all.shape = shape.to_owned(),
            (_, Some(source)) => all.source = source.to_owned(),
            _ => all.meaning = format!("{} {line}", all.meaning).trim().trim_end_matches('.').to_owned(),
        }
    }
    // As the layers' own, which are no sentences.
    let mut letters = all.meaning.chars();
    all.meaning = letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
    let notes = notes(file, text, block);
    let default = |span: crate::dsl::syntax::Span| {
        let written = text.get(span.start..span.end).unwrap_or_default();
        if written == "0.0" { "0".to_owned() } else { written.to_owned() }
    };
    all.arguments.extend(block.parameters.iter().map(|parameter| DescribedArgument {
        name: parameter.name.text.clone(),
        default: parameter.default.as_ref().map(|value| default(value.span)),
        expected: notes.get(&parameter.name.text).cloned(),
    }));
    all
}

/// As it is called: `dense(units, activation = none, use_bias = true)`.
pub fn signature(layer: &Described) -> String {
    let tensors = if layer.takes_tensors { vec!["x".to_owned(), "y".to_owned(), "..".to_owned()] } else { Vec::new() };
    let arguments = layer.arguments.iter().map(|argument| match &argument.default {
        Some(default) => format!("{} = {default}", argument.name),
        None => argument.name.clone(),
    });
    let all: Vec<String> = tensors.into_iter().chain(arguments).collect();
    if all.is_empty() { layer.name.clone() } else { format!("{}({})", layer.name, all.join(", ")) }
}

/// The table of docs/LANGUAGE.md.
pub fn markdown(layers: &[Described]) -> String {
    let mut out = "| layer | does | shape | as |\n|---|---|---|---|\n".to_owned();
    for layer in layers {
        let row = [&format!("`{}`", signature(layer)), &layer.meaning, &layer.shape, &layer.source];
        out += &format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    out
}
