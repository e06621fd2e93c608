use proptest::prelude::*;

use super::{Strategy, *};
use crate::{
    dsl::Value,
    experiment::{Experiment, sweep::SpaceArguments},
};

fn space(params: &[&str]) -> Space {
    spaced(params, &[], &[])
}

fn spaced(params: &[&str], zip: &[&str], when: &[&str]) -> Space {
    let experiment = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap();
    let [params, zip, when] =
        [params, zip, when].map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    Space::new(&experiment, &SpaceArguments { params, zip, when, seeds: None }).unwrap()
}

fn begin(
    space: &Space,
    strategy: Strategy,
    trials: Option<usize>,
    seed: u64,
    skip: bool,
) -> Result<Search<'_>, ExperimentError> {
    Search::new(space, &SearchSettings { strategy, trials, seed, round: 4, first: Vec::new() }, skip)
}

fn number(variant: &Variant, at: usize) -> f64 {
    match variant[at].1 {
        Value::Int(value) => value as f64,
        Value::Float(value) => value,
        _ => panic!("{variant:?}"),
    }
}

fn fine(_: &Variant) -> Option<Verdict> {
    Some(Verdict::Fine)
}

/// All that a search proposes where variants do as well as `score` says.
fn all(search: &mut Search, score: impl Fn(&Variant) -> f64, judge: &mut Judge) -> Vec<Variant> {
    let mut all = Vec::new();
    loop {
        let round = search.propose(judge).unwrap();
        if round.is_empty() {
            return all;
        }
        search.tell(&round.iter().map(|variant| Some(score(variant))).collect::<Vec<_>>());
        all.extend(round);
    }
}

const SEARCHES: [Strategy; 4] = [Strategy::Random, Strategy::Sobol, Strategy::Tpe, Strategy::MultivariateTpe];

/// One value is by far the best, as is usual: an estimator comes back to it again and again.
fn peaked(variant: &Variant) -> f64 {
    let text = name(variant);
    let hash = text.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    if variant.iter().any(|(_, value)| *value == Value::Int(3)) { 0.9 } else { f64::from(hash % 100) / 1000.0 }
}

#[test]
fn every_search_tries_as_many_as_it_is_told_or_all_there_are() {
    let spaces = [
        (space(&["width=1..=12"]), 12),
        (space(&["width=int(1, 12)"]), 12),
        (space(&["kind=a,b", "width=1..=6"]), 12),
        (space(&["depth=1..=4", "heads=1,2,4", "rate=0,0.1"]), 24),
        (spaced(&["a=1..=4", "b=1..=4", "c=1..=3"], &["a,b"], &[]), 12),
        (spaced(&["kind=a,b,c", "warmup=1..=5"], &[], &["warmup:kind=b"]), 7),
        (spaced(&["kind=a,b", "x=uniform(0, 1)", "n=1..=9"], &[], &["x:kind=b", "n:kind=a"]), 40),
        (space(&["x=uniform(0.5, 0.500001)"]), 40),
        (space(&["kind=a,b", "x=loguniform(1e-4, 1e-1)", "n=int(1, 3)"]), 40),
    ];
    for (space, most) in &spaces {
        for strategy in SEARCHES {
            for (trials, seed) in [(most - 3, 0), (*most, 1), (*most, 5), (40, 2)] {
                let mut search = begin(space, strategy, Some(trials), seed, false).unwrap();
                let found = all(&mut search, peaked, &mut fine);
                let names: HashSet<String> = found.iter().map(name).collect();
                assert_eq!(found.len(), trials.min(*most), "{strategy:?} {trials} {:?}", space.groups);
                assert_eq!(names.len(), found.len(), "{strategy:?}: one twice");
                let mut again = begin(space, strategy, Some(trials), seed, false).unwrap();
                assert_eq!(all(&mut again, peaked, &mut fine), found, "{strategy:?}: not the same again");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn spaces_of_any_size_are_tried_out(
        sizes in prop::collection::vec(1..5usize, 1..4), whole in any::<bool>(), condition in any::<bool>(),
        trials in 1..30usize, seed in any::<u64>(), which in 0..4usize, missing in 0..4u32,
    ) {
        let mut params: Vec<String> = sizes.iter().enumerate().map(|(at, size)| format!("k{at}=1..={size}")).collect();
        params.extend(whole.then(|| "w=int(3, 5)".to_owned()));
        let when: Vec<&str> = if condition && sizes.len() > 1 { vec!["k1:k0=1"] } else { Vec::new() };
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        let space = spaced(&params, &[], &when);
        let there = space.distinct().unwrap();
        // Some of them cannot be, and are left out.
        let possible = |variant: &Variant| missing == 0 || name(variant).len() as u32 * 7 % 4 != missing;
        let most = there.iter().filter(|point| possible(&space.at(point, false))).count();
        let mut judge = |variant: &Variant| Some(match possible(variant) {
            true => Verdict::Fine,
            false => Verdict::Impossible,
        });
        let mut search = begin(&space, SEARCHES[which], Some(trials), seed, true).unwrap();
        let found = all(&mut search, peaked, &mut judge);
        prop_assert_eq!(found.len(), trials.min(most));
        let names: HashSet<String> = found.iter().map(name).collect();
        prop_assert_eq!(names.len(), found.len());
    }
}

#[test]
fn what_is_the_same_is_not_tried_again_and_what_cannot_be_is_left_to_the_caller() {
    let space = space(&["width=1..=8"]);
    let odd = |variant: &Variant| number(variant, 0) as i64 % 2 == 1;
    for strategy in [Strategy::Grid, Strategy::Random, Strategy::Sobol, Strategy::Tpe] {
        let trials = (strategy != Strategy::Grid).then_some(8);
        let count = |verdict, skip| {
            let mut judge = |variant: &Variant| Some(if odd(variant) { verdict } else { Verdict::Fine });
            let mut search = begin(&space, strategy, trials, 0, skip).unwrap();
            all(&mut search, peaked, &mut judge).len()
        };
        assert_eq!(count(Verdict::Same, false), 4, "{strategy:?}");
        assert_eq!(count(Verdict::Impossible, true), 4, "{strategy:?}");
        assert_eq!(count(Verdict::Impossible, false), 8, "{strategy:?}");
        // A judge who gives no verdict ends it.
        let mut search = begin(&space, strategy, trials, 0, false).unwrap();
        assert_eq!(all(&mut search, peaked, &mut |_| None), Vec::<Variant>::new());
    }
}

#[test]
fn a_space_without_end_in_which_nothing_can_be_is_given_up() {
    let space = space(&["x=uniform(0, 1)"]);
    for strategy in SEARCHES {
        let mut looked = 0;
        let mut judge = |_: &Variant| {
            looked += 1;
            Some(Verdict::Impossible)
        };
        let mut search = begin(&space, strategy, Some(8), 0, true).unwrap();
        assert_eq!(all(&mut search, peaked, &mut judge), Vec::<Variant>::new());
        assert!((200..300).contains(&looked), "{strategy:?}: {looked}");
    }
}

/// What was proposed before TPE looked at what is left of a space: as long as every draw is new, it is proposed still.
#[test]
fn draws_of_tpe_that_are_new_stay_what_they_were() {
    let space = space(&["x=uniform(0, 1)", "kind=bad,good,poor"]);
    let mut search = begin(&space, Strategy::Tpe, Some(12), 5, false).unwrap();
    let score = |variant: &Variant| 0.7 - (number(variant, 0) - 0.2).abs();
    let found: Vec<String> = all(&mut search, score, &mut fine).iter().map(name).collect();
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn seeds_differ_in_every_bit() {
    let space = space(&["x=uniform(0, 1)", "y=uniform(0, 1)"]);
    for strategy in SEARCHES {
        let draw = |seed| begin(&space, strategy, Some(8), seed, false).unwrap().propose(&mut fine).unwrap();
        let drawn: HashSet<String> = (0..64).map(|bit| format!("{:?}", draw(1 << bit))).collect();
        assert_eq!(drawn.len(), 64, "{strategy:?}");
        assert_ne!(draw(0), draw(1 << 32), "{strategy:?}");
    }
}

#[test]
fn limits_count_seeds_and_take_no_memory() {
    let experiment = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap();
    let refused = |params: &[&str], seeds, strategy, trials| {
        let params = params.iter().map(|text| (*text).to_owned()).collect();
        let given = SpaceArguments { params, seeds: Some(seeds), ..SpaceArguments::default() };
        let space = Space::new(&experiment, &given).unwrap();
        begin(&space, strategy, trials, 0, false).err().map(|error| error.to_string())
    };
    let most = "the sweep has more than 100000 trials:";
    assert_eq!(refused(&["width=1..=1000"], 100, Strategy::Grid, None), None);
    let text = refused(&["width=1..=1000"], 101, Strategy::Grid, None);
    assert_eq!(text, Some(format!("{most} 1000 variants, each with 101 seeds")));
    assert!(refused(&["width=4"], u32::MAX, Strategy::Grid, None).is_some());
    assert_eq!(refused(&["width=1..=9"], 10, Strategy::Random, Some(10_000)), None);
    assert!(refused(&["width=1..=9"], 10, Strategy::Tpe, Some(10_001)).unwrap().starts_with(most));
    assert!(refused(&["width=1..=9"], 1, Strategy::Sobol, Some(usize::MAX)).unwrap().starts_with(most));
}

#[test]
fn searches_repeat_themselves_and_do_not_repeat_points() {
    let space = space(&["x=uniform(0, 1)", "depth=1..=4"]);
    for strategy in [Strategy::Random, Strategy::Sobol] {
        let draw = |seed| begin(&space, strategy, Some(16), seed, false).unwrap().propose(&mut fine).unwrap();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert_eq!(draw(3).len(), 16);
    }
    let few = self::space(&["depth=1..=4"]);
    assert_eq!(begin(&few, Strategy::Random, Some(16), 0, false).unwrap().propose(&mut fine).unwrap().len(), 4);
}

#[test]
fn sobol_covers_every_part() {
    let space = space(&["x=uniform(0, 1)", "y=uniform(0, 1)"]);
    let points = begin(&space, Strategy::Sobol, Some(16), 1, false).unwrap().propose(&mut fine).unwrap();
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
    let score = |variant: &Variant| {
        let kind = if variant[1].1 == Value::Str("good".into()) { 0.3 } else { 0.0 };
        0.7 - (number(variant, 0) - 0.2).abs() + kind
    };
    let run = |seed| all(&mut begin(&space, Strategy::Tpe, Some(60), seed, false).unwrap(), score, &mut fine);
    let all = run(5);
    assert_eq!(all.len(), 60);
    assert!(all.iter().enumerate().all(|(index, variant)| !all[..index].contains(variant)));
    assert_eq!(all, run(5));
    let late = &all[30..];
    let near = late.iter().filter(|variant| (number(variant, 0) - 0.2).abs() < 0.2).count();
    let good = late.iter().filter(|variant| variant[1].1 == Value::Str("good".into())).count();
    assert!(near > 15 && good > 15, "{near} {good}");
}

#[test]
fn refuses_what_makes_no_search() {
    let space = space(&["depth=1..=4"]);
    for (strategy, trials) in [(Strategy::Grid, Some(3)), (Strategy::Tpe, None), (Strategy::Sobol, Some(0))] {
        assert!(begin(&space, strategy, trials, 0, false).is_err());
    }
}
