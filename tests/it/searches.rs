//! What a sweep tries, and by what it is told from others: rounds, points that are tried first.

use std::{fs, path::Path};

use vitx::{
    experiment::{
        Definition, Overrides,
        sweep::{Given, Rule, SpaceArguments, Stopping, Strategy, Sweep},
    },
    trial::variant,
};

use crate::support::{QUICK, learnt, shown, succeed, sweep, table, vitx};

const SPACE: [&str; 4] = ["-p", "depth=int(1, 2)", "-p", "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)"];
const TINY: [&str; 4] = ["--set", "train.epochs=1", "--set", "data.train_limit=100"];

/// A sweep in a folder that its definition names.
fn named(folder: &Path, arguments: &[&str]) -> String {
    let mut command = vitx(folder, &["sweep", "digits_vit.yaml", "--backend", "cpu", "--threads", "1"]);
    command.args(QUICK).args(SPACE).args(TINY).args(arguments);
    succeed(command)
}

/// A new key with its default must leave these as they are: sweeps that are begun would begin anew.
#[test]
fn identities_of_sweeps_are_those_of_former_versions() {
    let set = ["train.epochs=1", "data.train_limit=100", "data.test_limit=50"].map(String::from).to_vec();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
    let identity = |given: Given| {
        let changes = Overrides { set: set.clone(), ..Overrides::default() };
        Sweep::new(&Definition::read(&path, &changes).unwrap(), &given).unwrap().definition.identity()
    };
    let space = |params: &[&str], seeds| SpaceArguments {
        params: params.iter().map(|text| (*text).to_owned()).collect(),
        seeds,
        ..SpaceArguments::default()
    };
    let grid = Given { space: space(&["depth=1", "patch_size=2,4"], None), jobs: 8, ..Given::default() };
    let search = Given {
        space: space(&[SPACE[1], SPACE[3]], Some(2)),
        strategy: Some(Strategy::Tpe),
        trials: Some(3),
        search_seed: Some(7),
        stopping: Some(Stopping { rule: Rule::Asha, min_epochs: 1, factor: 3 }),
        jobs: 4,
        ..Given::default()
    };
    assert_eq!(identity(grid), "0ea3d7e42e71");
    assert_eq!(identity(search.clone()), "e37feaa7f09c");
    assert_eq!(identity(Given { jobs: 1, ..search.clone() }), "e37feaa7f09c");
    assert_eq!(identity(Given { round: Some(4), jobs: 8, ..search.clone() }), "e37feaa7f09c");
    let wide = identity(Given { jobs: 8, ..search.clone() });
    assert_ne!(wide, "e37feaa7f09c");
    assert_eq!(identity(Given { round: Some(8), ..search }), wide);
}

#[test]
fn a_search_goes_on_in_the_rounds_that_it_was_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let search = |more: &[&str]| {
        named(folder.path(), &[&["--strategy", "multivariate_tpe", "--trials", "6"][..], more].concat())
    };
    let first = search(&["--jobs", "6"]);
    assert!(!first.contains("was begun in rounds"), "{first}");
    let sweeps = || {
        let entries = fs::read_dir(folder.path().join("runs/sweeps")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let begun = sweeps();
    let config = fs::read_to_string(begun[0].join("sweep/config.yaml")).unwrap();
    assert!(config.contains("\n  round: 6\n"), "{config}");
    let monday = search(&["--jobs", "2"]);
    assert!(monday.contains("This sweep was begun in rounds of 6, and goes on so"), "{monday}");
    assert!(!monday.contains("started"), "{monday}");
    assert_eq!(sweeps(), begun);
    // In a folder that is named it is the same.
    let output = ["--output", begun[0].to_str().unwrap(), "--jobs", "1"];
    assert!(!search(&output).contains("started"));
    assert!(!search(&["--round", "6"]).contains("started"));
    assert_eq!(sweeps(), begun);
    let other = search(&["--round", "4"]);
    assert!(other.contains("started") && sweeps().len() == 2, "{other}");
}

#[test]
fn a_round_is_for_searches_by_results() {
    let folder = tempfile::tempdir().unwrap();
    let sobol = [&SPACE[..], &["--strategy", "sobol", "--trials", "2", "--round", "2"]].concat();
    let refused = sweep(folder.path(), &sobol).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = shown(&refused);
    assert!(text.contains("a round of 2 points is for searches that go by results, and sobol does not"), "{text}");
}

#[test]
fn points_are_tried_first_and_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let rate = "train.optimizer.learning_rate";
    let points = [format!("depth=2,{rate}=3e-3"), format!("{rate}=0.01,depth=1")];
    let first = ["--enqueue", &points[0], "--enqueue", &points[1]];
    for (strategy, out) in [("multivariate_tpe", "a"), ("tpe", "b"), ("random", "c")] {
        let search = ["--strategy", strategy, "--trials", "5", "--output", out];
        named(folder.path(), &[&search[..], &first].concat());
        let trials = fs::read_to_string(folder.path().join(out).join("trials.json")).unwrap();
        let trials: serde_json::Value = serde_json::from_str(&trials).unwrap();
        let trials = trials["trials"].as_array().unwrap();
        let variant = |at: usize| {
            let folder = folder.path().join(out).join("trials").join(trials[at].as_str().unwrap());
            let variant = variant::read(&folder).unwrap();
            variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(trials.len(), 5, "{strategy}");
        assert_eq!(variant(0), format!("depth=2 {rate}=0.003"), "{strategy}");
        assert_eq!(variant(1), format!("depth=1 {rate}=0.01"), "{strategy}");
    }
    // They are part of what the sweep is, and can stand in the experiment.
    let config = fs::read_to_string(folder.path().join("a/sweep/config.yaml")).unwrap();
    assert!(config.contains("  enqueue:\n  - depth: 2\n    train.optimizer.learning_rate: 0.003\n"), "{config}");
    let again = vitx(folder.path(), &["sweep", "a/sweep/config.yaml", "--backend", "cpu", "--threads", "1", "-o", "a"]);
    assert!(!succeed(again).contains("started"));
    let search = ["--strategy", "multivariate_tpe", "--trials", "5"];
    let arguments = [&SPACE[..], &TINY, &search, &first].concat();
    succeed(sweep(folder.path(), &arguments));
    assert_eq!(learnt(folder.path()).as_array().unwrap().len(), 5);
    assert_eq!(table(folder.path()).lines().count(), 6);
}

#[test]
fn variants_that_do_not_meet_a_condition_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let grid = ["-p", "projection_dim=8,12,16", "-p", "num_heads=2,3,8", "-p", "depth=1"];
    let divides = ["--where", "projection_dim % num_heads == 0", "--where", "num_heads * depth < image_size"];
    let arguments = [&grid[..], &TINY, &divides].concat();
    let text = succeed(sweep(folder.path(), &arguments));
    assert!(text.contains("3 variants are left out: `projection_dim % num_heads == 0` does not hold there"), "{text}");
    assert!(text.contains("2 variants are left out: `num_heads * depth < image_size` does not hold there"), "{text}");
    let variants: Vec<String> = learnt(folder.path())
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| format!("{} {}", trial["variant"]["projection_dim"], trial["variant"]["num_heads"]))
        .collect();
    assert_eq!(variants, ["8 2", "12 2", "12 3", "16 2"], "{text}");
    let config = fs::read_to_string(folder.path().join("out/sweep/config.yaml")).unwrap();
    assert!(config.contains("  where:\n  - projection_dim % num_heads == 0\n"), "{config}");
    // A search tries others instead.
    let search = ["--strategy", "multivariate_tpe", "--trials", "9", "--output", "searched"];
    let mut command = vitx(folder.path(), &["sweep", "digits_vit.yaml", "--backend", "cpu", "--threads", "1"]);
    command.args(QUICK).args(arguments).args(search);
    let text = succeed(command);
    assert!(text.contains("9 trials are wanted, but the space has 4 variants"), "{text}");
}

#[test]
fn conditions_that_cannot_be_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let mut shown_all = Vec::new();
    for condition in [
        "projection_dim % num_head == 0",
        "projection_dim % num_heads",
        "projection_dim %",
        "train.epoch > num_heads",
        "depth > 1",
        "num_heads > 99",
    ] {
        let grid = ["-p", "projection_dim=8,12", "-p", "num_heads=2,4", "--where", condition];
        let output = sweep(folder.path(), &grid).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{condition}");
        shown_all.push(format!("{condition}\n{}", shown(&output)));
    }
    insta::assert_snapshot!(shown_all.join("\n"));
}
