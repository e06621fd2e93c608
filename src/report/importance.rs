//! How much of the variance of test accuracy a swept key explains alone.
//!
//! What a key does not explain is estimated from trials that are next to each other in it: each is predicted from the
//! others of the same value or, where there are none, from those of the next lower and the next higher value (the
//! lowest and the highest that was tried once are not). The
//! squares of the errors, each divided by what it would be on average if the key did nothing but leave noise, have the
//! variance of that noise as their mean (the estimator of Gasser, Sroka, Jennen-Steinmetz, "Residual Variance and
//! Residual Pattern in Nonlinear Regression", Biometrika 1986; within groups of one value, it is that of an analysis of
//! variance). So a key that does nothing has a share of 0 on average, however many values it has. Where a share is no
//! larger than shares are when accuracies are dealt out anew to the trials, it is not told apart from chance.

use super::{measure, rows::Rows};
use crate::{
    dsl::Value,
    random::{Philox, Stream},
};

/// Fewer trials say nothing.
const LEAST: usize = 6;

/// So many trials are dealt out in every order there is.
const ALL_ORDERS: usize = 7;

/// Orders of more trials that are drawn.
const ORDERS: usize = 999;

/// How a key did.
#[derive(Debug, Clone, PartialEq)]
pub enum Share {
    /// Of the variance, above 0 and at most 1.
    Explains(f64),
    /// No more than would come by chance.
    Chance,
    /// It cannot be told, with the reason.
    Unknown(String),
}

/// The share of each swept key, largest first. Empty where there is nothing to explain.
pub fn importance<'a>(rows: &Rows<'a>) -> Vec<(&'a str, Share)> {
    let scored: Vec<_> = rows.rows.iter().filter_map(|row| Some((row, row.mean(&measure::ACCURACY)?.mean))).collect();
    if scored.iter().all(|(_, accuracy)| *accuracy == scored[0].1) {
        return Vec::new();
    }
    let share = |at: usize| {
        // Where a condition does not hold, the key has no value.
        let tried = scored.iter().filter_map(|(row, accuracy)| Some((row.values[at]?, *accuracy)));
        let (values, accuracies): (Vec<&Value>, Vec<f64>) = tried.unzip();
        share(&values, &accuracies)
    };
    let mut shares: Vec<(&str, Share)> = rows.keys.iter().enumerate().map(|(at, key)| (*key, share(at))).collect();
    let rank = |share: &Share| match share {
        Share::Explains(share) => *share,
        Share::Chance => 0.0,
        Share::Unknown(_) => -1.0,
    };
    shares.sort_by(|a, b| rank(&b.1).total_cmp(&rank(&a.1)));
    shares
}

fn share(values: &[&Value], accuracies: &[f64]) -> Share {
    let count = values.len();
    if count < LEAST {
        return Share::Unknown(format!("{count} finished variants are too few: it takes {LEAST}"));
    }
    let design = Design::new(values);
    if design.groups.len() < 2 {
        return Share::Unknown("it has one value".into());
    }
    if 2 * design.predicted() < count {
        return Share::Unknown("nearly every value was tried once".into());
    }
    let Some(observed) = design.share(accuracies) else { return Share::Chance };
    let mut dealt = accuracies.to_vec();
    let mut orders: Vec<f64> = Vec::new();
    let mut note = |accuracies: &[f64]| orders.extend(design.share(accuracies));
    let limit = if count <= ALL_ORDERS {
        every_order(&mut dealt, count, &mut note);
        0.04
    } else {
        drawn_orders(&mut dealt, &mut note);
        orders.push(observed);
        0.01
    };
    let as_large =
        |share: f64| orders.iter().filter(|other| **other >= share - 1e-9).count() as f64 / orders.len() as f64;
    // Of few trials, even the best order may not be rare.
    let rarest = as_large(orders.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    if rarest > 0.1 + 1e-9 {
        return Share::Unknown(format!("{count} finished variants are too few for its values"));
    }
    match observed > 0.0 && as_large(observed) <= rarest.max(limit) + 1e-9 {
        true => Share::Explains(observed.min(1.0)),
        false => Share::Chance,
    }
}

/// Which trials are next to each other in a key.
struct Design {
    /// Trials of one value; of numbers in their order.
    groups: Vec<Vec<usize>>,
    /// Whether groups that stand side by side are alike.
    ordered: bool,
}

impl Design {
    fn new(values: &[&Value]) -> Self {
        let number = |value: &Value| match value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        };
        let numbers: Option<Vec<f64>> = values.iter().map(|value| number(value)).collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        let texts: Vec<String> = values.iter().map(|value| value.to_string()).collect();
        match &numbers {
            Some(numbers) => order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b])),
            None => order.sort_by(|a, b| texts[*a].cmp(&texts[*b])),
        }
        let same = |a: usize, b: usize| match &numbers {
            Some(numbers) => numbers[a] == numbers[b],
            None => texts[a] == texts[b],
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for trial in order {
            match groups.last_mut() {
                Some(group) if same(group[0], trial) => group.push(trial),
                _ => groups.push(vec![trial]),
            }
        }
        Self { groups, ordered: numbers.is_some() }
    }

    /// How many trials can be predicted from others.
    fn predicted(&self) -> usize {
        let groups = self.groups.iter().enumerate();
        groups.filter(|(at, group)| group.len() > 1 || self.has_sides(*at)).map(|(_, group)| group.len()).sum()
    }

    /// Whether a group stands between two that are alike.
    fn has_sides(&self, at: usize) -> bool {
        self.ordered && at > 0 && at + 1 < self.groups.len()
    }

    /// How much of the variance is explained, from far below 0 to 1; `None` where there is none.
    fn share(&self, accuracies: &[f64]) -> Option<f64> {
        let count = accuracies.len() as f64;
        let mean = accuracies.iter().sum::<f64>() / count;
        let variance = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let sums: Vec<f64> =
            self.groups.iter().map(|group| group.iter().map(|trial| accuracies[*trial]).sum::<f64>()).collect();
        let size = |group: usize| self.groups[group].len() as f64;
        let (mut squares, mut predicted) = (0.0, 0.0);
        for (at, group) in self.groups.iter().enumerate() {
            for &trial in group {
                let own = accuracies[trial];
                let (prediction, noise) = if group.len() > 1 {
                    let others = size(at) - 1.0;
                    ((sums[at] - own) / others, 1.0 / others)
                } else if self.has_sides(at) {
                    let (below, above) = (at - 1, at + 1);
                    let prediction = (sums[below] / size(below) + sums[above] / size(above)) / 2.0;
                    (prediction, (1.0 / size(below) + 1.0 / size(above)) / 4.0)
                } else {
                    continue;
                };
                squares += (own - prediction).powi(2) / (1.0 + noise);
                predicted += 1.0;
            }
        }
        (variance > 0.0).then(|| 1.0 - squares / predicted / variance)
    }
}

/// Heap's algorithm.
fn every_order(dealt: &mut [f64], count: usize, note: &mut impl FnMut(&[f64])) {
    if count <= 1 {
        return note(dealt);
    }
    for at in 0..count {
        every_order(dealt, count - 1, note);
        if at + 1 < count {
            dealt.swap(if count.is_multiple_of(2) { at } else { 0 }, count - 1);
        }
    }
}

/// Orders drawn at random, the same each time.
fn drawn_orders(dealt: &mut [f64], note: &mut impl FnMut(&[f64])) {
    let philox = Philox::new(0, Stream::Search);
    for order in 0..ORDERS as u32 {
        for at in (1..dealt.len()).rev() {
            let [word, ..] = philox.block([order, at as u32, 0, 0]);
            dealt.swap(at, ((u64::from(word) * (at as u64 + 1)) >> 32) as usize);
        }
        note(dealt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::unit;

    /// Even numbers from 0 to 1.
    fn drawn(seed: u64, count: usize) -> Vec<f64> {
        let philox = Philox::new(seed, Stream::Benchmark);
        (0..count as u32).map(|at| f64::from(unit(philox.block([at, 0, 0, 0])[0]))).collect()
    }

    fn of(values: &[Value], accuracies: &[f64]) -> f64 {
        match share(&values.iter().collect::<Vec<_>>(), accuracies) {
            Share::Explains(share) => share,
            Share::Chance => 0.0,
            Share::Unknown(reason) => panic!("{reason}"),
        }
    }

    fn numbers(values: &[f64]) -> Vec<Value> {
        values.iter().map(|value| Value::Float(*value)).collect()
    }

    #[test]
    fn what_does_nothing_has_no_share_and_what_decides_has_all_of_it() {
        for count in [6, 12, 50] {
            let (mut nothing, mut loud) = (0.0, 0);
            for seed in 0..60 {
                let (x, noise) = (drawn(seed, count), drawn(1000 + seed, count));
                let share = of(&numbers(&x), &noise);
                nothing += share / 60.0;
                loud += usize::from(share > 0.1);
                // A straight line, a steep one, and a peak, each with a little noise.
                for (curve, least) in [
                    (&(|x: f64| x) as &dyn Fn(f64) -> f64, 0.85),
                    (&|x: f64| (3.0 * x).exp(), 0.8),
                    (&|x: f64| -(x - 0.6).powi(2), if count < 12 { 0.0 } else { 0.6 }),
                ] {
                    // Spread as a search does it, which leaves no large gap.
                    let x: Vec<f64> =
                        (0..count).map(|at| (at as f64 + drawn(seed, count)[at]) / count as f64).collect();
                    let all: Vec<f64> = x.iter().zip(&noise).map(|(x, noise)| curve(*x) + 0.02 * noise).collect();
                    let share = of(&numbers(&x), &all);
                    assert!(share >= least, "{count} trials, seed {seed}: {share}");
                }
            }
            assert!(nothing < 0.08 && loud <= 5, "{count} trials: {nothing}, {loud} of 60");
        }
    }

    #[test]
    fn values_that_come_again_are_groups() {
        let kind = |at: usize| Value::Str(["a", "b"][at % 2].into());
        for count in [6, 12, 50] {
            let kinds: Vec<Value> = (0..count).map(kind).collect();
            let depths: Vec<Value> = (0..count).map(|at| Value::Int((at / 2 % 3) as i64)).collect();
            let noise = drawn(3, count);
            let decisive: Vec<f64> = (0..count).map(|at| (at % 2) as f64 + 0.05 * noise[at]).collect();
            assert!(of(&kinds, &decisive) > 0.95, "{}", of(&kinds, &decisive));
            assert!(of(&depths, &decisive) < 0.1, "{}", of(&depths, &decisive));
        }
        // Half of it each.
        let both: Vec<f64> = (0..48).map(|at| (at % 2) as f64 + (at / 2 % 2) as f64).collect();
        let first: Vec<Value> = (0..48).map(kind).collect();
        assert!((of(&first, &both) - 0.5).abs() < 0.05, "{}", of(&first, &both));
    }

    #[test]
    fn nothing_is_said_where_nothing_can_be() {
        let unknown = |values: &[Value], accuracies: &[f64]| {
            matches!(share(&values.iter().collect::<Vec<_>>(), accuracies), Share::Unknown(_))
        };
        assert!(unknown(&numbers(&[0.1, 0.2, 0.3, 0.4, 0.5]), &[0.1, 0.2, 0.3, 0.4, 0.5]));
        let words: Vec<Value> = (0..8).map(|at| Value::Str(format!("m{at}.vitx"))).collect();
        assert!(unknown(&words, &drawn(1, 8)));
        assert!(unknown(&vec![Value::Int(3); 8], &drawn(1, 8)));
        // One of six that is different may be so by chance.
        let one: Vec<Value> = (0..6).map(|at| Value::Bool(at == 0)).collect();
        assert!(unknown(&one, &[0.9, 0.1, 0.11, 0.12, 0.13, 0.14]));
    }
}
