use std::process::ExitCode;

use miette::{IntoDiagnostic, miette};
use serde::Serialize;

use super::{choice::words, console::Console, model::ModelArgs, out};
use crate::{
    backend::{Backend, Precision, Regions, cpu, cuda},
    choice::Choice,
    diagram::{Diagram, MERMAID_ARROWS, MERMAID_BYTES},
    dsl,
    graph::{losses::Loss, optimizers::Optimizer},
    model::Architecture,
    passes::{Lowering, Purpose, StepGraph},
};

/// Prints a model as it is at one stage of its compilation
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx graph experiments/digits_vit.vitx --stage model
  vitx graph experiments/digits_vit.vitx --stage training --format dot | dot -Tsvg > training.svg")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How far the model is taken
    #[arg(long, value_enum, default_value_t = Stage::Model)]
    stage: Stage,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Of which backend the stage `program` is shown: cpu or cuda; no device is needed
    #[arg(long, value_parser = words::<Backend>(), default_value = Backend::Cpu.word())]
    backend: Backend,
    /// Of the cuda backend's program
    #[arg(long, value_parser = words::<Precision>(), default_value = Precision::default().word())]
    precision: Precision,
    /// Of the cuda backend's program: whether operations on rows become one kernel where they fit shared memory; `auto`,
    /// which needs a device, is shown as `on`
    #[arg(long, value_parser = words::<Regions>(), default_value = Regions::default().word())]
    regions: Regions,
    /// Images per batch of the graph
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// The syntax tree, comments included
    Syntax,
    /// Blocks expanded, names resolved, shapes inferred
    Model,
    /// The graph of evaluation: operators, loss and logits
    Forward,
    /// The graph of a training step: forward, gradients, AdamW
    Training,
    /// What a backend makes of it: kernel calls in order, and where their tensors are
    Program,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Dot,
    Mermaid,
    Json,
}

impl Args {
    /// The model; what was assumed of its data is said beside it.
    fn architecture(&self) -> miette::Result<Architecture> {
        let architecture = self.model.architecture()?;
        if let Some(text) = self.model.assumed(&architecture).text() {
            out::note(&text);
        }
        Ok(architecture)
    }
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let purpose = match args.stage {
        Stage::Syntax => {
            let file = dsl::parse(&args.model.source()?)?;
            let nodes = dsl::syntax_nodes(&file);
            let mut diagram = Diagram::default();
            nodes.iter().for_each(|node| node.draw(&mut diagram, None));
            return show(args.format, &nodes, &diagram, &dsl::syntax_text(&file));
        }
        Stage::Model => {
            let model = args.architecture()?;
            return show(args.format, &model.listing(), &model.diagram(), &model.text());
        }
        Stage::Forward => Purpose::Evaluate,
        Stage::Training | Stage::Program => Purpose::Train(Optimizer::default(), Loss::default()),
    };
    let architecture = args.architecture()?;
    let lowering: Box<Lowering> = Box::new(move |builder, batch| architecture.lower(builder, batch));
    if args.stage == Stage::Program {
        return program(args, &lowering, purpose);
    }
    let listing = step_graph(args, &lowering, purpose)?.listing();
    show(args.format, &listing, &listing.diagram(), &listing.text())
}

/// The network with what the purpose adds to it.
fn step_graph(args: &Args, lowering: &Lowering, purpose: Purpose) -> miette::Result<StepGraph> {
    StepGraph::build(lowering, args.batch as usize, purpose)
        .map_err(|name| miette!("the loss does not depend on `{name}`"))
}

/// Prints the program of a backend.
fn program(args: &Args, lowering: &Lowering, purpose: Purpose) -> miette::Result<ExitCode> {
    let batch = args.batch as usize;
    match args.backend {
        Backend::Cpu => {
            let listing = cpu::compile(lowering, batch, purpose).into_diagnostic()?.listing();
            show(args.format, &listing, &listing.diagram(), &listing.text())
        }
        Backend::Cuda => {
            let listing = cuda::listing(lowering, batch, purpose, args.precision, args.regions != Regions::Off)
                .into_diagnostic()?;
            show(args.format, &listing, &listing.diagram(), &listing.text())
        }
        other => Err(miette!(help = "use --backend cpu or cuda", "the {other} backend has no program to show")),
    }
}

/// Prints one of the forms of a stage.
fn show(format: Format, listing: &impl Serialize, diagram: &Diagram, text: &str) -> miette::Result<ExitCode> {
    let text = match format {
        Format::Text => text.to_owned(),
        Format::Json => serde_json::to_string_pretty(listing).into_diagnostic()?,
        Format::Dot => diagram.dot(),
        Format::Mermaid => diagram.mermaid().ok_or_else(|| {
            miette!(
                help = "use --format dot, or a smaller model: `--param depth=1`",
                "Mermaid draws {MERMAID_ARROWS} arrows and {MERMAID_BYTES} characters at most, and this graph is too \
                 large to be drawn in less"
            )
        })?,
    };
    Console::new().line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
