//! Reading an augmentation, in the two forms that an experiment's file may have it. Mistakes are found where
//! the value is read, so that the reader of the file knows its place.

mod changes;
mod given;
mod option;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use self::{
    changes::Change,
    given::{Given, Options},
};
use super::{Augmentation, Keys, Listed, TRANSFORMS, TransformKind, mixing};
use crate::dsl::nearest;

/// Stands between a message of ours and its help, which serde passes on as one text.
pub const HELP: char = '\u{1f}';

/// The key of a transform's options from an epoch on.
pub const FROM_EPOCH: &str = "from_epoch";

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
        let given = map.next_value_seed(Given::with_name(kind))?;
        let listed = given.map(|(options, changes)| listed(kind, options, changes));
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

/// A transform with what its name is given.
fn listed(kind: &'static TransformKind, options: Options, changes: Vec<Change>) -> Listed {
    let mut listed = Listed::new(kind);
    options.into_iter().for_each(|(at, value)| listed.values[at] = value);
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
    listed
}
