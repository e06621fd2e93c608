use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{
    console::{Console, warn},
    model::ModelArgs,
};

/// Prints layers, output shapes, parameters and FLOPs, as Keras' `Model.summary()`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx summary experiments/cifar100_vit.vitx")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let architecture = args.model.architecture()?;
    warn(architecture.warnings());
    let summary = architecture.summary();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["layer", "kind", "output shape", "parameters", "FLOPs"]);
    for row in &summary.rows {
        let shape = format!("{:?}", row.output_shape);
        table.add_row([row.path.clone(), row.kind.to_owned(), shape, grouped(row.parameters), grouped(row.flops)]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let console = Console::new();
    console.line(&format!("model {} on images {:?}", architecture.name(), architecture.image_shape()));
    console.line(&table.to_string());
    console.line(&format!("Total parameters: {}", grouped(summary.parameters)));
    console.line(&format!("FLOPs of a forward pass: {} per image", grouped(summary.flops)));
    Ok(ExitCode::SUCCESS)
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
