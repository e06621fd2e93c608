use super::{
    Record,
    measure::{Measure, VAL_ACCURACY},
};
use crate::dsl::Value;

/// Variants that differ in it alone are one row, with mean and deviation.
pub use crate::trial::variant::SEED;

/// Trials that differ in their seeds only.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// In the order of [`Rows::keys`].
    pub values: Vec<Option<&'a Value>>,
    /// The trials, one for each seed.
    pub records: Vec<&'a Record>,
}

/// All trials, by what was changed.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// What the sweep changed, besides seeds.
    pub keys: Vec<&'a str>,
    /// In the order of the trials.
    pub rows: Vec<Row<'a>>,
}

/// Mean, deviation and count of the trials of a row that have a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Of the numbers.
    pub mean: f64,
    /// Of the sample, as over seeds one estimates that of all seeds.
    pub deviation: f64,
    /// How many trials have the number.
    pub count: usize,
}

impl<'a> Rows<'a> {
    /// Gathers the trials; rows stand in the order of their first trial.
    pub fn new(records: &'a [Record]) -> Self {
        Self::by(records, |key| key != SEED)
    }

    /// A row for each seed, too.
    pub fn with_seeds(records: &'a [Record]) -> Self {
        Self::by(records, |_| true)
    }

    fn by(records: &'a [Record], counts: impl Fn(&str) -> bool) -> Self {
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in records.iter().flat_map(|record| &record.variant) {
            if counts(key) && !keys.contains(&key.as_str()) {
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
        Self { keys, rows }
    }
}

/// Whether no row is better than this one by a measure that has a better and a worse.
pub fn is_best(measure: &Measure, row: &Row, rows: &[Row]) -> bool {
    let (Some(better), Some(own)) = (measure.best, row.mean(measure)) else { return false };
    rows.len() > 1 && !rows.iter().filter_map(|row| row.mean(measure)).any(|other| better(other.mean, own.mean))
}

impl Row<'_> {
    /// `patch_size=4 depth=2`, or the folder of a trial that no sweep made.
    pub fn name(&self, keys: &[&str]) -> String {
        let named =
            keys.iter().zip(&self.values).filter_map(|(key, value)| Some(format!("{key}={}", (*value)?.plain())));
        let name = named.collect::<Vec<_>>().join(" ");
        if name.is_empty() { self.folder() } else { name }
    }

    /// The last part of the first trial's folder.
    pub fn folder(&self) -> String {
        let name = self.records.first().and_then(|record| record.folder.file_name());
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Over the trials that have the number; the best of the epochs, over those that were trained the longest: that of
    /// one epoch is not that of nine.
    pub fn mean(&self, measure: &Measure) -> Option<Mean> {
        let longest = self.records.iter().map(|record| record.epochs.len()).max();
        let comparable =
            |record: &&&Record| measure.header != VAL_ACCURACY.header || Some(record.epochs.len()) == longest;
        let values: Vec<f64> =
            self.records.iter().filter(comparable).filter_map(|record| (measure.of)(record)).collect();
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Mean { mean, deviation: (squares / (count.max(2) - 1) as f64).sqrt(), count })
    }

    /// "finished", or how many of its trials are, and why others failed.
    pub fn state(&self) -> String {
        let finished = self.records.iter().filter(|record| record.result.is_some()).count();
        if finished == self.records.len() {
            return "finished".into();
        }
        let mut parts = Vec::new();
        if self.records.len() > 1 {
            parts.push(format!("{finished}/{} finished", self.records.len()));
        }
        for record in self.records.iter().filter(|record| record.result.is_none()) {
            if let Some(reason) = &record.damaged {
                parts.push(reason.clone());
                continue;
            }
            parts.push(match (&record.failure, &record.stopped) {
                (Some(failure), _) => format!("failed: {}", failure.reason),
                (None, Some(stopped)) => stopped.clone(),
                (None, None) if record.running => format!("training, after epoch {}", record.epochs.len()),
                (None, None) if record.epochs.is_empty() => "not begun".to_owned(),
                (None, None) => format!("interrupted after epoch {}", record.epochs.len()),
            });
        }
        parts.dedup();
        parts.join("; ")
    }
}
