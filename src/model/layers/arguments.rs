use std::collections::BTreeMap;

use super::{
    Misfit,
    initializers::{self, Start},
};
use crate::dsl::Value;

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number, at least 1.
    Size,
    /// A whole number, at least 0.
    Index,
    /// A whole number.
    Int,
    /// Whole numbers, each at least 1; a single one stands for a list of one.
    Sizes,
    /// Whole numbers, each at least 1, but that one may be -1, which stands for what remains.
    Shape,
    /// A whole number, at least 1, or two of them: height and width.
    Extent,
    /// Whole numbers, each at least 0; a single one stands for a list of one.
    Indices,
    /// Whole numbers of either sign; a single one stands for a list of one.
    Ints,
    /// Axes, as whole numbers of either sign, or the word `first`.
    Axes,
    /// At least 0 and less than 1.
    Rate,
    /// A number greater than 0.
    Positive,
    /// Any number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `same`, `valid`, or how many zeros on each side: a whole number, or two for height and width.
    Padding,
    /// One of these words, quoted or not.
    Choice(&'static [&'static str]),
    /// How kernels start: `zeros`, `truncated_normal(0.02)`. One that is not given is no part of what is listed.
    Initializer,
}

/// What stands for an argument that a call leaves out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// Nothing: the argument must be given.
    Required,
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// One of the argument's words.
    Word(&'static str),
    /// The value of an earlier argument.
    Same(&'static str),
}

/// An argument of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Argument {
    /// As calls name it.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What stands for it where a call leaves it out.
    pub default: Default,
    /// Where it is not given, it is no part of what is listed of an instance.
    pub rare: bool,
}

impl Argument {
    /// An argument that every call must give.
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: Default::Required, rare: false }
    }

    /// An argument that a call may leave out.
    pub const fn optional(name: &'static str, kind: Kind, default: Default) -> Self {
        Self { name, kind, default, rare: false }
    }

    /// An argument that few calls have.
    pub const fn rare(name: &'static str, kind: Kind, default: Default) -> Self {
        Self { name, kind, default, rare: true }
    }
}

impl Kind {
    /// What a diagnostic says was expected.
    pub fn expected(self) -> String {
        match self {
            Self::Size => "a whole number, at least 1".into(),
            Self::Index => "a whole number, at least 0".into(),
            Self::Int => "a whole number".into(),
            Self::Sizes => "a list of whole numbers, each at least 1".into(),
            Self::Shape => "a list of whole numbers, each at least 1; one may be -1, for what remains".into(),
            Self::Extent => "a whole number, at least 1, or a list of two: [height, width]".into(),
            Self::Indices => "a list of whole numbers, each at least 0".into(),
            Self::Ints => "a whole number, or a list of them".into(),
            Self::Axes => "an axis, or a list of axes: whole numbers, negative ones from the last".into(),
            Self::Rate => "a number from 0 up to, but not including, 1".into(),
            Self::Positive => "a number greater than 0".into(),
            Self::Number => "a number".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Padding => "`same`, `valid`, a whole number, or two in a list".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Initializer => format!("one of {}", initializers::names()),
        }
    }

    /// The words that it may be, quoted or not.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Choice(words) => words,
            Self::Padding => &["same", "valid"],
            Self::Axes => &["first"],
            _ => &[],
        }
    }

    /// As [`Kind::expected`], with the bound that a value passes.
    pub fn wanted(self, value: &Value) -> String {
        let too_many = |value: &Value| value.whole().is_some_and(|number| number > i64::from(u32::MAX));
        let outside = |number: f64| !(number as f32).is_finite() || number > 0.0 && number as f32 == 0.0;
        match (self, value) {
            (Self::Sizes | Self::Shape | Self::Ints | Self::Axes, Value::List(values)) if values.is_empty() => {
                "a list of one whole number at least".into()
            }
            (Self::Sizes | Self::Shape | Self::Indices, Value::List(values)) if values.iter().any(too_many) => {
                format!("whole numbers, at most {}", u32::MAX)
            }
            (Self::Size | Self::Index | Self::Int | Self::Sizes | Self::Shape | Self::Extent, value)
                if too_many(value) =>
            {
                format!("a whole number, at most {}", u32::MAX)
            }
            (Self::Positive | Self::Number, Value::Float(number)) if outside(*number) => {
                format!("{}: a float32 does not hold this one", self.expected())
            }
            (Self::Initializer, Value::Str(text)) => Start::of(text).err().unwrap_or_else(|| self.expected()),
            _ => self.expected(),
        }
    }

    /// The value as a layer takes it, or `None` where it is not of this kind. A float that is whole is
    /// a whole number.
    pub fn check(self, value: &Value) -> Option<Value> {
        let most = i64::from(u32::MAX);
        let int_from =
            |least: i64| move |value: &Value| value.whole().filter(|n| *n >= least && *n <= most).map(Value::Int);
        let list_of =
            |least: i64, values: &[Value]| values.iter().map(int_from(least)).collect::<Option<_>>().map(Value::List);
        let number = || match value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        let fits = match (self, value) {
            (Self::Size, value) => return int_from(1)(value),
            (Self::Index, value) => return int_from(0)(value),
            (Self::Int, value) => return int_from(-most)(value),
            (Self::Sizes, Value::List(values)) => return list_of(1, values).filter(|_| !values.is_empty()),
            (Self::Sizes, value) => return int_from(1)(value).map(|only| Value::List(vec![only])),
            (Self::Shape, Value::List(values)) => {
                let rest = values.iter().filter(|value| value.whole() == Some(-1)).count();
                let fits = |value: &Value| int_from(1)(value).or((value.whole() == Some(-1)).then_some(Value::Int(-1)));
                let checked = values.iter().map(fits).collect::<Option<_>>().map(Value::List);
                return checked.filter(|_| !values.is_empty() && rest <= 1);
            }
            (Self::Extent, Value::List(values)) => return list_of(1, values).filter(|_| values.len() == 2),
            (Self::Extent, value) => return int_from(1)(value),
            (Self::Shape, value) => return int_from(1)(value).map(|only| Value::List(vec![only])),
            (Self::Indices, Value::List(values)) => return list_of(0, values),
            (Self::Indices, value) => return int_from(0)(value).map(|only| Value::List(vec![only])),
            (Self::Axes, Value::Str(word)) => word == "first",
            (Self::Ints | Self::Axes, Value::List(values)) => {
                return list_of(-most, values).filter(|_| !values.is_empty());
            }
            (Self::Ints | Self::Axes, value) => return int_from(-most)(value).map(|only| Value::List(vec![only])),
            (Self::Padding, Value::List(values)) => return list_of(0, values).filter(|_| values.len() == 2),
            (Self::Padding, Value::Str(word)) => matches!(word.as_str(), "same" | "valid"),
            (Self::Padding, value) => {
                return int_from(0)(value).map(|both| Value::List(vec![both.clone(), both]));
            }
            (Self::Rate, _) => number().is_some_and(|rate| (0.0..1.0).contains(&rate)),
            (Self::Positive, _) => number().is_some_and(|number| (number as f32) > 0.0 && (number as f32).is_finite()),
            (Self::Number, _) => number().is_some_and(|number| (number as f32).is_finite()),
            (Self::Bool, Value::Bool(_)) => true,
            (Self::Initializer, Value::Str(text)) => Start::of(text).is_ok(),
            (Self::Choice(words), Value::Str(word)) => words.contains(&word.as_str()),
            _ => false,
        };
        fits.then(|| value.clone())
    }
}

/// What is put beside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// As many zeros as it takes for a window at each stride; the odd one below and right.
    Same,
    /// So many above and below, and on the left and on the right.
    Zeros([usize; 2]),
}

/// The arguments of one layer instance, checked against its [`Argument`]s: every one is there and
/// is of its kind. Methods panic for a name that the layer does not declare, most also for one of another kind: these are
/// mistakes in the text of the layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments(pub BTreeMap<&'static str, Value>);

impl Arguments {
    fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("the layer declares no argument `{name}`"))
    }

    /// A [`Kind::Size`] or a [`Kind::Index`].
    pub fn size(&self, name: &str) -> usize {
        self.int(name) as usize
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Int(number) => *number,
            other => panic!("`{name}` is {other}, not an integer: declare it so"),
        }
    }

    /// Height and width.
    pub fn extent(&self, name: &str) -> [usize; 2] {
        match self.get(name) {
            Value::List(_) => {
                let sizes = self.sizes(name);
                [sizes[0], sizes[1]]
            }
            _ => [self.size(name); 2],
        }
    }

    /// Height and width, unless there is a word in their place.
    pub fn given_extent(&self, name: &str) -> Option<[usize; 2]> {
        (!matches!(self.get(name), Value::Str(_))).then(|| self.extent(name))
    }

    /// A list of whole numbers, none of them negative.
    pub fn sizes(&self, name: &str) -> Vec<usize> {
        match self.get(name) {
            Value::List(values) => {
                values.iter().map(|value| if let Value::Int(number) = value { *number as usize } else { 0 }).collect()
            }
            other => panic!("`{name}` is {other}, not a list: declare it so"),
        }
    }

    /// The whole numbers of a list.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        match self.get(name) {
            Value::List(values) => values.iter().filter_map(Value::whole).collect(),
            other => panic!("`{name}` is {other}, not a list: declare it so"),
        }
    }

    /// The whole numbers of a list; `None` where a word stands for it.
    pub fn list(&self, name: &str) -> Option<Vec<i64>> {
        matches!(self.get(name), Value::List(_)).then(|| self.ints(name))
    }

    /// Height and width, of one number or two.
    ///
    /// # Errors
    /// When there are more.
    pub fn pair(&self, name: &'static str) -> Result<[usize; 2], Misfit> {
        match self.sizes(name)[..] {
            [both] => Ok([both; 2]),
            [rows, columns] => Ok([rows, columns]),
            ref more => {
                Err(Misfit::new(format!("{more:?} has more than two numbers"), "one number, or two").blame(name))
            }
        }
    }

    /// A [`Kind::Padding`]; `valid` is no zeros.
    pub fn padding(&self, name: &str) -> Padding {
        match self.get(name) {
            Value::Str(word) if word == "same" => Padding::Same,
            Value::List(_) => {
                let sides = self.sizes(name);
                Padding::Zeros([sides[0], sides[1]])
            }
            _ => Padding::Zeros([0; 2]),
        }
    }

    /// A number, rounded to float32.
    pub fn number(&self, name: &str) -> f32 {
        match self.get(name) {
            Value::Int(number) => *number as f32,
            Value::Float(number) => *number as f32,
            other => panic!("`{name}` is {other}, not a number: declare it so"),
        }
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> bool {
        *self.get(name) == Value::Bool(true)
    }

    /// A [`Kind::Choice`].
    pub fn word(&self, name: &str) -> &str {
        match self.get(name) {
            Value::Str(word) => word,
            other => panic!("`{name}` is {other}, not a word: declare it so"),
        }
    }
}
