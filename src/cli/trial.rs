use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::{
    console::{AFTER_THIS_STEP, Console, handle_interrupts, report},
    engine_args::EngineArgs,
    log_args::{self, LogArgs},
    out, trials,
};
use crate::{
    experiment::{Definition, training},
    train::Interrupt,
    trial::{Lock, TrialError},
};

/// Trains what a trial's directory defines, from where it stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the trial, with config.yaml and model.vitx. Several are trained at once on one CUDA device, packed:
    /// steps that are alike in shapes run together, and each comes to the same bits as alone
    #[arg(required = true, value_name = "DIR")]
    pub(super) directories: Vec<PathBuf>,
    /// Where the folder of `image_folder` lies now; it must hold what the trial began with
    #[arg(long, value_name = "DIR")]
    pub(super) path: Option<PathBuf>,
    /// How long it waits in memory, once it has come as far as its sweep wants it, to be wanted further
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=86_400))]
    linger: u32,
    /// For the sweep that has started it: what each prints goes to its own log.txt, and `NUMBER CODE` to standard output as
    /// it ends, its place among the directories, from 0, and its exit code
    #[arg(long, hide = true)]
    pub(super) report_ends: bool,
    #[command(flatten)]
    pub(super) log: LogArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

impl Args {
    /// How long a trial waits to be wanted further.
    pub(super) fn linger(&self) -> Duration {
        Duration::from_secs(self.linger.into())
    }
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let [directory] = &args.directories[..] else { return trials::run(args) };
    if args.report_ends {
        return trials::run(args);
    }
    let log = args.log.destination()?;
    let interrupt = Interrupt::default();
    handle_interrupts(&interrupt, AFTER_THIS_STEP)?;
    let mut console = Console::new();
    Definition::expect_trial(directory)?;
    let lock = match Lock::take(directory) {
        Err(error @ TrialError::Locked { .. }) => {
            out::report(&miette::Report::from(error));
            return Ok(ExitCode::from(training::BUSY));
        }
        lock => lock?,
    };
    let linger = args.linger();
    let options = training::Options { path: args.path.clone(), linger, ..args.engine.options(interrupt)? };
    let sender = log_args::start(directory, log);
    let outcome = training::run(&lock, &options, &mut console);
    let lost = outcome.as_ref().is_err_and(crate::experiment::ExperimentError::is_lost);
    let code = outcome.map(|outcome| ExitCode::from(report(&console, directory, &outcome)));
    log_args::finish(sender);
    match code {
        // Whoever has taken the directory over trains it.
        Err(error) if lost => {
            out::report(&miette::Report::from(error));
            Ok(ExitCode::from(training::BUSY))
        }
        code => Ok(code?),
    }
}
