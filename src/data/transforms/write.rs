//! Writing an augmentation, as short as it can be.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::{Augmentation, FROM_EPOCH, Listed, Value};

impl Serialize for Augmentation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keys(keys) => keys.serialize(serializer),
            Self::List(list) => {
                let mut items = serializer.serialize_seq(Some(list.len()))?;
                for listed in list {
                    items.serialize_element(listed)?;
                }
                items.end()
            }
        }
    }
}

/// The name alone where all options have their defaults: a new option changes no text. Otherwise the name with a mapping.
impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Set<'a>(&'a Listed);
        impl Serialize for Set<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in set(self.0) {
                    map.serialize_entry(name, value)?;
                }
                if !self.0.later.is_empty() {
                    map.serialize_entry(FROM_EPOCH, &Later(self.0))?;
                }
                map.end()
            }
        }
        if set(self).next().is_none() && self.later.is_empty() {
            return serializer.serialize_str(self.kind.name);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.kind.name, &Set(self))?;
        map.end()
    }
}

/// What its options become, each time those that change; `false` where it is left out, and `true` where it comes back as it was.
struct Later<'a>(&'a Listed);

impl Serialize for Later<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Changed(Vec<(&'static str, Value)>);
        impl Serialize for Changed {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }
        let Self(listed) = self;
        let (mut map, mut last) = (serializer.serialize_map(None)?, &listed.values);
        for (epoch, values) in &listed.later {
            let Some(values) = values else {
                map.serialize_entry(epoch, &false)?;
                continue;
            };
            let options = listed.kind.options.iter().zip(values.iter().zip(last));
            let changed = options.filter(|(_, (value, last))| value != last);
            let changed: Vec<_> = changed.map(|(option, (value, _))| (option.name, *value)).collect();
            match changed.is_empty() {
                true => map.serialize_entry(epoch, &true)?,
                false => map.serialize_entry(epoch, &Changed(changed))?,
            }
            last = values;
        }
        map.end()
    }
}

/// The options that have not their defaults.
fn set(listed: &Listed) -> impl Iterator<Item = (&'static str, &Value)> {
    let options = listed.kind.options.iter().zip(&listed.values);
    options.filter(|(option, value)| option.default != **value).map(|(option, value)| (option.name, value))
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Number(value) => serializer.serialize_f32(*value),
            Self::Whole(value) => serializer.serialize_u32(*value),
            Self::Factor([low, high]) if *low == -high => serializer.serialize_f32(*high),
            Self::Factor(range) | Self::Interval(range) => range.serialize(serializer),
            Self::Word(word) => serializer.serialize_str(word),
        }
    }
}
