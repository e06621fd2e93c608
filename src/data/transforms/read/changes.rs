//! What stands with `from_epoch`: options by epoch.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{FROM_EPOCH, HELP, OptionName, option::Of};
use crate::data::transforms::{TransformKind, Value};

/// What changes of a transform, and from which epoch on: places of options with their new values, or none at all.
pub(super) type Change = (u32, Option<Vec<(usize, Value)>>);

/// What stands with `from_epoch`.
pub(super) struct Changes(pub &'static TransformKind);

impl<'de> DeserializeSeed<'de> for Changes {
    type Value = Vec<Change>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Changes {
    type Value = Vec<Change>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0.options.first() {
            Some(option) => write!(f, "options by epoch, as `{{ 50: {{ {}: {} }} }}`", option.name, option.default),
            None => f.write_str("whether it is used by epoch, as `{ 50: false }`"),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut changes: Vec<Change> = Vec::new();
        while let Some(epoch) = map.next_key_seed(EpochKey)? {
            changes.push((epoch, map.next_value_seed(ChangeOf(self.0))?));
        }
        changes.sort_by_key(|(epoch, _)| *epoch);
        match changes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(A::Error::custom(format!("epoch {} stands there twice", pair[0].0))),
            None => Ok(changes),
        }
    }
}

/// An epoch as a key: a number, or a text of one.
struct EpochKey;

impl EpochKey {
    fn of<E: Error>(epoch: Option<u32>, given: &dyn fmt::Display) -> Result<u32, E> {
        epoch.filter(|epoch| *epoch > 0).ok_or_else(|| {
            let help = "epoch 0 is what stands with the name itself; `{ 50: .. }` is from the 51st epoch on";
            E::custom(format!("`{FROM_EPOCH}` has {given}, must be an epoch from 1{HELP}{help}"))
        })
    }
}

impl<'de> DeserializeSeed<'de> for EpochKey {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for EpochKey {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an epoch from 1")
    }

    fn visit_u64<E: Error>(self, epoch: u64) -> Result<u32, E> {
        Self::of(u32::try_from(epoch).ok(), &epoch)
    }

    fn visit_i64<E: Error>(self, epoch: i64) -> Result<u32, E> {
        Self::of(u32::try_from(epoch).ok(), &epoch)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
        Self::of(text.parse().ok(), &format!("`{text}`"))
    }
}

/// What changes in one epoch.
struct ChangeOf(&'static TransformKind);

impl ChangeOf {
    /// The first option alone.
    fn first<'de, D: Deserializer<'de>>(&self, value: D) -> Result<Option<Vec<(usize, Value)>>, D::Error> {
        match self.0.options.first() {
            Some(option) => Ok(Some(vec![(0, Of(option).deserialize(value)?)])),
            None => Err(D::Error::custom(format!("`{}` has no options", self.0.name))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ChangeOf {
    type Value = Option<Vec<(usize, Value)>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ChangeOf {
    type Value = Option<Vec<(usize, Value)>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "options of `{}`, or `false`", self.0.name)
    }

    fn visit_bool<E: Error>(self, used: bool) -> Result<Self::Value, E> {
        Ok(used.then(Vec::new))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.first(serde::de::value::I64Deserializer::new(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.first(serde::de::value::U64Deserializer::new(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.first(serde::de::value::F64Deserializer::new(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.first(serde::de::value::StrDeserializer::new(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.first(SeqAccessDeserializer::new(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(kind) = self;
        let mut change = Vec::new();
        while let Some(key) = map.next_key_seed(OptionName(kind))? {
            let Some(at) = key else {
                let help = "each epoch stands beside the others";
                return Err(A::Error::custom(format!("`{FROM_EPOCH}` stands in itself{HELP}{help}")));
            };
            change.push((at, map.next_value_seed(Of(&kind.options[at]))?));
        }
        Ok(Some(change))
    }
}
