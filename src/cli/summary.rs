use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use miette::IntoDiagnostic;
use serde::Serialize;

use super::{
    console::{Console, warn},
    model::{Assumed, ModelArgs},
};
use crate::model::{Architecture, Line, ModelListing};

/// Prints layers, output shapes, parameters and FLOPs, as Keras' `Model.summary()`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx summary experiments/cifar100_vit.vitx
  vitx summary experiments/digits_vit.vitx --data digits --format json")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table, of what is repeated only the first
    Text,
    /// Every layer with its arguments, shapes and parameters
    Json,
}

/// What FLOPs are of.
const COUNTED: &str = "matrix products; a multiply-add counts two";

/// What is written as JSON.
#[derive(Serialize)]
struct Listing<'a> {
    #[serde(flatten)]
    model: ModelListing<'a>,
    /// What the FLOPs are of.
    counted: &'static str,
    assumptions: Assumed,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let architecture = args.model.architecture()?;
    warn(architecture.warnings());
    let assumptions = args.model.assumed(&architecture);
    let text = match args.format {
        Format::Text => text(&architecture, &assumptions),
        Format::Json => {
            let listing = Listing { model: architecture.listing(), counted: COUNTED, assumptions };
            serde_json::to_string_pretty(&listing).into_diagnostic()?
        }
    };
    Console::new().line(&text);
    Ok(ExitCode::SUCCESS)
}

fn text(architecture: &Architecture, assumed: &Assumed) -> String {
    let summary = architecture.summary();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["layer", "kind", "output shape", "parameters", "FLOPs"]);
    for line in summary.folded() {
        match line {
            Line::Row(row) => {
                let shape = format!("{:?}", row.output_shape);
                let kind = if row.frozen { format!("{}, frozen", row.kind) } else { row.kind.to_owned() };
                let path = row.path.clone();
                table.add_row([path, kind, shape, grouped(row.parameters), grouped(row.flops)]);
            }
            Line::More { text, parameters, flops } => {
                table.add_row([text, String::new(), String::new(), grouped(parameters), grouped(flops)]);
            }
        }
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let values: Vec<String> = architecture.bindings().iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let notes: Vec<String> = architecture
        .bindings()
        .keys()
        .zip(&values)
        .filter_map(|(name, value)| architecture.notes().get(name).map(|note| format!("  {value}: {note}")))
        .collect();
    let mut lines = vec![format!("model {} on images {:?}", architecture.name(), architecture.image_shape())];
    lines.extend((!values.is_empty()).then(|| format!("with {}", values.join(", "))));
    lines.extend(notes);
    lines.extend(assumed.text());
    lines.push(table.to_string());
    lines.push(format!("Total parameters: {}", grouped(summary.parameters)));
    if summary.learned != summary.parameters {
        let averages = summary.parameters - summary.learned - summary.frozen;
        let others =
            [("moving averages", averages), ("frozen", summary.frozen)].into_iter().filter(|(_, count)| *count > 0);
        let others: String = others.map(|(what, count)| format!("; {what}: {}", grouped(count))).collect();
        lines.push(format!("Trainable: {}{others}", grouped(summary.learned)));
    }
    let (flops, macs) = (grouped(summary.flops), grouped(summary.flops / 2));
    lines.push(format!("FLOPs of a forward pass: {flops} per image ({COUNTED}: {macs} MACs)"));
    lines.join("\n")
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 21_759_012].map(grouped), ["0", "999", "1,000", "21,759,012"]);
    }
}
