use proptest::prelude::*;

use super::*;

fn stopping(rule: Rule) -> Stopping {
    Stopping { rule, min_epochs: 1, factor: 3 }
}

fn standings(curves: &[&[f64]]) -> Vec<Standing> {
    let standing = |(variant, curve): (usize, &&[f64])| Standing {
        variant,
        epochs: 9,
        curve: curve.to_vec(),
        ..Standing::default()
    };
    curves.iter().enumerate().map(standing).collect()
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
    let decisions = halving.decide(&trials);
    assert_eq!(stopped(&decisions), [0, 3, 4, 5]);
    assert_eq!(decisions[1], Decision::Train(Some(3)));
    trials[1] = Standing { curve: Vec::new(), failed: true, ..trials[1].clone() };
    assert_eq!(stopped(&halving.decide(&trials)), [0, 4, 5]);
    // Nothing is decided before all have come as far.
    trials[1].failed = false;
    let decisions = halving.decide(&trials);
    assert_eq!(decisions[1], Decision::Train(Some(1)));
    assert!(decisions.iter().enumerate().all(|(index, d)| index == 1 || *d == Decision::Wait), "{decisions:?}");
    // The last one standing goes on to its end.
    let mut last = standings(&[&[0.0], &[]]);
    last[1].failed = true;
    assert_eq!(halving.decide(&last)[0], Decision::Train(None));
}

#[test]
fn what_failed_late_counts_at_the_rungs_it_reached() {
    let mut trials = standings(&[&[0.1], &[0.9, 0.9]]);
    trials[1].failed = true;
    assert_eq!(stopped(&Stopping { factor: 2, ..stopping(Rule::Halving) }.decide(&trials)), [0]);
}

#[test]
fn asynchronous_halving_waits_for_no_later_trial() {
    let asha = Stopping { factor: 2, ..stopping(Rule::Asha) };
    let standings = |curves: &[&[f64]]| {
        let mut trials = standings(curves);
        trials.iter_mut().for_each(|trial| trial.epochs = 8);
        trials
    };
    // The first has nobody before it, and is never looked at.
    assert_eq!(asha.decide(&standings(&[&[], &[], &[]]))[0], Decision::Train(None));
    let decisions = asha.decide(&standings(&[&[0.5; 8], &[0.4], &[0.6], &[]]));
    assert!(matches!(decisions[1], Decision::Stop(1, _)), "{decisions:?}");
    assert_eq!(decisions[2..], [Decision::Train(Some(2)), Decision::Train(Some(1))]);
    // It waits for earlier ones.
    assert_eq!(asha.decide(&standings(&[&[], &[0.4]]))[1], Decision::Wait);
}

#[test]
fn hyperband_spares_the_later_brackets() {
    let hyperband = stopping(Rule::Hyperband);
    let trials: Vec<Standing> = (0..12)
        .map(|index| Standing { variant: index, epochs: 9, curve: vec![index as f64 / 12.0; 9], ..Standing::default() })
        .collect();
    let all = hyperband.brackets(12, 2);
    assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 12);
    assert!(all[0].len() > all[1].len() && all[1].len() >= all[2].len(), "{all:?}");
    let decisions = hyperband.decide(&trials);
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
    let mut trials = standings(&[&[0.1, 0.2], &[0.5, 0.6], &[0.4, 0.7], &[0.3, 0.3], &[0.5]]);
    trials.iter_mut().for_each(|trial| trial.epochs = 3);
    let decisions = median.decide(&trials);
    // Averages of the first three at epoch 1: 0.1, 0.4, 0.5; at epoch 2: 0.15, 0.55, 0.55.
    assert!(matches!(decisions[3], Decision::Stop(1, _)), "{decisions:?}");
    assert_eq!(decisions[4], Decision::Train(Some(2)));
    assert_eq!(stopped(&decisions), [3]);
}

#[test]
fn a_loss_is_told_as_one() {
    let median = stopping(Rule::Median);
    let reason = |sign: f64| {
        let curves = [[1.0], [0.5], [0.4], [2.0]].map(|curve| curve.map(|value: f64| sign * value));
        let trials = standings(&curves.iter().map(<[f64; 1]>::as_slice).collect::<Vec<_>>());
        let reasons = median.decide(&trials).into_iter().filter_map(|decision| match decision {
            Decision::Stop(_, reason) => Some(reason),
            _ => None,
        });
        reasons.collect::<Vec<_>>()
    };
    assert_eq!(reason(-1.0), ["stopped after epoch 1: 2.0000 is above the median 0.5000"]);
    assert!(reason(0.1).is_empty());
}

/// A shorter trial that has finished is a rival at later rungs, and is not stopped there.
#[test]
fn trials_of_different_lengths_are_compared() {
    let trial = |epochs: u32, curve: &[f64]| Standing {
        epochs,
        curve: curve.to_vec(),
        finished: curve.len() == epochs as usize,
        ..Standing::default()
    };
    let numbered = |trials: Vec<Standing>| -> Vec<Standing> {
        trials.into_iter().enumerate().map(|(variant, trial)| Standing { variant, ..trial }).collect()
    };
    let halving = Stopping { rule: Rule::Halving, min_epochs: 2, factor: 3 };
    // One epoch, and four, of which two are looked at: the shorter one is better at its end.
    let trials = numbered(vec![trial(1, &[0.5]), trial(4, &[0.3, 0.4])]);
    assert_eq!(stopped(&halving.decide(&trials)), [1]);
    let trials = numbered(vec![trial(1, &[0.5]), trial(4, &[0.3, 0.6])]);
    assert_eq!(halving.decide(&trials), [Decision::Train(None), Decision::Train(None)]);
    // A trial that ends at a rung is not stopped there, bad as it is.
    let trials = numbered(vec![trial(2, &[0.1, 0.1]), trial(4, &[0.3, 0.6]), trial(4, &[0.4, 0.5])]);
    assert_eq!(stopped(&halving.decide(&trials)), [2]);
    // One that failed before its last epoch never comes to a later rung.
    let mut trials = numbered(vec![trial(3, &[0.9]), trial(4, &[0.3, 0.4])]);
    trials[0].failed = true;
    assert_eq!(halving.decide(&trials)[1], Decision::Train(None));
}

#[test]
fn seeds_of_a_variant_stop_together_by_their_mean() {
    let seeds = |variants: &[(usize, &[f64])]| -> Vec<Standing> {
        let standing = |(variant, curve): &(usize, &[f64])| Standing {
            variant: *variant,
            epochs: 9,
            curve: curve.to_vec(),
            ..Standing::default()
        };
        variants.iter().map(standing).collect()
    };
    let halving = Stopping { factor: 2, ..stopping(Rule::Halving) };
    // The best seed of all is of the worse variant.
    let mut trials = seeds(&[(0, &[0.9]), (0, &[0.1]), (1, &[0.6]), (1, &[0.5])]);
    assert_eq!(stopped(&halving.decide(&trials)), [0, 1]);
    // Nothing is decided before all seeds are there; those that are there wait for the others of their variant.
    trials[3].curve.clear();
    use Decision::{Train, Wait};
    assert_eq!(halving.decide(&trials), [Wait, Wait, Wait, Train(Some(1))]);
    // A seed that failed is left out of the mean, and keeps its own reason.
    trials[1] = Standing { curve: Vec::new(), failed: true, ..trials[1].clone() };
    trials[3].curve = vec![0.5];
    assert_eq!(stopped(&halving.decide(&trials)), [2, 3]);
    trials[0].curve = vec![0.2];
    assert_eq!(stopped(&halving.decide(&trials)), [0]);
}

/// A trial as it would go: how long it is, and when it fails, if it does.
#[derive(Debug, Clone)]
struct Course {
    variant: usize,
    curve: Vec<f64>,
    fails: Option<usize>,
}

/// Trains whatever may be trained, in an order given by `pick`, until nothing is left to do.
fn run(stopping: Stopping, courses: &[Course], mut pick: impl FnMut(usize) -> usize) -> (Vec<Standing>, Vec<Decision>) {
    let mut trials: Vec<Standing> = courses
        .iter()
        .map(|course| Standing { variant: course.variant, epochs: course.curve.len() as u32, ..Standing::default() })
        .collect();
    loop {
        let decisions = stopping.decide(&trials);
        let ready: Vec<(usize, usize)> = decisions
            .iter()
            .enumerate()
            .filter_map(|(index, decision)| match decision {
                Decision::Train(until) if !trials[index].failed && !trials[index].finished => {
                    Some((index, until.unwrap_or(u32::MAX).min(trials[index].epochs) as usize))
                }
                _ => None,
            })
            .collect();
        if ready.is_empty() {
            return (trials, decisions);
        }
        let (index, until) = ready[pick(ready.len())];
        let course = &courses[index];
        assert!(until > trials[index].curve.len(), "nothing to do for {index}: {decisions:?}");
        // An epoch at a time, as trials that are killed and resumed go.
        let epoch = trials[index].curve.len();
        if course.fails == Some(epoch) {
            trials[index].failed = true;
            continue;
        }
        trials[index].curve.push(course.curve[epoch]);
        trials[index].finished = epoch + 1 == course.curve.len();
    }
}

fn course() -> impl Strategy<Value = (Vec<f64>, Option<usize>)> {
    let curve = prop::collection::vec((0..8u8).prop_map(|tenth| f64::from(tenth) / 10.0), 1..14);
    (curve, prop::option::weighted(0.15, 0..14usize))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever the curves, lengths, failures, seeds and the rule: no trial waits for ever, and what is decided does
    /// not depend on which was trained first.
    #[test]
    fn every_trial_ends_and_the_order_does_not_matter(
        variants in prop::collection::vec(prop::collection::vec(course(), 1..4), 1..8),
        rule in prop::sample::select(vec![Rule::Halving, Rule::Asha, Rule::Hyperband, Rule::Median]),
        min_epochs in 1..6u32, factor in 2..5u32, same_length in any::<bool>(), turn in any::<u64>(),
    ) {
        let stopping = Stopping { rule, min_epochs, factor };
        let mut courses = Vec::new();
        for (variant, seeds) in variants.iter().enumerate() {
            for (curve, fails) in seeds {
                let length = if same_length { 9 } else { seeds[0].0.len() };
                let curve = curve.iter().copied().cycle().take(length).collect();
                courses.push(Course { variant, curve, fails: *fails });
            }
        }
        let (trials, decisions) = run(stopping, &courses, |_| 0);
        for (trial, decision) in trials.iter().zip(&decisions) {
            prop_assert!(trial.finished || trial.failed || matches!(decision, Decision::Stop(..)), "{decisions:?}");
        }
        // Seeds end together: all that did not fail were stopped at the same rung, or finished.
        for variant in 0..variants.len() {
            let ends: Vec<Option<u32>> = trials.iter().zip(&decisions)
                .filter(|(trial, _)| trial.variant == variant && !trial.failed)
                .map(|(_, decision)| match decision { Decision::Stop(rung, _) => Some(*rung), _ => None })
                .collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
        }
        let counted = |trials: &[Standing], decisions: &[Decision]| -> Vec<String> {
            trials.iter().zip(decisions).map(|(trial, decision)| match decision {
                Decision::Stop(rung, reason) => format!("{rung} {reason}"),
                _ => format!("{} {}", trial.failed, trial.curve.len()),
            }).collect()
        };
        let expected = counted(&trials, &decisions);
        let mut state = turn | 1;
        let (trials, decisions) = run(stopping, &courses, |count| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % count
        });
        prop_assert_eq!(counted(&trials, &decisions), expected.clone());
        let (trials, decisions) = run(stopping, &courses, |count| count - 1);
        prop_assert_eq!(counted(&trials, &decisions), expected);
    }
}
