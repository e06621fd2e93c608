use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{
    choice::words,
    console::handle_interrupts,
    engine_args::EngineArgs,
    executor_args::ExecutorArgs,
    live::Live,
    log_args::{self, LogArgs},
    named,
    plan::show,
    search_args::{SearchArgs, below, in_order},
    view::ViewArgs,
};
use crate::{
    backend::{Backend, DeviceLocks},
    experiment::{
        Definition, Overrides,
        sweep::{
            About, Event, Executor, ExecutorConfig, Former, Given, Plan, Planned, Planning, Policy, Pool, Rule,
            Running, SpaceArguments, Stopping, Strategy, Sweep, Watch,
            executors::{self, ExecutorSetup, PackSize},
        },
        training::{INTERRUPTED, Options},
    },
    printable,
    report::{Record, View, render, seeds},
    tracking::Destination,
    train::Interrupt,
    trial::{Variant, variant},
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
    /// Experiment file (.yaml), or the name of one that the binary carries: `vitx experiments` lists them
    /// [default: experiment.yaml of this folder, or else cifar100_vit]
    experiment: Option<PathBuf>,
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
    #[arg(long, value_parser = words::<Strategy>())]
    strategy: Option<Strategy>,
    /// How many points a search tries
    #[arg(long)]
    trials: Option<usize>,
    /// Seeds the search [default: 0]
    #[arg(long)]
    search_seed: Option<u64>,
    #[command(flatten)]
    search: SearchArgs,
    /// Ends bad trials early
    #[arg(long, value_parser = words::<Rule>())]
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
    /// Trials at once; they share the threads. With 0, all of them are left to `vitx worker`
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1024))]
    jobs: u32,
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
    view: ViewArgs,
    /// Directory of the sweep [default: runs/sweeps/EXPERIMENT-HASH]
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    executor: ExecutorArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let overrides = Overrides { set: args.set.clone(), ..Overrides::default() };
    let file = named::experiment(args.experiment.as_deref(), Some("experiments/cifar100_vit.yaml"))?;
    let experiment = Definition::read(&file, &overrides)?.settled()?;
    let from_arguments = |rule| Stopping { rule, min_epochs: args.min_epochs, factor: args.factor };
    let given = Given {
        space: SpaceArguments {
            params: args.param.clone(),
            zip: args.zip.clone(),
            when: args.when.clone(),
            seeds: args.seeds,
        },
        strategy: args.strategy,
        trials: args.trials,
        search_seed: args.search_seed,
        round: args.search.round.map(|round| round as usize),
        jobs: args.jobs as usize,
        constraints: args.search.constraints.clone(),
        enqueue: args.search.enqueue.clone(),
        metric: args.search.metric,
        keep_best: args.search.keep_best.map(|count| count as usize),
        tags: args.search.about.tags.clone(),
        note: args.search.about.note.clone(),
        stopping: args.stop.map(from_arguments),
        set: args.set.clone(),
    };
    let mut sweep = Sweep::new(&experiment, &given)?;
    let of_experiment = experiment.experiment.sweep.as_ref().and_then(|sweep| sweep.executor.as_ref());
    let how = How {
        executor: args.executor.config(of_experiment),
        view: args.view.view(),
        jobs: args.jobs as usize,
        retries: args.retries,
        fail_fast: args.fail_fast,
        skip_invalid: args.skip_invalid,
        dry_run: args.dry_run,
        log: args.log.destination()?,
        extend: args.search.extend.clone(),
        time_budget: args.search.time_budget,
    };
    train(&mut sweep, &file, args.output.as_deref(), how, &args.engine)
}

/// How a sweep runs, and what is shown of it.
#[derive(Default)]
pub(super) struct How {
    pub executor: ExecutorConfig,
    pub view: View,
    pub jobs: usize,
    pub retries: u32,
    pub fail_fast: bool,
    pub skip_invalid: bool,
    pub dry_run: bool,
    pub log: Option<Destination>,
    /// The sweep whose trials are taken over.
    pub extend: Option<PathBuf>,
    /// After so long no trial begins any more.
    pub time_budget: Option<Duration>,
}

/// Trains what is not finished of a sweep of an experiment's file, and prints its table.
pub(super) fn train(
    sweep: &mut Sweep,
    experiment: &Path,
    output: Option<&Path>,
    how: How,
    engine: &EngineArgs,
) -> miette::Result<ExitCode> {
    let How { executor, view, jobs, retries, fail_fast, skip_invalid, dry_run, log, extend, time_budget } = how;
    // A table that cannot be is refused before hours of training, not after.
    view.check(&sweep.keys())?;
    let view = View { metric: sweep.metric(), ..view };
    let stem = experiment.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy().into_owned());
    let named = |identity: &str| PathBuf::from("runs/sweeps").join(format!("{stem}-{identity}"));
    let (folder, begun) = sweep.settle(output, named)?;
    let former = extend.as_deref().map(Former::of).transpose()?;
    let interrupt = Interrupt::default();
    let packed = executor.pack.map_or(1, PackSize::most);
    let (options, mut executor) = started(executor, &folder, jobs, interrupt.clone(), engine)?;
    let deadline = time_budget.map(|budget| Instant::now() + budget);
    // As many processes as there are jobs, each with a pack of trials.
    let (processes, jobs) = (jobs, jobs * packed);
    let policy = Policy { jobs, retries, fail_fast, worker: false, until_idle: None, deadline };
    let running = Running { folder: &folder, options, policy, skip_invalid, dry_run, former: former.as_ref() };
    if !dry_run {
        handle_interrupts(
            &interrupt,
            "stopping: what is being trained saves and ends; once more to stop now, and leave it",
        )?;
    }
    let mut shown = Shown { live: Live::new(jobs), jobs: processes };
    begun.iter().for_each(|note| shown.live.line(note));
    let sender = log_args::start(&folder, log.filter(|_| !dry_run));
    let ended = sweep.run(&running, &mut *executor, &mut shown);
    log_args::finish(sender);
    let ended = ended?;
    let live = shown.live;
    live.clear();
    if dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let records: Vec<Record> = ended.folders.iter().map(|folder| Record::read_or_damaged(folder)).collect();
    let records = in_order(records, &view);
    let mut refused = None;
    if !records.is_empty() {
        About::read(&folder)?.line().iter().for_each(|line| live.line(line));
        match render(&records, &view) {
            Ok(table) => live.line(&table),
            // The baseline is not there, as it may come of a search.
            Err(error) => {
                live.line(&render(&records, &View { baseline: None, ..view })?);
                refused = Some(error);
            }
        }
        if let Some(summary) = seeds(&records) {
            live.line(&summary);
        }
        below(&records).iter().for_each(|line| live.line(line));
        show_predictions(&live, &ended.trials, &records);
        live.line(&format!("Again at any time: vitx report {}", printable::shell(&folder)));
    }
    for note in &ended.notes {
        live.line(note);
    }
    if ended.interrupted {
        live.line(match ended.trials.is_empty() {
            true => "Interrupted while planning: nothing was trained. The same command begins again.",
            false => "Interrupted, and saved. The same command continues.",
        });
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if ended.out_of_time {
        let left = left(ended.unfinished.len());
        live.line(&format!("The time budget is used up: {left}. The same command continues."));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if !ended.unfinished.is_empty() {
        return Err(unfinished(&ended.unfinished, "the same command tries again"));
    }
    match refused {
        Some(error) => Err(error.into()),
        None => Ok(if ended.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
    }
}

/// How long a trial that has come as far as it is wanted waits in memory: what it takes to begin again is spared. It is
/// asked to end where its place is wanted.
const LINGER: u32 = 120;

/// The executor, and the options of a trial there.
pub(super) fn started(
    config: ExecutorConfig,
    folder: &Path,
    jobs: usize,
    interrupt: Interrupt,
    engine: &EngineArgs,
) -> miette::Result<(Options, Box<dyn Executor>)> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    config.check(config.entry())?;
    if !config.entry().is_here {
        let options = engine.elsewhere(config.cpus.unwrap_or(1), config.gpus.unwrap_or(0), interrupt);
        let (arguments, threads_given) = (lingering(engine.handed_over()), engine.gives_threads());
        let setup = ExecutorSetup { config, folder, arguments, threads_given, pool: None, options: options.clone() };
        return Ok((options, executors::executor(setup)?));
    }
    let (options, devices) = engine.shared(jobs, interrupt)?;
    check_pack(config.pack, options.backend)?;
    let owner = format!("vitx sweep, for {}", folder.display());
    let pool = (!devices.is_empty()).then(|| Pool::new(devices, DeviceLocks::of_machine(), jobs, owner));
    let arguments = engine.arguments(&options);
    // Packed trials are in one process, which is not asked to end for one of them.
    let arguments = if config.pack.is_some_and(PackSize::packs) { arguments } else { lingering(arguments) };
    let setup = ExecutorSetup { config, folder, arguments, threads_given: true, pool, options: options.clone() };
    Ok((options, executors::executor(setup)?))
}

/// Refuses packs where the backend has no device for them.
pub(super) fn check_pack(pack: Option<PackSize>, backend: Backend) -> miette::Result<()> {
    if pack.is_some_and(PackSize::packs) && backend != Backend::Cuda {
        let message = format!("trials are packed on a CUDA device, and the {backend} backend has none");
        let help = "leave --pack out; --jobs N trains N trials beside each other";
        return Err(miette::miette!(code = "vitx::sweep::pack", help = help, "{message}"));
    }
    Ok(())
}

/// The arguments of a trial that waits at its rungs.
fn lingering(mut arguments: Vec<OsString>) -> Vec<OsString> {
    arguments.push(format!("--linger={LINGER}").into());
    arguments
}

/// That trials came to no end, with what tries again.
pub(super) fn unfinished(trials: &[Variant], again: &str) -> miette::Report {
    let names: Vec<String> = trials.iter().map(variant::shown).collect();
    let help = format!("{again}; if it comes back, please report it with the sweep's directory");
    let message = format!("{} trials came to no end: {}", names.len(), names.join("; "));
    miette::miette!(code = "vitx::sweep::unfinished", help = help, "{message}")
}

/// Shows plans as tables, and events as they come.
struct Shown {
    live: Live,
    jobs: usize,
}

impl Watch for Shown {
    fn planning(&mut self, planning: Planning) {
        self.live.planning(planning);
    }

    fn plan(&mut self, plan: &Plan) {
        self.live.warn(&plan.warnings);
        self.live.line(&show(plan, self.jobs.max(1)));
        self.live.add(&plan.trials);
    }

    fn event(&mut self, event: &Event) {
        self.live.show(event);
    }
}

/// That so many trials have not ended.
pub(super) fn left(count: usize) -> String {
    match count {
        1 => "1 trial has not ended".to_owned(),
        count => format!("{count} trials have not ended"),
    }
}

/// How far the predicted times were from the measured ones.
fn show_predictions(live: &Live, trials: &[Planned], records: &[Record]) {
    let results: HashMap<_, _> = records.iter().map(|record| (&record.folder, record.result.as_ref())).collect();
    let measured = trials.iter().filter_map(|planned| {
        let result = (*results.get(&planned.folder)?)?;
        Some((planned.prediction.seconds(result.epochs)?, result.seconds))
    });
    let (predicted, seconds) = measured.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    if seconds > 0.0 {
        live.line(&format!("Predicted {predicted:.1} s of training, measured {seconds:.1} s"));
    }
}
