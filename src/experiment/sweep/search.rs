//! Which variants are tried.

use std::collections::{HashSet, VecDeque};

use super::{
    Axis, Domain, SearchSettings, Space, Strategy,
    joint::{Joint, Point},
    space::name,
    tpe::{CANDIDATES, Estimator},
};
use crate::{
    experiment::ExperimentError,
    random::{Philox, Stream, unit},
    trial::Variant,
};

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
    /// It is to be tried.
    Fine,
    /// It trains the same as an earlier one.
    Same,
    /// It cannot be.
    Impossible,
    /// It does not meet a condition of the sweep.
    LeftOut,
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
    /// Points that are proposed before results are looked at again.
    round: usize,
    /// Points that are tried first, by shares.
    queue: VecDeque<(Vec<f64>, Variant)>,
    /// Whether points that cannot be are left out, and others tried instead.
    skip: bool,
    proposed: usize,
    /// Of TPE, one for each group of axes.
    estimators: Vec<Estimator>,
    /// Of TPE over all of them.
    joint: Joint,
    philox: Philox,
    /// The points of the last round, by shares: proposed, and without a result.
    pending: Vec<(Vec<f64>, Variant)>,
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
    /// A search of a space. With `skip`, points that cannot be are left out, and others tried instead.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for a search without a number of trials, of too many, or of too many axes.
    pub fn new(space: &'a Space, settings: &SearchSettings, skip: bool) -> Result<Self, ExperimentError> {
        let SearchSettings { strategy, trials, seed, round, ref first } = *settings;
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
        let joint = Joint::new(&space.groups, sobol_seed(seed));
        let placed = |point: &Variant| space.shares(point).map(|shares| (shares, point.clone()));
        let queue = first.iter().map(placed).collect::<Result<_, _>>()?;
        Ok(Self {
            space,
            strategy,
            trials,
            seed,
            round: round.max(1),
            queue,
            skip,
            proposed: 0,
            estimators,
            joint,
            philox,
            pending: Vec::new(),
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
                let first = self.queued(usize::MAX, judge).into_iter().map(|(_, variant)| variant);
                let first: Vec<Variant> = first.collect();
                let variants = self.space.grid()?.into_iter().map(|point| self.space.at(&point, false));
                let variants: Vec<Variant> = variants.collect();
                let others = variants.into_iter().filter(|variant| self.takes(variant, judge));
                Ok(first.into_iter().chain(others).collect())
            }
            Strategy::Random | Strategy::Sobol => {
                self.proposed = self.trials;
                Ok(self.spread(judge))
            }
            Strategy::Tpe | Strategy::MultivariateTpe => {
                let count = self.round.min(self.trials - self.proposed);
                self.pending = self.queued(count, judge);
                let draws = self.proposed + self.pending.len()..self.proposed + count;
                self.proposed += count;
                for draw in draws {
                    let new = self.ask(draw as u32, judge);
                    self.pending.extend(new);
                }
                // Where nothing new is found, the space is tried out.
                if self.pending.len() < count {
                    self.proposed = self.trials;
                }
                Ok(self.pending.iter().map(|(_, variant)| variant.clone()).collect())
            }
        }
    }

    /// The next of the points that are tried first, but no more than `count` of them.
    fn queued(&mut self, count: usize, judge: &mut Judge) -> Vec<(Vec<f64>, Variant)> {
        let mut queued = Vec::new();
        while queued.len() < count
            && let Some(next) = self.queue.pop_front()
        {
            if self.takes(&next.1, judge) {
                queued.push(next);
            }
        }
        queued
    }

    /// Whether a variant is to be tried: it is new, and can be.
    fn takes(&mut self, variant: &Variant, judge: &mut Judge) -> bool {
        if self.ended || !self.seen.insert(name(variant)) {
            return false;
        }
        match judge(variant) {
            Some(Verdict::Fine) => true,
            Some(Verdict::Same) => false,
            Some(Verdict::LeftOut) => {
                self.left_out += 1;
                false
            }
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
        let queued = self.queued(self.trials, judge);
        let mut variants: Vec<Variant> = queued.into_iter().map(|(_, variant)| variant).collect();
        let seed = sobol_seed(self.seed);
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
            let shares = match self.strategy {
                Strategy::MultivariateTpe => {
                    let varies = |shares: &[f64]| self.varies(shares);
                    self.joint.ask(&self.philox, [draw, attempt], &self.points(), varies)
                }
                _ => {
                    let estimators = self.estimators.iter().enumerate();
                    let ask = |(axis, estimator): (usize, &Estimator)| {
                        estimator.ask(&self.philox, [draw, axis as u32, attempt])
                    };
                    self.shares(&estimators.map(ask).collect::<Vec<_>>())
                }
            };
            let variant = self.space.at(&shares, attempt >= ATTEMPTS);
            if self.takes(&variant, judge) {
                return Some((shares, variant));
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
        let pending = self.points();
        for attempt in 0.. {
            if left.is_empty() || self.ended || found.is_some() {
                break;
            }
            let drawn = (0..CANDIDATES).map(|candidate| {
                let share = f64::from(unit(self.philox.block([draw, attempt, candidate, LEFT])[0]));
                (share * left.len() as f64) as usize
            });
            let joint = self.joint.promise(&pending);
            let promise = |index: usize| match &joint {
                Some(joint) => joint.of(&self.point(&left[index])),
                None => self.promise(&left[index]),
            };
            let promised = drawn.map(|index| (promise(index), index));
            let best = promised.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map_or(0, |(_, index)| index);
            let shares = left.swap_remove(best);
            let variant = self.space.at(&shares, false);
            if self.takes(&variant, judge) {
                found = Some((shares, variant));
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
                return Some((shares, variant));
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

    /// A point with what varies there.
    fn point(&self, shares: &[f64]) -> Point {
        Point { shares: shares.to_vec(), varies: self.varies(shares) }
    }

    /// Of each group, whether any key of it varies at a point.
    fn varies(&self, shares: &[f64]) -> Vec<bool> {
        if self.space.conditions.is_empty() {
            return vec![true; shares.len()];
        }
        let variant = self.space.at(shares, false);
        self.space.groups.iter().map(|group| varies_in(group, &variant)).collect()
    }

    /// What is proposed and has no result yet.
    fn points(&self) -> Vec<Point> {
        self.pending.iter().map(|(shares, _)| self.point(shares)).collect()
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

    /// How well the proposals of the last round did, in order: more is better, as a validation accuracy; `None` for those that
    /// failed.
    pub fn tell(&mut self, scores: &[Option<f64>]) {
        for ((shares, variant), score) in std::mem::take(&mut self.pending).iter().zip(scores) {
            let loss = 1.0 - score.unwrap_or(0.0);
            if self.strategy == Strategy::MultivariateTpe {
                let point = self.point(shares);
                self.joint.tell(&point, loss);
                continue;
            }
            let place = self.coordinates(shares);
            for ((estimator, at), group) in self.estimators.iter_mut().zip(place).zip(&self.space.groups) {
                // A key that did not vary there is not what made it good or bad.
                if varies_in(group, variant) {
                    estimator.tell(at, loss);
                }
            }
        }
    }
}

/// Seeds that differ in their upper half only are different seeds.
fn sobol_seed(seed: u64) -> u32 {
    seed as u32 ^ scattered((seed >> 32) as u32)
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
mod functions;
#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;
