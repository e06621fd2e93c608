//! How wide a round of a search by results is. It is part of what defines a sweep, but what nobody says follows from how many
//! trials run at once: so a sweep that is begun again with another number of them looks for the round that it had.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Given, MOST_ROUND, SearchSettings, Strategy, Sweep, directory::recorded, space::refuse, strategy::ROUND};
use crate::{
    choice::Choice,
    experiment::{ExperimentError, SweepConfig},
};

/// The round that is asked for.
///
/// # Errors
/// [`ExperimentError::Sweep`] for a round of a search that does not go by results.
pub(super) fn asked(given: &Given, own: &SweepConfig, strategy: Strategy) -> Result<Option<usize>, ExperimentError> {
    if strategy.goes_by_results() {
        return Ok(given.round.or(own.round));
    }
    // What the command line has replaced takes its round along.
    let round = given.round.or(own.round.filter(|_| given.strategy.is_none()));
    match round {
        Some(round) => Err(refuse(
            format!("a round of {round} points is for searches that go by results, and {} does not", strategy.word()),
            "leave it out, or add --strategy multivariate_tpe --trials 32",
        )),
        None => Ok(None),
    }
}

/// As a definition has it: the usual one is not written.
pub(super) fn recorded_round(search: &SearchSettings) -> Option<usize> {
    Some(search.round).filter(|round| search.strategy.goes_by_results() && *round != ROUND)
}

impl Sweep {
    /// The directory of the sweep: `output`, or what `named` gives for its identity. Where nobody says how wide a round is, it is
    /// that of the sweep which is there already; the text says so.
    ///
    /// # Errors
    /// A directory whose definition cannot be read.
    pub fn settle(
        &mut self,
        output: Option<&Path>,
        named: impl Fn(&str) -> PathBuf,
    ) -> Result<(PathBuf, Option<String>), ExperimentError> {
        let own = self.search.round;
        let folder = match output {
            Some(folder) => {
                if let Some(config) =
                    recorded(folder)?.filter(|config| self.open_round && config.strategy.goes_by_results())
                {
                    self.set_round(config.round.unwrap_or(ROUND));
                }
                folder.to_owned()
            }
            None => {
                let usual = named(&self.definition.identity());
                if self.open_round && !usual.exists() { self.find(&usual, named) } else { usual }
            }
        };
        let note = (self.search.round != own).then(|| {
            format!(
                "This sweep was begun in rounds of {}, and goes on so, though {own} would be usual with so many trials at once; \
                 --round {own} begins another.",
                self.search.round
            )
        });
        Ok((folder, note))
    }

    /// Looks for the directory of the same sweep with another round; `usual` where there is none.
    fn find(&mut self, usual: &Path, named: impl Fn(&str) -> PathBuf) -> PathBuf {
        let entries = usual.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten();
        let there: HashSet<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        if there.is_empty() {
            return usual.to_owned();
        }
        let own = self.search.round;
        for round in std::iter::once(ROUND).chain(1..=MOST_ROUND) {
            self.set_round(round);
            let folder = named(&self.definition.identity());
            if there.contains(&folder) {
                return folder;
            }
        }
        self.set_round(own);
        usual.to_owned()
    }

    fn set_round(&mut self, round: usize) {
        self.search.round = round;
        if let Some(config) = &mut self.definition.experiment.sweep {
            config.round = recorded_round(&self.search);
        }
    }
}
