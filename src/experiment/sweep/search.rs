//! Which variants are tried.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    Axis, Domain, Space,
    space::name,
    tpe::{CANDIDATES, Estimator},
};
use crate::{
    choice::Choice,
    experiment::ExperimentError,
    random::{Philox, Stream, unit},
    trial::Variant,
};

/// How a space is searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Choice for Strategy {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Grid, "grid", "Every combination"),
        (Self::Random, "random", "Independent draws"),
        (Self::Sobol, "sobol", "A quasi-random sequence, which covers the space evenly"),
        (Self::Tpe, "tpe", "Tree-structured Parzen estimator: draws more where earlier trials did well"),
    ];
}

/// Proposals that TPE makes before it looks at results again. It does not depend on how many trials
/// run at once, so neither does what is tried.
const ROUND: usize = 4;

/// How often TPE draws again when it has drawn what was tried before.
const ATTEMPTS: u32 = 100;

/// How often a point is drawn evenly in a space without end, until one is found that is new.
const EVEN_ATTEMPTS: u32 = 10_000;

/// How many points that cannot be are left out for each one that is wanted, before a space without end is given up.
const LEFT_OUT: usize = 20;

/// Words of the random numbers' addresses that keep draws apart: those of TPE begin at 1.
const EVEN: u32 = u32::MAX;
const LEFT: u32 = u32::MAX - 1;

/// What there is to say of a point before it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It trains the same as an earlier one.
    Same,
    /// It cannot be.
    Impossible,
}

/// Looks at points as they are proposed. Without a verdict, the search is to end at once.
pub type Judge<'j> = dyn FnMut(&Variant) -> Option<Verdict> + 'j;

/// A search under way. What it proposes depends on its seed and on the results it was told, in
/// order: running it again over finished trials brings it to where it was.
pub struct Search<'a> {
    space: &'a Space,
    strategy: Strategy,
    /// Points to try; no limit for a grid.
    trials: usize,
    seed: u64,
    /// Whether points that cannot be are left out, and others tried instead.
    skip: bool,
    proposed: usize,
    /// Of TPE, one for each group of axes.
    estimators: Vec<Estimator>,
    philox: Philox,
    /// The points of the last round of TPE, in the estimators' own coordinates.
    round: Vec<(Vec<f64>, Variant)>,
    /// The names of all that was looked at.
    seen: HashSet<String>,
    /// What draws have not found of a space that has an end, by shares; looked up when it is first needed.
    left: Option<Vec<Vec<f64>>>,
    /// Even draws so far.
    even: u32,
    /// Points so far that cannot be, and were left out.
    left_out: usize,
    /// Whether a judge would give no verdict.
    ended: bool,
}

impl<'a> Search<'a> {
    /// A search of a space.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for a search without a number of trials, of too many, or of too many axes.
    pub fn new(
        space: &'a Space,
        strategy: Strategy,
        trials: Option<usize>,
        seed: u64,
        skip: bool,
    ) -> Result<Self, ExperimentError> {
        let refuse = |message: &str, help: &str| {
            Err(ExperimentError::Sweep { message: message.into(), help: Some(help.into()) })
        };
        let trials = match (strategy, trials) {
            (Strategy::Grid, None) => {
                space.grid()?;
                usize::MAX
            }
            (Strategy::Grid, Some(_)) => {
                return refuse("a grid tries every combination", "leave out --trials, or add --strategy random");
            }
            (_, Some(trials @ 1..)) => trials,
            _ => return refuse("a search needs a number of trials", "e.g. --strategy sobol --trials 20"),
        };
        if strategy != Strategy::Grid {
            space.within_limit(trials)?;
        }
        if space.groups.len() > sobol_burley::NUM_DIMENSIONS as usize {
            return refuse("a search can vary no more than 256 keys", "leave some at their values");
        }
        let estimators = space.groups.iter().map(|group| Estimator::new(choices(group))).collect();
        let philox = Philox::new(seed, Stream::Search);
        Ok(Self {
            space,
            strategy,
            trials,
            seed,
            skip,
            proposed: 0,
            estimators,
            philox,
            round: Vec::new(),
            seen: HashSet::new(),
            left: None,
            even: 0,
            left_out: 0,
            ended: false,
        })
    }

    /// The next variants, without their seeds; none when the search is over, or when the judge ends it.
    ///
    /// # Errors
    /// A grid that is too large or has intervals.
    pub fn propose(&mut self, judge: &mut Judge) -> Result<Vec<Variant>, ExperimentError> {
        if self.proposed >= self.trials || self.ended {
            return Ok(Vec::new());
        }
        match self.strategy {
            Strategy::Grid => {
                self.proposed = self.trials;
                let variants = self.space.grid()?.into_iter().map(|point| self.space.at(&point, false));
                Ok(variants.collect::<Vec<_>>().into_iter().filter(|variant| self.takes(variant, judge)).collect())
            }
            Strategy::Random | Strategy::Sobol => {
                self.proposed = self.trials;
                Ok(self.spread(judge))
            }
            Strategy::Tpe => {
                let count = ROUND.min(self.trials - self.proposed);
                let draws = self.proposed..self.proposed + count;
                self.proposed += count;
                for draw in draws {
                    let new = self.ask(draw as u32, judge);
                    self.round.extend(new);
                }
                // Where nothing new is found, the space is tried out.
                if self.round.len() < count {
                    self.proposed = self.trials;
                }
                Ok(self.round.iter().map(|(_, variant)| variant.clone()).collect())
            }
        }
    }

    /// Whether a variant is to be tried: it is new, and can be.
    fn takes(&mut self, variant: &Variant, judge: &mut Judge) -> bool {
        if self.ended || !self.seen.insert(name(variant)) {
            return false;
        }
        match judge(variant) {
            Some(Verdict::Fine) => true,
            Some(Verdict::Same) => false,
            Some(Verdict::Impossible) => {
                self.left_out += usize::from(self.skip);
                !self.skip
            }
            None => {
                self.ended = true;
                false
            }
        }
    }

    /// Whether so much cannot be that the search of a space without end is in vain.
    fn in_vain(&self) -> bool {
        self.left_out > LEFT_OUT.saturating_mul(self.trials.max(10)) && self.space.size().is_none()
    }

    /// As many different points as are wanted, or as there are.
    fn spread(&mut self, judge: &mut Judge) -> Vec<Variant> {
        let mut variants = Vec::new();
        // Seeds that differ in their upper half only are different seeds.
        let seed = self.seed as u32 ^ scattered((self.seed >> 32) as u32);
        for index in 0..self.trials.saturating_mul(50).min(1 << 16) as u32 {
            if variants.len() == self.trials || self.ended || self.in_vain() {
                break;
            }
            let share = |axis: u32| match self.strategy {
                Strategy::Sobol => f64::from(sobol_burley::sample(index, axis, seed)),
                _ => f64::from(unit(self.philox.block([index, axis, 0, 0])[0])),
            };
            let point: Vec<f64> = (0..self.space.groups.len() as u32).map(share).collect();
            let variant = self.space.at(&point, false);
            if self.takes(&variant, judge) {
                variants.push(variant);
            }
        }
        while variants.len() < self.trials {
            let Some((_, variant)) = self.remaining(0, judge) else { break };
            variants.push(variant);
        }
        variants
    }

    /// A point that was not proposed before, unless there is none left.
    fn ask(&mut self, draw: u32, judge: &mut Judge) -> Option<(Vec<f64>, Variant)> {
        // Where few digits find nothing new, all of them may.
        for attempt in 0..2 * ATTEMPTS {
            let estimators = self.estimators.iter().enumerate();
            let ask =
                |(axis, estimator): (usize, &Estimator)| estimator.ask(&self.philox, [draw, axis as u32, attempt]);
            let point: Vec<f64> = estimators.map(ask).collect();
            let variant = self.space.at(&self.shares(&point), attempt >= ATTEMPTS);
            if self.takes(&variant, judge) {
                return Some((point, variant));
            }
            if self.ended || self.in_vain() {
                return None;
            }
        }
        self.remaining(draw, judge)
    }

    /// A point of those that draws have not found. Of a space that has an end one is found if one is left: the most
    /// promising of some that are drawn evenly.
    fn remaining(&mut self, draw: u32, judge: &mut Judge) -> Option<(Vec<f64>, Variant)> {
        if self.left.is_none() {
            let new = |point: &Vec<f64>| !self.seen.contains(&name(&self.space.at(point, false)));
            self.left = self.space.distinct().map(|points| points.into_iter().filter(new).collect());
        }
        let Some(mut left) = self.left.take() else { return self.anywhere(judge) };
        let mut found = None;
        for attempt in 0.. {
            if left.is_empty() || self.ended || found.is_some() {
                break;
            }
            let drawn = (0..CANDIDATES).map(|candidate| {
                let share = f64::from(unit(self.philox.block([draw, attempt, candidate, LEFT])[0]));
                (share * left.len() as f64) as usize
            });
            let promise = |index: &usize| self.promise(&left[*index]);
            let best = drawn.max_by(|a, b| promise(a).total_cmp(&promise(b)).then(b.cmp(a))).unwrap_or(0);
            let shares = left.swap_remove(best);
            let variant = self.space.at(&shares, false);
            if self.takes(&variant, judge) {
                found = Some((self.coordinates(&shares), variant));
            }
        }
        self.left = Some(left);
        found
    }

    /// A point of a space without end, drawn evenly.
    fn anywhere(&mut self, judge: &mut Judge) -> Option<(Vec<f64>, Variant)> {
        for _ in 0..EVEN_ATTEMPTS {
            let draw = self.even;
            self.even += 1;
            let share = |axis: u32| f64::from(unit(self.philox.block([draw, axis, 0, EVEN])[0]));
            let shares: Vec<f64> = (0..self.space.groups.len() as u32).map(share).collect();
            let variant = self.space.at(&shares, true);
            if self.takes(&variant, judge) {
                return Some((self.coordinates(&shares), variant));
            }
            if self.ended || self.in_vain() {
                break;
            }
        }
        None
    }

    /// How much a point promises, by all that varies there.
    fn promise(&self, shares: &[f64]) -> f64 {
        if self.strategy != Strategy::Tpe {
            return 0.0;
        }
        let variant = self.space.at(shares, false);
        let point = self.coordinates(shares);
        let varying = self.estimators.iter().zip(&point).zip(&self.space.groups);
        varying.filter(|(_, group)| varies_in(group, &variant)).map(|((estimator, at), _)| estimator.promise(*at)).sum()
    }

    /// From the estimators' coordinates to shares of each group.
    fn shares(&self, point: &[f64]) -> Vec<f64> {
        let share = |(group, at): (&Vec<Axis>, &f64)| match choices(group) {
            Some(count) => (at.floor() + 0.5) / count as f64,
            None => *at,
        };
        self.space.groups.iter().zip(point).map(share).collect()
    }

    /// From shares of each group to the estimators' coordinates.
    fn coordinates(&self, shares: &[f64]) -> Vec<f64> {
        let coordinate = |(group, share): (&Vec<Axis>, &f64)| match choices(group) {
            Some(count) => (share * count as f64).floor().min(count as f64 - 1.0),
            None => *share,
        };
        self.space.groups.iter().zip(shares).map(coordinate).collect()
    }

    /// How well the proposals of the last round did, in order: their validation accuracy, `None`
    /// for those that failed.
    pub fn tell(&mut self, accuracies: &[Option<f64>]) {
        for ((point, variant), accuracy) in std::mem::take(&mut self.round).iter().zip(accuracies) {
            for ((estimator, at), group) in self.estimators.iter_mut().zip(point).zip(&self.space.groups) {
                // A key that did not vary there is not what made it good or bad.
                if varies_in(group, variant) {
                    estimator.tell(*at, 1.0 - accuracy.unwrap_or(0.0));
                }
            }
        }
    }
}

/// A word of which every bit depends on every bit of another (MurmurHash3's finaliser); 0 of 0.
fn scattered(mut word: u32) -> u32 {
    word = (word ^ (word >> 16)).wrapping_mul(0x85EB_CA6B);
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35);
    word ^ (word >> 16)
}

/// Number of choices of a group; `None` for an interval.
fn choices(group: &[Axis]) -> Option<usize> {
    match &group[0].domain {
        Domain::Values(values) => Some(values.len()),
        Domain::Interval { .. } => None,
    }
}

/// Whether any key of a group varies at a variant.
fn varies_in(group: &[Axis], variant: &Variant) -> bool {
    group.iter().any(|axis| variant.iter().any(|(key, _)| *key == axis.key))
}

#[cfg(test)]
mod tests;
