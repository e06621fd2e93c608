use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use miette::miette;

use super::out;
use crate::{
    dsl::nearest,
    model::layers::{Described, Elsewhere, catalogue, elsewhere, markdown, signature},
};

/// Lists the layers and standard blocks: arguments, shapes, what each does
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx layers
  vitx layers attention
  vitx layers LayerNormalization
  vitx layers --format json")]
pub struct Args {
    /// A layer or block, or its name in Keras, PyTorch or timm; all of them without
    name: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let mut layers = catalogue();
    let mut remark = None;
    if let Some(name) = &args.name {
        let (found, note) = named(name, &layers)?;
        layers.retain(|layer| layer.name == found);
        remark = note;
    }
    match (args.format, layers.as_slice()) {
        (Format::Json, layers) => {
            let json = serde_json::to_string_pretty(layers).map_err(|error| miette!("cannot write JSON: {error}"))?;
            out::line(&json);
        }
        (Format::Markdown, layers) => out::line(markdown(layers).trim_end()),
        (Format::Text, [layer]) if args.name.is_some() => {
            remark.iter().for_each(|remark| out::line(remark));
            out::line(&one(layer));
        }
        (Format::Text, layers) => out::line(&table(layers)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The layer that is meant, and how its name came about where it is another's.
fn named(name: &str, layers: &[Described]) -> miette::Result<(String, Option<String>)> {
    if layers.iter().any(|layer| layer.name == name) {
        return Ok((name.to_owned(), None));
    }
    match elsewhere(name) {
        Some(Elsewhere::Here(own, note)) => {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            Ok((own.to_owned(), Some(format!("`{name}` is `{own}` here{note}\n"))))
        }
        Some(Elsewhere::Nothing(instead)) => Err(miette!(help = instead, "there is no layer or block `{name}`")),
        None => {
            let near = nearest(name, layers.iter().map(|layer| layer.name.as_str()));
            let help =
                near.map_or_else(|| "`vitx layers` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            Err(miette!(help = help, "there is no layer or block `{name}`"))
        }
    }
}

fn one(layer: &Described) -> String {
    let mut text =
        format!("{}\n\n  {}\n  shape: {}\n  as: {}\n", signature(layer), layer.meaning, layer.shape, layer.source);
    if layer.takes_tensors {
        text += "  takes two tensors or more, named by `let`\n";
    }
    if layer.kind == "block" {
        text += "  a standard block, written in the language: grammar/prelude.vitx\n";
    }
    if !layer.arguments.is_empty() {
        text += "\n";
    }
    let width = layer.arguments.iter().map(|argument| argument.name.len()).max().unwrap_or(0);
    for argument in &layer.arguments {
        let expected = argument.expected.as_deref().unwrap_or_default();
        let default = argument.default.as_ref().map_or("required".to_owned(), |default| format!("default {default}"));
        let line = if expected.is_empty() { default } else { format!("{expected}; {default}") };
        text += &format!("  {:width$}  {line}\n", argument.name);
    }
    text.replace('`', "").trim_end().to_owned()
}

fn table(layers: &[Described]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["layer", "does", "shape"]);
    for layer in layers {
        let row = [signature(layer), layer.meaning.clone(), layer.shape.clone()];
        table.add_row(row.map(|cell| cell.replace('`', "")));
    }
    format!("{table}\nvitx layers NAME says more of one.")
}
