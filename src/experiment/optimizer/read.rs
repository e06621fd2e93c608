//! Reading `train.optimizer`: keys as the table of rules has them, numbers as float32 has them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, Visitor},
};

use super::{KEYS, LARGEST, NAMES, OTHER_KEYS, OTHER_NAMES, Optimizer, Others, option, setting};
use crate::{
    experiment::read::HELP,
    graph::optimizers::{self, Decay, OPTIMIZERS, Pattern, Range, Rule},
};

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OthersKeys)
    }
}

struct OthersKeys;

impl<'de> Visitor<'de> for OthersKeys {
    type Value = Others;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("struct Others")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Others, A::Error> {
        let (mut rule, mut numbers, mut parameters) = (None, Vec::new(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => rule = Some(map.next_value_seed(Name { names: &OTHER_NAMES })?),
                "parameters" => parameters = map.next_value::<Vec<String>>()?.into_iter().map(Pattern::new).collect(),
                key => numbers.push(number(key, &mut map, &OTHER_KEYS)?),
            }
        }
        let mut optimizer = Optimizer::of(rule.unwrap_or(OPTIMIZERS[0]), rule.is_some());
        numbers.into_iter().for_each(|(name, value)| optimizer.set(name, value));
        Ok(Others { optimizer, parameters })
    }
}

/// The value of a number's key, which is one of `keys`.
fn number<'de, A: MapAccess<'de>>(
    key: &str,
    map: &mut A,
    keys: &'static [&'static str],
) -> Result<(&'static str, f32), A::Error> {
    let setting = setting(key).or_else(|| option(key)).filter(|setting| keys.contains(&setting.name));
    let Some(setting) = setting else { return Err(de::Error::unknown_field(key, keys)) };
    let value = match setting.range {
        Range::Flag => f32::from(u8::from(map.next_value::<bool>()?)),
        _ => map.next_value_seed(Float32)?,
    };
    Ok((setting.name, value))
}

impl<'de> Deserialize<'de> for Optimizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Optimizer;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("struct Optimizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Optimizer, A::Error> {
        let (mut rule, mut numbers, mut others) = (None, Vec::new(), None);
        let (mut decay, mut no_decay, mut rates) = (Decay::Scaled, Vec::new(), Vec::new());
        let (mut layer_decay, mut clip_norm) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => rule = Some(map.next_value_seed(Name { names: &NAMES })?),
                "decay" => decay = map.next_value_seed(DecayWord)?,
                "no_decay" => no_decay = map.next_value::<Vec<String>>()?.into_iter().map(Pattern::new).collect(),
                "rates" => rates = map.next_value_seed(RatesOf)?,
                "layer_decay" => layer_decay = Some(map.next_value_seed(Float32)?),
                "clip_norm" => clip_norm = Some(map.next_value_seed(Float32)?),
                "others" => others = Some(map.next_value()?),
                key => numbers.push(number(key, &mut map, &KEYS)?),
            }
        }
        let mut optimizer = Optimizer::of(rule.unwrap_or(OPTIMIZERS[0]), rule.is_some());
        numbers.into_iter().for_each(|(name, value)| optimizer.set(name, value));
        optimizer.rule = optimizers::Optimizer { decay, no_decay, rates, layer_decay, clip_norm, ..optimizer.rule };
        optimizer.others = others;
        Ok(optimizer)
    }
}

/// The name of a rule.
struct Name {
    /// Those that it may be.
    names: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = &'static Rule;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static Rule, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = optimizers::find(&name).filter(|rule| self.names.contains(&rule.name));
        found.ok_or_else(|| de::Error::unknown_variant(&name, self.names))
    }
}

struct DecayWord;

impl<'de> DeserializeSeed<'de> for DecayWord {
    type Value = Decay;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decay, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "scaled" => Ok(Decay::Scaled),
            "plain" => Ok(Decay::Plain),
            other => Err(de::Error::unknown_variant(other, &["scaled", "plain"])),
        }
    }
}

/// Multipliers by pattern, in the order of the file.
struct RatesOf;

impl<'de> DeserializeSeed<'de> for RatesOf {
    type Value = Vec<(Pattern, f32)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RatesOf {
    type Value = Vec<(Pattern, f32)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("multipliers by name, as `{ \"head/*\": 10 }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rates = Vec::new();
        while let Some(pattern) = map.next_key::<String>()? {
            rates.push((Pattern::new(pattern), map.next_value_seed(Float32)?));
        }
        Ok(rates)
    }
}

/// A number that float32 has: one that is too large for it would be infinite, one that is too small 0.
struct Float32;

impl<'de> DeserializeSeed<'de> for Float32 {
    type Value = f32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f32, D::Error> {
        deserializer.deserialize_f32(self)
    }
}

impl Visitor<'_> for Float32 {
    type Value = f32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f32, E> {
        Ok(value as f32)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f32, E> {
        Ok(value as f32)
    }

    fn visit_f32<E: de::Error>(self, value: f32) -> Result<f32, E> {
        Ok(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f32, E> {
        let outside = |help: &str| Err(E::custom(format!("{value:e} is outside of float32{HELP}{help}")));
        match value as f32 {
            single if single.is_infinite() && value.is_finite() => outside(LARGEST),
            0.0 if value != 0.0 => outside("its smallest number above 0 is 1.4e-45"),
            single => Ok(single),
        }
    }
}
