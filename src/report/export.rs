//! Tables for other programs: what each of them takes for something else is escaped.

use serde_json::{Map, Value as Json, json};

use super::{
    Record,
    measure::{self, Measure},
    rows::{Mean, Row},
    table::LEARNT,
    view::{Arranged, Pivot, View, on_front},
};
use crate::dsl::Value;

pub fn csv(header: &[String], cells: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(header).chain(cells.iter().map(Vec::as_slice)) {
        // Writing to memory fails for nothing but rows of unequal length, which these are not.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
}

/// A text in a cell of Markdown. An underscore within a word is none of its signs.
pub fn markdown(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let word = |at: Option<usize>| at.and_then(|at| characters.get(at)).is_some_and(|c| c.is_alphanumeric());
    let mut escaped = String::new();
    for (at, c) in characters.iter().enumerate() {
        let sign = match c {
            '_' => !(word(at.checked_sub(1)) && word(Some(at + 1))),
            // The star behind a best value, which has blanks around it, begins nothing.
            '*' => word(Some(at + 1)) || word(at.checked_sub(1)),
            '\\' | '|' | '`' | '<' | '>' | '[' | ']' | '~' | '&' | '$' => true,
            _ => false,
        };
        if sign {
            escaped.push('\\');
        }
        escaped.push(*c);
    }
    escaped
}

/// A text in LaTeX.
pub fn latex_text(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' => "\\textbackslash{}".to_owned(),
        '~' => "\\textasciitilde{}".to_owned(),
        '^' => "\\textasciicircum{}".to_owned(),
        '<' => "\\textless{}".to_owned(),
        '>' => "\\textgreater{}".to_owned(),
        '|' => "\\textbar{}".to_owned(),
        '"' => "''".to_owned(),
        '±' => "$\\pm$".to_owned(),
        // The end of the line before would take it for its argument.
        '[' => "{[}".to_owned(),
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        c => c.to_string(),
    };
    let escaped: String = text.chars().map(escape).collect();
    match escaped.strip_prefix('*') {
        Some(rest) => format!("{{*}}{rest}"),
        None => escaped,
    }
}

pub fn latex(header: &[String], cells: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        format!("{} \\\\", cells.iter().map(|cell| latex_text(cell)).collect::<Vec<_>>().join(" & "))
    };
    let mut out = vec![format!("\\begin{{tabular}}{{{}}}", "l".repeat(header.len())), "\\toprule".into(), line(header)];
    out.push("\\midrule".into());
    out.extend(cells.iter().map(|row| line(row)));
    out.extend(["\\bottomrule".into(), "\\end{tabular}".into()]);
    out.join("\n")
}

/// Every trial with all of its results, in the order of the view's rows and groups; or its pivot.
pub fn json(arranged: &Arranged, view: &View) -> String {
    let keys = &arranged.rows.keys;
    let all = if let Some((down, across)) = arranged.pivot {
        let pivot = Pivot::new(&arranged.rows, (down, across));
        let values = pivot.down.iter().zip(&pivot.means).flat_map(|(d, means)| {
            pivot
                .across
                .iter()
                .zip(means)
                .map(move |(a, mean)| json!({ keys[down]: d, keys[across]: a, "test_accuracy": mean }))
        });
        values.collect()
    } else {
        let trials = |group: &[Row]| -> Vec<Json> {
            let rows = group.iter().flat_map(|row| row.records.iter().map(move |record| (row, *record)));
            rows.map(|(row, record)| trial(row, record, group, arranged, view)).collect()
        };
        match arranged.grouped {
            None => trials(&arranged.rows.rows),
            Some(at) => {
                let group = |(value, group): &(Option<&Value>, Vec<Row>)| json!({ "key": keys[at], "value": value, "trials": trials(group) });
                arranged.groups.iter().map(group).collect()
            }
        }
    };
    let text = serde_json::to_string_pretty(&all).unwrap_or_default();
    // Control characters that JSON lets stand; within its texts, escaped they say the same.
    crate::printable::lines(&text).into_owned()
}

fn trial(row: &Row, record: &Record, group: &[Row], arranged: &Arranged, view: &View) -> Json {
    let variant: Map<_, _> = record.variant.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut trial = json!({
        "trial": record.folder.to_string_lossy(),
        "variant": variant,
        "epochs": record.epochs.len(),
        "state": Row { values: Vec::new(), records: vec![record] }.state(),
        "result": record.result,
        "failure": record.failure,
        "stopped": record.stopped,
        "prediction": record.prediction,
    });
    let mut add = |key: &str, value: Json| {
        if let Some(trial) = trial.as_object_mut() {
            trial.insert(key.to_owned(), value);
        }
    };
    if let Some(reason) = &record.damaged {
        add("damaged", json!(reason));
    }
    if row.records.len() > 1 {
        let mean = |measure: &Measure| {
            let Mean { mean, deviation, count } = row.mean(measure)?;
            let deviation = (count > 1).then_some(deviation);
            Some((key(measure).to_owned(), json!({ "mean": mean, "deviation": deviation, "count": count })))
        };
        add("over_seeds", Json::Object(LEARNT.iter().filter_map(mean).collect()));
    }
    if arranged.baseline.is_some() {
        add("baseline", json!(arranged.is_baseline(row)));
        add("vs_baseline", json!(arranged.difference(row)));
    }
    if let Some(price) = view.pareto {
        add("pareto", json!(on_front(row, group, &price.measure())));
    }
    trial
}

/// What a measure is called in `result`.
fn key(measure: &Measure) -> &'static str {
    match measure.header {
        header if header == measure::VAL_ACCURACY.header => "val_accuracy",
        header if header == measure::VAL_LOSS.header => "val_loss",
        header if header == measure::VAL_TOP_5_ACCURACY.header => "val_top_5_accuracy",
        header if header == measure::ACCURACY.header => "test_accuracy",
        header if header == measure::TOP_5_ACCURACY.header => "test_top_5_accuracy",
        _ => "test_loss",
    }
}
