//! The command line: one file per subcommand, each with `Args` and `run`.

mod augmented;
mod bench;
mod check;
mod choice;
mod compare;
mod completions;
mod console;
mod data;
mod devices;
mod duration;
mod engine_args;
mod eval;
mod executor_args;
mod experiments;
mod export;
mod fmt;
mod folder_args;
mod graph;
mod help;
mod import;
mod layers;
mod live;
mod log_args;
mod man;
mod mistakes;
mod model;
mod named;
mod new;
mod out;
mod output;
mod params;
mod plan;
mod predict;
mod predictions;
mod report;
mod run;
mod schema;
mod scores;
mod search_args;
mod summary;
mod sweep;
mod trial;
mod trials;
mod view;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Describe an image-classification network, train it, sweep it, read one table.
#[derive(Debug, Parser)]
#[command(name = "vitx", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Args),
    Check(check::Args),
    Compare(compare::Args),
    Completions(completions::Args),
    Data(data::Args),
    Devices(devices::Args),
    Eval(eval::Args),
    Experiments(experiments::Args),
    Export(export::Args),
    Fmt(fmt::Args),
    Graph(graph::Args),
    Import(import::Args),
    Layers(layers::Args),
    Man(man::Args),
    New(new::Args),
    Predict(predict::Args),
    Report(report::Args),
    Run(run::Args),
    Schema(schema::Args),
    Summary(summary::Args),
    Sweep(Box<sweep::Args>),
    Trial(trial::Args),
    Worker(worker::Args),
}

/// Runs the program on the process' arguments. Errors print as diagnostics and give exit code 1, and so does a result
/// that cannot be written.
pub fn main() -> ExitCode {
    out::finish(help::parse::<Cli>(std::env::args_os()).map_or_else(|code| code, |cli| run(cli.command)))
}

fn run(command: Command) -> ExitCode {
    if let Err(error) = crate::random::wait_for_system() {
        out::report(&miette::miette!("{error}"));
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Bench(args) => bench::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Experiments(args) => experiments::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Layers(args) => layers::run(&args),
        Command::Man(args) => man::run(&args),
        Command::New(args) => new::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Trial(args) => trial::run(&args),
        Command::Worker(args) => worker::run(&args),
    };
    if let Some(shortage) = crate::threads::shortage() {
        out::note(&shortage);
    }
    result.unwrap_or_else(|report| {
        out::report(&report);
        ExitCode::FAILURE
    })
}
