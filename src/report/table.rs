use comfy_table::{Table, TableStyle, presets};
use serde_json::json;

use super::{
    Record,
    layout::fitted_to,
    measure::{self, Measure},
    rows::{Mean, Row, Rows, is_best},
};
use crate::{dsl::Value, experiment::ExperimentError};

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Markdown,
    Csv,
    /// Every trial with its full result
    Json,
    /// A `tabular` with the rules of the package booktabs
    Latex,
}

/// What the rows of a table are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Test accuracy, best first
    Accuracy,
    /// Validation accuracy, best first
    ValAccuracy,
    /// Top-5 test accuracy, best first
    Top5,
    /// Test loss, lowest first
    Loss,
    /// Training time, shortest first
    Time,
    /// Parameters, fewest first
    Parameters,
    /// FLOPs, fewest first
    Flops,
    /// Images per second, most first
    Speed,
    /// Peak memory, least first
    Memory,
}

/// What accuracy is bought with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Price {
    Time,
    Parameters,
    Flops,
}

/// How trials are shown.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct View {
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Sorts the rows [default: in the order of the variants]
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// One table for each value of this key
    #[arg(long, value_name = "KEY")]
    pub group_by: Option<String>,
    /// Test accuracy by two keys: one down, one across; the mean over all others
    #[arg(long, value_name = "DOWN,ACROSS", conflicts_with = "group_by")]
    pub pivot: Option<String>,
    /// Marks the variants that no other beats in both accuracy and this
    #[arg(long, value_enum)]
    pub pareto: Option<Price>,
    /// The variant that others are compared with, e.g. `patch_size=6,depth=8` [default: the first
    /// that has a result]
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub baseline: Option<String>,
    /// Characters a line may have: a wider table is split by its columns [default: the terminal's,
    /// or no limit where output is piped]
    #[arg(long, value_name = "CHARACTERS", value_parser = clap::value_parser!(u16).range(20..))]
    pub width: Option<u16>,
}

impl Sort {
    fn key(self, row: &Row) -> f64 {
        let (measure, sign) = match self {
            Self::Accuracy => (measure::ACCURACY, -1.0),
            Self::ValAccuracy => (measure::VAL_ACCURACY, -1.0),
            Self::Top5 => (measure::TOP_5_ACCURACY, -1.0),
            Self::Loss => (measure::LOSS, 1.0),
            Self::Time => (measure::TIME, 1.0),
            Self::Parameters => (measure::PARAMETERS, 1.0),
            Self::Flops => (measure::FLOPS, 1.0),
            Self::Speed => (measure::SPEED, -1.0),
            Self::Memory => (measure::MEMORY, 1.0),
        };
        row.mean(&measure).map_or(f64::INFINITY, |mean| sign * mean.mean)
    }
}

impl Price {
    fn measure(self) -> Measure {
        match self {
            Self::Time => measure::TIME,
            Self::Parameters => measure::PARAMETERS,
            Self::Flops => measure::FLOPS,
        }
    }
}

/// Writes trials: one row per variant, its seeds taken together.
///
/// # Errors
/// A key of the view that the sweep did not vary, or a baseline that is not there.
pub fn render(records: &[Record], view: &View) -> Result<String, ExperimentError> {
    if view.format == Format::Json {
        return Ok(json(records));
    }
    let mut rows = Rows::new(records);
    let baseline = baseline(&rows, view.baseline.as_deref())?;
    if let Some(sort) = view.sort {
        rows.rows.sort_by(|a, b| sort.key(a).total_cmp(&sort.key(b)));
    }
    if let Some(pivot) = &view.pivot {
        let (down, across) = pivot.split_once(',').ok_or_else(|| {
            let message = format!("`--pivot {pivot}` does not name two keys");
            ExperimentError::Sweep { message, help: Some("e.g. --pivot patch_size,depth".into()) }
        })?;
        let (header, cells) = pivoted(&rows, index(&rows, down.trim())?, index(&rows, across.trim())?);
        return Ok(written(view, header, cells, 1));
    }
    let Some(key) = &view.group_by else {
        let (header, cells) = lines(&rows.rows, &rows.keys, &baseline, view);
        return Ok(written(view, header, cells, rows.keys.len().max(1)));
    };
    let at = index(&rows, key)?;
    let mut groups: Vec<(Option<&Value>, Vec<Row>)> = Vec::new();
    for row in std::mem::take(&mut rows.rows) {
        match groups.iter_mut().find(|(value, _)| *value == row.values[at]) {
            Some((_, group)) => group.push(row),
            None => groups.push((row.values[at], vec![row])),
        }
    }
    let tables = groups.iter().map(|(value, group)| {
        let (header, cells) = lines(group, &rows.keys, &baseline, view);
        let value = value.map_or_else(String::new, Value::plain);
        format!("{key} = {value}\n{}", written(view, header, cells, rows.keys.len()))
    });
    Ok(tables.collect::<Vec<_>>().join("\n\n"))
}

/// Where a key stands among those that the sweep varied.
fn index(rows: &Rows, key: &str) -> Result<usize, ExperimentError> {
    rows.keys.iter().position(|known| *known == key).ok_or_else(|| ExperimentError::Sweep {
        message: format!("`{key}` is not varied here"),
        help: Some(match crate::dsl::nearest(key, rows.keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("varied are: {}", rows.keys.join(", ")),
        }),
    })
}

/// The row that others are compared with.
fn baseline<'a>(rows: &Rows<'a>, wanted: Option<&str>) -> Result<Option<Row<'a>>, ExperimentError> {
    let Some(wanted) = wanted else {
        // One that was stopped, or failed, has nothing to compare with.
        let tested = rows.rows.iter().find(|row| row.mean(&measure::ACCURACY).is_some());
        let first = tested.or(rows.rows.first());
        return Ok(first.filter(|_| rows.rows.len() > 1 && !rows.keys.is_empty()).cloned());
    };
    let mut values = Vec::new();
    for part in wanted.split(',') {
        let (key, value) = Value::parse_assignment(part).map_err(Box::new)?;
        values.push((index(rows, &key)?, value));
    }
    let fits = |row: &&Row| values.iter().all(|(at, value)| row.values[*at] == Some(value));
    let found = rows.rows.iter().find(fits).ok_or_else(|| ExperimentError::Sweep {
        message: format!("no variant has {wanted}"),
        help: Some("see the table without --baseline for those that there are".into()),
    })?;
    Ok(Some(found.clone()))
}

/// Header and cells of a table.
fn lines(rows: &[Row], keys: &[&str], baseline: &Option<Row>, view: &View) -> (Vec<String>, Vec<Vec<String>>) {
    let unnamed = keys.is_empty();
    let any = |measure: &Measure| rows.iter().any(|row| row.mean(measure).is_some());
    // Runs of their own have no prediction.
    let predicted = [measure::PREDICTED_TIME.header, measure::PREDICTED_MEMORY.header];
    let measures: Vec<Measure> =
        measure::ALL.into_iter().filter(|column| !predicted.contains(&column.header) || any(column)).collect();
    let mut header: Vec<String> = if unnamed { vec!["trial".into()] } else { Vec::new() };
    header.extend(keys.iter().map(|key| (*key).to_owned()));
    for column in &measures {
        header.push(column.header.to_owned());
        if column.header == measure::ACCURACY.header && baseline.is_some() {
            header.push("vs baseline".into());
        }
    }
    if view.pareto.is_some() {
        header.push("Pareto".into());
    }
    header.push("state".into());
    let cells = rows.iter().map(|row| {
        let mut cells = if unnamed { vec![row.folder()] } else { Vec::new() };
        cells.extend(row.values.iter().map(|value| value.map_or_else(String::new, Value::plain)));
        for column in &measures {
            cells.push(cell(column, row, rows, view.format));
            if let (true, Some(baseline)) = (column.header == measure::ACCURACY.header, baseline) {
                cells.push(difference(row, baseline, view.format));
            }
        }
        if let Some(price) = view.pareto {
            cells.push(if on_front(row, rows, &price.measure()) { "front".into() } else { String::new() });
        }
        cells.push(row.state());
        cells
    });
    let cells = cells.collect();
    (header, cells)
}

fn cell(column: &Measure, row: &Row, rows: &[Row], format: Format) -> String {
    let Some(Mean { mean, deviation, count }) = row.mean(column) else { return String::new() };
    if format == Format::Csv {
        return mean.to_string();
    }
    let mut cell = (column.show)(mean);
    if count > 1 && deviation > 0.0 && column.best.is_some() {
        cell += &format!(" ± {}", (column.show)(deviation));
    }
    if is_best(column, row, rows) {
        cell += " *";
    }
    cell
}

/// Points of test accuracy more or less than the baseline.
fn difference(row: &Row, baseline: &Row, format: Format) -> String {
    if row.values == baseline.values {
        return if format == Format::Csv { "0".into() } else { "baseline".into() };
    }
    match (row.mean(&measure::ACCURACY), baseline.mean(&measure::ACCURACY)) {
        (Some(own), Some(other)) if format == Format::Csv => (own.mean - other.mean).to_string(),
        (Some(own), Some(other)) => format!("{:+.2}", 100.0 * (own.mean - other.mean)),
        _ => String::new(),
    }
}

/// Whether no other row is at least as good in both, and better in one.
fn on_front(row: &Row, rows: &[Row], price: &Measure) -> bool {
    let point = |row: &Row| Some((row.mean(&measure::ACCURACY)?.mean, row.mean(price)?.mean));
    let Some((accuracy, cost)) = point(row) else { return false };
    let beats = |(a, c): (f64, f64)| a >= accuracy && c <= cost && (a > accuracy || c < cost);
    !rows.iter().filter_map(point).any(beats)
}

/// Mean test accuracy by two keys.
fn pivoted(rows: &Rows, down: usize, across: usize) -> (Vec<String>, Vec<Vec<String>>) {
    let distinct = |at: usize| {
        let mut values: Vec<Option<&Value>> = Vec::new();
        for row in &rows.rows {
            if !values.contains(&row.values[at]) {
                values.push(row.values[at]);
            }
        }
        values
    };
    let show = |value: &Option<&Value>| value.map_or_else(String::new, Value::plain);
    let mean = |d: &Option<&Value>, a: &Option<&Value>| {
        let here = rows.rows.iter().filter(|row| row.values[down] == *d && row.values[across] == *a);
        let means: Vec<f64> = here.filter_map(|row| Some(row.mean(&measure::ACCURACY)?.mean)).collect();
        (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
    };
    let (downs, acrosses) = (distinct(down), distinct(across));
    let all = downs.iter().flat_map(|d| acrosses.iter().filter_map(move |a| mean(d, a)));
    let best = all.fold(f64::NEG_INFINITY, f64::max);
    let mut header = vec![format!("{} \\ {}", rows.keys[down], rows.keys[across])];
    header.extend(acrosses.iter().map(show));
    let cells = downs.iter().map(|d| {
        let mut cells = vec![show(d)];
        cells.extend(acrosses.iter().map(|a| match mean(d, a) {
            Some(value) if value == best => measure::percent(value) + " *",
            Some(value) => measure::percent(value),
            None => String::new(),
        }));
        cells
    });
    let cells = cells.collect();
    (header, cells)
}

/// `first` columns say which row it is.
fn written(view: &View, header: Vec<String>, cells: Vec<Vec<String>>, first: usize) -> String {
    match view.format {
        Format::Csv => csv(&header, &cells),
        Format::Latex => latex(&header, &cells),
        Format::Markdown => table(presets::ASCII_MARKDOWN, header, cells),
        Format::Table | Format::Json => fitted_to(view.width.map(usize::from), header, cells, first),
    }
}

/// A table for a terminal or for Markdown.
pub fn table(style: TableStyle, header: Vec<String>, cells: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(style).set_header(header);
    for row in cells {
        table.add_row(row);
    }
    table.to_string()
}

fn csv(header: &[String], cells: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(header).chain(cells.iter().map(Vec::as_slice)) {
        // Writing to memory fails for nothing but rows of unequal length, which these are not.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn latex(header: &[String], cells: &[Vec<String>]) -> String {
    let escaped = |cell: &String| {
        let escape = |c: char| match c {
            '\\' => "\\textbackslash{}".to_owned(),
            '~' => "\\textasciitilde{}".to_owned(),
            '^' => "\\textasciicircum{}".to_owned(),
            '±' => "$\\pm$".to_owned(),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
            c => c.to_string(),
        };
        cell.chars().map(escape).collect::<String>()
    };
    let line = |cells: &[String]| format!("{} \\\\", cells.iter().map(escaped).collect::<Vec<_>>().join(" & "));
    let mut out = vec![format!("\\begin{{tabular}}{{{}}}", "l".repeat(header.len())), "\\toprule".into(), line(header)];
    out.push("\\midrule".into());
    out.extend(cells.iter().map(|row| line(row)));
    out.extend(["\\bottomrule".into(), "\\end{tabular}".into()]);
    out.join("\n")
}

fn json(records: &[Record]) -> String {
    let trial = |record: &Record| {
        let variant: serde_json::Map<_, _> =
            record.variant.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        json!({
            "trial": record.folder,
            "variant": variant,
            "epochs": record.epochs.len(),
            "result": record.result,
            "failure": record.failure,
            "stopped": record.stopped,
            "prediction": record.prediction,
        })
    };
    let trials: Vec<_> = records.iter().map(trial).collect();
    serde_json::to_string_pretty(&trials).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
