//! Reading and writing an augmentation, in the two forms that an experiment's file may have it. Mistakes are found where
//! the value is read, so that the reader of the file knows its place.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
    ser::{SerializeMap, SerializeSeq},
};

use super::{Augmentation, Keys, Listed, Range, TRANSFORMS, TransformKind, TransformOption, Value, mixing};
use crate::dsl::nearest;

/// Stands between a message of ours and its help, which serde passes on as one text.
pub const HELP: char = '\u{1f}';

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

/// The key of a transform's options from an epoch on.
pub const FROM_EPOCH: &str = "from_epoch";

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

impl<'de> Deserialize<'de> for Augmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Augmentation;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of transforms, as [random_flip, random_rotation: 0.02]")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Augmentation, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map)).map(Augmentation::Keys).map_err(|error| {
                    let message = error.to_string();
                    let unknown = message.split('`').nth(1).filter(|_| message.contains("unknown field"));
                    match unknown.and_then(find) {
                        Some(kind) => A::Error::custom(format!(
                            "`{0}` stands in a list{HELP}e.g. `augmentation: [random_flip, {0}]`",
                            kind.name
                        )),
                        None => error,
                    }
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Augmentation, A::Error> {
                let mut list: Vec<Listed> = Vec::new();
                while let Some(listed) = items.next_element_seed(Item(&list))? {
                    list.extend(listed);
                    if let Some(fault) = fault_of_mixing(&list) {
                        return Err(A::Error::custom(fault));
                    }
                }
                // Nothing is nothing, in either form.
                Ok(if list.is_empty() { Augmentation::default() } else { Augmentation::List(list) })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What is wrong with the last of a list, beside others that mix batches.
fn fault_of_mixing(list: &[Listed]) -> Option<String> {
    let last = list.last()?;
    let first = list.iter().find(|listed| listed.mixing().is_some())?.kind.name;
    if last.mixing().is_none() {
        let help = format!("all else is done to an image alone: `{}` stands before `{first}`", last.kind.name);
        return Some(format!("`{}` stands behind `{first}`, which mixes images{HELP}{help}", last.kind.name));
    }
    let changes = list.iter().flat_map(|listed| &listed.later).map(|(epoch, _)| *epoch);
    let fault = [0]
        .into_iter()
        .chain(changes)
        .find_map(|epoch| mixing::fault(list.iter().filter_map(|listed| listed.mixing_in(epoch))))?;
    Some(format!("{fault}{HELP}e.g. `mixup: {{ probability: 0.5 }}` and `cutmix: {{ probability: 0.5 }}`"))
}

fn find(name: &str) -> Option<&'static TransformKind> {
    TRANSFORMS.iter().find(|kind| kind.name == name).copied()
}

/// A transform by its name, which must not stand in the list yet.
fn named<E: Error>(name: &str, before: &[Listed]) -> Result<&'static TransformKind, E> {
    let Some(kind) = find(name) else {
        let names = || TRANSFORMS.iter().map(|kind| kind.name);
        let known: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        let old = ["flip", "rotation", "zoom"].contains(&name).then(|| format!("random_{name}"));
        let near = old.or_else(|| nearest(name, names()).map(str::to_owned));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        return Err(E::custom(format!("unknown transform `{name}`{HELP}{help}")));
    };
    if before.iter().any(|listed| listed.kind.name == name) {
        let help = format!("leave one of them out; options stand with the name, as `{}`", example(kind));
        return Err(E::custom(format!("`{name}` stands there twice{HELP}{help}")));
    }
    Ok(kind)
}

/// A transform with its first option.
fn example(kind: &TransformKind) -> String {
    match kind.options.first() {
        Some(option) => format!("{}: {{ {}: {} }}", kind.name, option.name, option.default),
        None => kind.name.to_owned(),
    }
}

/// A transform of a list behind others; none where it is switched off.
struct Item<'a>(&'a [Listed]);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = Option<Listed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = Option<Listed>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a transform, or a name with options")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        named(name, self.0).map(|kind| Some(Listed::new(kind)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some(kind) = map.next_key_seed(Name(self.0))? else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        let listed = map.next_value_seed(OptionsOf(kind))?;
        if let Some(name) = map.next_key::<String>()? {
            let help = match kind.options.iter().any(|option| option.name == name) {
                true => format!("options stand below the name, further in: `{}: {{ {name}: .. }}`", kind.name),
                false => "each transform stands by itself, behind a `-` or between commas".to_owned(),
            };
            return Err(A::Error::custom(format!("`{name}` stands beside `{}`{HELP}{help}", kind.name)));
        }
        if let Some(Err(message)) = listed.as_ref().map(Listed::build_later) {
            return Err(A::Error::custom(format!("`{}`: {message}", kind.name)));
        }
        Ok(listed)
    }
}

struct Name<'a>(&'a [Listed]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = &'static TransformKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = &'static TransformKind;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a transform")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        named(name, self.0)
    }
}

/// What stands behind the name of a transform: its options, the value of its first one, or whether it is used.
struct OptionsOf(&'static TransformKind);

impl OptionsOf {
    /// The value of the first option alone.
    fn first<'de, D: Deserializer<'de>>(&self, value: D) -> Result<Option<Listed>, D::Error> {
        let Self(kind) = self;
        let Some(option) = kind.options.first() else {
            let help = format!("its name alone: `{}`", kind.name);
            return Err(D::Error::custom(format!("`{}` has no options{HELP}{help}", kind.name)));
        };
        let mut listed = Listed::new(kind);
        listed.values[0] = Of(option).deserialize(value)?;
        Ok(Some(listed))
    }
}

impl<'de> DeserializeSeed<'de> for OptionsOf {
    type Value = Option<Listed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OptionsOf {
    type Value = Option<Listed>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "options, as `{}`", example(self.0))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Listed::new(self.0)))
    }

    fn visit_bool<E: Error>(self, used: bool) -> Result<Self::Value, E> {
        Ok(used.then(|| Listed::new(self.0)))
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
        let (mut listed, mut changes) = (Listed::new(kind), Vec::new());
        while let Some(key) = map.next_key_seed(OptionName(kind))? {
            match key {
                Some(at) => listed.values[at] = map.next_value_seed(Of(&kind.options[at]))?,
                None => changes = map.next_value_seed(Changes(kind))?,
            }
        }
        // Each change is one of what was before it.
        let mut last = listed.values.clone();
        for (epoch, change) in changes {
            let Some(change) = change else {
                listed.later.push((epoch, None));
                continue;
            };
            change.into_iter().for_each(|(at, value)| last[at] = value);
            listed.later.push((epoch, Some(last.clone())));
        }
        Ok(Some(listed))
    }
}

/// What changes of a transform, and from which epoch on: places of options with their new values, or none at all.
type Change = (u32, Option<Vec<(usize, Value)>>);

/// What stands with `from_epoch`.
struct Changes(&'static TransformKind);

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

/// The value of an option.
struct Of<'a>(&'a TransformOption);

impl Of<'_> {
    fn refused<E: Error>(&self, found: &dyn fmt::Display) -> E {
        let Self(option) = self;
        E::custom(format!("`{}` is {found}, must be {}", option.name, option.range))
    }

    fn number<E: Error>(&self, value: f64) -> Result<Value, E> {
        let (given, single) = (value, value as f32);
        let value = match self.0.range {
            Range::Number(low, high) if (low..=high).contains(&single) => Some(Value::Number(single)),
            Range::Whole(low, high) if value.fract() == 0.0 && (f64::from(low)..=f64::from(high)).contains(&value) => {
                Some(Value::Whole(value as u32))
            }
            Range::Factor { .. } if single >= 0.0 => self.factor([-single, single]),
            _ => None,
        };
        value.ok_or_else(|| self.refused(&given))
    }

    /// Of two numbers in a list.
    fn pair(&self, ends: [f32; 2]) -> Option<Value> {
        match self.0.range {
            Range::Interval(low, high) => {
                let fits = ends.iter().all(|end| (low..=high).contains(end)) && ends[0] <= ends[1];
                fits.then_some(Value::Interval(ends))
            }
            _ => self.factor(ends),
        }
    }

    fn factor(&self, [least, largest]: [f32; 2]) -> Option<Value> {
        let Range::Factor { low, high, exclusive } = self.0.range else { return None };
        let inside = |end: f32| if exclusive { low < end && end < high } else { (low..=high).contains(&end) };
        (inside(least) && inside(largest) && least <= largest).then_some(Value::Factor([least, largest]))
    }
}

impl<'de> DeserializeSeed<'de> for Of<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Of<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.0.range)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        match self.0.default {
            Value::None => Ok(Value::None),
            _ => Err(self.refused(&"nothing")),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Err(self.refused(&value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.number(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        let Range::Word(words) = self.0.range else { return Err(self.refused(&format!("`{text}`"))) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Value::Word(word)),
            None => {
                let help = nearest(text, words.iter().copied()).map(|near| format!("{HELP}did you mean `{near}`?"));
                let Self(option) = self;
                let message = format!("`{}` is `{text}`, must be {}", option.name, option.range);
                Err(E::custom(message + &help.unwrap_or_default()))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        if !matches!(self.0.range, Range::Factor { .. } | Range::Interval(..)) {
            return Err(self.refused(&"a list"));
        }
        let mut ends: Vec<f32> = Vec::new();
        while let Some(end) = items.next_element::<f32>()? {
            ends.push(end);
        }
        let whole: Result<[f32; 2], _> = ends.clone().try_into();
        match whole.ok().and_then(|ends| self.pair(ends)) {
            Some(value) => Ok(value),
            None => {
                let ends: Vec<String> = ends.iter().map(ToString::to_string).collect();
                Err(self.refused(&format!("[{}]", ends.join(", "))))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Err(self.refused(&"keys with values"))
    }
}
