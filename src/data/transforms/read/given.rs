//! Options of a transform as they stand with its name, or with an epoch: by name, the value of the first alone, or whether it
//! is used.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{F64Deserializer, I64Deserializer, SeqAccessDeserializer, StrDeserializer, U64Deserializer},
    },
};

use super::{
    FROM_EPOCH, HELP,
    changes::{Change, Changes},
    example,
    option::Of,
};
use crate::data::transforms::{TransformKind, Value};

/// Places of options with their values, in the order of the text.
pub(super) type Options = Vec<(usize, Value)>;

/// Reads what stands behind a name or an epoch.
#[derive(Clone, Copy)]
pub(super) struct Given {
    kind: &'static TransformKind,
    /// Behind an epoch, where no further epochs stand.
    in_epoch: bool,
}

/// The options and what changes of them later; none where the transform is switched off.
type Said = Option<(Options, Vec<Change>)>;

impl Given {
    pub fn with_name(kind: &'static TransformKind) -> Self {
        Self { kind, in_epoch: false }
    }

    pub fn in_epoch(kind: &'static TransformKind) -> Self {
        Self { kind, in_epoch: true }
    }

    /// The value of the first option alone.
    fn first<'de, D: Deserializer<'de>>(self, value: D) -> Result<Said, D::Error> {
        let name = self.kind.name;
        match self.kind.options.first() {
            Some(option) => Ok(Some((vec![(0, Of(option).deserialize(value)?)], Vec::new()))),
            None if self.in_epoch => Err(D::Error::custom(format!("`{name}` has no options"))),
            None => Err(D::Error::custom(format!("`{name}` has no options{HELP}its name alone: `{name}`"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Given {
    type Value = Said;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Said, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Given {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.in_epoch {
            true => write!(f, "options of `{}`, or `false`", self.kind.name),
            false => write!(f, "options, as `{}`", example(self.kind)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Said, E> {
        match self.in_epoch {
            true => Err(E::invalid_type(Unexpected::Unit, &self)),
            false => self.visit_bool(true),
        }
    }

    fn visit_bool<E: Error>(self, used: bool) -> Result<Said, E> {
        Ok(used.then(Default::default))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Said, E> {
        self.first(I64Deserializer::new(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Said, E> {
        self.first(U64Deserializer::new(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Said, E> {
        self.first(F64Deserializer::new(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Said, E> {
        self.first(StrDeserializer::new(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Said, A::Error> {
        self.first(SeqAccessDeserializer::new(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let Self { kind, in_epoch } = self;
        let (mut options, mut changes) = (Vec::new(), Vec::new());
        while let Some(key) = map.next_key_seed(OptionName(kind))? {
            match key {
                Some(at) => options.push((at, map.next_value_seed(Of(&kind.options[at]))?)),
                None if in_epoch => {
                    let help = "each epoch stands beside the others";
                    return Err(A::Error::custom(format!("`{FROM_EPOCH}` stands in itself{HELP}{help}")));
                }
                None => changes = map.next_value_seed(Changes(kind))?,
            }
        }
        Ok(Some((options, changes)))
    }
}

/// The place of an option in its transform's, by its name; none of `from_epoch`.
struct OptionName(&'static TransformKind);

impl<'de> DeserializeSeed<'de> for OptionName {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OptionName {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the name of an option of `{}`", self.0.name)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let Self(kind) = self;
        if name == FROM_EPOCH {
            return Ok(None);
        }
        kind.options.iter().position(|option| option.name == name).map(Some).ok_or_else(|| {
            let names = kind.options.iter().map(|option| option.name).chain([FROM_EPOCH]);
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            E::custom(format!("unknown field `{name}`, expected one of {}", names.join(", ")))
        })
    }
}
