//! The value of an option, held to its range.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::HELP;
use crate::{
    data::transforms::{Range, TransformOption, Value},
    dsl::nearest,
};

/// The value of an option.
pub(super) struct Of<'a>(pub &'a TransformOption);

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
