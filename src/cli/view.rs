use std::path::Path;

use super::choice::words;
use crate::{
    choice::Choice,
    experiment::{ExperimentError, sweep::recorded},
    report::{Format, Price, Sort, View},
};

/// How trials are shown.
#[derive(Debug, Clone, clap::Args)]
pub struct ViewArgs {
    #[arg(long, value_parser = words::<Format>(), default_value = Format::default().word())]
    format: Format,
    /// Sorts the rows [default: in the order of the variants]; with --pivot, the values of both keys
    #[arg(long, value_parser = words::<Sort>())]
    sort: Option<Sort>,
    /// One table for each value of this key; in CSV one table, with that column first
    #[arg(long, value_name = "KEY")]
    group_by: Option<String>,
    /// Test accuracy by two keys: one down, one across; the mean over all others
    #[arg(long, value_name = "DOWN,ACROSS", conflicts_with_all = ["group_by", "pareto", "baseline"])]
    pivot: Option<String>,
    /// Marks the variants that no other beats in both accuracy and this
    #[arg(long, value_parser = words::<Price>())]
    pareto: Option<Price>,
    /// The variant that others are compared with, e.g. `patch_size=6,depth=8` [default: the first
    /// that has a result]
    #[arg(long, value_name = "KEY=VALUE,...")]
    baseline: Option<String>,
    /// Characters a line may have: a wider table is split by its columns [default: the terminal's,
    /// or no limit where output is piped]
    #[arg(long, value_name = "CHARACTERS", value_parser = clap::value_parser!(u16).range(20..))]
    width: Option<u16>,
}

impl ViewArgs {
    /// What was asked for.
    pub fn view(&self) -> View {
        let Self { format, sort, group_by, pivot, pareto, baseline, width } = self.clone();
        View { format, sort, group_by, pivot, pareto, baseline, width, ..View::default() }
    }

    /// What was asked for of a directory, with that by which its sweep compares, if it is one's.
    ///
    /// # Errors
    /// A directory whose definition cannot be read.
    pub fn of(&self, folder: &Path) -> Result<View, ExperimentError> {
        let metric = recorded(folder)?.map(|config| config.metric).unwrap_or_default();
        Ok(View { metric, ..self.view() })
    }
}
