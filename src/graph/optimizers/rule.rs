use super::super::expression::Term;

/// A number of a step: its name, and what it is.
pub type Scalar = (&'static str, fn(&Iteration) -> f64);

/// An optimizer: what one step does to one element of a parameter.
#[derive(Debug)]
pub struct Rule {
    /// As an experiment calls it.
    pub name: &'static str,
    /// Of the update of a dense kernel whose gradient is made on the way.
    pub dense_name: &'static str,
    /// In a line, with its source.
    pub about: &'static str,
    /// Where an experiment gives none.
    pub learning_rate: f32,
    /// Where an experiment gives none.
    pub weight_decay: f32,
    /// Its numbers besides these two.
    pub options: &'static [Setting],
    /// Of these, which an experiment's text has only where they are not their defaults: those of later versions, which leave the
    /// identities of runs as they were.
    pub later: &'static [&'static str],
    /// What is kept of each parameter from step to step, in its shape, zero before the first: names in checkpoints.
    pub slots: &'static [&'static str],
    /// Numbers that are computed once a step, on the host in float64, and rounded to float32.
    pub scalars: &'static [Scalar],
    /// Of a rule for matrices: what is made orthogonal to be the direction of the step, see
    /// [`Direction`](crate::graph::ops::Direction). A function of the gradient, the slots and the step's numbers.
    pub direction: Option<fn(&Operands) -> Term>,
    /// The parameter after the step, then its slots.
    pub update: fn(&Operands) -> Vec<Term>,
}

/// A number of a rule that an experiment may set.
#[derive(Debug)]
pub struct Setting {
    /// As an experiment calls it.
    pub name: &'static str,
    /// Where an experiment gives none.
    pub default: f32,
    /// What an experiment may set.
    pub range: Range,
    /// In a line.
    pub about: &'static str,
}

/// What a number may be. None may be infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// More than 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// From 0 up to, but not including, 1.
    BelowOne,
    /// 1 for true, 0 for false.
    Flag,
    /// A whole number from 1 to 20.
    Steps,
}

impl Range {
    /// Whether a number lies in it.
    pub fn has(self, value: f32) -> bool {
        match self {
            Self::Positive => value > 0.0 && value.is_finite(),
            Self::NotNegative => value >= 0.0 && value.is_finite(),
            Self::BelowOne => (0.0..1.0).contains(&value),
            Self::Flag => value == 0.0 || value == 1.0,
            Self::Steps => (1.0..=20.0).contains(&value) && value.fract() == 0.0,
        }
    }

    /// What fills "must be".
    pub fn text(self) -> &'static str {
        match self {
            Self::Positive => "greater than 0",
            Self::NotNegative => "at least 0",
            Self::BelowOne => "from 0 up to, but not including, 1",
            Self::Flag => "`true` or `false`",
            Self::Steps => "a whole number from 1 to 20",
        }
    }
}

/// The numbers of a rule by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers<'a> {
    pub rule: &'static Rule,
    pub values: &'a [f32],
}

impl Numbers<'_> {
    /// # Panics
    /// When the rule has no option of that name.
    pub fn get(&self, name: &str) -> f32 {
        let at = self.rule.options.iter().position(|option| option.name == name);
        self.values[at.unwrap_or_else(|| panic!("`{}` has no option `{name}`", self.rule.name))]
    }
}

/// Where a step stands, for the numbers that change from step to step.
#[derive(Debug, Clone, Copy)]
pub struct Iteration<'a> {
    pub(super) numbers: Numbers<'a>,
    /// Of this step, as the schedule has it.
    pub learning_rate: f32,
    /// Steps taken before this one.
    pub iteration: u64,
    /// Steps of the whole training; 0 where that is not known.
    pub(super) total: u64,
}

impl Iteration<'_> {
    /// A number of the rule.
    ///
    /// # Panics
    /// When the rule has no option of that name.
    pub fn option(&self, name: &str) -> f32 {
        self.numbers.get(name)
    }

    /// The share of the training that lies behind; all of it where that is not known.
    pub fn progress(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.iteration as f64 / self.total as f64 }
    }

    /// The learning rate as it is, for rules that need no more.
    pub fn learning_rate(&self) -> f64 {
        f64::from(self.learning_rate)
    }
}

/// What an update is computed from, each a scalar.
#[derive(Debug)]
pub struct Operands<'a> {
    pub(super) numbers: Numbers<'a>,
    /// The parameter, weight decay already taken off.
    pub parameter: Term,
    /// After clipping.
    pub gradient: Term,
    /// Of a rule for matrices: the orthogonal direction. Else the gradient.
    pub direction: Term,
    /// As [`Rule::slots`].
    pub slots: &'a [Term],
    pub(super) scalars: &'a [Term],
}

impl Operands<'_> {
    /// The same, to be changed.
    pub(super) fn copied(&self) -> Self {
        let Self { numbers, parameter, gradient, direction, slots, scalars } = self;
        let (parameter, gradient, direction) = (parameter.clone(), gradient.clone(), direction.clone());
        Self { numbers: *numbers, parameter, gradient, direction, slots, scalars }
    }

    /// A number of the rule.
    ///
    /// # Panics
    /// When the rule has no option of that name.
    pub fn option(&self, name: &str) -> f32 {
        self.numbers.get(name)
    }

    /// A number of the step.
    ///
    /// # Panics
    /// When the rule has none of that name.
    pub fn scalar(&self, name: &str) -> &Term {
        let rule = self.numbers.rule;
        let at = rule.scalars.iter().position(|(scalar, _)| *scalar == name);
        &self.scalars[at.unwrap_or_else(|| panic!("`{}` has no scalar `{name}`", rule.name))]
    }
}
