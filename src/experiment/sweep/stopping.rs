//! Which trials are ended before their last epoch, so that the others get the time.
//!
//! What is decided depends on results and on the order of the trials alone, never on which trial
//! was faster: it comes out the same on any machine, and after any interruption.

use serde::{Deserialize, Serialize};

/// A rule for stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

/// A rule and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
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
    /// Validation accuracies by epoch.
    pub curve: Vec<f64>,
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

/// What is known of a trial at a rung.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    /// It has come so far: its best accuracy, and the average.
    Reached { best: f64, average: f64 },
    /// It never will.
    Out,
    /// It may yet.
    Unknown,
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

    /// What becomes of each trial, for trials of at most `epochs`.
    pub fn decide(&self, epochs: u32, trials: &[Standing]) -> Vec<Decision> {
        let rungs = self.rungs(epochs);
        let brackets = match self.rule {
            Rule::Hyperband => self.brackets(trials.len(), rungs.len()),
            _ => vec![(0..trials.len()).collect()],
        };
        // `None` while a trial has passed every rung so far.
        let mut decisions: Vec<Option<Decision>> = vec![None; trials.len()];
        for (number, &rung) in rungs.iter().enumerate() {
            let at: Vec<At> =
                trials.iter().zip(&decisions).map(|(trial, decision)| at(trial, decision, rung)).collect();
            for (first, members) in brackets.iter().enumerate() {
                for (place, &trial) in members.iter().enumerate() {
                    if decisions[trial].is_some() {
                        continue;
                    }
                    let rivals = match self.rule {
                        Rule::Halving | Rule::Hyperband => members.as_slice(),
                        Rule::Asha | Rule::Median => &members[..=place],
                    };
                    if first <= number {
                        decisions[trial] = self.at_rung(rung, trial, rivals, &at);
                    }
                }
            }
        }
        decisions.into_iter().map(|decision| decision.unwrap_or(Decision::Train(None))).collect()
    }

    /// What becomes of a trial that has passed all rungs before this one; `None` when it passes
    /// this one as well.
    fn at_rung(&self, rung: u32, trial: usize, rivals: &[usize], at: &[At]) -> Option<Decision> {
        let others = || rivals.iter().filter(|rival| **rival != trial).map(|rival| at[*rival]);
        // Where too few can be compared with it, it need not stop to be looked at.
        let least = if self.rule == Rule::Median { MEDIAN_OF } else { 1 };
        let alone = others().filter(|at| *at != At::Out).count() < least;
        let At::Reached { best, .. } = at[trial] else {
            return (!alone && at[trial] == At::Unknown).then_some(Decision::Train(Some(rung)));
        };
        if others().any(|at| at == At::Unknown) {
            return Some(Decision::Wait);
        }
        if self.rule == Rule::Median {
            let mut averages: Vec<f64> = others().filter_map(At::average).collect();
            averages.sort_by(f64::total_cmp);
            let median = *averages.get(averages.len() / 2).filter(|_| !alone)?;
            let [own, other] = [best, median].map(|accuracy| format!("{:.2}%", 100.0 * accuracy));
            let reason = format!("stopped after epoch {rung}: {own} is below the median {other}");
            return (best < median).then_some(Decision::Stop(rung, reason));
        }
        let ranked: Vec<(usize, f64)> = rivals.iter().filter_map(|&rival| Some((rival, at[rival].best()?))).collect();
        // Ties go to the trial that stands first.
        let ahead = |(rival, other): &(usize, f64)| *other > best || *other == best && *rival < trial;
        let (place, count) = (ranked.iter().filter(|rival| ahead(rival)).count(), ranked.len());
        let reason = format!("stopped after epoch {rung}: {} of {count}", place + 1);
        (place >= count.div_ceil(self.factor.max(2) as usize)).then_some(Decision::Stop(rung, reason))
    }

    /// Deals trials out to brackets; bracket `b` decides first at rung `b`. The earlier a bracket
    /// decides, the more trials it can afford.
    fn brackets(&self, trials: usize, rungs: usize) -> Vec<Vec<usize>> {
        let factor = f64::from(self.factor.max(2));
        let weight = |bracket: usize| factor.powi((rungs - bracket) as i32) / (rungs - bracket + 1) as f64;
        let weights: Vec<f64> = (0..=rungs).map(weight).collect();
        let mut brackets = vec![Vec::new(); rungs + 1];
        for trial in 0..trials {
            // The bracket that is furthest behind its share.
            let behind = |b: &usize| weights[*b] / (brackets[*b].len() + 1) as f64;
            let next = (0..=rungs).max_by(|a, b| behind(a).total_cmp(&behind(b)).then(b.cmp(a))).unwrap_or(0);
            brackets[next].push(trial);
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

/// Where a trial stands at a rung, with what was decided of it at the rungs before.
fn at(trial: &Standing, decision: &Option<Decision>, rung: u32) -> At {
    match (decision, trial.curve.get(..rung as usize)) {
        (Some(Decision::Stop(..)), _) => At::Out,
        (Some(_), _) => At::Unknown,
        (None, Some(reached)) => At::Reached {
            best: reached.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            average: reached.iter().sum::<f64>() / f64::from(rung),
        },
        (None, None) if trial.failed => At::Out,
        (None, None) => At::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(rule: Rule) -> Stopping {
        Stopping { rule, min_epochs: 1, factor: 3 }
    }

    fn standings(curves: &[&[f64]]) -> Vec<Standing> {
        curves.iter().map(|curve| Standing { curve: curve.to_vec(), failed: false }).collect()
    }

    fn stopped(decisions: &[Decision]) -> Vec<usize> {
        let stopped = decisions.iter().enumerate().filter(|(_, decision)| matches!(decision, Decision::Stop(..)));
        stopped.map(|(index, _)| index).collect()
    }

    #[test]
    fn rungs_grow_by_the_factor() {
        assert_eq!(stopping(Rule::Halving).rungs(27), [1, 3, 9]);
        assert_eq!(stopping(Rule::Asha).rungs(10), [1, 3, 9]);
        assert_eq!(stopping(Rule::Median).rungs(4), [1, 2, 3]);
        assert_eq!(Stopping { min_epochs: 4, ..stopping(Rule::Median) }.rungs(12), [4, 8]);
        assert!(stopping(Rule::Halving).rungs(1).is_empty());
    }

    #[test]
    fn halving_keeps_the_best_third() {
        let halving = stopping(Rule::Halving);
        let mut trials = standings(&[&[0.1], &[0.9], &[0.5], &[0.5], &[0.2], &[0.3]]);
        let decisions = halving.decide(9, &trials);
        assert_eq!(stopped(&decisions), [0, 3, 4, 5]);
        assert_eq!(decisions[1], Decision::Train(Some(3)));
        trials[1] = Standing { curve: Vec::new(), failed: true };
        assert_eq!(stopped(&halving.decide(9, &trials)), [0, 4, 5]);
        // Nothing is decided before all have come as far.
        trials[1].failed = false;
        let decisions = halving.decide(9, &trials);
        assert_eq!(decisions[1], Decision::Train(Some(1)));
        assert!(decisions.iter().enumerate().all(|(index, d)| index == 1 || *d == Decision::Wait), "{decisions:?}");
        // The last one standing goes on to its end.
        let last = [standings(&[&[0.0]]), vec![Standing { curve: Vec::new(), failed: true }]].concat();
        assert_eq!(halving.decide(9, &last)[0], Decision::Train(None));
    }

    #[test]
    fn what_failed_late_counts_at_the_rungs_it_reached() {
        let mut trials = standings(&[&[0.1], &[0.9, 0.9]]);
        trials[1].failed = true;
        assert_eq!(stopped(&Stopping { factor: 2, ..stopping(Rule::Halving) }.decide(9, &trials)), [0]);
    }

    #[test]
    fn asynchronous_halving_waits_for_no_later_trial() {
        let asha = Stopping { factor: 2, ..stopping(Rule::Asha) };
        // The first has nobody before it, and is never looked at.
        assert_eq!(asha.decide(8, &standings(&[&[], &[], &[]]))[0], Decision::Train(None));
        let decisions = asha.decide(8, &standings(&[&[0.5; 8], &[0.4], &[0.6], &[]]));
        assert!(matches!(decisions[1], Decision::Stop(1, _)), "{decisions:?}");
        assert_eq!(decisions[2..], [Decision::Train(Some(2)), Decision::Train(Some(1))]);
        // It waits for earlier ones.
        assert_eq!(asha.decide(8, &standings(&[&[], &[0.4]]))[1], Decision::Wait);
    }

    #[test]
    fn hyperband_spares_the_later_brackets() {
        let hyperband = stopping(Rule::Hyperband);
        let trials: Vec<Standing> =
            (0..12).map(|index| Standing { curve: vec![f64::from(index) / 12.0; 9], failed: false }).collect();
        let all = hyperband.brackets(12, 2);
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 12);
        assert!(all[0].len() > all[1].len() && all[1].len() >= all[2].len(), "{all:?}");
        let decisions = hyperband.decide(9, &trials);
        let at = |rung: u32| {
            let there = move |decision: &Decision| matches!(decision, Decision::Stop(r, _) if *r == rung);
            decisions.iter().enumerate().filter(move |(_, d)| there(d)).map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert!(!at(1).is_empty() && at(1).iter().all(|index| all[0].contains(index)));
        assert!(at(3).iter().any(|index| all[1].contains(index)));
        assert!(at(3).iter().all(|index| !all[2].contains(index)));
        assert!(all[2].iter().all(|index| decisions[*index] == Decision::Train(None)));
    }

    #[test]
    fn the_median_rule_compares_the_best_with_averages() {
        let median = stopping(Rule::Median);
        let trials = standings(&[&[0.1, 0.2], &[0.5, 0.6], &[0.4, 0.7], &[0.3, 0.3], &[0.5]]);
        let decisions = median.decide(3, &trials);
        // Averages of the first three at epoch 1: 0.1, 0.4, 0.5; at epoch 2: 0.15, 0.55, 0.55.
        assert!(matches!(decisions[3], Decision::Stop(1, _)), "{decisions:?}");
        assert_eq!(decisions[4], Decision::Train(Some(2)));
        assert_eq!(stopped(&decisions), [3]);
    }

    #[test]
    fn decisions_do_not_depend_on_who_came_first() {
        let curve = |trial: usize| -> Vec<f64> { (0..9).map(|epoch| ((trial * 7 + epoch * 3) % 11) as f64).collect() };
        for rule in [Rule::Halving, Rule::Asha, Rule::Hyperband, Rule::Median] {
            let stopping = Stopping { rule, min_epochs: 1, factor: 2 };
            let run = |pick: fn(usize) -> usize| {
                let mut trials = vec![Standing::default(); 9];
                for turn in 0.. {
                    let decisions = stopping.decide(9, &trials);
                    let ready = |index: &usize| match decisions[*index] {
                        Decision::Train(until) => trials[*index].curve.len() < until.unwrap_or(9) as usize,
                        _ => false,
                    };
                    let ready: Vec<usize> = (0..9).filter(ready).collect();
                    if ready.is_empty() {
                        assert!(!decisions.contains(&Decision::Wait), "{rule:?} waits for ever");
                        return decisions;
                    }
                    let index = ready[pick(turn) % ready.len()];
                    let Decision::Train(until) = decisions[index] else { unreachable!() };
                    trials[index].curve = curve(index)[..until.unwrap_or(9) as usize].to_vec();
                }
                unreachable!()
            };
            let expected = run(|_| 0);
            assert_eq!(run(|turn| turn * 5 + 3), expected, "{rule:?}");
            assert_eq!(run(|turn| 100 - turn % 100), expected, "{rule:?}");
        }
    }
}
