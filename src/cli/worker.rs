use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use super::{
    console::handle_interrupts,
    engine_args::EngineArgs,
    live::{Live, name},
    sweep::started,
};
use crate::{
    experiment::{
        sweep::{Event, ExecutorConfig, Plan, Planning, Policy, Running, Sweep, Watch},
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
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let (folder, jobs) = (&args.directory, args.jobs as usize);
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
        if begin.elapsed() >= most {
            super::out::line(&format!("No sweep has begun in {}.", printable::shell(folder)));
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOK.min(most));
    };
    let (options, mut executor) = started(ExecutorConfig::default(), folder, jobs, interrupt, &args.engine)?;
    let (retries, fail_fast) = (agreed.retries, agreed.fail_fast);
    let policy = Policy { jobs, retries, fail_fast, worker: true, until_idle: args.until_idle };
    let running = Running { folder, options, policy, skip_invalid: agreed.skip_invalid, dry_run: false };
    let mut shown = Shown(Live::new(jobs));
    let ended = sweep.run(&running, &mut *executor, &mut shown)?;
    let live = shown.0;
    live.clear();
    if ended.interrupted {
        live.line("Interrupted, and saved. Others go on; the same command joins again.");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if !ended.unfinished.is_empty() {
        let names: Vec<String> = ended.unfinished.iter().map(name).collect();
        let help = "start a worker again; if it comes back, please report it with the sweep's directory";
        let message = format!("{} trials came to no end: {}", names.len(), names.join("; "));
        return Err(miette::miette!(code = "vitx::sweep::unfinished", help = help, "{message}"));
    }
    live.line(match (ended.idle, ended.failed) {
        (true, _) => "Nothing was free for so long. What is not finished, others train.",
        (false, true) => "Every trial has ended; some have failed.",
        (false, false) => "Every trial has ended.",
    });
    live.line(&format!("At any time: vitx report {}", printable::shell(folder)));
    Ok(if ended.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A time such as `90s`, `10m`, `1h30m`, or seconds.
fn time(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time: expected e.g. `90s`, `10m`, `1h30m`");
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| refused())?;
        let unit = rest[end..].chars().next();
        let factor = match unit {
            Some('s') | None => 1.0,
            Some('m') => 60.0,
            Some('h') => 3600.0,
            Some('d') => 86_400.0,
            Some(_) => return Err(refused()),
        };
        seconds += number * factor;
        rest = &rest[end + unit.map_or(0, char::len_utf8)..];
    }
    match text.is_empty() || seconds > 1e9 {
        true => Err(refused()),
        false => Ok(Duration::from_secs_f64(seconds)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| time(text).map(|time| time.as_secs_f64());
        let cases = [("90s", 90.0), ("10m", 600.0), ("1h30m", 5400.0), ("0.5", 0.5), ("2d", 172_800.0), ("0", 0.0)];
        for (text, expected) in cases {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "10x", "-5s", "1e3", "99999999999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
