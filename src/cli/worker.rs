use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use super::{
    console::handle_interrupts,
    duration::time,
    engine_args::EngineArgs,
    live::Live,
    sweep::{check_pack, left, started, unfinished},
};
use crate::{
    experiment::{
        sweep::{Event, ExecutorConfig, Plan, Planning, Policy, Running, Sweep, Watch, executors::PackSize},
        training::INTERRUPTED,
    },
    printable,
    train::Interrupt,
};

/// How often a worker looks whether a sweep has begun.
const LOOK: Duration = Duration::from_secs(1);

/// Trains what is free of a sweep, beside others that do, until all of it is done
///
/// Any number of workers may be started, on any machines that share the sweep's directory, before, while or after `vitx
/// sweep` runs there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx sweep experiments/digits_vit.yaml -p depth=1,2,4 --seeds 8 -o /shared/depth --jobs 0 &
  ssh node7 vitx worker /shared/depth --jobs 2
  sbatch --array=1-100 --wrap 'vitx worker /shared/depth'")]
pub struct Args {
    /// Directory of the sweep
    directory: PathBuf,
    /// Trials at once; they share the threads
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// Ends once there was nothing to do for so long, e.g. `10m`; waits so long for a sweep to begin, too
    #[arg(long, value_name = "TIME", value_parser = time)]
    until_idle: Option<Duration>,
    /// After so long this worker begins no trial any more: `90s`, `10m`, `1h30m`. What it trains comes to its end, or to the epoch
    /// at which a rule would look at it; other workers go on
    #[arg(long, value_name = "TIME", value_parser = time)]
    time_budget: Option<Duration>,
    /// Trials of one process, at most, that are trained at once on one CUDA device where their shapes are the same, as of `vitx
    /// sweep`; each worker has its own [default: 1]
    #[arg(long, value_name = "N|auto")]
    pack: Option<PackSize>,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let (folder, processes) = (&args.directory, args.jobs as usize);
    if args.pack.is_some_and(PackSize::packs) {
        // Not once a sweep has begun, which may be hours later.
        check_pack(args.pack, args.engine.backend()?)?;
    }
    let interrupt = Interrupt::default();
    handle_interrupts(
        &interrupt,
        "stopping: what is being trained saves and ends; once more to stop now, and leave it",
    )?;
    let begin = Instant::now();
    let (sweep, agreed) = loop {
        if let Some(found) = Sweep::of_directory(folder)? {
            break found;
        }
        let Some(most) = args.until_idle else {
            let help = "`vitx sweep EXPERIMENT -o DIRECTORY` begins one; with --until-idle TIME, a worker waits for it";
            let message = format!("no sweep has begun in `{}`", folder.display());
            return Err(miette::miette!(code = "vitx::worker::none", help = help, "{message}"));
        };
        if interrupt.requested() {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if begin.elapsed() >= most || args.time_budget.is_some_and(|budget| begin.elapsed() >= budget) {
            super::out::line(&format!("No sweep has begun in {}.", printable::shell(folder)));
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOK.min(most).min(args.time_budget.unwrap_or(LOOK)));
    };
    let config = ExecutorConfig { pack: args.pack, ..ExecutorConfig::default() };
    let (options, mut executor) = started(config, folder, processes, interrupt, &args.engine)?;
    // Each process with a pack of trials.
    let jobs = processes * args.pack.map_or(1, PackSize::most);
    let (retries, fail_fast) = (agreed.retries, agreed.fail_fast);
    let deadline = args.time_budget.map(|budget| begin + budget);
    let policy = Policy { jobs, retries, fail_fast, worker: true, until_idle: args.until_idle, deadline };
    let running = Running { folder, options, policy, skip_invalid: agreed.skip_invalid, dry_run: false, former: None };
    let mut shown = Shown(Live::new(jobs));
    let ended = sweep.run(&running, &mut *executor, &mut shown)?;
    let live = shown.0;
    live.clear();
    if ended.interrupted {
        live.line("Interrupted, and saved. Others go on; the same command joins again.");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if ended.out_of_time {
        let left = left(ended.unfinished.len());
        live.line(&format!("The time budget is used up: {left}. Other workers go on; the same command joins again."));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if !ended.unfinished.is_empty() {
        return Err(unfinished(&ended.unfinished, "start a worker again"));
    }
    live.line(match (ended.idle, ended.failed) {
        (true, _) => "Nothing was free for so long. What is not finished, others train.",
        (false, true) => "Every trial has ended; some have failed.",
        (false, false) => "Every trial has ended.",
    });
    live.line(&format!("At any time: vitx report {}", printable::shell(folder)));
    Ok(if ended.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shows events as they come. Plans are the same as those of the sweep, which shows them.
struct Shown(Live);

impl Watch for Shown {
    fn planning(&mut self, planning: Planning) {
        self.0.planning(planning);
    }

    fn plan(&mut self, plan: &Plan) {
        self.0.add(&plan.trials);
    }

    fn event(&mut self, event: &Event) {
        self.0.show(event);
    }
}
