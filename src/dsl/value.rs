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
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A text, or a word such as `gelu`.
    Str(String),
    /// Values in order.
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

    /// The whole number that it is: 32 and 32.0 are.
    pub fn whole(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            // All whole numbers up to 2⁵³ are floats of their own; what is larger is none that is meant.
            Self::Float(number) if number.fract() == 0.0 && number.abs() <= 9e15 => Some(*number as i64),
            _ => None,
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
        let value = value.parse::<Self>().map_err(|error| {
            let first = error.problems().first().map_or("", super::Problem::message);
            let quoted = Self::Str(value.trim().trim_matches('"').to_owned());
            super::Problem::new("vitx::command_line", format!("`{text}` has no value that can be read: {first}"))
                .help(format!("a text is put in quotes: '{name}={quoted}'"))
        })?;
        Ok((name.trim().to_owned(), value))
    }

    /// Whether two values are the same, numbers as numbers: 0 is 0.0.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(whole), Self::Float(number)) | (Self::Float(number), Self::Int(whole)) => {
                *whole as f64 == *number
            }
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            _ => self == other,
        }
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
    /// As a person reads it, in one line: a string without its quotes, unless it would be something else without them.
    pub fn plain(&self) -> String {
        let Self::Str(text) = self else { return crate::printable::line(&self.to_string()).into_owned() };
        let number = text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && text.parse::<f64>().is_ok();
        let other = text.trim() != text || text.is_empty() || number || matches!(text.as_str(), "true" | "false");
        let shown = if other { self.to_string() } else { text.clone() };
        crate::printable::line(&shown).into_owned()
    }
}

/// Whether a text is a string without quotes: a word, or a path, which may begin with `/`, `./`, `../` or `~/`.
fn is_word(text: &str) -> bool {
    let path = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
    let hidden = text.strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    if path {
        return !text.contains(|c: char| c.is_control() || c == '"');
    }
    let word = |c: char| c.is_alphanumeric() || "_-./~+@:=%#".contains(c);
    let named = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    matches!(text, "." | ".." | "~") || (named || hidden) && text.chars().all(word)
}

impl FromStr for Value {
    type Err = Diagnostics;

    /// Reads a literal: `8`, `1e-3`, `true`, `"gelu"`, `[128, 64]`; any other single word, a path, or a layer with its
    /// arguments, `layer_norm(1e-3)`, is a string.
    fn from_str(text: &str) -> Result<Self, Diagnostics> {
        let text = text.trim();
        if is_word(text) && !matches!(text, "true" | "false") {
            return Ok(Self::Str(text.to_owned()));
        }
        if text.ends_with(')') && parse::parse_layer(text).is_some() {
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
    fn paths_and_words_of_any_letters_are_strings() {
        for text in ["/data/a", "./x", "../a b/c", "~/a", "größe", "日本", "a:b", "x=1", ".hidden", "..", "v1.2-rc#3"]
        {
            assert_eq!(text.parse::<Value>().unwrap(), Value::Str(text.into()), "{text}");
        }
        for text in ["a b", "2nd", "'a'", "a\"b", ".5x", "a,b"] {
            assert!(text.parse::<Value>().is_err(), "{text}");
        }
        let error = Value::parse_assignment("tag=a b").unwrap_err();
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert_eq!(help, "a text is put in quotes: 'tag=\"a b\"'");
        assert!(error.to_string().starts_with("`tag=a b` has no value that can be read: "), "{error}");
    }

    #[test]
    fn numbers_are_the_same_as_numbers() {
        let value = |text: &str| text.parse::<Value>().unwrap();
        for (a, b) in [("0", "0.0"), ("-3.0", "-3"), ("[1, [2.0]]", "[1.0, [2]]"), ("a", "a")] {
            assert!(value(a).same(&value(b)), "{a} {b}");
        }
        for (a, b) in [("0", "0.1"), ("1", "true"), ("\"1\"", "1"), ("[1]", "[1, 1]")] {
            assert!(!value(a).same(&value(b)), "{a} {b}");
        }
    }

    #[test]
    fn plain_strings_are_not_taken_for_anything_else() {
        let plain = |text: &str| Value::Str(text.into()).plain();
        let all = ["", "a", " a", "4", "1e-3", "true", "a\nb", "\u{1b}[31m", "inf", "nan", "..", "-x"].map(plain);
        let expected =
            ["\"\"", "a", "\" a\"", "\"4\"", "\"1e-3\"", "\"true\"", "a\\nb", "\\u001b[31m", "inf", "nan", "..", "-x"];
        assert_eq!(all, expected);
    }

    #[test]
    fn yaml_values_keep_their_kind() {
        let values: Vec<Value> = serde_json::from_str("[1, 1.5, true, \"x\", [2, 3]]").unwrap();
        let kinds: Vec<_> = values.iter().map(Value::kind).collect();
        assert_eq!(kinds, ["a whole number", "a number", "a truth value", "a string", "a list"]);
    }
}
