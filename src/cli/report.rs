use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    log_args::LogArgs,
    out, output,
    search_args::{AboutArgs, below, in_order},
    view::ViewArgs,
};
use crate::{
    experiment::sweep::About,
    report::{Format, PORT, Page, PageModel, Record, Site, link_from, render},
    tracking,
};

/// Prints the table of a sweep, or of the runs in a folder, from disk
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --format markdown --sort accuracy
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --pivot patch_size,depth
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --pareto time --html sweep.html
  vitx report runs/sweeps/digits_vit-1a2b3c4d5e6f --serve")]
pub struct Args {
    /// Directory of a sweep, of a trial, or of many trials
    directory: PathBuf,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    about: AboutArgs,
    /// Writes a page with table, curves, parallel coordinates and models, instead; `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "width"])]
    html: Option<PathBuf>,
    /// Shows the page at http://127.0.0.1:PORT/, to this machine alone, and keeps it fresh until Ctrl-C; 0 takes any free
    /// port [default: 8642]
    #[arg(long, value_name = "PORT", num_args = 0..=1, conflicts_with_all = ["format", "width", "html"])]
    serve: Option<Option<u16>>,
    #[command(flatten)]
    log: LogArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    About::change(&args.directory, &args.about.tags, args.about.note.as_deref())?;
    if let Some(to) = args.log.destination()? {
        let sent = tracking::send(&args.directory, &to, false)?;
        out::line(&format!("{} runs are at {}", sent.runs, to.url()));
        if sent.left_out > 0 {
            out::note(&format!("{} files are not: the server keeps files elsewhere", sent.left_out));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let about = About::read(&args.directory)?.line();
    let view = args.view.of(&args.directory)?;
    if let Some(port) = args.serve {
        let site = Site::new(&args.directory, view, port.unwrap_or(PORT))?;
        out::line(&format!("The page is at {} until Ctrl-C", site.address()));
        site.serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let records = in_order(Record::read_all(&args.directory)?, &view);
    let Some(path) = &args.html else {
        let table = render(&records, &view)?;
        // What other programs read is the table alone.
        let (about, below) = match view.format {
            Format::Table => (about, below(&records)),
            _ => (None, None),
        };
        about.iter().chain([&table]).chain(&below).for_each(|text| out::line(text));
        return Ok(ExitCode::SUCCESS);
    };
    let models = PageModel::of(&records);
    let title = args.directory.file_name().map_or_else(|| "vitx".into(), |name| name.to_string_lossy().into_owned());
    let title = about.map_or(title.clone(), |about| format!("{title}: {about}"));
    // A page that goes elsewhere knows no place that links could begin at.
    let beside = (!output::is_standard(path)).then(|| path.parent().unwrap_or(path));
    let link = |_: usize, folder: &Path| link_from(beside, folder);
    let page =
        Page { title: &title, records: &records, models: &models, view: &view, link: &link, live: false }.html()?;
    output::write(path, page.as_bytes())?;
    if !output::is_standard(path) {
        out::line(&format!("{} trials in {}", records.len(), path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
