//! `init`: the weights that a training starts from, and which of them stay as they are.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use sha2::Sha256;

use super::{ExperimentError, best_weights, identity::absolute, schema::Fault};
use crate::{
    backend::Engine,
    download::hexadecimal,
    files::FileError,
    graph::optimizers::Pattern,
    model::Architecture,
    weights::{self, Head, Hub, HubFile, Matched, Request, Rule, Table, WeightsError},
};

/// Weights from a file or another run, as an experiment has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// A safetensors file, a `.npz` of JAX, the directory of a run, whose best weights are meant, or `hf://ORG/NAME`; relative to the experiment's file. In a
    /// trial's directory it is absolute.
    pub weights: PathBuf,
    /// SHA-256 of the file: other weights are refused. Every trial's directory has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whose names its tensors have.
    #[serde(default, skip_serializing_if = "Names::is_auto")]
    pub names: Names,
    /// What becomes of the last layer.
    #[serde(default, skip_serializing_if = "Head::is_default")]
    pub head: Head,
    /// What becomes of position embeddings of another grid; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Parameters that stay as they are.
    #[serde(default, skip_serializing_if = "Freeze::is_none")]
    pub freeze: Freeze,
    /// Parameters that the file may lack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Tensors of the file that no parameter need take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexpected: Vec<String>,
}

/// What becomes of position embeddings of another grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// They are resized as timm does it.
    Resize,
}

/// Whose names a file's tensors have: a word, or layers of ours with theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// `auto`, `vitx`, `timm`, `hf` or `jax`.
    Word(&'static str),
    /// Layers or tensors of the model by path, with their names in the file.
    Lines(BTreeMap<String, String>),
}

/// The word for names that are found out, and that for our own.
const AUTO: &str = "auto";
const VITX: &str = "vitx";
pub(super) const WORDS: &[&str] = &[AUTO, VITX, "timm", "hf", "jax"];

impl Default for Names {
    fn default() -> Self {
        Self::Word(AUTO)
    }
}

impl Names {
    fn is_auto(&self) -> bool {
        *self == Self::default()
    }

    fn weights(&self) -> Result<weights::Names, WeightsError> {
        Ok(match self {
            Self::Word(AUTO) => weights::Names::Auto,
            Self::Word(VITX) => weights::Names::Vitx,
            Self::Word(library) => weights::Names::Library((*library).to_owned()),
            Self::Lines(lines) => {
                let mut rules = Vec::new();
                for (ours, theirs) in lines {
                    // The path of a layer, or of one tensor: no two have the same.
                    rules.push(Rule::new(ours, theirs, true)?);
                    rules.push(Rule::new(ours, theirs, false)?);
                }
                weights::Names::Own(rules)
            }
        })
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Word(word) => word.serialize(serializer),
            Self::Lines(lines) => lines.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("`auto`, `vitx`, `timm`, `hf`, `jax`, or paths of layers with their names in the file")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Names, E> {
                if word == "keras" {
                    return Err(E::custom(
                        "Keras' `.weights.h5` is not read: save the weights as safetensors, with `{w.path: w.numpy()}`, \
                         and give `names` the paths of its layers",
                    ));
                }
                let known = WORDS.iter().find(|known| **known == word);
                known.map(|word| Names::Word(word)).ok_or_else(|| E::unknown_variant(word, WORDS))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Names, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Names::Lines)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Parameters that stay as they are: a list of patterns, or `{ until: NAME }`, all layers before one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freeze {
    /// See [`Pattern`].
    pub patterns: Vec<String>,
    /// A layer or block, before which all layers are meant.
    pub until: Option<String>,
}

impl Freeze {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// [`Freeze`] as a mapping.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreezeKeys {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Serialize for Freeze {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { patterns, until } = self.clone();
        match until {
            None => patterns.serialize(serializer),
            until => FreezeKeys { patterns, until }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Freeze {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Freeze;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of names, as `[\"encoder*\", norm]`, or `{ until: NAME }`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Freeze, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pattern) = seq.next_element()? {
                    patterns.push(pattern);
                }
                Ok(Freeze { patterns, until: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Freeze, A::Error> {
                let FreezeKeys { patterns, until } = FreezeKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Freeze { patterns, until })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Init {
    /// From these weights, with all else as it is by default.
    pub fn of(weights: PathBuf) -> Self {
        Self {
            weights,
            digest: None,
            names: Names::default(),
            head: Head::default(),
            position: None,
            freeze: Freeze::default(),
            missing: Vec::new(),
            unexpected: Vec::new(),
        }
    }

    /// What cannot be.
    pub(super) fn fault(&self) -> Option<Fault> {
        if self.weights.as_os_str().is_empty() {
            let help = Some("a safetensors file, or the directory of a run".into());
            return Some(Fault { key: "init.weights".into(), message: "`init.weights` names no file".into(), help });
        }
        let of_hub = self.hub_file().and_then(Result::err).map(|error| ("init.weights", error));
        let (key, error) = of_hub.or_else(|| Some(("init.names", self.names.weights().err()?)))?;
        let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
        Some(Fault { key: key.into(), message: error.to_string(), help })
    }

    /// Makes a relative path absolute, as seen from a folder.
    pub fn place(&mut self, folder: &Path) {
        if self.hub_file().is_none() {
            self.weights = absolute(folder, &self.weights);
        }
    }

    /// The file of the hub that it names, if it does.
    fn hub_file(&self) -> Option<Result<HubFile, WeightsError>> {
        HubFile::of_text(self.weights.to_str()?)
    }

    /// The file of the hub that it names, if it does.
    ///
    /// # Errors
    /// A name that is none of the hub's.
    pub fn of_hub(&self) -> Result<Option<HubFile>, ExperimentError> {
        Ok(self.hub_file().transpose()?)
    }

    /// The file on this machine: that of a run's best weights, if a directory is named. One of the hub is fetched if the
    /// cache does not have it.
    fn file(&self) -> Result<PathBuf, ExperimentError> {
        if let Some(file) = self.of_hub()? {
            return Ok(file.get(&Hub::of_environment(), &mut |_, _| {})?);
        }
        if self.weights.is_dir() { best_weights(&self.weights) } else { Ok(self.weights.clone()) }
    }

    /// SHA-256 of the file, in hexadecimal.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest(&self) -> Result<String, ExperimentError> {
        let path = self.file()?;
        let digest = File::open(&path).and_then(hexadecimal::<Sha256>);
        Ok(digest.map_err(FileError::io("read", &path))?)
    }

    /// The error about a file that another has taken the place of.
    pub(super) fn other_file(&self, asked: &str, found: &str) -> ExperimentError {
        let path = self.weights.display();
        ExperimentError::Init {
            message: format!("`{path}` is not the file that `init.digest` asks for: it is {found}, not {asked}"),
            help: Some("put the file back as it was; for these weights, leave `init.digest` out".into()),
        }
    }

    /// Freezes what is to stay as it is.
    ///
    /// # Errors
    /// [`ExperimentError::Init`] for what means no parameter.
    pub fn freeze(&self, architecture: &mut Architecture) -> Result<(), ExperimentError> {
        let patterns: Vec<Pattern> = self.freeze.patterns.iter().map(Pattern::new).collect();
        architecture.freeze(&patterns, self.freeze.until.as_deref()).map_err(|message| ExperimentError::Init {
            message: format!("`init.freeze`: {message}"),
            help: Some(
                "`vitx summary` shows the layers; a parameter is `LAYER/kernel`, of which `*` may stand for a part"
                    .into(),
            ),
        })
    }

    /// Finds the parameters of a network in the file.
    ///
    /// # Errors
    /// A file that is not there, is another than `digest` says, or does not fit.
    pub fn find(&self, architecture: &Architecture) -> Result<Matched, ExperimentError> {
        let path = self.file()?;
        let bytes = fs::read(&path).map_err(FileError::io("read", &path))?;
        if let Some(asked) = &self.digest {
            let found = hexadecimal::<Sha256>(bytes.as_slice()).map_err(FileError::io("read", &path))?;
            if *asked != found {
                return Err(self.other_file(asked, &found));
            }
        }
        let table = Table::of_bytes(&path, &bytes)?;
        let listing = architecture.listing();
        let tensors = listing.layers.iter().flat_map(|layer| &layer.tensors);
        let parameters: Vec<(String, Vec<usize>)> =
            tensors.map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        let patterns = |texts: &[String]| -> Vec<Pattern> { texts.iter().map(Pattern::new).collect() };
        let request = Request {
            parameters: &parameters,
            last_layer: architecture.last_layer(),
            names: &self.names.weights()?,
            head: self.head,
            missing: &patterns(&self.missing),
            unexpected: &patterns(&self.unexpected),
            resizes_positions: self.position.is_some(),
        };
        Ok(request.find(&path, &table)?)
    }

    /// Sets an engine to what was found, and tells it in lines for people.
    ///
    /// # Errors
    /// As the engine's.
    pub fn load(&self, matched: &Matched, engine: &mut dyn Engine) -> Result<Vec<String>, ExperimentError> {
        engine.load_state(&matched.tensors)?;
        let Matched { names, taken, head, missing, unexpected, resized, .. } = matched;
        let mut lines =
            vec![format!("weights of {}: {taken} tensors, by the names of {names}", self.weights.display())];
        for (name, from, to) in resized {
            lines.push(format!("  resized: {name}, {from} tokens to {to}"));
        }
        let anew = match self.head {
            Head::Zero => "zero",
            Head::Keep | Head::Reset => "anew",
        };
        let kinds = [(anew, head), ("not in the file, anew", missing), ("left aside", unexpected)];
        let listed = kinds.iter().filter(|(_, names)| !names.is_empty());
        lines.extend(listed.map(|(kind, names)| format!("  {kind}: {}", names.join(", "))));
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    fn parse(init: &str) -> Result<Experiment, ExperimentError> {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{ name: digits }}\ninit: {init}\n"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "{ weights: a.safetensors }",
            "{ weights: runs/a, names: timm, head: zero, position: resize, freeze: [norm, \"encoder*\"] }",
            "{ weights: a, freeze: { until: norm }, names: { stem: conv1, \"b{i}/dense\": \"blocks.{i}.fc\" }, missing: [x], unexpected: [y] }",
        ] {
            let experiment = parse(text).unwrap();
            let written = serde_yaml::to_string(&experiment).unwrap();
            assert_eq!(Experiment::parse("a.yaml", &written).unwrap(), experiment, "{written}");
        }
        assert!(!serde_json::to_string(&parse("{ weights: a }").unwrap().init).unwrap().contains("freeze"));
    }

    #[test]
    fn mistakes_are_explained() {
        let texts = [
            "{}",
            "a.safetensors",
            "{ weights: '' }",
            "{ weights: a, names: tim }",
            "{ weights: a, names: keras }",
            "{ weights: a, names: { stem: \"conv{i}\" } }",
            "{ weights: a, head: new }",
            "{ weights: a, position: crop }",
            "{ weights: a, freeze: norm }",
            "{ weights: a, freeze: { untl: norm } }",
            "{ weight: a }",
            "{ weights: \"hf://vit\" }",
        ];
        let explained = texts.map(|text| format!("{:?}", miette::Report::new(parse(text).unwrap_err())));
        insta::assert_snapshot!(explained.join("\n"));
    }
}
