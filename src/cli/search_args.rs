//! What the command line says of what a sweep tries, beyond its space.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use super::{choice::words, duration::time};
use crate::{
    experiment::sweep::{Metric, SEED},
    report::{Record, View},
    trial::Directory,
};

/// Which points are tried, and in which order.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SearchArgs {
    /// Points that `tpe` and `multivariate_tpe` propose before they look at results again; part of what the sweep is
    /// [default: as --jobs, but at least 4, or what the sweep was begun with]
    #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub round: Option<u32>,
    /// Leaves out variants that do not meet a condition of the language of models, on parameters and keys of the experiment:
    /// `projection_dim % num_heads == 0`; can be given several times
    #[arg(long = "where", value_name = "CONDITION")]
    pub constraints: Vec<String>,
    /// A point that is tried before all others, with a value for each key that varies there; can be given several times
    #[arg(long, value_name = "KEY=VALUE,KEY=VALUE")]
    pub enqueue: Vec<String>,
    /// A sweep whose trials are taken over, where they are trials of this one too: more values, trials, seeds or epochs
    #[arg(long, value_name = "DIR")]
    pub extend: Option<PathBuf>,
    /// By what trials are compared, by searches, stopping rules and --keep-best; part of what the sweep is
    /// [default: val_accuracy]
    #[arg(long, value_parser = words::<Metric>())]
    pub metric: Option<Metric>,
    /// Keeps the weights of so many trials, the best; those of others are removed once they can no more be needed
    #[arg(long, value_name = "TRIALS", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_best: Option<u32>,
    /// After so long no trial begins any more: `90s`, `10m`, `1h30m`. What runs comes to its end, or to the epoch at which a rule
    /// would look at it; the same command goes on
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub time_budget: Option<Duration>,
    #[command(flatten)]
    pub about: AboutArgs,
}

/// What is said of a sweep, and defines nothing.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AboutArgs {
    /// A word to find the sweep by, in its table and on its page; can be given several times, and replaces those that it has
    #[arg(long = "tag", value_name = "WORD")]
    pub tags: Vec<String>,
    /// What the sweep is for
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// Records in the order of the table: where the sweep was told by what trials are compared, and the command line not by what they are
/// sorted, the best comes first.
pub fn in_order(mut records: Vec<Record>, view: &View) -> Vec<Record> {
    let metric = view.metric;
    if metric.is_default() || view.sort.is_some() {
        return records;
    }
    // The seeds of a variant stand together.
    let variant = |record: &Record| -> Vec<String> {
        let others = record.variant.iter().filter(|(key, _)| key != SEED);
        others.map(|(key, value)| format!("{key}={value}")).collect()
    };
    let mut scores: HashMap<Vec<String>, Vec<f64>> = HashMap::new();
    for record in records.iter().filter(|record| record.result.is_some()) {
        scores.entry(variant(record)).or_default().extend(metric.best(&record.epochs));
    }
    let score = |record: &Record| match scores.get(&variant(record)) {
        Some(scores) if !scores.is_empty() => scores.iter().sum::<f64>() / scores.len() as f64,
        _ => f64::NEG_INFINITY,
    };
    records.sort_by(|a, b| score(b).total_cmp(&score(a)));
    records
}

/// What is to be said below a table.
pub fn below(records: &[Record]) -> Option<String> {
    let without = records.iter().filter(|record| Directory::new(&record.folder).is_without_weights()).count();
    (without > 0).then(|| format!("Weights of {without} of {} trials were not kept (--keep-best)", records.len()))
}
