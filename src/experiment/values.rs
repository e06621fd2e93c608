//! What an experiment says of the values of a swept key, in whatever form it says so.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::read::HELP;
use crate::dsl::Value;

/// The values of one swept key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Each value as it is.
    List(Vec<Value>),
    /// As for `--param`: `4..=8:2`.
    Text(String),
    /// A single number or truth value.
    One(Value),
}

/// One text, or several that all count.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

impl OneOrMany {
    /// Every text.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Conditions;
        impl<'de> Visitor<'de> for Conditions {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a condition such as `train.schedule.kind=cosine`, or a list of such texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Conditions)
    }
}

/// Reads the values of the key of this name.
struct Of<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Of<'_> {
    type Value = Values;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Values, D::Error> {
        deserializer.deserialize_any(self)
    }
}

const EXPECTED: &str = "expected a list or a text such as 4..=8:2";

impl<'de> Visitor<'de> for Of<'_> {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list or a text such as 4..=8:2")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Values, E> {
        Ok(Values::One(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Values, E> {
        Ok(Values::One(Value::Int(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Values, E> {
        let value = i64::try_from(value).map_err(|_| E::custom(format!("{value} is too large")))?;
        Ok(Values::One(Value::Int(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Values, E> {
        match value.is_finite() {
            true => Ok(Values::One(Value::Float(value))),
            false => Err(E::custom(format!("{value} is no finite number"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values::Text(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Values, E> {
        let Self(key) = self;
        Err(E::custom(format!("`{key}` has no values; {EXPECTED}{HELP}e.g. `{key}: [4, 8]`")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(Values::List(values))
    }

    /// What other tools have as values: the words tell which of theirs it is.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
        let Self(key) = self;
        let mut entries: Vec<(String, serde_yaml::Value)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        let find = |names: &[&str]| {
            let found = entries.iter().find(|(name, _)| names.contains(&name.as_str()));
            found.map(|(_, value)| value)
        };
        let listed = find(&["values", "value", "choices", "options", "grid"]);
        let low = find(&["min", "low", "lower", "from", "start"]);
        let high = find(&["max", "high", "upper", "to", "stop", "end"]);
        let help = match (listed, low, high) {
            (Some(values), ..) => format!("the list itself: `{key}: {}`", flow(values)),
            (_, Some(low), Some(high)) => {
                let logarithmic = find(&["distribution", "type", "scale", "log"])
                    .is_some_and(|kind| flow(kind).contains("log") || kind.as_bool() == Some(true));
                let whole = [low, high].iter().all(|end| end.is_i64() || end.is_u64());
                let (low, high) = (flow(low), flow(high));
                match (logarithmic, whole) {
                    (true, _) => format!("for a search `{key}: loguniform({low}, {high})`"),
                    (_, true) => {
                        format!("all of them: `{key}: {low}..={high}`; for a search `{key}: int({low}, {high})`")
                    }
                    _ => format!("for a search `{key}: uniform({low}, {high})`"),
                }
            }
            _ => match entries.first() {
                Some((inner, values)) => format!("dotted keys: `{key}.{inner}: {}`", flow(values)),
                None => format!("e.g. `{key}: [4, 8]`"),
            },
        };
        Err(A::Error::custom(format!("`{key}` has keys of its own; {EXPECTED}{HELP}{help}")))
    }
}

/// In one line, as far as it has one.
fn flow(value: &serde_yaml::Value) -> String {
    let number = |value: &serde_yaml::Value| value.as_f64().filter(|_| value.is_f64());
    match value {
        serde_yaml::Value::Sequence(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        serde_yaml::Value::Mapping(_) => "...".into(),
        value if number(value).is_some() => format!("{:?}", number(value).unwrap_or_default()),
        value => serde_yaml::to_string(value).unwrap_or_default().trim().to_owned(),
    }
}

/// A mapping that keeps its order.
pub mod ordered {
    use serde::Serializer;

    use super::*;

    type Pairs = Vec<(String, Values)>;

    pub fn serialize<S: Serializer>(pairs: &Pairs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, values)| (key, values)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("keys with their values, as `depth: [2, 4]`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs::new();
                while let Some(key) = map.next_key::<String>()? {
                    let values = map.next_value_seed(Of(&key))?;
                    pairs.push((key, values));
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
