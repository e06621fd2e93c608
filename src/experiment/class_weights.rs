//! `train.loss.class_weights`: how much the images of each class count.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{ExperimentError, Train, read::HELP};
use crate::dsl::nearest;

/// What multiplies the loss of an image, by its class: `class_weight` of Keras' `fit`.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// `images / (classes * images of the class)`, of the images that are trained on: all classes count alike, and the mean is 1. As
    /// `compute_class_weight("balanced")` of scikit-learn.
    Balanced,
    /// One for each class, in the order of the data set.
    Each(Vec<f32>),
    /// By name; classes that are not named have 1.
    Named(BTreeMap<String, f32>),
}

impl ClassWeights {
    /// The weights of all classes, for images of these labels.
    ///
    /// # Errors
    /// [`ExperimentError::ClassWeights`] where they are of other classes, or leave nothing to learn from.
    pub fn of(&self, class_names: &[String], labels: &[u32]) -> Result<Arc<[f32]>, ExperimentError> {
        let refuse = |message: String, help: String| Err(ExperimentError::ClassWeights { message, help });
        let classes = class_names.len();
        let mut counts = vec![0_usize; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        let weights: Vec<f32> = match self {
            Self::Balanced => {
                // A class without images has no part in the mean.
                let present = counts.iter().filter(|count| **count > 0).count();
                let weight = |&count: &usize| match count {
                    0 => 1.0,
                    count => (labels.len() as f64 / (present * count) as f64) as f32,
                };
                counts.iter().map(weight).collect()
            }
            Self::Each(weights) if weights.len() != classes => {
                let message =
                    format!("`train.loss.class_weights` has {} numbers, the data set {classes} classes", weights.len());
                return refuse(message, "a number for each class, or by name: `{ cat: 2, dog: 0.5 }`".into());
            }
            Self::Each(weights) => weights.clone(),
            Self::Named(named) => {
                let mut weights = vec![1.0; classes];
                for (name, weight) in named {
                    let Some(class) = class_names.iter().position(|class| class == name) else {
                        let help = match nearest(name, class_names.iter().map(String::as_str)) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => {
                                let first: Vec<String> =
                                    class_names.iter().take(10).map(|class| format!("`{class}`")).collect();
                                let more = if classes > 10 { ", .." } else { "" };
                                format!("the classes are {}{more}", first.join(", "))
                            }
                        };
                        return refuse(format!("`train.loss.class_weights` names `{name}`, which is no class"), help);
                    };
                    weights[class] = *weight;
                }
                weights
            }
        };
        if counts.iter().zip(&weights).all(|(count, weight)| *count == 0 || *weight == 0.0) {
            let message = "`train.loss.class_weights` gives every image that is trained on the weight 0".to_owned();
            return refuse(message, "nothing would be learnt: some class needs a weight above 0".into());
        }
        Ok(weights.into())
    }
}

/// Refuses weights of a training that are of other classes than these, before any image is read.
///
/// # Errors
/// As [`ClassWeights::of`].
pub fn check(train: &Train, class_names: &[String]) -> Result<(), ExperimentError> {
    let Some(weights) = &train.loss.class_weights else { return Ok(()) };
    let one_of_each: Vec<u32> = (0..class_names.len() as u32).collect();
    weights.of(class_names, &one_of_each).map(|_| ())
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::Each(weights) => weights.serialize(serializer),
            Self::Named(named) => named.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = ClassWeights;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("`balanced`, a list of numbers, or a number by each name, as `{ cat: 2 }`")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<ClassWeights, E> {
        match word {
            "balanced" => Ok(ClassWeights::Balanced),
            _ => {
                Err(E::custom(format!("unknown class weights `{word}`{HELP}`balanced` makes all classes count alike")))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ClassWeights, A::Error> {
        let mut weights = Vec::new();
        while let Some(Weight(weight)) = list.next_element()? {
            weights.push(weight);
        }
        Ok(ClassWeights::Each(weights))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClassWeights, A::Error> {
        let mut named = BTreeMap::new();
        while let Some(Name(name)) = map.next_key()? {
            let Weight(weight) = map.next_value()?;
            named.insert(name, weight);
        }
        Ok(ClassWeights::Named(named))
    }
}

/// The name of a class, which may be a number: the digits are called `0` to `9`.
#[derive(PartialEq, Eq)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of a class")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A number from 0 up.
struct Weight(f32);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let weight = f64::deserialize(deserializer)?;
        match (0.0..=f64::from(f32::MAX)).contains(&weight) {
            true => Ok(Self(weight as f32)),
            false if weight > 0.0 => Err(de::Error::custom("the weight of a class is outside of float32")),
            false => Err(de::Error::custom(format!("the weight of a class is {weight}, must be at least 0"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, overrides::apply};

    const LABELS: [u32; 6] = [0, 2, 2, 0, 0, 0];

    fn names() -> Vec<String> {
        ["cat", "dog", "owl"].map(str::to_owned).into()
    }

    fn experiment(weights: &str) -> Result<Experiment, ExperimentError> {
        let train = format!("{{ loss: {{ class_weights: {weights} }} }}");
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain: {train}\n"))
    }

    fn weights(text: &str) -> Result<Arc<[f32]>, ExperimentError> {
        experiment(text).unwrap().train.loss.class_weights.unwrap().of(&names(), &LABELS)
    }

    #[test]
    fn weights_of_every_form() {
        // Of two classes that are there, 6 / (2 * 4) and 6 / (2 * 2).
        assert_eq!(*weights("balanced").unwrap(), [0.75, 1.0, 1.5]);
        assert_eq!(*weights("[2, 0, 0.5]").unwrap(), [2.0, 0.0, 0.5]);
        assert_eq!(*weights("{ owl: 3 }").unwrap(), [1.0, 1.0, 3.0]);
        for (text, written) in [("balanced", "\"balanced\""), ("[1, 2.5]", "[1.0,2.5]"), ("{ 3: 2 }", "{\"3\":2.0}")] {
            let read = experiment(text).unwrap();
            let loss = serde_json::to_value(&read.train).unwrap()["loss"].to_string();
            assert_eq!(loss, format!("{{\"name\":\"cross_entropy\",\"class_weights\":{written}}}"));
            let again: Train = serde_json::from_str(&serde_json::to_string(&read.train).unwrap()).unwrap();
            assert_eq!(again, read.train);
        }
        let plain = experiment("~").unwrap();
        let json = serde_json::to_string(&plain.train).unwrap();
        assert!(!json.contains("\"loss\""), "{json}");
        assert_eq!(apply(&plain, "train.loss.class_weights=balanced").unwrap(), experiment("balanced").unwrap());
        assert_eq!(apply(&experiment("balanced").unwrap(), "train.loss.class_weights=null").unwrap(), plain);
    }

    #[test]
    fn mistakes_are_explained() {
        let read =
            ["balance", "2", "[1, -1]", "[1, .nan]", "[1, much]", "{ cat: 1e39 }", "{ cat: many }", "{ [a]: 1 }"]
                .map(|text| experiment(text).unwrap_err());
        let resolved = ["[1, 2]", "{ owls: 2 }", "{ zebra: 2 }", "[0, 1, 0]", "{ cat: 0, owl: 0 }"]
            .map(|text| weights(text).unwrap_err());
        let explained = read.into_iter().chain(resolved).map(|error| format!("{:?}", miette::Report::new(error)));
        insta::assert_snapshot!(explained.collect::<Vec<_>>().join("\n"));
    }
}
