//! Searches beside one another, on published functions and on sweeps of digits that were trained whole.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path, thread};

use super::{
    functions::{FUNCTIONS, Function, Place},
    *,
};
use crate::{
    dsl::Value,
    experiment::{Experiment, sweep::SpaceArguments},
};

/// Rounds that are compared, and after how many trials.
const ROUNDS: [usize; 3] = [1, 4, 8];
const LOOKS: [usize; 2] = [50, 100];

fn space(params: &[&str], when: &[&str]) -> Space {
    let experiment = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap();
    let [params, when] = [params, when].map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
    Space::new(&experiment, &SpaceArguments { params, when, ..SpaceArguments::default() }).unwrap()
}

/// How far the best of the first trials is from the least value, after as many as are looked at.
fn regrets(
    space: &Space,
    (strategy, round, seed): (Strategy, usize, u64),
    looks: &[usize],
    least: f64,
    value: &dyn Fn(&Variant) -> f64,
) -> Vec<f64> {
    let trials = looks.iter().copied().max();
    let settings = SearchSettings { strategy, trials, seed, round, first: Vec::new() };
    let mut search = Search::new(space, &settings, false).unwrap();
    let (mut best, mut tried, mut found) = (f64::INFINITY, 0, Vec::new());
    loop {
        let round = search.propose(&mut |_| Some(Verdict::Fine)).unwrap();
        if round.is_empty() {
            return found;
        }
        let values: Vec<f64> = round.iter().map(value).collect();
        for value in &values {
            (best, tried) = (best.min(*value), tried + 1);
            found.extend(looks.contains(&tried).then_some(best - least));
        }
        search.tell(&values.iter().map(|value| Some(-value)).collect::<Vec<_>>());
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { 0.5 * (numbers[middle - 1] + numbers[middle]) }
}

/// Median regrets over seeds, by look.
fn medians(seeds: u64, looks: usize, regrets: impl Fn(u64) -> Vec<f64>) -> Vec<f64> {
    let all: Vec<Vec<f64>> = (0..seeds).map(regrets).collect();
    (0..looks).map(|look| median(all.iter().map(|regrets| regrets[look]).collect())).collect()
}

/// Of a function: by random draws, by TPE of each key alone and by TPE over all of them, in rounds.
fn row(space: &Space, seeds: u64, looks: &[usize], least: f64, value: &dyn Fn(&Variant) -> f64) -> Vec<Vec<f64>> {
    let kinds = [(Strategy::Random, 1)].into_iter();
    let rounds = |strategy| ROUNDS.map(|round| (strategy, round));
    let kinds = kinds.chain(rounds(Strategy::Tpe)).chain(rounds(Strategy::MultivariateTpe));
    kinds
        .map(|(strategy, round)| {
            medians(seeds, looks.len(), |seed| regrets(space, (strategy, round, seed), looks, least, value))
        })
        .collect()
}

/// One line for each number of trials; the best of a line is marked.
fn lines(name: &str, looks: &[usize], row: &[Vec<f64>], text: &mut String) {
    for (look, trials) in looks.iter().enumerate() {
        let numbers: Vec<f64> = row.iter().map(|medians| medians[look]).collect();
        let best = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let cell = |number: &f64| {
            let number_text = if *number == 0.0 { "0".to_owned() } else { format!("{number:.3}") };
            if *number == best { format!("**{number_text}**") } else { number_text }
        };
        let cells: Vec<String> = numbers.iter().map(cell).collect();
        writeln!(text, "| {name} | {trials} | {} |", cells.join(" | ")).unwrap();
    }
}

const HEAD: &str = "| | trials | random | tpe, 1 | tpe, 4 | tpe, 8 | multivariate, 1 | multivariate, 4 | multivariate, 8 |\n\
                    |---|---|---|---|---|---|---|---|---|\n";

fn of_function(function: &Function, seeds: u64, looks: &[usize]) -> Vec<Vec<f64>> {
    let space = space(function.params, function.when);
    row(&space, seeds, looks, function.least, &|variant| (function.value)(&Place(variant)))
}

/// The geometric mean over functions of how much of random draws' regret is left.
fn left(rows: &[Vec<Vec<f64>>], column: usize, look: usize) -> f64 {
    let share = |row: &Vec<Vec<f64>>| (row[column][look] / row[0][look]).max(1e-3).ln();
    (rows.iter().map(share).sum::<f64>() / rows.len() as f64).exp()
}

#[test]
fn known_values_of_the_functions() {
    let at = |name: &str, assignments: &str| {
        let function = FUNCTIONS.iter().find(|function| function.name.starts_with(name)).unwrap();
        let space = space(function.params, function.when);
        let point = space.point(&crate::experiment::sweep::points::parse(assignments).unwrap()).unwrap();
        (function.value)(&Place(&point)) - function.least
    };
    for (name, point, within) in [
        ("Branin", "x=3.14159265,y=2.275", 1e-6),
        ("Hartmann, 3", "a=0.114614,b=0.555649,c=0.852547", 1e-5),
        ("Hartmann, 6", "a=0.20169,b=0.150011,c=0.476874,d=0.275332,e=0.311652,f=0.6573", 1e-5),
        ("Ackley", "a=0,b=0,c=0,d=0,e=0", 1e-9),
        ("Rosenbrock", "a=1,b=1,c=1,d=1", 1e-9),
        ("Levy", "a=1,b=1,c=1,d=1", 1e-9),
        ("Rastrigin", "a=0,b=0,c=0,d=0", 1e-9),
        ("Griewank", "a=0,b=0,c=0,d=0,e=0", 1e-9),
        ("Michalewicz", "a=2.202906,b=1.570796,c=1.284992,d=1.923058,e=1.720470", 1e-4),
        ("Styblinski", "a=-2.903534,b=-2.903534,c=-2.903534,d=-2.903534", 1e-6),
        ("Branin in", "x=3.14159265,y=2.275,kind=as_it_is", 1e-6),
        ("A sphere", "kind=valley,c=0.15,d=0.15", 1e-9),
    ] {
        let regret = at(name, point);
        assert!(regret.abs() < within, "{name}: {regret}");
    }
}

/// A small part of the tables below.
#[test]
fn tpe_over_all_keys_beats_random_draws_and_tpe_of_each_key() {
    let some = ["Branin", "Hartmann, 3 numbers", "A sphere or a valley, with conditional keys"];
    let functions = FUNCTIONS.iter().filter(|function| some.contains(&function.name));
    let rows: Vec<Vec<Vec<f64>>> = functions.map(|function| of_function(function, 7, &[40])).collect();
    for (place, round) in ROUNDS.iter().enumerate() {
        let [own, other] = [4 + place, 1 + place].map(|column| left(&rows, column, 0));
        assert!(own < 0.5 && own < other, "rounds of {round}: {own}, each key alone {other}");
    }
}

fn seeds() -> u64 {
    std::env::var("VITX_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// The first table of docs/SEARCH.md: `cargo test --release --lib table_of -- --ignored --nocapture`.
#[test]
#[ignore = "minutes"]
fn table_of_published_functions() {
    let half = FUNCTIONS.len().div_ceil(2);
    let rows: Vec<Vec<Vec<f64>>> = thread::scope(|scope| {
        let parts: Vec<_> = FUNCTIONS
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().map(|of| of_function(of, seeds(), &LOOKS)).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let mut text = HEAD.to_owned();
    FUNCTIONS.iter().zip(&rows).for_each(|(function, row)| lines(function.name, &LOOKS, row, &mut text));
    let shares: Vec<Vec<f64>> =
        (0..7).map(|column| (0..LOOKS.len()).map(|look| left(&rows, column, look)).collect()).collect();
    lines("share of random's regret that is left (geometric mean)", &LOOKS, &shares, &mut text);
    println!("{text}");
    for look in 0..LOOKS.len() {
        for place in 0..ROUNDS.len() {
            assert!(left(&rows, 4 + place, look) < left(&rows, 1 + place, look));
        }
    }
}

/// The second one.
#[test]
#[ignore = "minutes"]
fn table_of_trained_sweeps() {
    let mut text = HEAD.to_owned();
    for (name, file) in [("Vision Transformer", "digits_vit.csv"), ("perceptron", "digits_mlp.csv")] {
        let (space, results) = trained(file);
        let least = results.values().copied().fold(f64::INFINITY, f64::min);
        let looks = [15, 25, 50];
        let row = row(&space, seeds(), &looks, least, &|variant| results[&name_of(variant)]);
        lines(name, &looks, &row, &mut text);
    }
    println!("{text}");
}

fn name_of(variant: &Variant) -> String {
    variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// A sweep whose every combination was trained: its space, and the least validation loss of each.
fn trained(file: &str) -> (Space, HashMap<String, f64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiment/sweep/search").join(file);
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let keys: Vec<&str> = lines.next().unwrap().split(',').collect();
    let (mut values, mut results) = (vec![Vec::<&str>::new(); keys.len() - 1], HashMap::new());
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        for (known, cell) in values.iter_mut().zip(&cells) {
            if !known.contains(cell) {
                known.push(cell);
            }
        }
        let pairs = keys.iter().zip(&cells).take(keys.len() - 1);
        let variant: Variant = pairs.map(|(key, cell)| ((*key).to_owned(), cell.parse::<Value>().unwrap())).collect();
        results.insert(name_of(&variant), cells[keys.len() - 1].parse().unwrap());
    }
    let params: Vec<String> =
        keys.iter().zip(&values).map(|(key, values)| format!("{key}={}", values.join(","))).collect();
    (space(&params.iter().map(String::as_str).collect::<Vec<_>>(), &[]), results)
}
