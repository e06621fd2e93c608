use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

use super::{Diagnostics, Source, parse};

/// A value of the language: what parameters and arguments hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    List(Vec<Value>),
}

impl Value {
    /// What a diagnostic calls the kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::Str(_) => "a string",
            Self::List(_) => "a list",
        }
    }

    /// Number of items of a list, those of the lists in it counted; 0 of anything else.
    pub fn items(&self) -> usize {
        match self {
            Self::List(values) => values.iter().map(|value| 1 + value.items()).sum(),
            _ => 0,
        }
    }

    /// How deep lists are nested in it; 0 for what is no list.
    pub fn depth(&self) -> usize {
        match self {
            Self::List(values) => 1 + values.iter().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Splits `name=value` and reads the value, as given on a command line. A word that is no
    /// other literal is a string: `activation=gelu`.
    pub fn parse_assignment(text: &str) -> Result<(String, Self), Diagnostics> {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            super::Problem::new("vitx::command_line", format!("`{text}` is not of the form name=value"))
        })?;
        Ok((name.trim().to_owned(), value.parse()?))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

fn too_large<E: Error>(value: impl fmt::Display) -> E {
    E::custom(format!("{value} is too large: whole numbers go up to {}", i64::MAX))
}

/// Rather than serde's derived one, which says neither what was found nor what was expected.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, `true` or `false`, a text, or a list of these")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| too_large(value))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Err(too_large(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Err(too_large(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() { Ok(Value::Float(value)) } else { Err(E::custom(format!("{value} is no finite number"))) }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }
}

impl Value {
    /// As a person reads it: a string without its quotes.
    pub fn plain(&self) -> String {
        match self {
            Self::Str(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl FromStr for Value {
    type Err = Diagnostics;

    /// Reads a literal: `8`, `1e-3`, `true`, `"gelu"`, `[128, 64]`; any other single word is a string.
    fn from_str(text: &str) -> Result<Self, Diagnostics> {
        let text = text.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        let begins_word = |c: char| c.is_ascii_alphabetic() || c == '_';
        if text.starts_with(begins_word) && text.chars().all(word) && !matches!(text, "true" | "false") {
            return Ok(Self::Str(text.to_owned()));
        }
        parse::parse_value(&Source::new("<value>", text))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            // The debug form keeps `1.0` a float and writes `1e-6` short.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Str(value) => {
                f.write_str("\"")?;
                for c in value.chars() {
                    match c {
                        '"' => f.write_str("\\\"")?,
                        '\\' => f.write_str("\\\\")?,
                        '\n' => f.write_str("\\n")?,
                        '\t' => f.write_str("\\t")?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn literals_survive_display_and_parse() {
        for text in ["8", "-3", "0.5", "1e-6", "true", "\"a \\\"b\\\"\"", "[128, 64]", "[]", "[[1], 2.0]"] {
            let value: Value = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(value.to_string(), text);
        }
        assert_eq!(Value::parse_assignment("a=gelu").unwrap(), ("a".into(), Value::Str("gelu".into())));
        assert!("8 9".parse::<Value>().is_err());
        assert!("".parse::<Value>().is_err());
        assert!(Value::parse_assignment("depth").is_err());
    }

    #[test]
    fn yaml_values_keep_their_kind() {
        let values: Vec<Value> = serde_json::from_str("[1, 1.5, true, \"x\", [2, 3]]").unwrap();
        let kinds: Vec<_> = values.iter().map(Value::kind).collect();
        assert_eq!(kinds, ["a whole number", "a number", "a truth value", "a string", "a list"]);
    }
}
