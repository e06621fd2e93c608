use std::{path::PathBuf, process::ExitCode};

use super::{choice::words, out, output};
use crate::{
    backend::Backend,
    choice::Choice,
    experiment::{
        export::{ExportFormat, ExportOptions, ImageLayout, export},
        training::Options,
    },
    trial::Directory,
};

/// Writes the best weights of a trial, and the network, for other programs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx export runs/digits_vit-76d813208cd4
  vitx export runs/digits_vit-76d813208cd4 --format safetensors -o weights.safetensors

docs/EXPORT.md says what the files hold.")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// For which programs
    #[arg(long, value_parser = words::<ExportFormat>(), default_value = ExportFormat::Onnx.word())]
    format: ExportFormat,
    /// Where to; `-` for standard output [default: model.onnx or model.safetensors in the trial's directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// ONNX: for so many images at a time [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
    /// ONNX: the order of the axes of images
    #[arg(long, value_parser = words::<ImageLayout>(), default_value = ImageLayout::Nchw.word())]
    layout: ImageLayout,
    /// ONNX: gives the probabilities of classes beside their logits
    #[arg(long)]
    probabilities: bool,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let Args { format, layout, probabilities, .. } = *args;
    let how = ExportOptions { format, batch: args.batch.map(|batch| batch as usize), layout, probabilities };
    let exported = export(&args.directory, &how, &Options { backend: Backend::Cpu, ..Options::default() })?;
    let own = Directory::new(&args.directory).exported(format.word());
    let path = args.output.as_ref().unwrap_or(&own);
    output::write(path, &exported.bytes)?;
    if !output::is_standard(path) {
        let megabytes = exported.bytes.len() as f64 / 1e6;
        out::line(&format!("{}: {}, {megabytes:.1} MB", path.display(), exported.about));
    }
    Ok(ExitCode::SUCCESS)
}
