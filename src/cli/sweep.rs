use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use super::{
    console::{INTERRUPTED, handle_interrupts},
    engine_args::EngineArgs,
    live::{Live, name},
};
use crate::{
    experiment::{
        Definition, ExperimentError, Overrides, Stop,
        sweep::{
            Event, Local, Plan, Planned, Policy, Prediction, Rule, Schedule, Search, Space, SpaceArguments, Stopping,
            Strategy, Variant,
        },
        trial::Lock,
    },
    memory,
    report::{Record, View, render},
    train::{Interrupt, history},
};

/// Trains the variants of an experiment, and prints one table
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx sweep --param patch_size=4,6,8 --param depth=4..=8:2
  vitx sweep experiments/digits_vit.yaml -p depth=1,2,4 --seeds 3 --set train.epochs=10
  vitx sweep experiments/digits_vit.yaml -p 'train.optimizer.learning_rate=log(1e-4, 1e-2, 5)' --dry-run
  vitx sweep experiments/digits_vit.yaml -p 'depth=int(1, 6)' -p 'train.optimizer.learning_rate=loguniform(1e-4, 1e-2)' \\
      --strategy tpe --trials 24 --stop halving")]
pub struct Args {
    /// Experiment file (.yaml)
    #[arg(default_value = "experiments/cifar100_vit.yaml")]
    experiment: PathBuf,
    /// Values of a model parameter, or of a dotted key of the experiment: `4,6,8`, `4..=8:2`,
    /// `log(1e-4, 1e-2, 5)`; to be searched: `uniform(0, 0.5)`, `loguniform(1e-4, 1e-2)`, `int(2, 12)`
    #[arg(short, long = "param", value_name = "NAME=VALUES")]
    param: Vec<String>,
    /// These keys go through their values together, e.g. `patch_size,image_size`
    #[arg(long, value_name = "KEY,KEY")]
    zip: Vec<String>,
    /// A key varies only where another has one of these values, e.g.
    /// `train.schedule.warmup_epochs:train.schedule.kind=cosine`
    #[arg(long, value_name = "KEY:OTHER=VALUES")]
    when: Vec<String>,
    /// How the space is searched [default: grid]
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// How many points a search tries
    #[arg(long)]
    trials: Option<usize>,
    /// Seeds the search [default: 0]
    #[arg(long)]
    search_seed: Option<u64>,
    /// Ends bad trials early
    #[arg(long, value_enum)]
    stop: Option<Rule>,
    /// Epochs before a trial can be ended
    #[arg(long, default_value_t = 1, requires = "stop", value_parser = clap::value_parser!(u32).range(1..))]
    min_epochs: u32,
    /// At each rung one trial in so many goes on, for so many times the epochs
    #[arg(long, default_value_t = 3, requires = "stop", value_parser = clap::value_parser!(u32).range(2..=100))]
    factor: u32,
    /// Sets a key of the experiment for all variants
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Trains every variant with so many seeds; the table shows mean ± standard deviation
    #[arg(long)]
    seeds: Option<u32>,
    /// Trials at once; they share the threads
    #[arg(short, long, default_value_t = 1)]
    jobs: usize,
    /// Further attempts for a trial that fails
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Stops at the first trial that fails
    #[arg(long)]
    fail_fast: bool,
    /// Leaves out combinations that cannot be, instead of refusing the sweep
    #[arg(long)]
    skip_invalid: bool,
    /// Checks and costs all variants, and stops there
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    view: View,
    /// Directory of the sweep [default: runs/sweeps/EXPERIMENT-HASH]
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let overrides = Overrides { params: BTreeMap::new(), set: args.set.clone(), seed: None };
    let base = Definition::read(&args.experiment, &overrides)?;
    let given = SpaceArguments {
        params: args.param.clone(),
        zip: args.zip.clone(),
        when: args.when.clone(),
        seeds: args.seeds,
    };
    let space = Space::new(&base.experiment, &given)?;
    let own = base.experiment.sweep.clone().unwrap_or_default();
    let strategy = args.strategy.unwrap_or(own.strategy);
    let trials = args.trials.or(own.trials.filter(|_| strategy != Strategy::Grid));
    let mut search = Search::new(&space, strategy, trials, args.search_seed.unwrap_or(own.search_seed))?;
    let from_arguments = |rule| Stopping { rule, min_epochs: args.min_epochs, factor: args.factor };
    let stopping = args.stop.map(from_arguments).or_else(|| own.stop.map(Stop::stopping));
    let base = base.with(&[])?;
    let folder = args.output.clone().unwrap_or_else(|| {
        let stem = args.experiment.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy().into_owned());
        PathBuf::from("runs/sweeps").join(format!("{stem}-{}", base.identity()))
    });
    let interrupt = Interrupt::default();
    let options = args.engine.options(interrupt.clone());
    let mut live = Live::new();
    let mut lock = None;
    let mut trials: Vec<Planned> = Vec::new();
    let (mut failed, mut complete) = (false, true);
    loop {
        let points = search.propose()?;
        if points.is_empty() {
            break;
        }
        let variants = points.iter().flat_map(|point| space.seeded(point)).collect();
        let mut plan = Plan::new(&base, variants, &folder, &options)?;
        show_plan(&live, &plan, args.jobs.clamp(1, plan.trials.len().max(1)));
        if !plan.invalid.is_empty() && !args.skip_invalid || plan.trials.is_empty() && strategy != Strategy::Tpe {
            let message = format!("{} of the variants cannot be trained", plan.invalid.len());
            let help = Some("see the reasons above; --skip-invalid leaves them out".to_owned());
            return Err(ExperimentError::Sweep { message, help }.into());
        }
        if args.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        if lock.is_none() {
            // Another experiment is refused here, before it is mixed with what the folder has.
            base.write(&folder.join("base"))?;
            lock = Some(Lock::take(&folder)?);
            handle_interrupts(&interrupt)?;
        }
        // A search may come back to where it was.
        let mut seen: HashSet<PathBuf> = HashSet::new();
        plan.trials.retain(|planned| seen.insert(planned.folder.clone()));
        let jobs = args.jobs.clamp(1, plan.trials.len().max(1));
        let mut local = Local::new(args.engine.arguments(jobs))?;
        let policy = Policy { jobs, retries: args.retries, fail_fast: args.fail_fast };
        let schedule = Schedule { trials: &plan.trials, policy, interrupt: &interrupt };
        complete = schedule.run(stopping, &mut local, |event| {
            failed |= matches!(event, Event::Failed(..));
            live.show(&event);
        })?;
        let accuracies: Vec<Option<f64>> =
            points.iter().map(|point| accuracy(&base, &space, point, &folder)).collect::<Result<_, _>>()?;
        search.tell(&accuracies);
        plan.trials.retain(|planned| trials.iter().all(|known| known.folder != planned.folder));
        trials.extend(plan.trials);
        if !complete || failed && args.fail_fast {
            break;
        }
    }
    let records = trials.iter().map(|planned| Record::read(&planned.folder)).collect::<Result<Vec<_>, _>>()?;
    live.line(&render(&records, &args.view)?);
    show_predictions(&live, &trials, &records);
    live.line(&format!("Again at any time: vitx report {}", folder.display()));
    if !complete {
        live.line("Interrupted, and saved. The same command continues.");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How well a point did: the mean over its seeds of the best validation accuracy, as far as they
/// were trained.
fn accuracy(base: &Definition, space: &Space, point: &Variant, folder: &Path) -> Result<Option<f64>, ExperimentError> {
    let mut accuracies = Vec::new();
    for variant in space.seeded(point) {
        // What cannot be has no accuracy.
        let Ok(definition) = base.with(&variant) else { return Ok(None) };
        let epochs = history::read(&folder.join("trials").join(definition.identity()).join("metrics.jsonl"))?;
        let best = epochs.iter().map(|epoch| epoch.val_accuracy.unwrap_or(epoch.accuracy)).reduce(f64::max);
        accuracies.extend(best);
    }
    Ok((!accuracies.is_empty()).then(|| accuracies.iter().sum::<f64>() / accuracies.len() as f64))
}

/// The table of all variants before the first step, and what cannot be.
fn show_plan(live: &Live, plan: &Plan, jobs: usize) {
    let mut table = Table::new();
    let header = ["variant", "parameters", "FLOPs", "memory", "time per epoch", "time"];
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    let available = memory::available_bytes();
    let (mut total, mut too_large) = (0.0, Vec::new());
    for Planned { variant, definition, cost, .. } in &plan.trials {
        let [mut memory, mut epoch, mut time] = ["", "", "finished"].map(str::to_owned);
        if let Some(Prediction { epoch_seconds, memory_bytes }) = cost.prediction {
            let seconds = epoch_seconds * f64::from(definition.experiment.train.epochs);
            total += seconds;
            memory = format!("{} MiB", memory_bytes >> 20);
            (epoch, time) = (format!("{epoch_seconds:.2} s"), format!("{seconds:.1} s"));
            if available.is_some_and(|available| memory_bytes * jobs as u64 > available) {
                too_large.push((name(variant), memory.clone()));
            }
        }
        table.add_row([name(variant), cost.parameters.to_string(), cost.flops.to_string(), memory, epoch, time]);
    }
    live.line(&table.to_string());
    live.line(&format!("{} variants, about {total:.0} s of training", plan.trials.len()));
    for (name, memory) in too_large {
        let available = available.unwrap_or(0) >> 20;
        live.line(&format!("will not fit: {name} needs {memory} a trial, {jobs} at once; {available} MiB are free"));
    }
    for (variant, reason) in &plan.invalid {
        live.line(&format!("cannot be: {}: {reason}", name(variant)));
    }
}

/// How far the predicted times were from the measured ones.
fn show_predictions(live: &Live, trials: &[Planned], records: &[Record]) {
    let measured = trials.iter().zip(records).filter_map(|(planned, record)| {
        let result = record.result.as_ref()?;
        Some((planned.cost.prediction?.epoch_seconds * f64::from(result.epochs), result.seconds))
    });
    let (predicted, seconds) = measured.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    if seconds > 0.0 {
        live.line(&format!("Predicted {predicted:.1} s of training, measured {seconds:.1} s"));
    }
}
