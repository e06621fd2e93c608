use std::{io::IsTerminal, process::ExitCode};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use miette::IntoDiagnostic;
use serde::Serialize;

use super::out;
use crate::{
    dsl::nearest,
    experiment::{
        ExperimentError,
        builtin::{self, BuiltIn},
    },
};

/// Lists the experiments that the binary carries, which other commands take by name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx experiments
  vitx experiments digits_vit > mine.yaml
  vitx experiments --format json
  vitx run digits_vit")]
pub struct Args {
    /// Prints the file of this one
    name: Option<String>,
    /// How the list is written
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "name")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// One of the list.
#[derive(Debug, Serialize)]
struct Row {
    /// What commands take.
    name: &'static str,
    /// What it is.
    about: String,
    /// Name of its data set.
    data: String,
    /// Of its network; null where they depend on the user's data.
    parameters: Option<u64>,
    epochs: u32,
    /// Which keys a sweep of it varies.
    varies: Vec<String>,
}

impl Row {
    fn of(built_in: BuiltIn) -> Result<Self, ExperimentError> {
        let experiment = built_in.experiment()?;
        let varies = experiment.sweep.map(|sweep| sweep.params.into_iter().map(|(key, _)| key).collect());
        Ok(Self {
            name: built_in.name,
            about: built_in.about(),
            data: experiment.data.name,
            parameters: built_in.parameters()?,
            epochs: experiment.train.epochs,
            varies: varies.unwrap_or_default(),
        })
    }
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    if let Some(name) = &args.name {
        let Some(built_in) = builtin::all().find(|built_in| built_in.name == name) else {
            let near = nearest(name, builtin::all().map(|built_in| built_in.name));
            let help =
                near.map_or("`vitx experiments` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(ExperimentError::Unknown { message: format!("the binary carries no `{name}`"), help }.into());
        };
        out::exact(built_in.text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Row> = builtin::all().map(Row::of).collect::<Result<_, _>>()?;
    match args.format {
        Format::Json => out::line(&serde_json::to_string_pretty(&rows).into_diagnostic()?),
        Format::Table if std::io::stdout().is_terminal() => out::line(&table(&rows)),
        Format::Table => out::line(&plain(&rows)),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["name", "what it is", "data", "parameters", "epochs"]);
    for Row { name, about, data, parameters, epochs, .. } in rows {
        let first = first_sentence(about);
        let parameters = millions(*parameters);
        table.add_row([name, first, data, &parameters, &epochs.to_string()]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\nvitx run NAME trains one; vitx experiments NAME prints its file.")
}

/// The list for other programs and for files: a line for each, blanks between columns, and the text of any length last.
fn plain(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let line = |name: &str, data: &str, parameters: &str, epochs: &str, about: &str| {
        format!("{name:width$}  {data:8}  {parameters:>10}  {epochs:>6}  {about}")
    };
    let head = line("name", "data", "parameters", "epochs", "what it is");
    let lines = rows.iter().map(|row| {
        let epochs = row.epochs.to_string();
        line(row.name, &row.data, &millions(row.parameters), &epochs, first_sentence(&row.about))
    });
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}

fn millions(parameters: Option<u64>) -> String {
    parameters.map_or("-".to_owned(), |count| format!("{:.2}M", count as f64 / 1e6))
}

/// A text up to a colon, or to a point with a capital letter behind it: one in "et al. 2022" ends nothing.
fn first_sentence(text: &str) -> &str {
    let ends = |at: usize| match &text[at..] {
        rest if rest.starts_with(": ") => true,
        rest => rest.strip_prefix(". ").is_some_and(|rest| rest.starts_with(char::is_uppercase)),
    };
    let end = text.char_indices().map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    #[test]
    fn sentences_end_at_colons_and_at_points_before_capital_letters() {
        let first = super::first_sentence;
        assert_eq!(
            first("By (Lu et al. 2022; x.yml), 80.9% of 1. Then more."),
            "By (Lu et al. 2022; x.yml), 80.9% of 1"
        );
        assert_eq!(first("Digits: seconds. é"), "Digits");
        assert_eq!(first("Whole."), "Whole");
    }
}
