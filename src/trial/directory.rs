use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::names;
use crate::files::{FileError, kept, make_folder, remove, replace, replace_by};

/// What curves are drawn of.
const FIGURES: [&str; 3] = ["loss", "accuracy", "top_5_accuracy"];

/// The directory of a trial: where its files lie, and what can be told from which of them there are.
#[derive(Debug, Clone, Copy)]
pub struct Directory<'a> {
    folder: &'a Path,
}

impl<'a> Directory<'a> {
    /// A directory that need not be there.
    pub fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// The directory itself.
    pub fn folder(self) -> &'a Path {
        self.folder
    }

    /// Whether a trial, or a sweep's own definition, has been written here: all of it, since the experiment is written
    /// last.
    pub fn is_defined(self) -> bool {
        self.folder.join(names::CONFIG).exists()
    }

    /// Whether there is a checkpoint to go on from.
    pub fn has_begun(self) -> bool {
        self.last().exists()
    }

    /// Whether there is a result, which nobody has read yet.
    pub fn has_result(self) -> bool {
        self.folder.join(names::RESULT).exists()
    }

    /// Whether a failure is noted, which nobody has read yet.
    pub fn has_failure(self) -> bool {
        self.folder.join(names::FAILURE).exists()
    }

    /// The name of a file that a trial of a `model` would replace here, where no trial is defined and the file is none of one. The
    /// same model may be there: a process that was killed before it wrote the rest has left it.
    pub fn would_lose(self, model: &str) -> Option<String> {
        if self.is_defined() {
            return None;
        }
        if fs::read(self.folder.join(names::MODEL)).is_ok_and(|text| text != model.as_bytes()) {
            return Some(names::MODEL.into());
        }
        let curves = ["svg", "png"].map(|format| FIGURES.map(|figures| format!("{figures}.{format}")));
        let names = names::OUTCOME.iter().map(ToString::to_string).chain(curves.into_iter().flatten());
        names.into_iter().find(|name| self.folder.join(name).exists())
    }

    /// The checkpoint that training goes on from.
    pub fn last(self) -> PathBuf {
        self.folder.join(names::LAST)
    }

    /// The checkpoint of the weights that are tested.
    pub fn best(self) -> PathBuf {
        self.folder.join(names::BEST)
    }

    /// The network for other programs, in a format.
    pub fn exported(self, format: &str) -> PathBuf {
        self.folder.join(names::EXPORTED).with_extension(format)
    }

    /// The folder for another library, by its word.
    pub fn exported_folder(self, library: &str) -> PathBuf {
        self.folder.join(library)
    }

    /// Takes over what another directory has learnt: its data's description, its record of epochs and both checkpoints, the last one
    /// at the end, so that a directory that has it has all. The other one stays as it is.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn take_over(self, other: Directory) -> Result<(), FileError> {
        for name in [names::INPUT, names::METRICS, names::BEST, names::LAST] {
            let from = other.folder.join(name);
            let mut source = fs::File::open(&from).map_err(FileError::io("read", &from))?;
            replace_by(&self.folder.join(name), |file| io::copy(&mut source, file).map(|_| ()))?;
        }
        Ok(())
    }

    /// Takes over all of another directory of the same trial, which has finished: the result at the end, so that a directory that has
    /// it has all. The weights of both are the same files where the file system can do that; they are only ever replaced as a whole.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn take_result(self, other: Directory) -> Result<(), FileError> {
        take_files(other.folder, self.folder, &|name| !names::OWN.contains(&name) && name != names::RESULT)?;
        take_files(other.folder, self.folder, &|name| name == names::RESULT)
    }

    /// Removes both checkpoints: what can be looked at stays, and the trial can neither be tested nor gone on from.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove_weights(self) -> Result<(), FileError> {
        // The last one first: what goes on from it would want the best as well.
        remove(&self.last())?;
        remove(&self.best())
    }

    /// Whether it has finished, but its weights were removed.
    pub fn is_without_weights(self) -> bool {
        self.has_result() && !self.best().exists()
    }

    /// When the last checkpoint was written.
    ///
    /// # Errors
    /// Where there is none.
    pub fn saved_at(self) -> io::Result<SystemTime> {
        fs::metadata(self.last())?.modified()
    }

    /// When the result was written.
    ///
    /// # Errors
    /// Where there is none.
    pub fn finished_at(self) -> io::Result<SystemTime> {
        fs::metadata(self.folder.join(names::RESULT))?.modified()
    }

    /// What its process prints, where a sweep started it.
    pub fn log(self) -> PathBuf {
        self.folder.join(names::LOG)
    }

    /// The record of epochs as a table, written for people.
    pub fn table(self) -> PathBuf {
        self.folder.join(names::TABLE)
    }

    /// A drawing of some figures of the epochs, in a format by its usual ending.
    pub fn curve(self, figures: &str, format: &str) -> PathBuf {
        self.folder.join(format!("{figures}.{format}"))
    }

    /// The files that are worth keeping elsewhere, as far as they are there: what defines it, and once it has `ended`, what
    /// came of it, with the best `weights` or without.
    pub fn documents(self, ended: bool, weights: bool) -> Vec<PathBuf> {
        let mut names = vec![names::CONFIG, names::MODEL, names::MODEL_TEXT, names::NETWORK];
        if ended {
            names.extend([
                names::RESULT,
                names::TEST_CLASSES,
                names::FAILURE,
                names::STOPPED,
                names::TABLE,
                names::LOG,
            ]);
        }
        if weights {
            names.push(names::BEST);
        }
        let mut paths: Vec<PathBuf> = names.into_iter().map(|name| self.folder.join(name)).collect();
        if ended {
            paths.extend(FIGURES.map(|figure| self.curve(figure, "png")));
        }
        paths.retain(|path| path.is_file());
        paths
    }

    /// The text of the checked model; `None` for a trial that has not begun.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn model_text(self) -> Result<Option<String>, FileError> {
        kept::text(&self.folder.join(names::MODEL_TEXT))
    }

    /// Keeps the text of the checked model.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_model_text(self, text: &str) -> Result<(), FileError> {
        replace(&self.folder.join(names::MODEL_TEXT), text.as_bytes())
    }
}

/// Copies files, and those of folders within, whose names are wanted.
fn take_files(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), FileError> {
    for entry in fs::read_dir(from).map_err(FileError::io("read", from))? {
        let path = entry.map_err(FileError::io("read", from))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| wanted(name)) else { continue };
        let target = to.join(name);
        if path.is_dir() {
            make_folder(&target)?;
            take_files(&path, &target, wanted)?;
            continue;
        }
        // One that is there was taken over by a process that went down.
        let weights = [names::LAST, names::BEST].contains(&name);
        if weights && (target.exists() || fs::hard_link(&path, &target).is_ok()) {
            continue;
        }
        let mut source = fs::File::open(&path).map_err(FileError::io("read", &path))?;
        replace_by(&target, |file| io::copy(&mut source, file).map(|_| ()))?;
    }
    Ok(())
}
