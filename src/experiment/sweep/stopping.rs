//! Which trials are ended before their last epoch, so that the others get the time.
//!
//! All trials reach a rung before anything is decided at it: what is stopped depends on results
//! alone, not on which trial was faster, and comes out the same after any interruption.

use serde::{Deserialize, Serialize};

/// A rule for stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Successive halving: at each rung the best `1/factor` go on (Jamieson & Talwalkar 2016)
    Halving,
    /// Halving in several brackets, which begin at different rungs (Li et al. 2018)
    Hyperband,
    /// Stops trials below the median of the others' averages, every epoch (Golovin et al. 2017)
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

/// Validation accuracies of a trial by epoch, as far as it got.
pub type Curve = Vec<f64>;

impl Stopping {
    /// The epochs at which something is decided, for trials of `epochs`.
    pub fn rungs(&self, epochs: u32) -> Vec<u32> {
        let mut rungs = Vec::new();
        let mut rung = self.min_epochs.max(1);
        while rung < epochs {
            rungs.push(rung);
            rung = match self.rule {
                Rule::Median => rung + 1,
                _ => rung.saturating_mul(self.factor.max(2)),
            };
        }
        rungs
    }

    /// Which of the trials that reached `rung` are stopped there: index and reason. `None` stands
    /// for a trial that failed or was stopped at an earlier rung.
    pub fn stopped(&self, rung: u32, rungs: &[u32], curves: &[Option<Curve>]) -> Vec<(usize, String)> {
        match self.rule {
            Rule::Halving => {
                let all: Vec<usize> = (0..curves.len()).collect();
                self.halve(rung, &all, curves)
            }
            Rule::Hyperband => {
                let brackets = self.brackets(curves.len(), rungs.len());
                let deciding =
                    brackets.iter().enumerate().filter(|(first, _)| rungs.get(*first).is_some_and(|r| *r <= rung));
                deciding.flat_map(|(_, members)| self.halve(rung, members, curves)).collect()
            }
            Rule::Median => below_median(rung, curves),
        }
    }

    fn halve(&self, rung: u32, members: &[usize], curves: &[Option<Curve>]) -> Vec<(usize, String)> {
        let mut ranked: Vec<(usize, f64)> =
            members.iter().filter_map(|&index| Some((index, best(curves[index].as_ref()?, rung)?))).collect();
        // Ties go to the trial that stands first.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let count = ranked.len();
        let kept = count.div_ceil(self.factor.max(2) as usize);
        let reason = |place: usize| format!("stopped after epoch {rung}: {} of {count}", place + 1);
        ranked.into_iter().enumerate().skip(kept).map(|(place, (index, _))| (index, reason(place))).collect()
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

/// The best accuracy up to an epoch, of a trial that reached it.
fn best(curve: &Curve, rung: u32) -> Option<f64> {
    let reached = curve.get(..rung as usize)?;
    reached.iter().copied().reduce(f64::max)
}

fn below_median(rung: u32, curves: &[Option<Curve>]) -> Vec<(usize, String)> {
    let mut averages: Vec<f64> = curves
        .iter()
        .flatten()
        .filter_map(|curve| Some(curve.get(..rung as usize)?.iter().sum::<f64>() / f64::from(rung)))
        .collect();
    averages.sort_by(f64::total_cmp);
    let Some(median) = averages.get(averages.len() / 2).copied() else { return Vec::new() };
    let below = |(index, curve): (usize, &Option<Curve>)| {
        let best = best(curve.as_ref()?, rung)?;
        let reason =
            format!("stopped after epoch {rung}: {:.2}% is below the median {:.2}%", 100.0 * best, 100.0 * median);
        (best < median).then_some((index, reason))
    };
    curves.iter().enumerate().filter_map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(rule: Rule) -> Stopping {
        Stopping { rule, min_epochs: 1, factor: 3 }
    }

    fn stopped(rule: Rule, rung: u32, curves: &[Option<Curve>]) -> Vec<usize> {
        let stopping = stopping(rule);
        let mut stopped: Vec<usize> =
            stopping.stopped(rung, &stopping.rungs(9), curves).into_iter().map(|(index, _)| index).collect();
        stopped.sort_unstable();
        stopped
    }

    #[test]
    fn rungs_grow_by_the_factor() {
        assert_eq!(stopping(Rule::Halving).rungs(27), [1, 3, 9]);
        assert_eq!(stopping(Rule::Halving).rungs(10), [1, 3, 9]);
        assert_eq!(stopping(Rule::Median).rungs(4), [1, 2, 3]);
        assert!(stopping(Rule::Halving).rungs(1).is_empty());
    }

    #[test]
    fn halving_keeps_the_best_third() {
        let curves: Vec<Option<Curve>> =
            [0.1, 0.9, 0.5, 0.5, 0.2, 0.3].into_iter().map(|accuracy| Some(vec![accuracy])).collect();
        assert_eq!(stopped(Rule::Halving, 1, &curves), [0, 3, 4, 5]);
        let mut failed = curves.clone();
        failed[1] = None;
        assert_eq!(stopped(Rule::Halving, 1, &failed), [0, 4, 5]);
        // The last one standing goes on.
        assert!(stopped(Rule::Halving, 1, &[Some(vec![0.0]), None]).is_empty());
    }

    #[test]
    fn hyperband_spares_the_later_brackets() {
        let curves: Vec<Option<Curve>> = (0..12).map(|index| Some(vec![f64::from(index) / 12.0; 9])).collect();
        let first = stopped(Rule::Hyperband, 1, &curves);
        let all = stopping(Rule::Hyperband).brackets(12, 2);
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 12);
        assert!(all[0].len() > all[1].len() && all[1].len() >= all[2].len(), "{all:?}");
        assert!(!first.is_empty() && first.iter().all(|index| all[0].contains(index)));
        let second = stopped(Rule::Hyperband, 3, &curves);
        assert!(second.iter().any(|index| all[1].contains(index)));
        assert!(second.iter().all(|index| !all[2].contains(index)));
    }

    #[test]
    fn the_median_rule_compares_the_best_with_averages() {
        let curves = vec![Some(vec![0.1, 0.2]), Some(vec![0.5, 0.6]), Some(vec![0.4, 0.7]), Some(vec![0.3])];
        assert_eq!(stopped(Rule::Median, 2, &curves), [0]);
    }
}
