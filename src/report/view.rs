//! What is shown of trials, and in which form: the options of `report` and `sweep`.

use super::{
    measure::{self, Measure},
    rows::{Row, Rows, SEED},
};
use crate::{
    choice::Choice,
    dsl::Value,
    experiment::{
        ExperimentError,
        sweep::{Axis, Metric, split},
    },
};

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, for a terminal.
    #[default]
    Table,
    /// A table of Markdown.
    Markdown,
    /// Comma-separated values with a header, numbers in full.
    Csv,
    /// Every trial with its full result
    Json,
    /// A `tabular` with the rules of the package booktabs
    Latex,
}

impl Choice for Format {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Table, "table", ""),
        (Self::Markdown, "markdown", ""),
        (Self::Csv, "csv", ""),
        (Self::Json, "json", "Every trial with its full result"),
        (Self::Latex, "latex", "A `tabular` with the rules of the package booktabs"),
    ];
}

/// What the rows of a table are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Choice for Sort {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Accuracy, "accuracy", "Test accuracy, best first"),
        (Self::ValAccuracy, "val-accuracy", "Validation accuracy, best first"),
        (Self::Top5, "top5", "Top-5 test accuracy, best first"),
        (Self::Loss, "loss", "Test loss, lowest first"),
        (Self::Time, "time", "Training time, shortest first"),
        (Self::Parameters, "parameters", "Parameters, fewest first"),
        (Self::Flops, "flops", "FLOPs, fewest first"),
        (Self::Speed, "speed", "Images per second, most first"),
        (Self::Memory, "memory", "Peak memory, least first"),
    ];
}

/// What accuracy is bought with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// Wall time of all epochs.
    Time,
    /// Number of parameters.
    Parameters,
    /// FLOPs of a forward pass over one image.
    Flops,
}

impl Choice for Price {
    const CHOICES: &[(Self, &str, &str)] =
        &[(Self::Time, "time", ""), (Self::Parameters, "parameters", ""), (Self::Flops, "flops", "")];
}

/// How trials are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// In which form.
    pub format: Format,
    /// By what the rows are sorted, if not by the order of the variants; with `pivot`, the values of both keys.
    pub sort: Option<Sort>,
    /// One table for each value of this key; in CSV one table, with that column first.
    pub group_by: Option<String>,
    /// `DOWN,ACROSS`: test accuracy by two keys; the mean over all others.
    pub pivot: Option<String>,
    /// Marks the variants that no other beats in both accuracy and this.
    pub pareto: Option<Price>,
    /// `KEY=VALUE,...`: the variant that others are compared with, if not the first that has a result.
    pub baseline: Option<String>,
    /// Characters a line may have: a wider table is split by its columns.
    pub width: Option<u16>,
    /// By what the sweep compares its trials: a column of its own, and what a page shows first.
    pub metric: Metric,
}

impl Sort {
    pub(super) fn key(self, row: &Row) -> f64 {
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
    pub(super) fn measure(self) -> Measure {
        match self {
            Self::Time => measure::TIME,
            Self::Parameters => measure::PARAMETERS,
            Self::Flops => measure::FLOPS,
        }
    }
}

fn refuse(message: String, help: impl Into<String>) -> ExperimentError {
    ExperimentError::Sweep { message, help: Some(help.into()) }
}

impl View {
    /// The keys of `--baseline` with their values.
    fn wanted(&self) -> Result<Vec<(String, Value)>, ExperimentError> {
        let Some(text) = &self.baseline else { return Ok(Vec::new()) };
        let read = |part: &&str| {
            let (key, value) = Value::parse_assignment(part.trim()).map_err(Box::new)?;
            Ok((Axis::named(&key), value))
        };
        split(text).iter().map(read).collect()
    }

    /// Both keys of `--pivot`.
    fn pivot_keys(&self) -> Result<Option<(String, String)>, ExperimentError> {
        let Some(pivot) = &self.pivot else { return Ok(None) };
        let keys: Vec<String> = pivot.split(',').map(Axis::named).collect();
        match &keys[..] {
            [down, across] if down == across => {
                Err(refuse(format!("`--pivot {pivot}` names one key twice"), "e.g. --pivot patch_size,depth"))
            }
            [down, across] => Ok(Some((down.clone(), across.clone()))),
            _ => Err(refuse(format!("`--pivot {pivot}` does not name two keys"), "e.g. --pivot patch_size,depth")),
        }
    }

    /// All keys that it names.
    fn keys(&self) -> Result<Vec<String>, ExperimentError> {
        let mut keys: Vec<String> = self.wanted()?.into_iter().map(|(key, _)| key).collect();
        keys.extend(self.group_by.as_deref().map(Axis::named));
        keys.extend(self.pivot_keys()?.into_iter().flat_map(|(down, across)| [down, across]));
        Ok(keys)
    }

    /// Whether it can be of a sweep that varies these keys, before there is anything to show.
    ///
    /// # Errors
    /// What is no key, or is none of these; options that do not fit together.
    pub fn check(&self, varied: &[&str]) -> Result<(), ExperimentError> {
        if self.width.is_some() && self.format != Format::Table {
            let message = "`--width` splits the tables of a terminal, which `--format` does not write".to_owned();
            return Err(refuse(message, "leave out one of them"));
        }
        self.keys()?.iter().try_for_each(|key| at(varied, key).map(drop))
    }
}

/// Where a key stands among those that the sweep varied.
fn at(varied: &[&str], key: &str) -> Result<usize, ExperimentError> {
    varied.iter().position(|known| *known == key).ok_or_else(|| {
        let help = match crate::dsl::nearest(key, varied.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if varied.is_empty() => "nothing is varied but seeds".to_owned(),
            None => format!("varied are: {}", varied.join(", ")),
        };
        refuse(format!("`{key}` is not varied here"), help)
    })
}

/// Trials as a view shows them, in whatever form.
pub struct Arranged<'a> {
    pub rows: Rows<'a>,
    /// The row that others are compared with.
    pub baseline: Option<Row<'a>>,
    /// Down and across.
    pub pivot: Option<(usize, usize)>,
    /// The key of which each value has a group, and its groups; without one, a single group.
    pub groups: Vec<(Option<&'a Value>, Vec<Row<'a>>)>,
    pub grouped: Option<usize>,
}

impl<'a> Arranged<'a> {
    /// Sorts and groups trials.
    ///
    /// # Errors
    /// As [`View::check`], or a baseline that is not there.
    pub fn new(records: &'a [super::Record], view: &View) -> Result<Self, ExperimentError> {
        // Seeds are averaged over, unless they are what is asked for.
        let by_seed = view.keys()?.iter().any(|key| key == SEED);
        let mut rows = if by_seed { Rows::with_seeds(records) } else { Rows::new(records) };
        view.check(&rows.keys)?;
        let baseline = baseline(&rows, view)?;
        if let Some(sort) = view.sort {
            rows.rows.sort_by(|a, b| sort.key(a).total_cmp(&sort.key(b)));
        }
        let pivot = match view.pivot_keys()? {
            Some((down, across)) => Some((at(&rows.keys, &down)?, at(&rows.keys, &across)?)),
            None => None,
        };
        let grouped = view.group_by.as_deref().map(|key| at(&rows.keys, &Axis::named(key))).transpose()?;
        let mut groups: Vec<(Option<&Value>, Vec<Row>)> = Vec::new();
        for row in &rows.rows {
            let value = grouped.and_then(|at| row.values[at]);
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, group)) => group.push(row.clone()),
                None => groups.push((value, vec![row.clone()])),
            }
        }
        if groups.is_empty() {
            groups.push((None, Vec::new()));
        }
        Ok(Self { rows, baseline, pivot, groups, grouped })
    }

    /// What a group is called: `depth = 2`.
    pub fn heading(&self, value: Option<&Value>) -> Option<String> {
        let key = self.rows.keys[self.grouped?];
        Some(value.map_or_else(|| format!("{key} does not vary"), |value| format!("{key} = {}", value.plain())))
    }

    /// The points of test accuracy that a row is above the baseline.
    pub fn difference(&self, row: &Row) -> Option<f64> {
        let baseline = self.baseline.as_ref()?;
        Some(row.mean(&measure::ACCURACY)?.mean - baseline.mean(&measure::ACCURACY)?.mean)
    }

    pub fn is_baseline(&self, row: &Row) -> bool {
        self.baseline.as_ref().is_some_and(|baseline| baseline.values == row.values)
    }
}

fn baseline<'a>(rows: &Rows<'a>, view: &View) -> Result<Option<Row<'a>>, ExperimentError> {
    // One that was stopped, or failed, has nothing to compare with.
    let tested = |row: &&Row| row.mean(&measure::ACCURACY).is_some();
    let Some(text) = &view.baseline else {
        let first = rows.rows.iter().find(tested).or(rows.rows.first());
        return Ok(first.filter(|_| rows.rows.len() > 1 && !rows.keys.is_empty()).cloned());
    };
    let mut values = Vec::new();
    for (key, value) in view.wanted()? {
        values.push((at(&rows.keys, &key)?, value));
    }
    // A text that looks like a number needs no quotes here.
    let is = |own: &Value, value: &Value| own.same(value) || matches!(own, Value::Str(text) if *text == value.plain());
    let fits = |row: &&Row| values.iter().all(|(at, value)| row.values[*at].is_some_and(|own| is(own, value)));
    let found = rows.rows.iter().filter(fits).find(tested).or_else(|| rows.rows.iter().find(fits));
    match found {
        Some(row) => Ok(Some(row.clone())),
        None => {
            let mut there: Vec<String> =
                rows.rows.iter().map(|row| row.name(&rows.keys)).take(MOST_NAMED + 1).collect();
            if there.len() > MOST_NAMED {
                there[MOST_NAMED] = "...".into();
            }
            Err(refuse(format!("no variant has {text}"), format!("there are: {}", there.join("; "))))
        }
    }
}

/// Variants that a message names.
const MOST_NAMED: usize = 8;

/// Whether no other row is at least as good in both, and better in one.
pub fn on_front(row: &Row, rows: &[Row], price: &Measure) -> bool {
    let point = |row: &Row| Some((row.mean(&measure::ACCURACY)?.mean, row.mean(price)?.mean));
    let Some((accuracy, cost)) = point(row) else { return false };
    let beats = |(a, c): (f64, f64)| a >= accuracy && c <= cost && (a > accuracy || c < cost);
    !rows.iter().filter_map(point).any(beats)
}

/// Mean test accuracy by two keys.
pub struct Pivot<'a> {
    pub down: Vec<Option<&'a Value>>,
    pub across: Vec<Option<&'a Value>>,
    /// In the order of both.
    pub means: Vec<Vec<Option<f64>>>,
}

impl<'a> Pivot<'a> {
    pub fn new(rows: &Rows<'a>, (down, across): (usize, usize)) -> Self {
        let distinct = |at: usize| {
            let mut values: Vec<Option<&Value>> = Vec::new();
            for row in &rows.rows {
                if !values.contains(&row.values[at]) {
                    values.push(row.values[at]);
                }
            }
            values
        };
        let mean = |d: &Option<&Value>, a: &Option<&Value>| {
            let here = rows.rows.iter().filter(|row| row.values[down] == *d && row.values[across] == *a);
            let means: Vec<f64> = here.filter_map(|row| Some(row.mean(&measure::ACCURACY)?.mean)).collect();
            (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
        };
        let (downs, acrosses) = (distinct(down), distinct(across));
        let means = downs.iter().map(|d| acrosses.iter().map(|a| mean(d, a)).collect()).collect();
        Self { down: downs, across: acrosses, means }
    }

    /// The best of all.
    pub fn best(&self) -> f64 {
        self.means.iter().flatten().flatten().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}
