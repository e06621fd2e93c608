//! The experiments and models that the binary carries, so that it works where the repository is not; and what a name on
//! the command line stands for.

use std::path::{Component, Path, PathBuf};

use super::{Experiment, ExperimentError};
use crate::{
    data::sources,
    dsl::{self, Source},
    model::elaborate,
};

/// What `vitx new` calls an experiment: the one that is meant where none is named.
pub const DEFAULT: &str = "experiment.yaml";

macro_rules! carried {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../experiments/", $name)))),*]
    };
}

/// Names as seen from `experiments/`, with the texts.
const FILES: &[(&str, &str)] = carried![
    "cifar100_vit.vitx",
    "cifar100_vit.yaml",
    "cifar10_vit.vitx",
    "cifar10_vit.yaml",
    "digits_vit.vitx",
    "digits_vit.yaml",
    "recipes/cifar100_cct_300.yaml",
    "recipes/cifar100_finetune.yaml",
    "recipes/cifar100_hybrid_100.yaml",
    "recipes/cifar100_hybrid_300.yaml",
    "recipes/cifar100_resnet18_cutmix.yaml",
    "recipes/cifar100_sl_vit.yaml",
    "recipes/cifar100_speed.yaml",
    "recipes/cifar100_wrn_28_10.yaml",
    "recipes/digits.yaml",
    "sweep_depth.yaml",
    "sweep_image_size.yaml",
    "sweep_models.yaml",
    "sweep_patch_size.yaml",
    "sweep_projection_dim.yaml",
    "zoo/cait.vitx",
    "zoo/cct_7_3x1.vitx",
    "zoo/convmixer.vitx",
    "zoo/convnext.vitx",
    "zoo/deit_tiny.vitx",
    "zoo/dinov2.vitx",
    "zoo/efficientnet_lite0.vitx",
    "zoo/gmlp.vitx",
    "zoo/hybrid.vitx",
    "zoo/mlp_mixer.vitx",
    "zoo/mobilenet_v2.vitx",
    "zoo/resnet18.vitx",
    "zoo/resnet20.vitx",
    "zoo/resnet50.vitx",
    "zoo/resnet50v2.vitx",
    "zoo/resnet_speedrun.vitx",
    "zoo/sl_vit.vitx",
    "zoo/swin.vitx",
    "zoo/wide_resnet_28_10.vitx",
];

/// The carried text of `experiments/NAME`, or of a bare `NAME`.
pub fn text(path: &Path) -> Option<&'static str> {
    let name = normal(path.strip_prefix("experiments").unwrap_or(path))?;
    FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text)
}

/// A relative path with `/` and without `.` and `..`, if it leads nowhere else.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// An experiment that the binary carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// What commands take: `digits_vit`.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// The experiments that the binary carries.
pub fn all() -> impl Iterator<Item = BuiltIn> {
    FILES.iter().filter_map(|&(file, text)| file.strip_suffix(YAML).map(|name| BuiltIn { name, text }))
}

impl BuiltIn {
    /// The comment that its file begins with, in one line.
    pub fn about(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        comment.map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// What its file says; `model` is a name among the carried files.
    ///
    /// # Errors
    /// None that a test would not find.
    pub fn experiment(&self) -> Result<Experiment, ExperimentError> {
        let mut experiment = Experiment::parse(self.name, self.text)?;
        let folder = Path::new(self.name).parent().unwrap_or(Path::new(""));
        experiment.model = normal(&folder.join(&experiment.model)).unwrap_or_default().into();
        Ok(experiment)
    }

    /// The text of its model.
    ///
    /// # Errors
    /// As [`BuiltIn::experiment`].
    pub fn model(&self) -> Result<Source, ExperimentError> {
        let path = self.experiment()?.model;
        match text(&path) {
            Some(text) => Ok(Source::new(path.display().to_string(), text)),
            None => Ok(Source::read_model(&path)?),
        }
    }

    /// How many parameters its network has on the data set that it names; `None` where that is a folder of the user's.
    ///
    /// # Errors
    /// As [`BuiltIn::experiment`].
    pub fn parameters(&self) -> Result<Option<u64>, ExperimentError> {
        let experiment = self.experiment()?;
        let Some(images) = sources::find(&experiment.data.name)?.published() else { return Ok(None) };
        Ok(Some(elaborate(&self.model()?, &experiment.params, &images)?.summary().parameters))
    }
}

const YAML: &str = ".yaml";
const VITX: &str = ".vitx";

/// The file that a word of the command line stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// To be read as any other path: a file, or the name of one that the binary carries.
    pub path: PathBuf,
    /// That it is a file where the name is also that of something carried.
    pub note: Option<String>,
}

/// What a word of the command line stands for: a file, or a name of [`all`], of a file without its ending, or of a folder with
/// an [`DEFAULT`] in it. A file goes before what the binary carries.
///
/// # Errors
/// [`ExperimentError::Unknown`] for a name of nothing, with the nearest.
pub fn named(word: &Path) -> Result<Named, ExperimentError> {
    let plain = |path: PathBuf| Ok(Named { path, note: None });
    let with = |ending: &str| {
        let mut name = word.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if word.is_file() || word.as_os_str() == "-" {
        return plain(word.to_owned());
    }
    if let Some(ending) = [YAML, VITX, ".yml"].iter().find(|ending| word.to_string_lossy().ends_with(**ending)) {
        // What cannot be read is told where it is; what is nearly a name that is carried, here.
        let near = near(&word.to_string_lossy(), ending).filter(|_| text(word).is_none() && !word.exists());
        return match near {
            Some(near) => Err(unknown(word, &format!("did you mean `{near}`, which the binary carries?"))),
            None => plain(word.to_owned()),
        };
    }
    let carried = [YAML, VITX].map(with).into_iter().find(|path| text(path).is_some());
    let files = [with(YAML), with(".yml"), word.join(DEFAULT), with(VITX)];
    match (files.into_iter().find(|file| file.is_file()), carried) {
        (Some(path), Some(_)) => {
            let note = format!(
                "`{}` is read, not what the binary carries by the name of `{}`; elsewhere, or with the file away, that is meant",
                path.display(),
                word.display()
            );
            Ok(Named { path, note: Some(note) })
        }
        (Some(path), None) | (None, Some(path)) => plain(path),
        (None, None) if word.is_dir() => {
            let help =
                "`vitx trial` and `vitx eval` take the folder of a run; `vitx new` writes the files of an experiment";
            let message = format!("there is no `{DEFAULT}` in the folder `{}`", word.display());
            Err(ExperimentError::Unknown { message, help: help.into() })
        }
        (None, None) => {
            let near = near(&word.to_string_lossy(), YAML);
            let near = near.map(|near| format!("did you mean `{near}`? "));
            let rest = "a file has an ending, as `my.yaml`; `vitx experiments` lists the names that need no file";
            Err(unknown(word, &format!("{}{rest}", near.unwrap_or_default())))
        }
    }
}

/// The file that is meant where none is named.
///
/// # Errors
/// [`ExperimentError::Unknown`] where the working directory has no [`DEFAULT`].
pub fn unnamed() -> Result<Named, ExperimentError> {
    if Path::new(DEFAULT).is_file() {
        return Ok(Named { path: DEFAULT.into(), note: None });
    }
    let message = format!("no experiment is named, and there is no `{DEFAULT}` here");
    let help = "`vitx run digits_vit` runs one that the binary carries (`vitx experiments` lists them), `vitx new DIR` \
                begins one of your own";
    Err(ExperimentError::Unknown { message, help: help.into() })
}

fn unknown(word: &Path, help: &str) -> ExperimentError {
    let message = format!("there is no file and no experiment `{}`", word.display());
    ExperimentError::Unknown { message, help: help.to_owned() }
}

/// The nearest name of what is carried: of files with this ending, and of experiments without theirs.
fn near(word: &str, ending: &str) -> Option<String> {
    let names: Vec<&str> = FILES.iter().filter_map(|(file, _)| file.strip_suffix(ending)).collect();
    let word = word.strip_prefix("experiments/").unwrap_or(word);
    let stem = word.strip_suffix(ending);
    let near = dsl::nearest(stem.unwrap_or(word), names)?;
    Some(if stem.is_some() { format!("{near}{ending}") } else { near.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_file_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
        let mut there = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    there.insert(normal(path.strip_prefix(&root).unwrap()).unwrap());
                }
            }
        }
        let carried: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(carried, there, "FILES in src/experiment/builtin.rs has every file of experiments/");
    }

    #[test]
    fn each_says_what_it_is_and_its_network_can_be() {
        assert!(all().count() > 15);
        for built_in in all() {
            let about = built_in.about();
            assert!(about.len() > 20 && !about.contains('\n'), "{}: {about}", built_in.name);
            let parameters = built_in.parameters().unwrap_or_else(|error| panic!("{}: {error:?}", built_in.name));
            assert!(parameters.is_some_and(|count| count > 1000), "{}", built_in.name);
        }
    }

    #[test]
    fn paths_lead_to_what_is_carried() {
        for path in ["experiments/digits_vit.yaml", "./digits_vit.yaml", "recipes/../zoo/swin.vitx"] {
            assert!(text(Path::new(path)).is_some(), "{path}");
        }
        for path in ["/digits_vit.yaml", "../digits_vit.yaml", "zoo", "", "other.yaml"] {
            assert!(text(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn names_stand_for_files_before_what_is_carried() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for file in ["own.yaml", "net.vitx", "bare"] {
            fs::write(at(file), "").unwrap();
        }
        fs::create_dir_all(at("begun")).unwrap();
        fs::write(at("begun/experiment.yaml"), "").unwrap();
        let path = |name: &str| named(&at(name)).unwrap().path;
        let found = ["own", "net", "bare", "begun", "own.yaml", "missing.yaml"].map(path);
        let wanted = ["own.yaml", "net.vitx", "bare", "begun/experiment.yaml", "own.yaml", "missing.yaml"].map(at);
        assert_eq!(found, wanted);
        let carried = named(Path::new("digits_vit")).unwrap();
        assert_eq!(carried, Named { path: "digits_vit.yaml".into(), note: None });
        assert_eq!(named(Path::new("zoo/swin")).unwrap().path, PathBuf::from("zoo/swin.vitx"));
        assert!(named(&at("")).is_err());
    }
}
