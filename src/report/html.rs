//! A sweep as one page that needs nothing else: a sortable table, the learning curves of all
//! trials, parallel coordinates, what mattered, and the models.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Record,
    diagram::diagram,
    importance::{Share, importance},
    measure::{self, Measure},
    rows::{Row, Rows, is_best},
};
use crate::dsl::Value;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/sort.js");

/// Size of a drawing, and the margin around its axes, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 44.0;

/// Writes the page. `models` are the architectures' texts, each once, with the name of the variants
/// that share it.
pub fn page(title: &str, records: &[Record], models: &[(String, String)]) -> String {
    let rows = Rows::new(records);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                h2 { "Variants" }
                (table(&rows))
                h2 { "Validation accuracy by epoch" }
                (curves(&rows))
                h2 { "From parameters to accuracy" }
                (coordinates(&rows))
                h2 { "What mattered" }
                (shares(&rows))
                h2 { "Models" }
                @for (names, text) in models {
                    details {
                        summary { (names) }
                        @if let Some(drawing) = diagram(text) { (drawing) }
                        details { summary { "as text" } pre { (text) } }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// From red for the least accurate row to blue for the most.
fn colour(rows: &Rows, row: &Row) -> String {
    let accuracies = || rows.rows.iter().filter_map(|row| Some(row.mean(&measure::ACCURACY)?.mean));
    let (least, most) = accuracies().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), a| (l.min(a), m.max(a)));
    match row.mean(&measure::ACCURACY) {
        Some(own) if most > least => format!("hsl({:.0} 75% 45%)", 220.0 * (own.mean - least) / (most - least)),
        Some(_) => "hsl(220 75% 45%)".into(),
        None => "#bbb".into(),
    }
}

fn table(rows: &Rows) -> Markup {
    let sortable = |measure: &Measure, row: &Row| row.mean(measure).map(|mean| mean.mean.to_string());
    html! {
        div class="wide" { table id="variants" {
            thead { tr {
                @if rows.keys.is_empty() { th { "trial" } }
                @for key in &rows.keys { th { (key) } }
                @for measure in &measure::ALL { th { (measure.header) } }
                th { "state" }
            } }
            tbody {
                @for row in &rows.rows { tr {
                    @if rows.keys.is_empty() { td { (row.folder()) } }
                    @for value in &row.values {
                        @let text = value.map_or_else(String::new, Value::plain);
                        td data-value=(text) { (text) }
                    }
                    @for measure in &measure::ALL {
                        td data-value=[sortable(measure, row)] class=[is_best(measure, row, &rows.rows).then_some("best")] {
                            @if let Some(mean) = row.mean(measure) {
                                ((measure.show)(mean.mean))
                                @if mean.count > 1 && measure.best.is_some() { " ± " ((measure.show)(mean.deviation)) }
                            }
                        }
                    }
                    td { (row.state()) }
                } }
            }
        } }
    }
}

fn curves(rows: &Rows) -> Markup {
    let accuracy = |record: &Record| -> Vec<(f64, f64)> {
        let point = |epoch: &crate::train::history::Epoch| {
            (f64::from(epoch.epoch), epoch.val_accuracy.unwrap_or(epoch.accuracy))
        };
        record.epochs.iter().map(point).collect()
    };
    let all: Vec<(f64, f64)> = rows.rows.iter().flat_map(|row| &row.records).flat_map(|r| accuracy(r)).collect();
    if all.is_empty() {
        return html! { p { "No epoch is finished yet." } };
    }
    let last = all.iter().map(|point| point.0).fold(2.0, f64::max);
    let top = all.iter().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let x = |epoch: f64| MARGIN + (epoch - 1.0) / (last - 1.0) * (WIDTH - 2.0 * MARGIN);
    let y = |accuracy: f64| HEIGHT - MARGIN - accuracy / top * (HEIGHT - 2.0 * MARGIN);
    let path = |record: &Record| {
        let points =
            accuracy(record).into_iter().map(|(epoch, accuracy)| format!("{:.1},{:.1}", x(epoch), y(accuracy)));
        points.collect::<Vec<_>>().join(" ")
    };
    html! {
        svg id="curves" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) {
            @for tick in 0..=4 {
                @let value = top * f64::from(tick) / 4.0;
                line class="grid" x1=(MARGIN) x2=(WIDTH - MARGIN) y1=(y(value)) y2=(y(value)) {}
                text x=(MARGIN - 6.0) y=(y(value) + 4.0) text-anchor="end" { (format!("{:.0}%", 100.0 * value)) }
            }
            text x=(MARGIN) y=(HEIGHT - 14.0) { "epoch 1" }
            text x=(WIDTH - MARGIN) y=(HEIGHT - 14.0) text-anchor="end" { "epoch " (last) }
            @for row in &rows.rows {
                @for record in &row.records {
                    polyline points=(path(record)) stroke=(colour(rows, row)) { title { (row.name(&rows.keys)) } }
                    // A line needs two points: a single one is a dot.
                    @if let [(epoch, accuracy)] = accuracy(record)[..] {
                        circle cx=(format!("{:.1}", x(epoch))) cy=(format!("{:.1}", y(accuracy))) r="4"
                            fill=(colour(rows, row)) { title { (row.name(&rows.keys)) } }
                    }
                }
            }
        }
    }
}

/// Where a value stands on its axis, from 0 to 1: numbers by size, others in their order.
fn position(values: &[Option<&Value>], value: Option<&Value>) -> f64 {
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(value)) => Some(*value as f64),
        Some(Value::Float(value)) => Some(*value),
        _ => None,
    };
    let numbers: Option<Vec<f64>> = values.iter().map(|value| number(*value)).collect();
    let (at, least, most) = match (&numbers, number(value)) {
        (Some(numbers), Some(at)) => {
            let fold = |f: fn(f64, f64) -> f64, start| numbers.iter().copied().fold(start, f);
            (at, fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
        }
        _ => {
            let at = values.iter().position(|other| *other == value).unwrap_or(0) as f64;
            (at, 0.0, values.len().saturating_sub(1) as f64)
        }
    };
    if most > least { (at - least) / (most - least) } else { 0.5 }
}

fn coordinates(rows: &Rows) -> Markup {
    if rows.keys.is_empty() {
        return html! { p { "Nothing was varied." } };
    }
    let axes: Vec<Vec<Option<&Value>>> = (0..rows.keys.len())
        .map(|at| {
            let mut values: Vec<Option<&Value>> = Vec::new();
            for row in &rows.rows {
                if !values.contains(&row.values[at]) {
                    values.push(row.values[at]);
                }
            }
            values
        })
        .collect();
    let accuracies: Vec<f64> = rows.rows.iter().filter_map(|row| Some(row.mean(&measure::ACCURACY)?.mean)).collect();
    let least = accuracies.iter().copied().fold(f64::INFINITY, f64::min);
    let most = accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scaled = |accuracy: f64| if most > least { (accuracy - least) / (most - least) } else { 0.5 };
    let x = |axis: usize| MARGIN * 2.0 + axis as f64 / rows.keys.len() as f64 * (WIDTH - 4.0 * MARGIN);
    let y = |share: f64| HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
    let path = |row: &Row, accuracy: f64| {
        let mut points: Vec<String> = axes
            .iter()
            .enumerate()
            .map(|(at, values)| format!("{:.1},{:.1}", x(at), y(position(values, row.values[at]))))
            .collect();
        points.push(format!("{:.1},{:.1}", x(rows.keys.len()), y(scaled(accuracy))));
        points.join(" ")
    };
    html! {
        svg id="coordinates" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) {
            @for (at, (key, values)) in rows.keys.iter().zip(&axes).enumerate() {
                line class="axis" x1=(x(at)) x2=(x(at)) y1=(y(0.0)) y2=(y(1.0)) {}
                text x=(x(at)) y=(MARGIN - 14.0) text-anchor="middle" { (key) }
                @for value in values {
                    text class="tick" x=(x(at) + 6.0) y=(y(position(values, *value)) + 4.0) {
                        (value.map_or_else(String::new, Value::plain))
                    }
                }
            }
            @let end = x(rows.keys.len());
            line class="axis" x1=(end) x2=(end) y1=(y(0.0)) y2=(y(1.0)) {}
            text x=(end) y=(MARGIN - 14.0) text-anchor="middle" { "test top-1" }
            @if !accuracies.is_empty() {
                text class="tick" x=(end + 6.0) y=(y(scaled(least)) + 4.0) { (measure::percent(least)) }
                text class="tick" x=(end + 6.0) y=(y(scaled(most)) + 4.0) { (measure::percent(most)) }
            }
            @for row in &rows.rows {
                @if let Some(mean) = row.mean(&measure::ACCURACY) {
                    polyline points=(path(row, mean.mean)) stroke=(colour(rows, row)) { title { (row.name(&rows.keys)) } }
                }
            }
        }
    }
}

fn shares(rows: &Rows) -> Markup {
    let shares = importance(rows);
    html! {
        @if shares.is_empty() {
            p { "All variants are equally accurate, or none is finished." }
        } @else {
            p {
                "Share of the variance of test accuracy that each parameter explains alone, among the finished variants "
                "in which it varies."
            }
            table id="importance" {
                @for (key, share) in shares {
                    tr {
                        td { (key) }
                        @match share {
                            Share::Explains(share) => {
                                td { (measure::percent(share)) }
                                td { div class="bar" style=(format!("width: {:.0}px", 300.0 * share)) {} }
                            }
                            Share::Chance => { td { "no more than chance" } td {} }
                            Share::Unknown(reason) => { td { "cannot be told: " (reason) } td {} }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::table::tests::records,
        train::{history::Epoch, metrics::Means},
    };

    #[test]
    fn holds_every_variant_and_nothing_from_outside() {
        let mut records = records();
        records[0].variant[0].1 = Value::Str("<b>&\"".into());
        let page = page("a <sweep>", &records, &[("patch_size=4".into(), "x < y".into())]);
        assert_eq!(page.matches("<tr>").count(), 1 + Rows::new(&records).rows.len() + 2);
        assert!(page.contains("&lt;b&gt;&amp;") && page.contains("x &lt; y") && !page.contains("<b>"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src="));
        let single = records.iter().filter(|record| record.epochs.len() == 1).count();
        assert_eq!(page.matches("<circle").count(), single);
        for record in &mut records {
            let (means, epochs) = (Means { loss: 1.0, accuracy: 0.5, top_5_accuracy: 1.0 }, 1..=2);
            record.epochs = epochs.map(|epoch| Epoch::new(epoch, means, None, 1e-3)).collect();
        }
        records[0].epochs.truncate(1);
        let page = super::page("one epoch", &records, &[]);
        assert_eq!(page.matches("<circle").count(), 1, "{page}");
        for id in ["variants", "coordinates", "importance"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}
