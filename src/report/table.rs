use comfy_table::{Table, TableStyle, presets};

use super::{
    Record, export,
    layout::fitted_to,
    measure::{self, Measure},
    rows::{Mean, Row, is_best},
    view::{Arranged, Format, Pivot, View, on_front},
};
use crate::{
    dsl::Value,
    experiment::{ExperimentError, sweep::Metric},
};

/// Measures that training with another seed changes, in CSV with deviation and count.
pub const LEARNT: [Measure; 6] = [
    measure::VAL_ACCURACY,
    measure::VAL_LOSS,
    measure::VAL_TOP_5_ACCURACY,
    measure::ACCURACY,
    measure::TOP_5_ACCURACY,
    measure::LOSS,
];

/// Writes trials: one row per variant, its seeds taken together.
///
/// # Errors
/// A key of the view that the sweep did not vary, or a baseline that is not there.
pub fn render(records: &[Record], view: &View) -> Result<String, ExperimentError> {
    let arranged = Arranged::new(records, view)?;
    if view.format == Format::Json {
        return Ok(export::json(&arranged, view));
    }
    if let Some(keys) = arranged.pivot {
        let (header, cells) = pivoted(&arranged, keys, view.format);
        return Ok(written(view, header, cells, 1));
    }
    let first = arranged.rows.keys.len().max(1);
    let tables = arranged.groups.iter().map(|(value, group)| {
        let (header, cells) = lines(group, &arranged, view);
        (arranged.heading(*value), header, cells)
    });
    let mut tables: Vec<_> = tables.collect();
    // One header, and one table.
    if view.format == Format::Csv {
        let header = tables.first().map(|(_, header, _)| header.clone()).unwrap_or_default();
        let cells = tables.drain(..).flat_map(|(.., cells)| cells).collect();
        return Ok(written(view, header, cells, first));
    }
    let tables = tables.into_iter().map(|(heading, header, cells)| {
        let table = written(view, header, cells, first);
        match (heading, view.format) {
            (None, _) => table,
            (Some(heading), Format::Markdown) => format!("**{}**\n\n{table}", export::markdown(&heading)),
            (Some(heading), Format::Latex) => format!("{}\n\n{table}", export::latex_text(&heading)),
            (Some(heading), _) => format!("{heading}\n{table}"),
        }
    });
    Ok(tables.collect::<Vec<_>>().join("\n\n"))
}

/// The keys in the order of their columns: in CSV that of the groups comes first.
fn order(arranged: &Arranged, view: &View) -> Vec<usize> {
    let mut order: Vec<usize> = (0..arranged.rows.keys.len()).collect();
    if let (Format::Csv, Some(grouped)) = (view.format, arranged.grouped) {
        order.retain(|at| *at != grouped);
        order.insert(0, grouped);
    }
    order
}

/// The measures that have columns: runs of their own have no prediction. That by which a sweep compares its trials stands beside the
/// validation accuracy.
pub fn columns(rows: &[Row], metric: Metric) -> Vec<Measure> {
    let any = |measure: &Measure| rows.iter().any(|row| row.mean(measure).is_some());
    let predicted = [measure::PREDICTED_TIME.header, measure::PREDICTED_MEMORY.header];
    let mut columns: Vec<Measure> =
        measure::ALL.into_iter().filter(|column| !predicted.contains(&column.header) || any(column)).collect();
    let own = Some(measure::of_metric(metric)).filter(|own| !metric.is_default() && any(own));
    let place = columns.iter().position(|column| column.header == measure::VAL_ACCURACY.header);
    if let (Some(own), Some(place)) = (own, place) {
        columns.insert(place + 1, own);
    }
    columns
}

/// Header and cells of a table.
fn lines(group: &[Row], arranged: &Arranged, view: &View) -> (Vec<String>, Vec<Vec<String>>) {
    let rows = &arranged.rows;
    let unnamed = rows.keys.is_empty();
    let order = order(arranged, view);
    let measures = columns(&rows.rows, view.metric);
    let seeds = view.format == Format::Csv && rows.rows.iter().any(|row| row.records.len() > 1);
    let spread = |column: &Measure| seeds && LEARNT.iter().any(|learnt| learnt.header == column.header);
    let mut header: Vec<String> = if unnamed { vec!["trial".into()] } else { Vec::new() };
    header.extend(order.iter().map(|at| rows.keys[*at].to_owned()));
    for column in &measures {
        header.push(column.header.to_owned());
        if spread(column) {
            header.extend(["deviation", "count"].map(|word| format!("{} {word}", column.header)));
        }
        if column.header == measure::ACCURACY.header && arranged.baseline.is_some() {
            header.push("vs baseline".into());
        }
    }
    if view.pareto.is_some() {
        header.push("Pareto".into());
    }
    header.push("state".into());
    let cells = group.iter().map(|row| {
        let mut cells = if unnamed { vec![row.folder()] } else { Vec::new() };
        cells.extend(order.iter().map(|at| row.values[*at].map_or_else(String::new, Value::plain)));
        for column in &measures {
            cells.push(cell(column, row, group, view.format));
            if spread(column) {
                let mean = row.mean(column);
                let deviation = mean.filter(|mean| mean.count > 1).map(|mean| mean.deviation.to_string());
                cells.extend([deviation.unwrap_or_default(), mean.map_or(0, |mean| mean.count).to_string()]);
            }
            if column.header == measure::ACCURACY.header && arranged.baseline.is_some() {
                cells.push(difference(row, arranged, view.format));
            }
        }
        if let Some(price) = view.pareto {
            cells.push(if on_front(row, group, &price.measure()) { "front".into() } else { String::new() });
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
pub fn difference(row: &Row, arranged: &Arranged, format: Format) -> String {
    match arranged.difference(row) {
        _ if arranged.is_baseline(row) && format != Format::Csv => "baseline".into(),
        Some(difference) if format == Format::Csv => difference.to_string(),
        Some(difference) => format!("{:+.2}", 100.0 * difference),
        None => String::new(),
    }
}

fn pivoted(arranged: &Arranged, keys: (usize, usize), format: Format) -> (Vec<String>, Vec<Vec<String>>) {
    let Pivot { down, across, means } = &Pivot::new(&arranged.rows, keys);
    let best = Pivot::new(&arranged.rows, keys).best();
    let show = |value: &Option<&Value>| value.map_or_else(String::new, Value::plain);
    let names = &arranged.rows.keys;
    let mut header = vec![format!("{} \\ {}", names[keys.0], names[keys.1])];
    header.extend(across.iter().map(show));
    let cell = |mean: &Option<f64>| match mean {
        Some(mean) if format == Format::Csv => mean.to_string(),
        Some(mean) if *mean == best => measure::percent(*mean) + " *",
        Some(mean) => measure::percent(*mean),
        None => String::new(),
    };
    let line = |(value, means): (&Option<&Value>, &Vec<Option<f64>>)| {
        std::iter::once(show(value)).chain(means.iter().map(cell)).collect()
    };
    (header, down.iter().zip(means).map(line).collect())
}

/// `first` columns say which row it is.
fn written(view: &View, header: Vec<String>, mut cells: Vec<Vec<String>>, first: usize) -> String {
    // Reasons of failures may have several lines.
    for cell in cells.iter_mut().flatten() {
        *cell = crate::printable::line(cell).into_owned();
    }
    match view.format {
        Format::Csv => export::csv(&header, &cells),
        Format::Latex => export::latex(&header, &cells),
        Format::Markdown => {
            let escaped = |cells: Vec<String>| cells.iter().map(|cell| export::markdown(cell)).collect();
            table(presets::ASCII_MARKDOWN, escaped(header), cells.into_iter().map(escaped).collect())
        }
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

#[cfg(test)]
pub(super) mod tests;
