use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use similar::{DiffTag, TextDiff};

use super::{
    Experiment, ExperimentError, Init, builtin,
    identity::{Known, absolute, home, same_but_for_the_place},
    origins::{self, Origins},
    overrides, read,
};
use crate::{
    data::{DataOptions, Subset},
    dsl::{Diagnostics, Problem, Source, Value},
    files::{make_folder, replace},
    model::{Architecture, ImageSpec, elaborate, own_image_size},
    trial::{CONFIG, Directory, Input, MODEL, class_changes},
};

/// The key of an experiment that names its model's file.
pub const MODEL_KEY: &str = "model";

/// What the command line changes of an experiment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Parameters of the model.
    pub params: BTreeMap<String, Value>,
    /// `path.to.key=value`, applied in order.
    pub set: Vec<String>,
    /// Instead of `train.seed`.
    pub seed: Option<u64>,
    /// The folder of `image_folder`.
    pub path: Option<PathBuf>,
    /// The weights to start from.
    pub init: Option<PathBuf>,
}

/// An experiment with its model's text: all that defines a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its `model` is `model.vitx`, whatever file the text came from.
    pub experiment: Experiment,
    /// The model's text, by the name that diagnostics give it.
    pub source: Source,
    origins: Origins,
    /// Where other models of the same experiment lie; no part of what defines the trial.
    folder: PathBuf,
    /// What relative paths that a sweep varies are seen from: the same folder, unless a sweep has copied the definition.
    origin: PathBuf,
    /// What lies in folders of data, once it is asked for.
    pub(super) known: Option<Known>,
    /// Whether it was read from a trial's directory.
    of_trial: bool,
}

impl Definition {
    /// Reads an experiment and its model. Files that are not there may be carried by the binary.
    ///
    /// # Errors
    /// As [`Experiment::read`] and [`overrides::apply`], or a model that cannot be read.
    pub fn read(path: &Path, changes: &Overrides) -> Result<Self, ExperimentError> {
        let file = read::source(path)?;
        let mut experiment = Experiment::of_source(&file, path)?;
        let mut origins = Origins::of_file(&file, &experiment.params);
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        experiment.place(&folder);
        if let Some(weights) = &changes.init {
            match &mut experiment.init {
                Some(init) => (init.weights, init.digest) = (weights.clone(), None),
                init => *init = Some(Init::of(weights.clone())),
            }
        }
        let mut set: Vec<&String> = changes.set.iter().collect();
        set.sort_by_key(|assignment| overrides::rank(assignment.split('=').next().unwrap_or_default()));
        for assignment in set {
            let changed = overrides::apply(&experiment, assignment)?;
            let new = changed.params.iter().filter(|(name, value)| experiment.params.get(*name) != Some(*value));
            origins.set_by(new, &format!("`--set {assignment}`"));
            experiment = changed;
        }
        origins.set_by(&changes.params, "`--param`");
        experiment.params.extend(changes.params.clone());
        experiment.train.seed = changes.seed.unwrap_or(experiment.train.seed);
        if let Some(path) = &changes.path {
            experiment.data.replace_path(path)?;
        }
        // What the command says is seen from where it is given.
        experiment.place(Path::new("."));
        let model = std::mem::replace(&mut experiment.model, MODEL.into());
        let source = Self::model(&model).map_err(|error| error.because(origins::of_model(&file, &changes.set)))?;
        let origin = swept_from(&folder).unwrap_or_else(|| folder.clone());
        Ok(Self { experiment, source, origins, folder, origin, known: None, of_trial: false })
    }

    /// Reads a model. A file that is not there may be carried by the binary.
    ///
    /// # Errors
    /// A file that cannot be read, or is no text.
    pub fn model(path: &Path) -> Result<Source, Diagnostics> {
        match builtin::text(path) {
            Some(text) if !path.exists() => Ok(Source::new(path.display().to_string(), text)),
            _ => Source::read_model(path),
        }
    }

    /// Refuses a folder in which [`Definition::write`] has not defined a trial, as long as that can be told.
    ///
    /// # Errors
    /// [`ExperimentError::NoRun`].
    pub fn expect_trial(folder: &Path) -> Result<(), ExperimentError> {
        let shown = folder.display();
        let message = match fs::metadata(folder.join(CONFIG)).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound) if folder.exists() => {
                format!("`{shown}` is no run's folder: it has no `{CONFIG}`")
            }
            Err(ErrorKind::NotFound) => format!("there is no folder `{shown}`"),
            Err(ErrorKind::NotADirectory) => format!("`{shown}` is a file, not a run's folder"),
            _ => return Ok(()),
        };
        Err(ExperimentError::NoRun { message })
    }

    /// Refuses a folder in which no trial is defined, but which has a file that one would replace: it is someone else's.
    ///
    /// # Errors
    /// [`ExperimentError::Taken`].
    pub fn expect_place(&self, folder: &Path) -> Result<(), ExperimentError> {
        match Directory::new(folder).would_lose(&self.source.text) {
            Some(name) => Err(ExperimentError::Taken { folder: folder.to_owned(), name }),
            None => Ok(()),
        }
    }

    /// Reads what [`Definition::write`] wrote. A relative path of data, as former versions kept it, is seen from the
    /// working directory.
    ///
    /// # Errors
    /// Files that are missing or that someone has broken.
    pub fn of_trial(folder: &Path) -> Result<Self, ExperimentError> {
        Self::expect_trial(folder)?;
        let path = folder.join(CONFIG);
        let file = read::source(&path)?;
        let mut experiment = Experiment::of_source(&file, &path)?;
        experiment.model = MODEL.into();
        let origins = Origins::of_file(&file, &experiment.params);
        let source = Source::read(&folder.join(MODEL))?;
        let origin = folder.to_owned();
        Ok(Self { experiment, source, origins, folder: folder.to_owned(), origin, known: None, of_trial: true })
    }

    /// As [`Definition::of_trial`], with its data in another folder, if one is given.
    ///
    /// # Errors
    /// As well where its data are no folder.
    pub fn of_trial_at(folder: &Path, path: Option<&Path>) -> Result<Self, ExperimentError> {
        let mut definition = Self::of_trial(folder)?;
        if let Some(path) = path {
            definition.experiment.data.replace_path(path)?;
        }
        Ok(definition)
    }

    /// This definition with some keys changed: parameters of the model, dotted keys of the experiment,
    /// and `model`, another file beside the experiment. What the sweep varies is not part of the new one.
    ///
    /// # Errors
    /// As [`overrides::apply`]'s.
    pub fn with(&self, assignments: &[(String, Value)]) -> Result<Self, ExperimentError> {
        let mut changed = self.clone();
        changed.experiment.sweep = None;
        let data = (self.experiment.data.name.clone(), self.experiment.data.own());
        let weights = self.experiment.init.as_ref().map(|init| init.weights.clone());
        let mut assignments: Vec<&(String, Value)> = assignments.iter().collect();
        assignments.sort_by_key(|(key, _)| overrides::rank(key));
        for (key, value) in assignments {
            if let (MODEL_KEY, Value::Str(file)) = (key.as_str(), value) {
                let path = home(Path::new(file));
                let near = [kept_model(&self.folder, file), self.folder.join(&path)];
                let near = near.into_iter().find(|path| path.exists());
                changed.source = Self::model(&near.unwrap_or_else(|| self.origin.join(path)))?;
            } else if key == MODEL_KEY {
                return Err(ExperimentError::Sweep {
                    message: format!("`{MODEL_KEY}` is a file, not {value}"),
                    help: Some(format!("a name that is a number is put in quotes: '{MODEL_KEY}=\"{value}\"'")),
                });
            } else if key.contains('.') {
                // No value of a key of the experiment is a text of that name: it stands for none.
                let value = if *value == Value::Str("null".into()) { "null".into() } else { value.to_string() };
                let applied = overrides::apply(&changed.experiment, &format!("{key}={value}"));
                changed.experiment = applied.map_err(|error| match error {
                    // Nobody wrote `--set`.
                    ExperimentError::Set { message, help, .. } => ExperimentError::Sweep { message, help },
                    error => error,
                })?;
            } else {
                changed.origins.set_by([(key, value)], "the sweep");
                changed.experiment.params.insert(key.clone(), value.clone());
            }
        }
        if data != (changed.experiment.data.name.clone(), changed.experiment.data.own()) {
            // Other data have another digest.
            changed.experiment.data.place(&self.origin);
            changed.experiment.data.digest = None;
        }
        if let Some(init) = changed.experiment.init.as_mut().filter(|init| Some(&init.weights) != weights.as_ref()) {
            init.place(&self.origin);
            init.digest = None;
        }
        changed.settle()?;
        Ok(changed)
    }

    /// Where to look for the images, and what to make of them; `data_dir` is searched first.
    pub fn data_options(&self, data_dir: Option<PathBuf>) -> DataOptions {
        let Experiment { data, params, .. } = &self.experiment;
        data.options(data_dir, own_image_size(&self.source, params))
    }

    /// Checks the model on a data set. Warnings also have the places of the parameters that caused them.
    ///
    /// # Errors
    /// All diagnostics of the model, each with the place of the parameter that caused it.
    pub fn architecture(&self, data: &ImageSpec) -> Result<Architecture, ExperimentError> {
        let params = &self.experiment.params;
        let origin = |position: usize| self.origins.of(params.keys().nth(position)?);
        let mut architecture = elaborate(&self.source, params, data)
            .map_err(|diagnostics| diagnostics.explained(origin))?
            .explained(origin);
        if let Some(init) = &self.experiment.init {
            init.freeze(&mut architecture)?;
        }
        let (own, classes) = (architecture.num_classes(), data.num_classes);
        if own > classes && !self.of_trial {
            // Fewer are refused where the model is read. Of these, some would be predicted that have no name, as
            // those of trials that former versions accepted.
            let message = format!("the model has num_classes = {own}, the data set {classes}");
            let help =
                "leave `num_classes` to the data: a parameter of the model that is called so need not have a value";
            let problem = Problem::new("vitx::parameter", message).in_source(&self.source).help(help);
            return Err(Diagnostics::from(problem).because(self.origins.of("num_classes")).into());
        }
        Ok(architecture)
    }

    /// What a trial of this definition began with.
    ///
    /// # Errors
    /// As [`Input::of_trial`].
    pub fn input(&self, folder: &Path) -> Result<Input, ExperimentError> {
        let data = &self.experiment.data;
        Ok(Input::of_trial(folder, data.set_name(), &data.name, data.digest.as_deref())?)
    }

    /// Writes `config.yaml` and `model.vitx` into a folder, which is made if need be. Where the same data have moved,
    /// the new place is written.
    ///
    /// # Errors
    /// [`ExperimentError::Other`] when the folder holds another definition, and [`ExperimentError::OtherData`] when it
    /// holds one of other data: it stays as it is.
    pub fn write(&self, folder: &Path) -> Result<(), ExperimentError> {
        if let Some(difference) = self.difference(folder)? {
            return Err(ExperimentError::Other { folder: folder.to_owned(), difference });
        }
        make_folder(folder)?;
        // Nothing of another definition is there any more.
        let undated = |old: &str| Experiment::parse(CONFIG, old).is_ok_and(|old| old.data.digest.is_none());
        let whole = Directory::new(folder).is_defined();
        for (name, text) in self.files(folder)? {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(old) if old == text => {}
                // One that does not say what its data were stays as it is.
                Ok(old) if whole && undated(&old) => {}
                _ => replace(&path, text.as_bytes())?,
            }
        }
        Ok(())
    }

    /// Whether the old text of a folder's config is of this definition, with its data in another place.
    fn holds_the_same(&self, folder: &Path, old: &str) -> Result<bool, ExperimentError> {
        let Ok(mut old) = Experiment::parse(CONFIG, old) else { return Ok(false) };
        let digest = old.data.digest.clone();
        if digest.is_some() {
            old.data.digest.clone_from(&self.experiment.data.digest);
        }
        if !same_but_for_the_place(&old, &self.experiment) {
            return Ok(false);
        }
        let fingerprint = self.fingerprint()?;
        let input = Input::find(folder)?;
        let other = |difference: String| Err(ExperimentError::OtherData { folder: folder.to_owned(), difference });
        if digest.is_none() {
            // Whoever trains it or finds its result knows no more of its data than `input.json` tells.
            let (Some(fingerprint), Some(input)) = (fingerprint, input) else { return Ok(true) };
            let names: Vec<String> = fingerprint.train.iter().map(|class| class.name.clone()).collect();
            return match names == input.class_names {
                true => Ok(true),
                false => other(class_changes(&input.class_names, &names)),
            };
        }
        if digest != self.experiment.data.digest {
            let then = input.and_then(|input| input.fingerprint);
            let changes = then.zip(fingerprint).and_then(|(then, now)| then.changes(&now, &Subset::ALL));
            return other(changes.unwrap_or_else(|| "they have another digest".into()));
        }
        Ok(true)
    }

    /// Notes in a folder where the experiment lies, if nothing is noted there yet.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn note_origin(&self, folder: &Path) -> Result<(), ExperimentError> {
        let path = folder.join(SWEPT_FROM);
        match absolute(Path::new("."), &self.origin).to_str() {
            Some(origin) if !path.exists() => Ok(replace(&path, format!("{origin}\n").as_bytes())?),
            // A name that is no text can be no value either.
            _ => Ok(()),
        }
    }

    /// How a folder's definition differs from this one; nothing where there is none, or none that is whole.
    ///
    /// # Errors
    /// Files that cannot be read, and [`ExperimentError::OtherData`].
    pub fn difference(&self, folder: &Path) -> Result<Option<String>, ExperimentError> {
        for (name, text) in self.files(folder)? {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(old) if old != text && Directory::new(folder).is_defined() => {
                    if name == CONFIG && self.holds_the_same(folder, &old)? {
                        continue;
                    }
                    return Ok(Some(differences(&old, &text).unwrap_or_else(|| format!("another {name}"))));
                }
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(ExperimentError::io("read", path)(error));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// How another definition differs from this one, in their texts; nothing where they are the same but for the place of their
    /// data.
    pub(super) fn difference_to(&self, other: &Self) -> Option<String> {
        if self.source.text != other.source.text {
            return Some(format!("another {MODEL}"));
        }
        if same_but_for_the_place(&self.experiment, &other.experiment) {
            return None;
        }
        let [old, new] = [self, other].map(|definition| {
            let experiment = Experiment { model: MODEL.into(), sweep: None, ..definition.experiment.clone() };
            serde_yaml::to_string(&experiment).unwrap_or_default()
        });
        differences(&old, &new)
    }

    /// The files of a folder that define a trial, with their texts. The model comes first: a folder with a config is
    /// a whole definition.
    fn files(&self, folder: &Path) -> Result<[(&'static str, String); 2], ExperimentError> {
        let config = serde_yaml::to_string(&self.experiment)
            .map_err(|error| ExperimentError::io("write", folder.join(CONFIG))(std::io::Error::other(error)))?;
        Ok([(MODEL, self.source.text.clone()), (CONFIG, config)])
    }
}

/// The file beside a sweep's own definition that says where the experiment lay.
const SWEPT_FROM: &str = "swept-from.txt";

/// Where the experiment lay that a sweep has copied into a folder.
fn swept_from(folder: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(folder.join(SWEPT_FROM)).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n')))
}

/// Where a sweep keeps the models that it varies, beside its own definition: whatever path they had, one file each.
pub fn kept_model(folder: &Path, model: &str) -> PathBuf {
    folder.join("swept-models").join(model.replace('%', "%25").replace(['/', '\\'], "%2F"))
}

/// "it has `A`, not `B`", for the lines that differ; `None` where none does.
fn differences(old: &str, new: &str) -> Option<String> {
    let diff = TextDiff::from_lines(old, new);
    let mut all = Vec::new();
    for operation in diff.ops().iter().filter(|operation| operation.tag() != DiffTag::Equal) {
        let joined = |text: &str, lines: std::ops::Range<usize>| {
            let lines: Vec<&str> = text.lines().skip(lines.start).take(lines.len()).map(str::trim).collect();
            lines.join(" ")
        };
        let (old, new) = (joined(old, operation.old_range()), joined(new, operation.new_range()));
        all.push(match (old.is_empty(), new.is_empty()) {
            (false, true) => format!("it has `{old}`"),
            (true, _) => format!("it lacks `{new}`"),
            (false, false) => format!("it has `{old}`, not `{new}`"),
        });
    }
    let more = all.len().saturating_sub(MOST_DIFFERENCES);
    all.truncate(MOST_DIFFERENCES);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| all.join("; ") + &more)
}

/// How many differences of two definitions are shown.
const MOST_DIFFERENCES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(set: &[&str]) -> Definition {
        let set = set.iter().map(ToString::to_string).collect();
        Definition::read(Path::new("experiments/digits_vit.yaml"), &Overrides { set, ..Overrides::default() }).unwrap()
    }

    #[test]
    fn identity_follows_the_definition() {
        let one = definition(&[]);
        assert_eq!(one.identity(), definition(&["train.epochs=40"]).identity());
        assert_ne!(one.identity(), definition(&["train.epochs=41"]).identity());
        let mut other = one.clone();
        other.source.text.push(' ');
        assert_ne!(one.identity(), other.identity());
    }

    #[test]
    fn a_folder_keeps_the_definition_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let trial = folder.path().join("a/b");
        let one = definition(&["train.optimizer.learning_rate=0.003"]);
        one.write(&trial).unwrap();
        one.write(&trial).unwrap();
        let read = Definition::of_trial(&trial).unwrap();
        assert_eq!(read.identity(), one.identity());
        let error = definition(&["train.epochs=3"]).write(&trial).unwrap_err().to_string();
        assert!(error.contains("it has `epochs: 40`, not `epochs: 3`"), "{error}");
        assert_eq!(Definition::of_trial(&trial).unwrap(), read);
    }

    #[test]
    fn the_binary_carries_the_shipped_experiments() {
        let experiment = Experiment::read(Path::new("experiments/gone/cifar100_vit.yaml"));
        assert!(experiment.unwrap_err().to_string().starts_with("cannot read"));
        assert!(builtin::text(Path::new("experiments/cifar100_vit.vitx")).is_some());
        assert!(builtin::text(Path::new("cifar100_vit.yaml")).is_some());
        assert!(builtin::text(Path::new("other.yaml")).is_none());
    }

    /// What is shown of a model that the parameters of an experiment, or of a command, spoil.
    #[test]
    fn mistakes_in_a_model_show_where_its_parameters_were_set() {
        let folder = tempfile::tempdir().unwrap();
        let yaml = "model: m.vitx\ndata: { name: digits }\nparams: { size: 3, units: few, depht: 2 }\n";
        let model = "model m(size = 2, units = 8, rate = 0.1) {\n    patches(size)\n    let left = dense(units)\n    \
                     let right = dense(8)\n    add(left, right)\n    dropout(rate)\n    flatten\n    \
                     dense(num_classes)\n}\n";
        fs::write(folder.path().join("e.yaml"), yaml).unwrap();
        fs::write(folder.path().join("m.vitx"), model).unwrap();
        let digits = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };
        let shown = |params: &[(&str, Value)], set: &[&str]| {
            let changes = Overrides {
                params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                set: set.iter().map(ToString::to_string).collect(),
                ..Overrides::default()
            };
            let definition = Definition::read(&folder.path().join("e.yaml"), &changes).unwrap();
            let error = definition.architecture(&digits).unwrap_err();
            let mut text = String::new();
            let theme = miette::GraphicalTheme::unicode_nocolor();
            miette::GraphicalReportHandler::new_themed(theme).render_report(&mut text, &error).unwrap();
            text.replace(&format!("{}/", folder.path().display()), "")
        };
        insta::assert_snapshot!("caused_by_a_file", shown(&[], &[]));
        let given = [("size", Value::Int(2)), ("units", Value::Int(4)), ("depht", Value::Int(1))];
        insta::assert_snapshot!("caused_by_a_command", shown(&given, &["params.rate=2"]));
    }
}
