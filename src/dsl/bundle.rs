//! `use "blocks.vitx"`: a model's text with those of the files that it uses behind it. One text is what a trial keeps,
//! what tells it apart, and what is read again wherever it lies; diagnostics know the files in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Diagnostics, Problem, Source,
    parse::parse_tolerant,
    syntax::{DefinitionKind, Use},
};

/// Begins the line in front of a file's text.
const MARK: &str = "//// file \"";

/// Most files of one model.
const MOST_FILES: usize = 64;

/// The name of the file whose text follows a line, if the line says so.
pub fn marked(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)?.trim_end().strip_suffix('"')
}

/// Whether a text has the files that it uses behind it.
pub fn is_bundle(text: &str) -> bool {
    text.lines().any(|line| marked(line).is_some())
}

/// Adds the files that a model of a folder uses; as it is where it uses none, or has them already.
///
/// # Errors
/// Files that cannot be read, that use themselves, or that hold a model.
pub fn bundle(source: Source, folder: &Path) -> Result<Source, Diagnostics> {
    let uses = |at: usize| source.text[at + "use".len()..].trim_start().starts_with('"');
    if !source.text.match_indices("use").any(|(at, _)| uses(at)) || is_bundle(&source.text) {
        return Ok(source);
    }
    let mut bundle = Bundle { text: source.text.clone(), known: Vec::new() };
    let name = Path::new(&source.name)
        .file_name()
        .map_or_else(|| source.name.clone(), |name| name.to_string_lossy().into_owned());
    let own = fs::canonicalize(&source.name).unwrap_or_else(|_| PathBuf::from(&source.name));
    bundle.add(&source, folder, "", &mut vec![(own, name)])?;
    Ok(Source { text: bundle.text, ..source })
}

struct Bundle {
    text: String,
    /// The files in it.
    known: Vec<PathBuf>,
}

impl Bundle {
    /// Adds what a text uses that lies in a folder, which is seen from the model's as `prefix`. `open` are the files
    /// that led here.
    fn add(
        &mut self,
        source: &Source,
        folder: &Path,
        prefix: &str,
        open: &mut Vec<(PathBuf, String)>,
    ) -> Result<(), Diagnostics> {
        // What is wrong in it is said where the whole is read.
        let Ok((file, _)) = parse_tolerant(source) else { return Ok(()) };
        for used in &file.uses {
            let refuse = |message: String, help: &str| {
                let problem = Problem::new("vitx::use", message).label(used.span, "used here");
                let problem = if help.is_empty() { problem } else { problem.help(help) };
                Diagnostics::from(problem.in_source(source))
            };
            let shown = format!("{prefix}{}", used.path);
            let path = folder.join(&used.path);
            let same = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if let Some(first) = open.iter().position(|(other, _)| *other == same) {
                let names = open[first..].iter().map(|(_, name)| name.as_str()).chain([open[first].1.as_str()]);
                let chain = names.collect::<Vec<_>>().join(" -> ");
                return Err(refuse(format!("`{shown}` uses itself: {chain}"), "a block stands in one of them"));
            }
            if self.known.contains(&same) {
                continue;
            }
            if self.known.len() >= MOST_FILES {
                return Err(refuse(format!("a model uses at most {MOST_FILES} files"), ""));
            }
            if shown.contains(['"', '\n', '\r']) {
                return Err(refuse(format!("`{shown}` is no name of a file that can be used"), "rename it"));
            }
            let text = fs::read(&path).map_err(|error| {
                refuse(format!("cannot read `{shown}`: {error}"), "its place is relative to the file that uses it")
            })?;
            let inner = Source::from_bytes(&path.display().to_string(), text)?;
            if is_bundle(&inner.text) {
                return Err(refuse(
                    format!("`{shown}` is a model that a trial has kept"),
                    "use the file that it came from",
                ));
            }
            if let Ok((file, _)) = parse_tolerant(&inner)
                && file.definitions.iter().any(|definition| definition.kind == DefinitionKind::Model)
            {
                return Err(refuse(format!("`{shown}` holds a model"), "what is used holds blocks"));
            }
            self.known.push(same.clone());
            let text = inner.text.strip_prefix('\u{feff}').unwrap_or(&inner.text);
            self.text.push_str(&format!("\n\n\n{MARK}{shown}\"\n{text}"));
            let directory = match used.path.rsplit_once('/') {
                Some((directory, _)) => format!("{prefix}{directory}/"),
                None => prefix.to_owned(),
            };
            open.push((same, shown));
            self.add(&inner, path.parent().unwrap_or(folder), &directory, open)?;
            open.pop();
        }
        Ok(())
    }
}

/// What is to be said of files that nobody has read: those of a text without a place.
pub fn unread(uses: &[Use], source: &Source) -> Option<Problem> {
    let first = uses.first().filter(|_| !is_bundle(&source.text))?;
    let problem = Problem::new("vitx::use", format!("`{}` was not read", first.path));
    Some(problem.label(first.span, "used here").help("a text that is no file has no place to read others from"))
}
