use crate::train::Schedule;

/// How a learning rate goes after its warm-up.
#[derive(Debug)]
pub struct Kind {
    /// As an experiment calls it.
    pub name: &'static str,
    /// In a line, with its source.
    pub about: &'static str,
    /// Its options besides those of every schedule.
    pub options: &'static [Setting],
    /// The share of the optimizer's learning rate.
    pub factor: fn(&At) -> f64,
}

/// An option of a schedule.
#[derive(Debug)]
pub struct Setting {
    /// As an experiment calls it.
    pub name: &'static str,
    /// Where an experiment gives none.
    pub default: Value,
    /// What it may be.
    pub range: Range,
}

/// What an option is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// A number between these, ends included.
    Number(f64, f64),
    /// Numbers above 0 that grow.
    Milestones,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// One of the option's words.
    Word(&'static str),
}

impl Setting {
    /// A number between two, ends included.
    pub const fn number(name: &'static str, default: f64, low: f64, high: f64) -> Self {
        Self { name, default: Value::Number(default), range: Range::Number(low, high) }
    }

    /// One of some words, of which the first is the default.
    pub const fn word(name: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, default: Value::Word(words[0]), range: Range::Word(words) }
    }
}

impl Range {
    /// Whether a value lies in it.
    pub fn has(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Number(low, high), Value::Number(value)) => (low..=high).contains(&value),
            (Self::Milestones, Value::Numbers(values)) => {
                let above = values.iter().all(|value| *value > 0.0 && value.is_finite());
                above && !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1])
            }
            (Self::Word(words), Value::Word(word)) => words.contains(word),
            _ => false,
        }
    }

    /// What fills "must be".
    pub fn text(&self) -> String {
        match self {
            Self::Number(low, high) => format!("from {low} to {high}"),
            Self::Milestones => "a list of epochs, each greater than 0 and than the one before".to_owned(),
            Self::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        }
    }
}

/// Where a training stands after its warm-up.
#[derive(Debug)]
pub struct At<'a> {
    pub(in crate::train) schedule: &'a Schedule,
    /// From 0 to 1, of what lies between the warm-up and the cooldown.
    pub progress: f64,
    /// From 0 to 1, of all before the cooldown, warm-up included.
    pub of_all: f64,
    /// Epochs since the start, and since the end of the warm-up, with their fractions.
    pub epoch: f64,
    /// Epochs since the end of the warm-up, with their fractions.
    pub since_warmup: f64,
}

impl At<'_> {
    /// What is between 1 and the final fraction, of which `left` is left.
    pub fn down_to_final(&self, left: f64) -> f64 {
        let last = f64::from(self.schedule.final_fraction);
        last + (1.0 - last) * left
    }

    /// The final fraction.
    pub fn least(&self) -> f64 {
        f64::from(self.schedule.final_fraction)
    }

    /// A number of the kind.
    ///
    /// # Panics
    /// When it has none of that name.
    pub fn number(&self, name: &str) -> f64 {
        match self.schedule.option(name) {
            Value::Number(value) => *value,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// Numbers of the kind.
    ///
    /// # Panics
    /// As [`At::number`].
    pub fn numbers(&self, name: &str) -> &[f64] {
        match self.schedule.option(name) {
            Value::Numbers(values) => values,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// A word of the kind.
    ///
    /// # Panics
    /// As [`At::number`].
    pub fn word(&self, name: &str) -> &'static str {
        match self.schedule.option(name) {
            Value::Word(word) => word,
            other => panic!("`{name}` is {other:?}"),
        }
    }
}

/// Half a cosine from 1 to 0.
pub(super) fn half_cosine(progress: f64) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}
