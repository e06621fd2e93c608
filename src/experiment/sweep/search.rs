//! Which variants are tried.

use serde::{Deserialize, Serialize};

use super::{Axis, Domain, Space, Variant, tpe::Estimator};
use crate::{
    experiment::ExperimentError,
    random::{Philox, Stream, unit},
};

/// How a space is searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every combination
    #[default]
    Grid,
    /// Independent draws
    Random,
    /// A quasi-random sequence, which covers the space evenly
    Sobol,
    /// Tree-structured Parzen estimator: draws more where earlier trials did well
    Tpe,
}

/// Proposals that TPE makes before it looks at results again. It does not depend on how many trials
/// run at once, so neither does what is tried.
const ROUND: usize = 4;

/// How often TPE draws again when it has drawn what was tried before.
const ATTEMPTS: u32 = 100;

/// A search under way. What it proposes depends on its seed and on the results it was told, in
/// order: running it again over finished trials brings it to where it was.
pub struct Search<'a> {
    space: &'a Space,
    strategy: Strategy,
    /// Points to try; no limit for a grid.
    trials: usize,
    seed: u64,
    proposed: usize,
    /// Of TPE, one for each group of axes.
    estimators: Vec<Estimator>,
    philox: Philox,
    /// The points of the last round of TPE, in the estimators' own coordinates.
    round: Vec<(Vec<f64>, Variant)>,
    /// All that TPE has proposed.
    seen: Vec<Variant>,
}

impl<'a> Search<'a> {
    /// A search of a space.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for a search without a number of trials, or of too many axes.
    pub fn new(
        space: &'a Space,
        strategy: Strategy,
        trials: Option<usize>,
        seed: u64,
    ) -> Result<Self, ExperimentError> {
        let refuse = |message: &str, help: &str| {
            Err(ExperimentError::Sweep { message: message.into(), help: Some(help.into()) })
        };
        let trials = match (strategy, trials) {
            (Strategy::Grid, None) => usize::MAX,
            (Strategy::Grid, Some(_)) => {
                return refuse("a grid tries every combination", "leave out --trials, or add --strategy random");
            }
            (_, Some(trials @ 1..)) => trials,
            _ => return refuse("a search needs a number of trials", "e.g. --strategy sobol --trials 20"),
        };
        if space.groups.len() > sobol_burley::NUM_DIMENSIONS as usize {
            return refuse("a search can vary no more than 256 keys", "leave some at their values");
        }
        let choices = |group: &Vec<Axis>| match &group[0].domain {
            Domain::Values(values) => Some(values.len()),
            Domain::Interval { .. } => None,
        };
        let estimators = space.groups.iter().map(|group| Estimator::new(choices(group))).collect();
        let philox = Philox::new(seed, Stream::Search);
        Ok(Self { space, strategy, trials, seed, proposed: 0, estimators, philox, round: Vec::new(), seen: Vec::new() })
    }

    /// The next variants, without their seeds; none when the search is over.
    ///
    /// # Errors
    /// A grid that is too large or has intervals.
    pub fn propose(&mut self) -> Result<Vec<Variant>, ExperimentError> {
        if self.proposed >= self.trials {
            return Ok(Vec::new());
        }
        match self.strategy {
            Strategy::Grid => {
                self.proposed = self.trials;
                let mut once = self.space.clone();
                once.seeds = 1;
                once.grid()
            }
            Strategy::Random | Strategy::Sobol => {
                self.proposed = self.trials;
                Ok(self.distinct())
            }
            Strategy::Tpe => {
                let count = ROUND.min(self.trials - self.proposed);
                let draws = self.proposed..self.proposed + count;
                self.proposed += count;
                for draw in draws {
                    let new = self.ask(draw as u32);
                    self.round.extend(new);
                }
                // Where nothing new is found, the space is tried out.
                if self.round.is_empty() {
                    self.proposed = self.trials;
                }
                Ok(self.round.iter().map(|(_, variant)| variant.clone()).collect())
            }
        }
    }

    /// As many different points as are wanted, or as there are found.
    fn distinct(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for index in 0..self.trials.saturating_mul(50).min(1 << 16) as u32 {
            let share = |axis: u32| match self.strategy {
                Strategy::Sobol => f64::from(sobol_burley::sample(index, axis, self.seed as u32)),
                _ => f64::from(unit(self.philox.block([index, axis, 0, 0])[0])),
            };
            let point: Vec<f64> = (0..self.space.groups.len() as u32).map(share).collect();
            let variant = self.space.at(&point);
            if !variants.contains(&variant) {
                variants.push(variant);
            }
            if variants.len() == self.trials {
                break;
            }
        }
        variants
    }

    /// A point that was not proposed before, if one is found.
    fn ask(&mut self, draw: u32) -> Option<(Vec<f64>, Variant)> {
        for attempt in 0..ATTEMPTS {
            let estimators = self.estimators.iter().enumerate();
            let ask =
                |(axis, estimator): (usize, &Estimator)| estimator.ask(&self.philox, [draw, axis as u32, attempt]);
            let point: Vec<f64> = estimators.map(ask).collect();
            let variant = self.space.at(&self.shares(&point));
            if !self.seen.contains(&variant) {
                self.seen.push(variant.clone());
                return Some((point, variant));
            }
        }
        None
    }

    /// From the estimators' coordinates to shares of each group.
    fn shares(&self, point: &[f64]) -> Vec<f64> {
        let share = |(group, at): (&Vec<Axis>, &f64)| match &group[0].domain {
            Domain::Values(values) => (at.floor() + 0.5) / values.len() as f64,
            Domain::Interval { .. } => *at,
        };
        self.space.groups.iter().zip(point).map(share).collect()
    }

    /// How well the proposals of the last round did, in order: their validation accuracy, `None`
    /// for those that failed.
    pub fn tell(&mut self, accuracies: &[Option<f64>]) {
        for ((point, variant), accuracy) in std::mem::take(&mut self.round).iter().zip(accuracies) {
            for ((estimator, at), group) in self.estimators.iter_mut().zip(point).zip(&self.space.groups) {
                // A key that did not vary there is not what made it good or bad.
                if group.iter().any(|axis| variant.iter().any(|(key, _)| *key == axis.key)) {
                    estimator.tell(*at, 1.0 - accuracy.unwrap_or(0.0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dsl::Value,
        experiment::{Experiment, sweep::SpaceArguments},
    };

    fn space(params: &[&str]) -> Space {
        let experiment = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap();
        let params = params.iter().map(|text| (*text).to_owned()).collect();
        Space::new(&experiment, &SpaceArguments { params, ..SpaceArguments::default() }).unwrap()
    }

    fn number(variant: &Variant, at: usize) -> f64 {
        match variant[at].1 {
            Value::Int(value) => value as f64,
            Value::Float(value) => value,
            _ => panic!("{variant:?}"),
        }
    }

    #[test]
    fn searches_repeat_themselves_and_do_not_repeat_points() {
        let space = space(&["x=uniform(0, 1)", "depth=1..=4"]);
        for strategy in [Strategy::Random, Strategy::Sobol] {
            let draw = |seed| Search::new(&space, strategy, Some(16), seed).unwrap().propose().unwrap();
            assert_eq!(draw(3), draw(3));
            assert_ne!(draw(3), draw(4));
            assert_eq!(draw(3).len(), 16);
        }
        let few = self::space(&["depth=1..=4"]);
        assert_eq!(Search::new(&few, Strategy::Random, Some(16), 0).unwrap().propose().unwrap().len(), 4);
    }

    #[test]
    fn sobol_covers_every_part() {
        let space = space(&["x=uniform(0, 1)", "y=uniform(0, 1)"]);
        let points = Search::new(&space, Strategy::Sobol, Some(16), 1).unwrap().propose().unwrap();
        for at in 0..2 {
            let mut parts: Vec<usize> = points.iter().map(|point| (number(point, at) * 16.0) as usize).collect();
            parts.sort_unstable();
            parts.dedup();
            assert!(parts.len() >= 15, "{parts:?}");
        }
    }

    #[test]
    fn tpe_goes_where_results_are_good() {
        let space = space(&["x=uniform(0, 1)", "kind=bad,good,poor"]);
        let run = |seed| {
            let mut search = Search::new(&space, Strategy::Tpe, Some(60), seed).unwrap();
            let mut all = Vec::new();
            loop {
                let round = search.propose().unwrap();
                if round.is_empty() {
                    return all;
                }
                let score = |variant: &Variant| {
                    let kind = if variant[1].1 == Value::Str("good".into()) { 0.3 } else { 0.0 };
                    Some(0.7 - (number(variant, 0) - 0.2).abs() + kind)
                };
                search.tell(&round.iter().map(score).collect::<Vec<_>>());
                all.extend(round);
            }
        };
        let all = run(5);
        assert_eq!(all.len(), 60);
        assert!(all.iter().enumerate().all(|(index, variant)| !all[..index].contains(variant)));
        assert_eq!(all, run(5));
        let few = self::space(&["depth=1..=5", "kind=a,b"]);
        let mut search = Search::new(&few, Strategy::Tpe, Some(60), 1).unwrap();
        let mut count = 0;
        while let Ok(round) = search.propose() {
            if round.is_empty() {
                break;
            }
            count += round.len();
            search.tell(&vec![Some(0.5); round.len()]);
        }
        assert_eq!(count, 10, "all there are, each once");
        let late = &all[30..];
        let near = late.iter().filter(|variant| (number(variant, 0) - 0.2).abs() < 0.2).count();
        let good = late.iter().filter(|variant| variant[1].1 == Value::Str("good".into())).count();
        assert!(near > 15 && good > 15, "{near} {good}");
    }

    #[test]
    fn refuses_what_makes_no_search() {
        let space = space(&["depth=1..=4"]);
        for (strategy, trials) in [(Strategy::Grid, Some(3)), (Strategy::Tpe, None), (Strategy::Sobol, Some(0))] {
            assert!(Search::new(&space, strategy, trials, 0).is_err());
        }
    }
}
