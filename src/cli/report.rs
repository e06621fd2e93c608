use std::{path::PathBuf, process::ExitCode};

use super::{live::name, out, output, view::ViewArgs};
use crate::{
    report::{PageModel, Record, network, page, render},
    trial::Directory,
};

/// Prints the table of a sweep, or of the runs in a folder, from disk
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --format markdown --sort accuracy
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --pivot patch_size,depth
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --pareto time --html sweep.html")]
pub struct Args {
    /// Directory of a sweep, of a trial, or of many trials
    directory: PathBuf,
    #[command(flatten)]
    view: ViewArgs,
    /// Writes a page with table, curves, parallel coordinates and models, instead; `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "width"])]
    html: Option<PathBuf>,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let records = Record::read_all(&args.directory)?;
    let Some(path) = &args.html else {
        out::line(&render(&records, &args.view.view())?);
        return Ok(ExitCode::SUCCESS);
    };
    let mut models: Vec<PageModel> = Vec::new();
    for record in &records {
        // A trial that has not begun has no text of its model yet.
        let Ok(Some(text)) = Directory::new(&record.folder).model_text() else { continue };
        let own = match record.variant.is_empty() {
            true => record.folder.display().to_string(),
            false => name(&record.variant),
        };
        match models.iter_mut().find(|model| model.text == text) {
            Some(model) => model.names += &format!(", {own}"),
            // What is damaged is not drawn.
            None => models.push(PageModel { names: own, text, network: network(&record.folder).ok().flatten() }),
        }
    }
    let title = args.directory.file_name().map_or_else(|| "vitx".into(), |name| name.to_string_lossy().into_owned());
    let page = page(&title, &records, &models, &args.view.view())?;
    output::write(path, page.as_bytes())?;
    if !output::is_standard(path) {
        out::line(&format!("{} trials in {}", records.len(), path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
