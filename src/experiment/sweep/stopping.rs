//! Which trials are ended before their last epoch, so that the others get the time.
//!
//! What is decided depends on results and on the order of the trials alone, never on which trial
//! was faster: it comes out the same on any machine, and after any interruption.
//!
//! The seeds of a variant are one: it has come as far as the last of them, is as good as their mean, and goes on with
//! all of them or with none. A trial that has finished is not stopped any more; at later rungs, which only longer ones
//! come to, it counts with all that it was.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::choice::Choice;

/// A rule for stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Successive halving: all trials reach a rung, then the best `1/factor` go on (Jamieson &
    /// Talwalkar 2016)
    Halving,
    /// Asynchronous halving: a trial goes on when it is among the best `1/factor` of those before
    /// it in order, and none waits for those after it (Li et al. 2020)
    Asha,
    /// Halving in several brackets, which begin at different rungs (Li et al. 2018)
    Hyperband,
    /// Stops a trial whose best is below the median of the averages of those before it in order,
    /// every `min_epochs` epochs (Golovin et al. 2017)
    Median,
}

impl Choice for Rule {
    const CHOICES: &[(Self, &str, &str)] = &[
        (
            Self::Halving,
            "halving",
            "Successive halving: all trials reach a rung, then the best `1/factor` go on (Jamieson & Talwalkar 2016)",
        ),
        (
            Self::Asha,
            "asha",
            "Asynchronous halving: a trial goes on when it is among the best `1/factor` of those before it in order, and none waits for those after it (Li et al. 2020)",
        ),
        (Self::Hyperband, "hyperband", "Halving in several brackets, which begin at different rungs (Li et al. 2018)"),
        (
            Self::Median,
            "median",
            "Stops a trial whose best is below the median of the averages of those before it in order, every `min_epochs` epochs (Golovin et al. 2017)",
        ),
    ];
}

/// A rule and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// By what it is decided.
    pub rule: Rule,
    /// Epochs before anything is stopped.
    pub min_epochs: u32,
    /// Of those that reach a rung, one in so many goes on, and trains so many times as long.
    pub factor: u32,
}

/// Trials that a median must be of.
const MEDIAN_OF: usize = 3;

/// How far a trial has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Of which variant it is a seed: the same number for all of them.
    pub variant: usize,
    /// How many epochs it trains when it is not stopped.
    pub epochs: u32,
    /// Scores by epoch, as validation accuracies: more is better.
    pub curve: Vec<f64>,
    /// Whether it has its result.
    pub finished: bool,
    /// Whether it will train no further, for it failed.
    pub failed: bool,
}

/// What becomes of a trial next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is to be trained until an epoch, or to its end.
    Train(Option<u32>),
    /// Others must come as far first.
    Wait,
    /// It ends after an epoch, with the reason.
    Stop(u32, String),
}

/// What is known of a variant at a rung.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    /// It has come so far: its best score, and the average; the means over its seeds.
    Reached { best: f64, average: f64 },
    /// It never will.
    Out,
    /// It may yet.
    Unknown,
}

/// What is decided of a variant at a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is to come so far first.
    Train,
    /// Others are.
    Wait,
    Stop(String),
}

impl Stopping {
    /// The epochs at which something is decided, for trials of `epochs`.
    pub fn rungs(&self, epochs: u32) -> Vec<u32> {
        let mut rungs = Vec::new();
        let mut rung = self.min_epochs.max(1);
        while rung < epochs {
            rungs.push(rung);
            rung = match self.rule {
                Rule::Median => rung + self.min_epochs.max(1),
                _ => rung.saturating_mul(self.factor.max(2)),
            };
        }
        rungs
    }

    /// What becomes of each trial.
    pub fn decide(&self, trials: &[Standing]) -> Vec<Decision> {
        let rungs = self.rungs(trials.iter().map(|trial| trial.epochs).max().unwrap_or(0));
        let variants = variants(trials);
        let brackets = match self.rule {
            Rule::Hyperband => self.brackets(variants.len(), rungs.len()),
            _ => vec![(0..variants.len()).collect()],
        };
        // `None` while a variant has passed every rung so far.
        let mut verdicts: Vec<Option<(u32, Verdict)>> = vec![None; variants.len()];
        for (number, &rung) in rungs.iter().enumerate() {
            let at: Vec<At> = variants.iter().zip(&verdicts).map(|(seeds, verdict)| at(seeds, verdict, rung)).collect();
            for (first, members) in brackets.iter().enumerate() {
                for (place, &variant) in members.iter().enumerate() {
                    // What is as long as this, or shorter, ends by itself.
                    let longer = variants[variant].iter().any(|(_, trial)| trial.epochs > rung);
                    if verdicts[variant].is_some() || first > number || !longer {
                        continue;
                    }
                    let rivals = match self.rule {
                        Rule::Halving | Rule::Hyperband => members.as_slice(),
                        Rule::Asha | Rule::Median => &members[..=place],
                    };
                    verdicts[variant] = self.at_rung(rung, variant, rivals, &at).map(|verdict| (rung, verdict));
                }
            }
        }
        let mut decisions = vec![Decision::Train(None); trials.len()];
        for (seeds, verdict) in variants.iter().zip(verdicts) {
            let Some((rung, verdict)) = verdict else { continue };
            for (trial, standing) in seeds {
                let there = standing.until(rung).is_some();
                decisions[*trial] = match &verdict {
                    // It has its own reason why it goes no further.
                    _ if standing.failed && !there => continue,
                    Verdict::Stop(reason) => Decision::Stop(rung, reason.clone()),
                    Verdict::Train if !there => Decision::Train(Some(rung)),
                    Verdict::Train | Verdict::Wait => Decision::Wait,
                };
            }
        }
        decisions
    }

    /// What becomes of a variant that has passed all rungs before this one; `None` when it passes
    /// this one as well.
    fn at_rung(&self, rung: u32, variant: usize, rivals: &[usize], at: &[At]) -> Option<Verdict> {
        let others = || rivals.iter().filter(|rival| **rival != variant).map(|rival| at[*rival]);
        // Where too few can be compared with it, it need not stop to be looked at.
        let least = if self.rule == Rule::Median { MEDIAN_OF } else { 1 };
        let alone = others().filter(|at| *at != At::Out).count() < least;
        let At::Reached { best, .. } = at[variant] else {
            return (!alone && at[variant] == At::Unknown).then_some(Verdict::Train);
        };
        if others().any(|at| at == At::Unknown) {
            return Some(Verdict::Wait);
        }
        if self.rule == Rule::Median {
            let mut averages: Vec<f64> = others().filter_map(At::average).collect();
            averages.sort_by(f64::total_cmp);
            let median = *averages.get(averages.len() / 2).filter(|_| !alone)?;
            // A score below 0 is that of a loss.
            let (compared, shown): (_, fn(f64) -> String) = match best < 0.0 {
                true => ("above", |score| format!("{:.4}", -score)),
                false => ("below", |score| format!("{:.2}%", 100.0 * score)),
            };
            let reason =
                format!("stopped after epoch {rung}: {} is {compared} the median {}", shown(best), shown(median));
            return (best < median).then_some(Verdict::Stop(reason));
        }
        let ranked: Vec<(usize, f64)> = rivals.iter().filter_map(|&rival| Some((rival, at[rival].best()?))).collect();
        // Ties go to the variant that stands first.
        let ahead = |(rival, other): &(usize, f64)| *other > best || *other == best && *rival < variant;
        let (place, count) = (ranked.iter().filter(|rival| ahead(rival)).count(), ranked.len());
        let reason = format!("stopped after epoch {rung}: {} of {count}", place + 1);
        (place >= count.div_ceil(self.factor.max(2) as usize)).then_some(Verdict::Stop(reason))
    }

    /// Deals variants out to brackets; bracket `b` decides first at rung `b`. The earlier a bracket
    /// decides, the more variants it can afford.
    fn brackets(&self, variants: usize, rungs: usize) -> Vec<Vec<usize>> {
        let factor = f64::from(self.factor.max(2));
        let weight = |bracket: usize| factor.powi((rungs - bracket) as i32) / (rungs - bracket + 1) as f64;
        let weights: Vec<f64> = (0..=rungs).map(weight).collect();
        let mut brackets = vec![Vec::new(); rungs + 1];
        for variant in 0..variants {
            // The bracket that is furthest behind its share.
            let behind = |b: &usize| weights[*b] / (brackets[*b].len() + 1) as f64;
            let next = (0..=rungs).max_by(|a, b| behind(a).total_cmp(&behind(b)).then(b.cmp(a))).unwrap_or(0);
            brackets[next].push(variant);
        }
        brackets
    }
}

impl At {
    fn best(self) -> Option<f64> {
        match self {
            Self::Reached { best, .. } => Some(best),
            _ => None,
        }
    }

    fn average(self) -> Option<f64> {
        match self {
            Self::Reached { average, .. } => Some(average),
            _ => None,
        }
    }
}

impl Standing {
    /// The scores until a rung, or all of one that finished before; `None` where it has not come so far.
    fn until(&self, rung: u32) -> Option<&[f64]> {
        let short = self.finished && !self.curve.is_empty();
        self.curve.get(..rung.min(self.epochs) as usize).or_else(|| short.then_some(self.curve.as_slice()))
    }
}

/// The trials of each variant with their numbers; variants in the order of their first trial.
fn variants(trials: &[Standing]) -> Vec<Vec<(usize, &Standing)>> {
    let mut variants: Vec<Vec<(usize, &Standing)>> = Vec::new();
    let mut known: HashMap<usize, usize> = HashMap::new();
    for (index, trial) in trials.iter().enumerate() {
        let at = *known.entry(trial.variant).or_insert(variants.len());
        if at == variants.len() {
            variants.push(Vec::new());
        }
        variants[at].push((index, trial));
    }
    variants
}

/// Where a variant stands at a rung, with what was decided of it at the rungs before.
fn at(seeds: &[(usize, &Standing)], verdict: &Option<(u32, Verdict)>, rung: u32) -> At {
    match verdict {
        Some((_, Verdict::Stop(_))) => return At::Out,
        Some(_) => return At::Unknown,
        None => {}
    }
    let mut reached: Vec<(f64, f64)> = Vec::new();
    for (_, trial) in seeds {
        match trial.until(rung) {
            Some(curve) => {
                let best = curve.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                reached.push((best, curve.iter().sum::<f64>() / curve.len() as f64));
            }
            // The mean is over the seeds that there are.
            None if trial.failed || trial.finished => {}
            None => return At::Unknown,
        }
    }
    let count = reached.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| reached.iter().map(of).sum::<f64>() / count;
    match reached.as_slice() {
        [] => At::Out,
        _ => At::Reached { best: mean(|seed| seed.0), average: mean(|seed| seed.1) },
    }
}

#[cfg(test)]
mod tests;
