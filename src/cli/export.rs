use std::{path::PathBuf, process::ExitCode};

use miette::miette;

use super::{choice::words, out, output};
use crate::{
    backend::Backend,
    choice::Choice,
    experiment::{
        ExperimentError,
        export::{ExportFormat, ExportOptions, ImageLayout, export},
        training::Options,
    },
    files::make_folder,
    trial::Directory,
};

/// Writes the best weights of a trial, and the network, for other programs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx export runs/digits_vit-76d813208cd4
  vitx export runs/digits_vit-76d813208cd4 --format safetensors -o weights.safetensors
  vitx export runs/digits_vit-76d813208cd4 --format timm -o folder

docs/EXPORT.md says what the files hold.")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// For which programs
    #[arg(long, value_parser = words::<ExportFormat>(), default_value = ExportFormat::Onnx.word())]
    format: ExportFormat,
    /// Where to; `-` for standard output [default: model.onnx or model.safetensors in the trial's directory, or a folder timm
    /// or hf in it]
    #[arg(short, long, value_name = "FILE|DIR")]
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
    if how.format.library().is_some() && args.output.as_deref().is_some_and(output::is_standard) {
        let help = "give a folder with --output";
        return Err(miette!(
            help = help,
            "--format {} is several files, which standard output cannot be",
            format.word()
        ));
    }
    let exported = export(&args.directory, &how, &Options { backend: Backend::Cpu, ..Options::default() })?;
    if let Some(library) = how.format.library() {
        let own = Directory::new(&args.directory).exported_folder(library);
        let folder = args.output.as_ref().unwrap_or(&own);
        make_folder(folder).map_err(ExperimentError::from)?;
        output::write(&folder.join("model.safetensors"), &exported.bytes)?;
        for (name, bytes) in &exported.beside {
            output::write(&folder.join(name), bytes)?;
        }
        out::line(&format!("{}: {}, {:.1} MB", folder.display(), exported.about, exported.bytes.len() as f64 / 1e6));
        return Ok(ExitCode::SUCCESS);
    }
    let own = Directory::new(&args.directory).exported(format.word());
    let path = args.output.as_ref().unwrap_or(&own);
    output::write(path, &exported.bytes)?;
    if !output::is_standard(path) {
        let megabytes = exported.bytes.len() as f64 / 1e6;
        out::line(&format!("{}: {}, {megabytes:.1} MB", path.display(), exported.about));
    }
    Ok(ExitCode::SUCCESS)
}
