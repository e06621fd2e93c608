//! The files that an experiment of one's own begins with: built-in ones with comments.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use super::{ExperimentError, builtin::DEFAULT, identity::absolute};
use crate::{
    choice::Choice,
    data::{DataOptions, sources},
    files::{make_folder, replace},
    trial::MODEL,
};

/// What an experiment begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// A small Vision Transformer on the embedded digits.
    Digits,
    /// The reference model on CIFAR-100.
    Cifar100,
    /// A residual network on a folder of pictures.
    Folder,
}

impl Choice for Template {
    const CHOICES: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Digits,
            "digits",
            "a small Vision Transformer on handwritten digits, which are built in: trains in seconds",
        ),
        (Self::Cifar100, "cifar100", "the Vision Transformer of Keras' example on CIFAR-100"),
        (Self::Folder, "folder", "a residual network on a folder of your pictures"),
    ];
}

/// What stands in the experiment of [`Template::Folder`] for the folder, and what says so.
const PLACE: &str =
    "  # <<< CHANGE THIS: the folder of the pictures, in which each class is a folder, as FOLDER/cat/1.jpg.
  path: FOLDER
";
const SPLIT: &str = "  # Where FOLDER has the folders `train` and `test` (FOLDER/train/cat/1.jpg), take this line away.
  test_split: 0.2          # this share of each class is tested on at the end
";

impl Template {
    /// The texts of the experiment and its model.
    pub fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Digits => (include_str!("../../templates/digits.yaml"), include_str!("../../templates/digits.vitx")),
            Self::Cifar100 => {
                (include_str!("../../templates/cifar100.yaml"), include_str!("../../templates/cifar100.vitx"))
            }
            Self::Folder => (include_str!("../../templates/folder.yaml"), include_str!("../../templates/folder.vitx")),
        }
    }

    /// Writes an experiment and its model into a folder, which is made if need be; gives the two files. `pictures` is the folder
    /// of [`Template::Folder`], seen from the working directory.
    ///
    /// # Errors
    /// [`ExperimentError::Begin`] where one of the files is there already; a folder of pictures that is none.
    pub fn write(self, folder: &Path, pictures: Option<&Path>) -> Result<[PathBuf; 2], ExperimentError> {
        let (experiment, model) = self.texts();
        let files = [folder.join(DEFAULT), folder.join(MODEL)];
        let refuse = |message: String, help: &str| Err(ExperimentError::Begin { message, help: help.to_owned() });
        // A link that leads nowhere is in the way, too.
        if let Some(there) = files.iter().find(|file| file.symlink_metadata().is_ok()) {
            return refuse(format!("`{}` is there already", there.display()), "name another folder");
        }
        let experiment = match (self, pictures) {
            (_, None) => Cow::Borrowed(experiment),
            (Self::Folder, Some(pictures)) => Cow::Owned(of_pictures(experiment, pictures)?),
            (_, Some(_)) => {
                let message = format!("`--path` is of `--from folder`, not of `{}`", self.word());
                return refuse(message, "the pictures of the others are known");
            }
        };
        make_folder(folder)?;
        replace(&files[1], model.as_bytes())?;
        replace(&files[0], experiment.as_bytes())?;
        Ok(files)
    }
}

/// The text with the place of the pictures, and with a share that tests only where none of them are for that.
fn of_pictures(text: &str, pictures: &Path) -> Result<String, ExperimentError> {
    let path = absolute(Path::new("."), pictures);
    let Some(word) = path.to_str() else {
        let message = format!("`{}` is no UTF-8, as a YAML file is", path.display());
        return Err(ExperimentError::Begin { message, help: "give the folder another name, or a link to it".into() });
    };
    let source = sources::find("image_folder")?;
    let options = |test_split| DataOptions {
        path: Some(path.clone()),
        test_split,
        model_size: Some([64; 2]),
        skip_broken: true,
        ..DataOptions::default()
    };
    let split = source.describe(&options(None)).is_err();
    if split {
        source.describe(&options(Some(0.2)))?;
    }
    // JSON's strings are YAML's.
    let quoted = serde_json::to_string(word).unwrap_or_default();
    let text = text.replace(PLACE, &format!("  path: {quoted}\n"));
    let comment = SPLIT.lines().next().unwrap_or_default();
    Ok(match split {
        true => text.replace(&format!("{comment}\n"), ""),
        false => text.replace(SPLIT, ""),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        dsl::{Source, format},
        experiment::{Definition, Experiment, Overrides, builtin},
    };

    /// A model without its comments, in the standard form.
    fn code(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
        format(&Source::new("m.vitx", lines.collect::<Vec<_>>().join("\n"))).unwrap()
    }

    #[test]
    fn each_is_the_built_in_one_with_comments() {
        for (template, name) in [(Template::Digits, "digits_vit"), (Template::Cifar100, "cifar100_vit")] {
            let (experiment, model) = template.texts();
            let built_in = builtin::all().find(|built_in| built_in.name == name).unwrap();
            let mut wanted = built_in.experiment().unwrap();
            wanted.model = MODEL.into();
            assert_eq!(Experiment::parse("a.yaml", experiment).unwrap(), wanted);
            assert_eq!(code(model), code(&built_in.model().unwrap().text), "{name}");
        }
        let zoo = builtin::text(Path::new("zoo/resnet_speedrun.vitx")).unwrap();
        assert_eq!(code(Template::Folder.texts().1), code(zoo));
    }

    #[test]
    fn texts_are_in_the_standard_form_and_what_they_say_to_try_can_be() {
        for (template, word, _) in Template::CHOICES {
            let (experiment, model) = template.texts();
            assert_eq!(format(&Source::new("m.vitx", model)).unwrap(), *model, "{word}");
            let tried = experiment.lines().map(|line| {
                let inner = line.trim_start();
                match inner.strip_prefix('#') {
                    Some(key) if !key.starts_with(' ') && !key.is_empty() => line.replacen('#', "", 1),
                    _ => line.to_owned(),
                }
            });
            let tried = tried.collect::<Vec<_>>().join("\n");
            // `params` of the folder's stands there already.
            let experiment = Experiment::parse("a.yaml", &tried).unwrap_or_else(|error| panic!("{word}: {error:?}"));
            assert!(experiment.sweep.is_some(), "{word}");
        }
    }

    #[test]
    fn what_is_in_the_way_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("own");
        Template::Digits.write(&folder, None).unwrap();
        Definition::read(&folder.join(DEFAULT), &Overrides::default()).unwrap();
        fs::remove_file(folder.join(DEFAULT)).unwrap();
        fs::write(folder.join(MODEL), "mine").unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let refused = [
            Template::Digits.write(&folder, None),
            Template::Digits.write(&root.path().join("file"), None),
            Template::Cifar100.write(&root.path().join("other"), Some(root.path())),
            Template::Folder.write(&root.path().join("other"), Some(&root.path().join("none"))),
            Template::Folder.write(&root.path().join("other"), Some(&folder)),
        ];
        let shown = refused.map(|result| format!("{:?}", miette::Report::new(result.unwrap_err())));
        let shown = shown.join("\n").replace(&root.path().display().to_string(), "ROOT");
        insta::assert_snapshot!(shown);
        assert_eq!(fs::read_to_string(folder.join(MODEL)).unwrap(), "mine");
        assert!(!root.path().join("other").exists());
    }

    #[test]
    fn a_folder_of_pictures_gets_a_share_to_test_on_only_if_it_has_none() {
        let root = tempfile::tempdir().unwrap();
        let draw = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::new(8, 8).save(path).unwrap();
        };
        for class in ["cat", "dog"] {
            for number in 0..5 {
                draw(&format!("flat: \"1\"/{class}/{number}.png"));
                draw(&format!("split/train/{class}/{number}.png"));
                draw(&format!("split/test/{class}/{number}.png"));
            }
        }
        for (pictures, share) in [("flat: \"1\"", Some(0.2)), ("split", None)] {
            let (folder, pictures) = (root.path().join(format!("of {pictures}")), root.path().join(pictures));
            let [experiment, _] = Template::Folder.write(&folder, Some(&pictures)).unwrap();
            let text = fs::read_to_string(&experiment).unwrap();
            assert!(!text.contains("FOLDER") && !text.contains("CHANGE"), "{text}");
            let data = Definition::read(&experiment, &Overrides::default()).unwrap().experiment.data;
            assert_eq!((data.test_split, data.path), (share, Some(pictures)));
        }
    }
}
