//! What the page of a sweep draws. Numbers are in full where they are shown, and have six digits where they are drawn.

use serde_json::{Value as Json, json};

use super::Page;
use crate::{
    dsl::Value,
    experiment::{ExperimentError, sweep},
    printable,
    report::{
        Record,
        importance::{Share, importance},
        measure::{self, Measure, Unit},
        rows::{Row, Rows, SEED, is_best},
        table::columns,
        view::{Arranged, Pivot, on_front},
    },
    trial::{Epoch, TestClasses},
};

/// A figure of an epoch.
struct Metric {
    name: &'static str,
    unit: Unit,
    of: fn(&Epoch) -> Option<f64>,
}

/// In the order in which the page offers them.
const METRICS: [Metric; 10] = [
    Metric { name: "validation accuracy", unit: Unit::Share, of: |epoch| epoch.val_accuracy },
    Metric { name: "validation loss", unit: Unit::Loss, of: |epoch| epoch.val_loss },
    Metric { name: "validation top-5", unit: Unit::Share, of: |epoch| epoch.val_top_5_accuracy },
    Metric { name: "training accuracy", unit: Unit::Share, of: |epoch| Some(epoch.accuracy) },
    Metric { name: "training loss", unit: Unit::Loss, of: |epoch| Some(epoch.loss) },
    Metric { name: "training top-5", unit: Unit::Share, of: |epoch| Some(epoch.top_5_accuracy) },
    Metric { name: "learning rate", unit: Unit::Number, of: |epoch| Some(f64::from(epoch.learning_rate)) },
    Metric { name: "seconds", unit: Unit::Seconds, of: |epoch| Some(epoch.seconds) },
    Metric { name: "images per second", unit: Unit::Whole, of: |epoch| Some(epoch.images_per_second) },
    Metric { name: "seconds waited for images", unit: Unit::Seconds, of: |epoch| Some(epoch.loader_wait_seconds) },
];

pub fn data(page: &Page) -> Result<Json, ExperimentError> {
    let arranged = &Arranged::new(page.records, page.view)?;
    let rows = &arranged.rows;
    let measures = columns(&rows.rows, page.view.metric);
    let metrics: Vec<&Metric> = METRICS
        .iter()
        .filter(|metric| {
            page.records.iter().flat_map(|record| &record.epochs).any(|epoch| (metric.of)(epoch).is_some())
        })
        .collect();
    // Rows by what they vary; what no sweep made has nothing but its folder.
    let place = |record: &Record| page.records.iter().position(|other| std::ptr::eq(other, record)).unwrap_or(0);
    let same = |a: &Row, b: &Row| a.records.first().map(|r| place(r)) == b.records.first().map(|r| place(r));
    let at = |row: &Row| rows.rows.iter().position(|other| same(other, row));
    let group_of = |row: &Row| arranged.groups.iter().find(|(_, group)| group.iter().any(|other| same(other, row)));
    let tested: Vec<Option<TestClasses>> =
        page.records.iter().map(|record| TestClasses::read(&record.folder).ok().flatten()).collect();
    let classes = names(&tested);
    let one = |row: &Row| {
        let group = group_of(row).map_or(&[][..], |(_, group)| group);
        let means: Vec<_> = measures.iter().map(|measure| row.mean(measure)).collect();
        let best = measures.iter().enumerate().filter(|(_, measure)| is_best(measure, row, group)).map(|(at, _)| at);
        json!({
            "name": printable::line(&row.name(&rows.keys)),
            "values": row.values.iter().map(|value| value.map_or(Json::Null, drawn)).collect::<Vec<_>>(),
            "labels": row.values.iter().map(|value| value.map(Value::plain)).collect::<Vec<_>>(),
            "means": means.iter().map(|mean| mean.map(|mean| mean.mean)).collect::<Vec<_>>(),
            "deviations": means.iter().map(|mean| mean.map(|mean| mean.deviation)).collect::<Vec<_>>(),
            "counts": means.iter().map(|mean| mean.map_or(0, |mean| mean.count)).collect::<Vec<_>>(),
            "best": best.collect::<Vec<_>>(),
            "difference": arranged.difference(row),
            "baseline": arranged.is_baseline(row) && !rows.keys.is_empty(),
            "front": page.view.pareto.is_some_and(|price| on_front(row, group, &price.measure())),
            "state": printable::line(&row.state()),
            "status": status(row),
            "classes": by_class(row.records.iter().map(|record| tested[place(record)].as_ref()), classes.len()),
            "trials": row.records.iter().map(|record| place(record)).collect::<Vec<_>>(),
        })
    };
    let groups = arranged.groups.iter().map(|(value, group)| {
        json!({ "heading": arranged.heading(*value), "rows": group.iter().filter_map(at).collect::<Vec<_>>() })
    });
    Ok(json!({
        "keys": rows.keys,
        "measures": measures.iter().map(|m| json!({ "name": m.header, "unit": m.unit, "better": better(m) })).collect::<Vec<_>>(),
        "metrics": metrics.iter().map(|m| json!({ "name": m.name, "unit": m.unit })).collect::<Vec<_>>(),
        "rows": rows.rows.iter().map(one).collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "trials": page.records.iter().enumerate().map(|(at, record)| trial(page, at, record, &metrics)).collect::<Vec<_>>(),
        "classes": classes,
        "metric": json!({ "curve": curve(page.view.metric), "measure": measure::of_metric(page.view.metric).header }),
        "compared": arranged.baseline.is_some(),
        "pareto": page.view.pareto.map(|price| price.measure().header),
        "importance": importance(rows).iter().map(|(key, share)| explained(key, share)).collect::<Vec<_>>(),
        "pivot": arranged.pivot.map(|keys| pivot(rows, keys)),
        "live": page.live,
        "running": page.records.iter().any(|record| record.running),
        "models": format!("{}:{}", page.models.len(), page.models.iter().map(|model| model.names.len()).sum::<usize>()),
    }))
}

/// The figure of [`METRICS`] by which a sweep compares its trials.
fn curve(metric: sweep::Metric) -> &'static str {
    match metric {
        sweep::Metric::ValAccuracy => METRICS[0].name,
        sweep::Metric::ValLoss => METRICS[1].name,
        sweep::Metric::ValTop5Accuracy => METRICS[2].name,
    }
}

/// The classes of all trials, if they all have the same.
fn names(tested: &[Option<TestClasses>]) -> Vec<String> {
    let of = |tested: &TestClasses| tested.classes.iter().map(|class| class.class.clone()).collect::<Vec<_>>();
    let mut all = tested.iter().flatten().map(of);
    let Some(first) = all.next() else { return Vec::new() };
    match all.all(|other| other == first) {
        true => first.iter().map(|name| printable::line(name).into_owned()).collect(),
        false => Vec::new(),
    }
}

/// The share of the test images of each of `count` classes that the trials of a row told right, in four digits; nothing
/// where a trial has not counted them, or a class has no image.
fn by_class<'a>(tested: impl Iterator<Item = Option<&'a TestClasses>>, count: usize) -> Option<Vec<f64>> {
    let mut sums = vec![[0_u64; 2]; count];
    for tested in tested {
        for (sum, class) in sums.iter_mut().zip(&tested?.classes) {
            *sum = [sum[0] + class.images, sum[1] + class.correct];
        }
    }
    let share =
        |[images, correct]: [u64; 2]| (images > 0).then(|| (1e4 * correct as f64 / images as f64).round() / 1e4);
    (count > 0).then(|| sums.into_iter().map(share).collect()).flatten()
}

/// A value as a place on an axis: numbers are numbers, all else is a text.
fn drawn(value: &Value) -> Json {
    match value {
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        value => json!(value.plain()),
    }
}

fn better(measure: &Measure) -> Option<&'static str> {
    measure.best.map(|best| if best(1.0, 0.0) { "more" } else { "less" })
}

fn status(row: &Row) -> &'static str {
    let any = |is: fn(&Record) -> bool| row.records.iter().any(|record| is(record));
    if row.records.iter().all(|record| record.result.is_some()) {
        "finished"
    } else if any(|record| record.running) {
        "running"
    } else if any(|record| record.failure.is_some() || record.damaged.is_some()) {
        "failed"
    } else if any(|record| record.stopped.is_some()) {
        "stopped"
    } else {
        "waiting"
    }
}

fn trial(page: &Page, at: usize, record: &Record, metrics: &[&Metric]) -> Json {
    let name = record.folder.file_name().unwrap_or_default().to_string_lossy();
    let seed = record.variant.iter().find(|(key, _)| key == SEED).map(|(_, value)| value.plain());
    let figures = |epoch: &Epoch| metrics.iter().map(|m| (m.of)(epoch).map(six_digits)).collect::<Vec<_>>();
    json!({
        "name": printable::line(&name),
        "href": (page.link)(at, &record.folder),
        "seed": seed,
        "seconds": record.epochs.iter().map(|epoch| epoch.seconds).sum::<f64>(),
        "epochs": record.epochs.iter().map(figures).collect::<Vec<_>>(),
    })
}

/// Which take less room than sixteen, and draw the same.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn explained(key: &str, share: &Share) -> Json {
    match share {
        Share::Explains(share) => json!({ "key": key, "share": share, "says": measure::percent(*share) }),
        Share::Chance => json!({ "key": key, "share": null, "says": "no more than chance" }),
        Share::Unknown(reason) => json!({ "key": key, "share": null, "says": format!("cannot be told: {reason}") }),
    }
}

fn pivot(rows: &Rows, keys: (usize, usize)) -> Json {
    let pivot = Pivot::new(rows, keys);
    let label = |value: &Option<&Value>| value.map_or_else(String::new, Value::plain);
    let best = pivot.best();
    json!({
        "down": rows.keys[keys.0],
        "across": rows.keys[keys.1],
        "heads": pivot.across.iter().map(label).collect::<Vec<_>>(),
        "rows": pivot.down.iter().zip(&pivot.means).map(|(value, means)| json!([label(value), means])).collect::<Vec<_>>(),
        "best": best.is_finite().then_some(best),
    })
}
