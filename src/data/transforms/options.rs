//! The options of transforms: what they may be, and what they are.

use std::fmt;

/// An option of a transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformOption {
    /// As an experiment writes it.
    pub name: &'static str,
    /// What it may be.
    pub range: Range,
    /// Where an experiment gives none.
    pub default: Value,
    /// In one line.
    pub meaning: &'static str,
}

/// What an option may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// A number between both, which count.
    Number(f32, f32),
    /// A whole number between both, which count.
    Whole(u32, u32),
    /// A largest amount either way, or the least and the largest, as Keras' factors; no further than these. With
    /// `exclusive`, the ends themselves are out.
    Factor {
        /// Not below this.
        low: f32,
        /// Not above this.
        high: f32,
        /// Whether `low` and `high` themselves are out.
        exclusive: bool,
    },
    /// A least and a largest number between both, which count.
    Interval(f32, f32),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What an option is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Left out, where that means something of its own.
    None,
    /// A number.
    Number(f32),
    /// A whole number.
    Whole(u32),
    /// A least and a largest number; written as one number where they are opposites.
    Factor([f32; 2]),
    /// A least and a largest number.
    Interval([f32; 2]),
    /// One of the option's words.
    Word(&'static str),
}

impl TransformOption {
    /// A number between both ends, which count.
    pub const fn number(name: &'static str, range: [f32; 2], default: f32, meaning: &'static str) -> Self {
        Self { name, range: Range::Number(range[0], range[1]), default: Value::Number(default), meaning }
    }

    /// A whole number between both ends, which count.
    pub const fn whole(name: &'static str, range: [u32; 2], default: u32, meaning: &'static str) -> Self {
        Self { name, range: Range::Whole(range[0], range[1]), default: Value::Whole(default), meaning }
    }

    /// A least and a largest number between both ends.
    pub const fn interval(name: &'static str, range: [f32; 2], default: [f32; 2], meaning: &'static str) -> Self {
        Self { name, range: Range::Interval(range[0], range[1]), default: Value::Interval(default), meaning }
    }

    /// A factor between both ends.
    pub const fn factor(name: &'static str, range: [f32; 2], default: f32, meaning: &'static str) -> Self {
        let [low, high] = range;
        let default = Value::Factor([-default, default]);
        Self { name, range: Range::Factor { low, high, exclusive: false }, default, meaning }
    }

    /// One of some words.
    pub const fn word(
        name: &'static str,
        words: &'static [&'static str],
        default: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self { name, range: Range::Word(words), default: Value::Word(default), meaning }
    }

    /// With ends that the option may not be itself.
    pub const fn exclusive(self) -> Self {
        match self.range {
            Range::Factor { low, high, .. } => Self { range: Range::Factor { low, high, exclusive: true }, ..self },
            _ => self,
        }
    }

    /// That may be left out, which means something of its own.
    pub const fn optional(self) -> Self {
        Self { default: Value::None, ..self }
    }
}

/// As documentation has it, behind "is" or "must be".
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(low, high) => write!(f, "a number from {low} to {high}"),
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Factor { low, high, exclusive } => {
                let [below, between, and] =
                    if *exclusive { ["to below", "between", "and"] } else { ["to", "from", "to"] };
                let largest = high.min(-low);
                write!(f, "a number from 0 {below} {largest}, or [LEAST, LARGEST] {between} {low} {and} {high}")
            }
            Self::Interval(low, high) => write!(f, "[LEAST, LARGEST] from {low} to {high}"),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                match quoted.split_last() {
                    Some((last, rest)) if !rest.is_empty() => write!(f, "{} or {last}", rest.join(", ")),
                    _ => f.write_str(&quoted.concat()),
                }
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Number(value) => value.fmt(f),
            Self::Whole(value) => value.fmt(f),
            Self::Factor([low, high]) if *low == -high => high.fmt(f),
            Self::Factor([low, high]) | Self::Interval([low, high]) => write!(f, "[{low}, {high}]"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The options of one transform in a list.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    pub(super) options: &'static [TransformOption],
    /// One for each.
    pub(super) values: &'a [Value],
}

impl Options<'_> {
    /// # Panics
    /// Where the table has no such option.
    fn get(&self, name: &str) -> Value {
        let at = self.options.iter().position(|option| option.name == name);
        self.values[at.unwrap_or_else(|| panic!("the table has no option `{name}`"))]
    }

    /// A number.
    pub fn number(&self, name: &str) -> f32 {
        match self.get(name) {
            Value::Number(value) => value,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// A whole number.
    pub fn whole(&self, name: &str) -> u32 {
        match self.get(name) {
            Value::Whole(value) => value,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// The least and the largest of an interval.
    pub fn interval(&self, name: &str) -> [f32; 2] {
        match self.get(name) {
            Value::Interval(range) => range,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// A number that may be left out.
    pub fn number_if_any(&self, name: &str) -> Option<f32> {
        (self.get(name) != Value::None).then(|| self.number(name))
    }

    /// A whole number that may be left out.
    pub fn whole_if_any(&self, name: &str) -> Option<u32> {
        (self.get(name) != Value::None).then(|| self.whole(name))
    }

    /// The least and the largest of a factor, unless it is left out.
    pub fn factor(&self, name: &str) -> Option<[f32; 2]> {
        match self.get(name) {
            Value::Factor(range) => Some(range),
            Value::None => None,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// A word.
    pub fn word(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Word(word) => word,
            other => panic!("`{name}` is {other:?}"),
        }
    }
}
