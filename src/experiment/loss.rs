//! `train.loss`: the name of a loss, or its name with options. Keys, ranges and messages come from the table of losses.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{class_weights::ClassWeights, read::HELP};
use crate::{
    dsl::nearest,
    graph::{
        losses::{LOSSES, Loss, LossKind, find},
        optimizers::Setting,
    },
};

/// What is minimised, as an experiment has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossConfig {
    /// With its options.
    pub loss: Loss,
    /// How much the images of each class count; without it, alike.
    pub class_weights: Option<ClassWeights>,
}

impl LossConfig {
    /// Whether it is the one that trains where none is named, with its defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for LossConfig {
    /// The name with the options that have not their defaults: a new one changes no text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { loss, class_weights } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", loss.kind.name)?;
        for option in loss.kind.options {
            let value = loss.option(option.name);
            if value != option.default {
                map.serialize_entry(option.name, &value)?;
            }
        }
        if let Some(weights) = class_weights {
            map.serialize_entry(CLASS_WEIGHTS, weights)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for LossConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

/// The key that every loss has besides its options.
pub(super) const CLASS_WEIGHTS: &str = "class_weights";

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = LossConfig;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a loss, or `{ name: cross_entropy, label_smoothing: 0.1 }`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<LossConfig, E> {
        named(name).map(|kind| LossConfig { loss: Loss::of(kind), class_weights: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LossConfig, A::Error> {
        let (mut kind, mut class_weights) = (LOSSES[0], None);
        let mut given: Vec<(&'static Setting, f32)> = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                Named::Kind => kind = map.next_value_seed(Name)?,
                Named::ClassWeights => class_weights = map.next_value()?,
                Named::Option(option) => given.push((option, map.next_value_seed(Number(option))?)),
            }
        }
        let mut loss = Loss::of(kind);
        for (option, value) in given {
            if !kind.options.iter().any(|own| own.name == option.name) {
                return Err(A::Error::custom(format!("`{}` is no option of `{}`", option.name, kind.name)));
            }
            loss = loss.with(option.name, value);
        }
        Ok(LossConfig { loss, class_weights })
    }
}

fn named<E: Error>(name: &str) -> Result<&'static LossKind, E> {
    find(name).ok_or_else(|| {
        let names = || LOSSES.iter().map(|kind| kind.name);
        let known: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        E::custom(format!("unknown loss `{name}`{HELP}{help}"))
    })
}

/// What a key of a loss names.
enum Named {
    Kind,
    ClassWeights,
    /// Of any loss.
    Option(&'static Setting),
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Named;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("`name`, `class_weights` or an option of the loss")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        match key {
            "name" => return Ok(Named::Kind),
            CLASS_WEIGHTS => return Ok(Named::ClassWeights),
            _ => {}
        }
        let mut options = LOSSES.iter().flat_map(|kind| kind.options);
        options.find(|option| option.name == key).map(Named::Option).ok_or_else(|| {
            let names = LOSSES.iter().flat_map(|kind| kind.options).map(|option| option.name);
            let mut known: Vec<String> =
                ["name", CLASS_WEIGHTS].into_iter().chain(names).map(|name| format!("`{name}`")).collect();
            known.dedup();
            E::custom(format!("unknown field `{key}`, expected one of {}", known.join(", ")))
        })
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = &'static LossKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = &'static LossKind;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a loss")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        named(name)
    }
}

/// The value of an option.
struct Number(&'static Setting);

impl Number {
    fn of<E: Error>(&self, value: f64) -> Result<f32, E> {
        let Self(option) = self;
        let single = value as f32;
        match option.range.has(single) {
            true => Ok(single),
            false => Err(E::custom(format!("`{}` is {value}, must be {}", option.name, option.range.text()))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = f32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Number {
    type Value = f32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a number {}", self.0.range.text())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f32, E> {
        self.of(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f32, E> {
        self.of(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f32, E> {
        self.of(value)
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::{Experiment, overrides::apply};
    use miette::Diagnostic;

    fn experiment(loss: &str) -> Result<Experiment, crate::experiment::ExperimentError> {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain: {{ loss: {loss} }}\n"))
    }

    fn written(experiment: &Experiment) -> Option<String> {
        let text = serde_json::to_string(&experiment.train).unwrap();
        text.split_once("\"loss\":").map(|(_, loss)| loss[..=loss.find('}').unwrap()].to_owned())
    }

    #[test]
    fn is_written_only_where_it_is_not_the_plain_one() {
        for plain in ["cross_entropy", "{}", "{ name: cross_entropy }", "{ label_smoothing: 0 }"] {
            assert_eq!(written(&experiment(plain).unwrap()), None, "{plain}");
        }
        let smoothed = experiment("{ label_smoothing: 0.1 }").unwrap();
        assert_eq!(smoothed.train.loss.loss.option("label_smoothing"), 0.1);
        assert_eq!(written(&smoothed).unwrap(), r#"{"name":"cross_entropy","label_smoothing":0.1}"#);
        let set = apply(&experiment("cross_entropy").unwrap(), "train.loss.label_smoothing=0.1").unwrap();
        assert_eq!(set, smoothed);
        assert_eq!(written(&apply(&set, "train.loss=cross_entropy").unwrap()), None);
    }

    #[test]
    fn mistakes_are_explained() {
        let losses = [
            "cross_entropi",
            "mse",
            "3",
            "[cross_entropy]",
            "{ name: crossentropy }",
            "{ label_smooting: 0.1 }",
            "{ label_smoothing: 1 }",
            "{ label_smoothing: -0.1 }",
            "{ label_smoothing: .nan }",
            "{ label_smoothing: much }",
            "{ label_smoothing: }",
            "binary_crossentropy",
        ];
        let shown = |loss: &&str| {
            let error = experiment(loss).unwrap_err();
            let mut shown = String::new();
            let theme = miette::GraphicalTheme::unicode_nocolor();
            miette::GraphicalReportHandler::new_themed(theme)
                .render_report(&mut shown, &error as &dyn Diagnostic)
                .unwrap();
            shown
        };
        insta::assert_snapshot!(losses.iter().map(shown).collect::<Vec<_>>().join("\n"));
    }
}
