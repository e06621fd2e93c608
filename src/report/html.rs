//! A sweep as one page that needs nothing else: a sortable table, the learning curves of all
//! trials, parallel coordinates, what mattered, and the models.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Record,
    coordinates::coordinates,
    diagram::diagram,
    importance::{Share, importance},
    measure::{self, Measure},
    rows::{Row, Rows, is_best},
    table::{columns, difference},
    view::{Arranged, Pivot, View, on_front},
};
use crate::{dsl::Value, experiment::ExperimentError, printable, trial::Network};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/sort.js");

/// Size of a drawing, and the margin around its axes, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 44.0;

/// A network as the page shows it.
#[derive(Debug, Clone)]
pub struct PageModel {
    /// Of the variants that share it.
    pub names: String,
    /// As [`Architecture::text`](crate::model::Architecture::text).
    pub text: String,
    /// To be drawn, where it is known.
    pub network: Option<Network>,
}

/// Writes the page. `models` are the networks, each once.
///
/// # Errors
/// As [`super::render`].
pub fn page(title: &str, records: &[Record], models: &[PageModel], view: &View) -> Result<String, ExperimentError> {
    let arranged = &Arranged::new(records, view)?;
    let rows = &arranged.rows;
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
                @if let Some(keys) = arranged.pivot {
                    h2 { "Test accuracy by " (rows.keys[keys.0]) " and " (rows.keys[keys.1]) }
                    (pivot(arranged, keys))
                }
                h2 { "Variants" }
                (tables(arranged, view))
                h2 { "Validation accuracy by epoch" }
                (curves(rows))
                h2 { "From parameters to accuracy" }
                (coordinates(rows))
                h2 { "What mattered" }
                (shares(rows))
                h2 { "Models" }
                @for PageModel { names, text, network } in models {
                    details {
                        summary { (names) }
                        @if let Some(network) = network { (diagram(network)) }
                        details { summary { "as text" } pre { (text) } }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// From red for the least accurate row to blue for the most.
pub(super) fn colour(rows: &Rows, row: &Row) -> String {
    let accuracies = || rows.rows.iter().filter_map(|row| Some(row.mean(&measure::ACCURACY)?.mean));
    let (least, most) = accuracies().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), a| (l.min(a), m.max(a)));
    match row.mean(&measure::ACCURACY) {
        Some(own) if most > least => format!("hsl({:.0} 75% 45%)", 220.0 * (own.mean - least) / (most - least)),
        Some(_) => "hsl(220 75% 45%)".into(),
        None => "#bbb".into(),
    }
}

/// A table, or one for each group.
fn tables(arranged: &Arranged, view: &View) -> Markup {
    html! {
        div id="variants" {
            @for (value, group) in &arranged.groups {
                @if let Some(heading) = arranged.heading(*value) { h3 { (heading) } }
                div class="wide" { (table(arranged, group, view)) }
            }
        }
    }
}

fn table(arranged: &Arranged, group: &[Row], view: &View) -> Markup {
    let keys = &arranged.rows.keys;
    let measures = columns(&arranged.rows.rows);
    let sortable = |measure: &Measure, row: &Row| row.mean(measure).map(|mean| mean.mean.to_string());
    let compared = |measure: &Measure| measure.header == measure::ACCURACY.header && arranged.baseline.is_some();
    html! {
        table {
            thead { tr {
                @if keys.is_empty() { th { "trial" } }
                @for key in keys { th { (key) } }
                @for measure in &measures {
                    th { (measure.header) }
                    @if compared(measure) { th { "vs baseline" } }
                }
                @if view.pareto.is_some() { th { "Pareto" } }
                th { "state" }
            } }
            tbody {
                @for row in group { tr {
                    @if keys.is_empty() { td { (row.folder()) } }
                    @for value in &row.values {
                        @let text = value.map_or_else(String::new, Value::plain);
                        td data-value=(text) { (text) }
                    }
                    @for measure in &measures {
                        td data-value=[sortable(measure, row)] class=[is_best(measure, row, group).then_some("best")] {
                            @if let Some(mean) = row.mean(measure) {
                                ((measure.show)(mean.mean))
                                @if mean.count > 1 && measure.best.is_some() { " ± " ((measure.show)(mean.deviation)) }
                            }
                        }
                        @if compared(measure) {
                            td data-value=[arranged.difference(row).map(|difference| difference.to_string())] {
                                (difference(row, arranged, view.format))
                            }
                        }
                    }
                    @if let Some(price) = view.pareto {
                        td { @if on_front(row, group, &price.measure()) { "front" } }
                    }
                    td { (printable::line(&row.state())) }
                } }
            }
        }
    }
}

fn pivot(arranged: &Arranged, keys: (usize, usize)) -> Markup {
    let pivot = Pivot::new(&arranged.rows, keys);
    let show = |value: &Option<&Value>| value.map_or_else(String::new, Value::plain);
    let best = pivot.best();
    html! {
        div class="wide" { table id="pivot" {
            thead { tr {
                th { (arranged.rows.keys[keys.0]) " \\ " (arranged.rows.keys[keys.1]) }
                @for value in &pivot.across { th { (show(value)) } }
            } }
            tbody {
                @for (value, means) in pivot.down.iter().zip(&pivot.means) { tr {
                    td { (show(value)) }
                    @for mean in means {
                        td class=[mean.is_some_and(|mean| mean == best).then_some("best")] {
                            @if let Some(mean) = mean { (measure::percent(*mean)) }
                        }
                    }
                } }
            }
        } }
    }
}

fn curves(rows: &Rows) -> Markup {
    let accuracy = |record: &Record| -> Vec<(f64, f64)> {
        let point = |epoch: &crate::trial::Epoch| (f64::from(epoch.epoch), epoch.score());
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
    use crate::{metrics::Means, report::table::tests::records, trial::Epoch};

    #[test]
    fn holds_every_variant_and_nothing_from_outside() {
        let mut records = records();
        records[0].variant[0].1 = Value::Str("<b>&\"".into());
        let model = PageModel { names: "patch_size=4".into(), text: "x < y".into(), network: None };
        let page = page("a <sweep>", &records, &[model], &View::default()).unwrap();
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
        let page = super::page("one epoch", &records, &[], &View::default()).unwrap();
        assert_eq!(page.matches("<circle").count(), 1, "{page}");
        for id in ["variants", "coordinates", "importance"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
}
