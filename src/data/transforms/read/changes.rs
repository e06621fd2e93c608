//! What stands with `from_epoch`: options by epoch.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};

use super::{
    FROM_EPOCH, HELP,
    given::{Given, Options},
};
use crate::data::transforms::TransformKind;

/// What changes of a transform, and from which epoch on; none where it is switched off.
pub(super) type Change = (u32, Option<Options>);

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
            let change = map.next_value_seed(Given::in_epoch(self.0))?;
            changes.push((epoch, change.map(|(options, _)| options)));
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
