use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use super::{
    console::{Console, INTERRUPTED, handle_interrupts},
    engine_args::EngineArgs,
};
use crate::{
    experiment::{
        Definition, ExperimentError, Overrides,
        sweep::{Event, Local, Plan, Planned, Policy, Schedule, Space, Variant},
        trial::Lock,
    },
    report::{Format, Record, Sort, render},
    train::Interrupt,
};

/// Trains the variants of an experiment, and prints one table
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx sweep --param patch_size=4,6,8 --param depth=4..=8:2
  vitx sweep experiments/digits_vit.yaml -p depth=1,2,4 --seeds 3 --set train.epochs=10
  vitx sweep experiments/digits_vit.yaml -p 'train.optimizer.learning_rate=log(1e-4, 1e-2, 5)' --dry-run")]
pub struct Args {
    /// Experiment file (.yaml)
    #[arg(default_value = "experiments/cifar100_vit.yaml")]
    experiment: PathBuf,
    /// Values of a model parameter, or of a dotted key of the experiment: `4,6,8`, `4..=8:2`, `log(1e-4, 1e-2, 5)`
    #[arg(short, long = "param", value_name = "NAME=VALUES")]
    param: Vec<String>,
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
    /// Sorts the table [default: in the order of the variants]
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// Directory of the sweep [default: runs/sweeps/EXPERIMENT-HASH]
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let overrides = Overrides { params: BTreeMap::new(), set: args.set.clone(), seed: None };
    let base = Definition::read(&args.experiment, &overrides)?;
    let space = Space::new(&base.experiment, &args.param, args.seeds)?;
    let base = base.with(&[])?;
    let folder = args.output.clone().unwrap_or_else(|| {
        let stem = args.experiment.file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy().into_owned());
        PathBuf::from("runs/sweeps").join(format!("{stem}-{}", base.identity()))
    });
    let interrupt = Interrupt::default();
    let options = args.engine.options(interrupt.clone());
    let console = Console::new();
    let plan = Plan::new(&base, space.variants(), &folder, &options, true)?;
    show_plan(&console, &plan);
    if !plan.invalid.is_empty() && !args.skip_invalid || plan.trials.is_empty() {
        let message = format!("{} of the variants cannot be trained", plan.invalid.len());
        let help = Some("see the reasons above; --skip-invalid leaves them out".to_owned());
        return Err(ExperimentError::Sweep { message, help }.into());
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(&folder).map_err(|source| ExperimentError::Io {
        action: "create",
        path: folder.clone(),
        cause: source,
    })?;
    let _lock = Lock::take(&folder)?;
    handle_interrupts(&interrupt)?;
    let jobs = args.jobs.clamp(1, plan.trials.len());
    let mut local = Local::new(args.engine.arguments(jobs))?;
    let schedule = Schedule {
        trials: &plan.trials,
        policy: Policy { jobs, retries: args.retries, fail_fast: args.fail_fast },
        interrupt: &interrupt,
    };
    let mut failed = false;
    let complete = schedule.run(&mut local, |event| match event {
        Event::Started(planned) => console.line(&format!("started  {}", name(&planned.variant))),
        Event::Waiting(planned) => {
            console.line(&format!("waiting  {}: another process still trains it", name(&planned.variant)));
        }
        Event::Finished(planned, result) => console.line(&format!(
            "finished {} - test accuracy: {:.2}% - {:.1} s",
            name(&planned.variant),
            100.0 * result.test_accuracy,
            result.seconds
        )),
        Event::Failed(planned, reason) => {
            failed = true;
            console.line(&format!("failed   {}: {reason}", name(&planned.variant)));
        }
        Event::Tick => {}
    })?;
    let records = plan.trials.iter().map(|planned| Record::read(&planned.folder)).collect::<Result<Vec<_>, _>>()?;
    console.line(&render(&records, Format::Table, args.sort));
    show_predictions(&console, &plan.trials, &records);
    console.line(&format!("Again at any time: vitx report {}", folder.display()));
    if !complete {
        console.line("Interrupted, and saved. The same command continues.");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `patch_size=4 depth=2`
fn name(variant: &Variant) -> String {
    variant.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// The table of all variants before the first step, and what cannot be.
fn show_plan(console: &Console, plan: &Plan) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["variant", "parameters", "FLOPs", "predicted time"]);
    let mut total = 0.0;
    for Planned { variant, definition, cost, .. } in &plan.trials {
        let seconds = cost.epoch_seconds * f64::from(definition.experiment.train.epochs);
        total += seconds;
        let time = if seconds > 0.0 { format!("{seconds:.1} s") } else { "finished".to_owned() };
        table.add_row([name(variant), cost.parameters.to_string(), cost.flops.to_string(), time]);
    }
    console.line(&table.to_string());
    console.line(&format!("{} variants, about {total:.0} s of training", plan.trials.len()));
    for (variant, reason) in &plan.invalid {
        console.line(&format!("cannot be: {}: {reason}", name(variant)));
    }
}

/// How far the predicted times were from the measured ones.
fn show_predictions(console: &Console, trials: &[Planned], records: &[Record]) {
    let measured = trials.iter().zip(records).filter_map(|(planned, record)| {
        let result = record.result.as_ref().filter(|_| planned.cost.epoch_seconds > 0.0)?;
        Some((planned.cost.epoch_seconds * f64::from(result.epochs), result.seconds))
    });
    let (predicted, seconds) = measured.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    if seconds > 0.0 {
        console.line(&format!("Predicted {predicted:.1} s of training, measured {seconds:.1} s"));
    }
}
