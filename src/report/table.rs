use comfy_table::{Table, TableStyle, presets};
use serde_json::json;

use super::Record;
use crate::{dsl::Value, train::result::RunResult};

/// The key whose variants are one row, with mean and deviation.
const SEED: &str = "train.seed";

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Markdown,
    Csv,
    /// Every trial with its full result
    Json,
}

/// What the rows of a table are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Test accuracy, best first
    Accuracy,
    /// Validation accuracy, best first
    ValAccuracy,
    /// Test loss, lowest first
    Loss,
    /// Training time, shortest first
    Time,
    /// Parameters, fewest first
    Parameters,
}

/// A column of measured numbers.
struct Measure {
    header: &'static str,
    of: fn(&RunResult) -> Option<f64>,
    show: fn(f64) -> String,
    /// Whether the largest or the smallest is the best; `None` marks nothing.
    best: Option<fn(f64, f64) -> bool>,
}

fn percent(value: f64) -> String {
    format!("{:.2}%", 100.0 * value)
}

/// `21.76M`
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => return format!("{value:.0}"),
    };
    format!("{scaled:.2}{unit}")
}

const MEASURES: [Measure; 9] = [
    Measure { header: "params", of: |r| Some(r.parameters as f64), show: short, best: None },
    Measure { header: "FLOPs", of: |r| Some(r.flops as f64), show: short, best: None },
    Measure { header: "val top-1", of: |r| r.best_val_accuracy, show: percent, best: Some(|a, b| a > b) },
    Measure { header: "test top-1", of: |r| Some(r.test_accuracy), show: percent, best: Some(|a, b| a > b) },
    Measure { header: "test top-5", of: |r| Some(r.test_top_5_accuracy), show: percent, best: Some(|a, b| a > b) },
    Measure { header: "test loss", of: |r| Some(r.test_loss), show: |v| format!("{v:.4}"), best: Some(|a, b| a < b) },
    Measure { header: "time", of: |r| Some(r.seconds), show: |v| format!("{v:.1} s"), best: Some(|a, b| a < b) },
    Measure { header: "img/s", of: |r| Some(r.images_per_second), show: |v| format!("{v:.0}"), best: None },
    Measure {
        header: "peak MiB",
        of: |r| r.peak_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)),
        show: |v| format!("{v:.0}"),
        best: None,
    },
];

/// Trials that differ in their seeds only.
struct Row<'a> {
    values: Vec<Option<&'a Value>>,
    records: Vec<&'a Record>,
}

impl Row<'_> {
    fn mean(&self, of: fn(&RunResult) -> Option<f64>) -> Option<(f64, f64, usize)> {
        let values: Vec<f64> = self.records.iter().filter_map(|record| record.result.as_ref()).filter_map(of).collect();
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        // The sample's deviation, as over seeds one estimates that of all seeds.
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some((mean, (squares / (count.max(2) - 1) as f64).sqrt(), count))
    }

    /// "finished", or how many of its trials are, and why others failed.
    fn state(&self) -> String {
        let finished = self.records.iter().filter(|record| record.result.is_some()).count();
        let mut parts = Vec::new();
        if finished == self.records.len() {
            return "finished".into();
        }
        if self.records.len() > 1 {
            parts.push(format!("{finished}/{} finished", self.records.len()));
        }
        for record in self.records.iter().filter(|record| record.result.is_none()) {
            parts.push(match &record.failure {
                Some(failure) => format!("failed: {}", failure.reason),
                None if record.epochs.is_empty() => "not begun".to_owned(),
                None => format!("stopped after epoch {}", record.epochs.len()),
            });
        }
        parts.dedup();
        parts.join("; ")
    }
}

/// Writes trials in a format: one row per variant, its seeds taken together.
pub fn render(records: &[Record], format: Format, sort: Option<Sort>) -> String {
    if format == Format::Json {
        return json(records);
    }
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in records.iter().flat_map(|record| &record.variant) {
        if key != SEED && !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for record in records {
        let find = |key: &&str| record.variant.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        let values: Vec<_> = keys.iter().map(find).collect();
        // Trials that no sweep made have nothing in common but that.
        match rows.iter_mut().find(|row| row.values == values && !record.variant.is_empty()) {
            Some(row) => row.records.push(record),
            None => rows.push(Row { values, records: vec![record] }),
        }
    }
    if let Some(sort) = sort {
        let key = |row: &Row| {
            let (header, sign) = match sort {
                Sort::Accuracy => ("test top-1", -1.0),
                Sort::ValAccuracy => ("val top-1", -1.0),
                Sort::Loss => ("test loss", 1.0),
                Sort::Time => ("time", 1.0),
                Sort::Parameters => ("params", 1.0),
            };
            let measure = MEASURES.iter().find(|measure| measure.header == header);
            measure.and_then(|measure| row.mean(measure.of)).map_or(f64::INFINITY, |(mean, ..)| sign * mean)
        };
        rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
    }
    let unnamed = records.iter().all(|record| record.variant.is_empty());
    let mut header: Vec<String> = if unnamed { vec!["trial".into()] } else { Vec::new() };
    header.extend(keys.iter().map(|key| (*key).to_owned()));
    header.extend(MEASURES.iter().map(|measure| measure.header.to_owned()));
    header.push("state".into());
    let cells: Vec<Vec<String>> = rows.iter().map(|row| line(row, &rows, unnamed, format)).collect();
    match format {
        Format::Csv => csv(&header, &cells),
        Format::Markdown => table(presets::ASCII_MARKDOWN, header, cells),
        Format::Table | Format::Json => table(presets::UTF8_FULL_CONDENSED, header, cells),
    }
}

fn line(row: &Row, rows: &[Row], unnamed: bool, format: Format) -> Vec<String> {
    let mut cells = Vec::new();
    if unnamed {
        let name = row.records.first().and_then(|record| record.folder.file_name());
        cells.push(name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
    }
    cells.extend(row.values.iter().map(|value| value.map_or_else(String::new, ToString::to_string)));
    for measure in &MEASURES {
        let Some((mean, deviation, count)) = row.mean(measure.of) else {
            cells.push(String::new());
            continue;
        };
        if format == Format::Csv {
            cells.push(mean.to_string());
            continue;
        }
        let mut cell = (measure.show)(mean);
        if count > 1 && deviation > 0.0 && measure.best.is_some() {
            cell += &format!(" ± {}", (measure.show)(deviation));
        }
        let beaten = |better: fn(f64, f64) -> bool| {
            rows.iter().filter_map(|row| row.mean(measure.of)).any(|(other, ..)| better(other, mean))
        };
        if rows.len() > 1 && measure.best.is_some_and(|better| !beaten(better)) {
            cell += " *";
        }
        cells.push(cell);
    }
    cells.push(row.state());
    cells
}

fn table(style: TableStyle, header: Vec<String>, cells: Vec<Vec<String>>) -> String {
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
        })
    };
    let trials: Vec<_> = records.iter().map(trial).collect();
    serde_json::to_string_pretty(&trials).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::train::result::{Failure, FailureKind};

    fn record(patch_size: i64, seed: i64, accuracy: Option<f64>) -> Record {
        let result = accuracy.map(|accuracy| RunResult {
            test_loss: 2.0 - accuracy,
            test_accuracy: accuracy,
            test_top_5_accuracy: 0.9,
            best_epoch: 2,
            best_val_loss: None,
            best_val_accuracy: Some(accuracy / 2.0),
            best_val_top_5_accuracy: None,
            epochs: 3,
            parameters: 21_759_012,
            flops: 402_751_488,
            seconds: 12.25,
            images_per_second: 100.4,
            peak_memory_bytes: Some(3 << 20),
        });
        let failure = accuracy.is_none().then(|| Failure { kind: FailureKind::Nan, reason: "a, \"b\"".into() });
        let variant = vec![("patch_size".to_owned(), Value::Int(patch_size)), (SEED.to_owned(), Value::Int(seed))];
        Record { folder: PathBuf::from("trials/1"), variant, epochs: Vec::new(), result, failure }
    }

    #[test]
    fn every_format() {
        let records = [
            record(4, 1, Some(0.5)),
            record(4, 2, Some(0.6)),
            record(8, 1, Some(0.7)),
            record(8, 2, Some(0.7)),
            record(9, 1, None),
        ];
        let shown = [Format::Table, Format::Markdown, Format::Csv, Format::Json]
            .map(|format| render(&records, format, Some(Sort::Accuracy)));
        insta::assert_snapshot!(shown.join("\n\n"));
    }
}
