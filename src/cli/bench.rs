use std::{path::PathBuf, process::ExitCode, time::Instant};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use miette::miette;
use serde::Serialize;

use super::{console::Console, engine_args::EngineArgs, named, params};
use crate::{
    backend::{Batch, OperatorTime, Step, cpu::matmul_flops},
    data,
    experiment::{Definition, ExperimentError, Overrides, needs, training},
    graph::Initializer,
    memory,
    train::Interrupt,
};

/// Measures speed on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Step(StepArgs),
}

/// The training step alone, on random images that are already resized: forward, loss, backward, AdamW
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx bench step experiments/cifar100_vit.yaml --batch 256 --steps 5 --json")]
struct StepArgs {
    /// Experiment file (.yaml), or the name of one that the binary carries [default: experiment.yaml of this folder, or else
    /// cifar100_vit]
    experiment: Option<PathBuf>,
    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Steps to time, after one that compiles and one that warms up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Sets a parameter of the model, e.g. `-p patch_size=8`
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Times evaluation: forward and loss only
    #[arg(long)]
    forward: bool,
    /// Shows where the time goes, by operator
    #[arg(long)]
    profile: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What a measurement gives; the keys of `--json`.
#[derive(Debug, Serialize)]
struct Measured {
    /// The median.
    ms_per_step: f64,
    ms_min: f64,
    ms_max: f64,
    /// From reading the experiment to the begin of a first step: checks, initial weights, the compiled program,
    /// memory. What the first step takes longer than the median counts, too.
    start_ms: f64,
    images_per_second: f64,
    /// Matrix products of the network as it is written, a multiply-add counting two, a step as three forward passes; a
    /// backend may do with fewer.
    gflops: f64,
    matmul_peak_gflops: f64,
    peak_memory_bytes: Option<u64>,
    threads: usize,
    batch: usize,
    backend: String,
    /// Of the cuda backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<String>,
    /// With `--profile`, longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Profiled>,
}

/// The share of one operator in a step.
#[derive(Debug, Serialize)]
struct Profiled {
    operator: String,
    calls: f64,
    /// Per step, summed over threads.
    thread_ms: f64,
    /// Of the time of all threads.
    share: f64,
    /// Of one thread; zero for what is no matrix product.
    gflops: f64,
}

/// The engine's profile per step.
fn profiled(times: &[OperatorTime], steps: f64) -> Vec<Profiled> {
    let total: f64 = times.iter().map(|time| time.time.as_secs_f64()).sum();
    let profiled = |time: &OperatorTime| {
        let seconds = time.time.as_secs_f64().max(f64::MIN_POSITIVE);
        Profiled {
            operator: time.operator.clone(),
            calls: time.calls as f64 / steps,
            thread_ms: 1e3 * seconds / steps,
            share: seconds / total,
            gflops: time.flops as f64 / seconds / 1e9,
        }
    };
    times.iter().map(profiled).collect()
}

/// The operators of a kernel, of which those in the middle are counted where there are many; `--json` has them all.
fn shown(operator: &str) -> String {
    const MOST: usize = 4;
    let names: Vec<&str> = operator.split('+').collect();
    match names[..] {
        [first, second, .., last] if names.len() > MOST => format!("{first}+{second}+{} more+{last}", names.len() - 3),
        _ => operator.to_owned(),
    }
}

fn table(profile: &[Profiled]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["operator", "calls", "thread ms", "share", "GFLOP/s"]);
    for Profiled { operator, calls, thread_ms, share, gflops } in profile {
        let gflops = if *gflops > 0.0 { format!("{gflops:.1}") } else { String::new() };
        let share = format!("{:.1}%", 100.0 * share);
        table.add_row([shown(operator), format!("{calls:.0}"), format!("{thread_ms:.2}"), share, gflops]);
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.what {
        What::Step(args) => step(args),
    }
}

fn step(args: &StepArgs) -> miette::Result<ExitCode> {
    let begin = Instant::now();
    let params = params::read(&args.param)?;
    let experiment = named::experiment(args.experiment.as_deref(), Some("experiments/cifar100_vit.yaml"))?;
    let definition = Definition::read(&experiment, &Overrides { params, ..Overrides::default() })?;
    let options = args.engine.options(Interrupt::default())?;
    let name = &definition.experiment.data.name;
    let spec = data::image_spec(name, &definition.data_options(options.data_dir.clone()))?;
    let architecture = definition.architecture(&spec)?;
    let read = begin.elapsed();
    let batch = args.batch as usize;
    needs::check_steps(&definition, &spec, (batch, !args.forward), &options)?;
    let forward = architecture.summary().flops as f64;
    let flops = batch as f64 * if args.forward { forward } else { 3.0 * forward };
    let mut images = vec![0.0; batch * architecture.image_shape().iter().product::<usize>()];
    Initializer::Uniform { limit: 1.7 }.fill(1, 0, &mut images);
    let labels: Vec<u32> = (0..args.batch).map(|index| index % architecture.num_classes() as u32).collect();
    let batch_of = Batch { images: &images, labels: &labels, mixed: None };
    let begin = Instant::now();
    let mut engine = training::engine(&definition, architecture, &options)?;
    let mut start_ms = 1e3 * (read + begin.elapsed()).as_secs_f64();
    let mut times = Vec::new();
    for iteration in 0..args.steps + 2 {
        if iteration == 2 && args.profile && !engine.inspect().start_profile() {
            let backend = options.backend;
            return Err(miette!(
                help = "leave --profile out, or use --backend cpu or cuda",
                "the {backend} backend does not time its operators, only whole steps"
            ));
        }
        let start = Instant::now();
        let step = Step { epoch: 0, step: iteration, iteration: u64::from(iteration), learning_rate: 1e-4 };
        engine.inspect().repeat(&batch_of, &step, !args.forward).map_err(ExperimentError::from)?;
        let ms = 1e3 * start.elapsed().as_secs_f64();
        match iteration {
            0 => start_ms += ms,
            1 => {}
            _ => times.push(ms),
        }
    }
    times.sort_by(f64::total_cmp);
    let median = 0.5 * (times[(times.len() - 1) / 2] + times[times.len() / 2]);
    let threads = options.threads();
    let peak = engine.inspect().matmul_peak().map_err(ExperimentError::from)?.unwrap_or_else(|| matmul_flops(threads));
    let measured = Measured {
        ms_per_step: median,
        ms_min: times[0],
        ms_max: times[times.len() - 1],
        start_ms: (start_ms - median).max(0.0),
        images_per_second: 1e3 * batch as f64 / median,
        gflops: flops / median / 1e6,
        peak_memory_bytes: engine.inspect().device_bytes().or_else(memory::peak_bytes),
        matmul_peak_gflops: peak / 1e9,
        threads,
        batch,
        backend: options.backend.to_string(),
        precision: options.precision_name(),
        profile: profiled(&engine.inspect().profile(), f64::from(args.steps)),
    };
    let console = Console::new();
    if args.json {
        console.line(&serde_json::to_string(&measured).map_err(|error| ExperimentError::Sweep {
            message: format!("a measurement is no JSON: {error}"),
            help: None,
        })?);
        return Ok(ExitCode::SUCCESS);
    }
    console.line(&format!(
        "batch {batch} on {threads} threads, {} {}: median {median:.2} ms/step ({:.2} .. {:.2}), {:.1} images/s",
        measured.backend,
        measured.precision.as_deref().unwrap_or("f32"),
        measured.ms_min,
        measured.ms_max,
        measured.images_per_second
    ));
    console.line(&format!(
        "{:.1} GFLOP/s of the network as written, {:.0}% of the {:.1} that large matrix products reach here",
        measured.gflops,
        100.0 * measured.gflops / measured.matmul_peak_gflops,
        measured.matmul_peak_gflops
    ));
    console.line(&format!("{:.0} ms from reading the experiment to the first step", measured.start_ms));
    if let Some(bytes) = measured.peak_memory_bytes {
        console.line(&format!("peak memory {} MiB", bytes >> 20));
    }
    if !measured.profile.is_empty() {
        console.line(&table(&measured.profile).to_string());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_operators_of_a_kernel_are_counted() {
        assert_eq!(shown("dense"), "dense");
        assert_eq!(shown("dense+dense+attention+add"), "dense+dense+attention+add");
        assert_eq!(shown("dense+add+layer_norm+dense+gelu+dropout"), "dense+add+3 more+dropout");
    }
}
