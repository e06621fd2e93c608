//! Pointwise arithmetic as data: a scalar function of a few inputs, from which its derivative, its
//! decomposition into luminal's primitives, its text in CUDA and its kernel on the cpu all follow.

mod compose;
mod decompose;
mod differentiate;
mod formulas;
mod onnx;
mod term;
mod text;

use std::fmt;

pub use decompose::{decompose, decompose_all};
pub use formulas::Formulas;
pub use onnx::onnx;
pub use term::Term;
pub(crate) use text::literal;

/// Number of a step.
pub type Id = usize;

/// One operation on scalars; operands are earlier steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// The input of this number.
    Input(usize),
    /// The same for all elements.
    Constant(f32),
    /// The sum of two steps.
    Add(Id, Id),
    /// The product of two steps.
    Multiply(Id, Id),
    /// `1 / x`
    Reciprocal(Id),
    /// `sqrt(x)`
    Sqrt(Id),
    /// `exp(x)`
    Exp(Id),
    /// `ln(1 + x)`, exact where x is small.
    Log1p(Id),
    /// `tanh(x)`
    Tanh(Id),
    /// The distribution function of the standard normal distribution.
    NormalCdf(Id),
    /// 1 where the first is less than the second, else 0. It has no derivative: it is a choice.
    Less(Id, Id),
    /// The second where the first is less than it, else the first: a NaN in the first stays one.
    /// Where both are equal, the second has the derivative.
    Max(Id, Id),
    /// The second where it is less than the first, else the first. As `Max` where both are equal.
    Min(Id, Id),
}

impl Step {
    /// The steps that it reads.
    pub fn operands(self) -> impl Iterator<Item = Id> {
        let (a, b) = match self {
            Self::Input(_) | Self::Constant(_) => (None, None),
            Self::Reciprocal(a)
            | Self::Sqrt(a)
            | Self::Exp(a)
            | Self::Log1p(a)
            | Self::Tanh(a)
            | Self::NormalCdf(a) => (Some(a), None),
            Self::Add(a, b) | Self::Multiply(a, b) | Self::Less(a, b) | Self::Max(a, b) | Self::Min(a, b) => {
                (Some(a), Some(b))
            }
        };
        a.into_iter().chain(b)
    }

    /// The same step on renumbered operands.
    pub(crate) fn renumbered(self, number: impl Fn(Id) -> Id) -> Self {
        match self {
            Self::Input(_) | Self::Constant(_) => self,
            Self::Add(a, b) => Self::Add(number(a), number(b)),
            Self::Multiply(a, b) => Self::Multiply(number(a), number(b)),
            Self::Reciprocal(a) => Self::Reciprocal(number(a)),
            Self::Sqrt(a) => Self::Sqrt(number(a)),
            Self::Exp(a) => Self::Exp(number(a)),
            Self::Log1p(a) => Self::Log1p(number(a)),
            Self::Tanh(a) => Self::Tanh(number(a)),
            Self::NormalCdf(a) => Self::NormalCdf(number(a)),
            Self::Less(a, b) => Self::Less(number(a), number(b)),
            Self::Max(a, b) => Self::Max(number(a), number(b)),
            Self::Min(a, b) => Self::Min(number(a), number(b)),
        }
    }
}

/// A scalar function: steps in order, of which the last is the result. No step stands twice, and
/// each is read by a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    inputs: usize,
    steps: Vec<Step>,
}

impl Expression {
    /// The function that `build` makes of `inputs` scalars.
    pub fn new(inputs: usize, build: impl FnOnce(&[Term]) -> Term) -> Self {
        let arena = term::Arena::default();
        let terms: Vec<Term> = (0..inputs).map(|number| arena.input(number)).collect();
        Self { inputs, steps: arena.steps_of(&build(&terms)) }
    }

    /// How many inputs it has, read or not.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// In order; the last is the result.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The most steps whose results are known and still to be read at one time.
    pub fn most_alive(&self) -> usize {
        let mut last_use: Vec<usize> = (0..self.steps.len()).collect();
        for (id, step) in self.steps.iter().enumerate() {
            step.operands().for_each(|operand| last_use[operand] = id);
        }
        let alive = |at: usize| last_use[..=at].iter().filter(|&&last| last >= at).count();
        (0..self.steps.len()).map(alive).max().unwrap_or(0)
    }
}

/// As arithmetic, for listings: `max(x0, 0) * x1`.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut texts: Vec<String> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let of = |id: Id| texts[id].clone();
            texts.push(match *step {
                Step::Input(number) => format!("x{number}"),
                Step::Constant(value) => value.to_string(),
                Step::Add(a, b) => format!("({} + {})", of(a), of(b)),
                Step::Multiply(a, b) => format!("{} * {}", of(a), of(b)),
                Step::Reciprocal(a) => format!("(1 / {})", of(a)),
                Step::Sqrt(a) => format!("sqrt({})", of(a)),
                Step::Exp(a) => format!("exp({})", of(a)),
                Step::Log1p(a) => format!("log1p({})", of(a)),
                Step::Tanh(a) => format!("tanh({})", of(a)),
                Step::NormalCdf(a) => format!("normal_cdf({})", of(a)),
                Step::Less(a, b) => format!("({} < {})", of(a), of(b)),
                Step::Max(a, b) => format!("max({}, {})", of(a), of(b)),
                Step::Min(a, b) => format!("min({}, {})", of(a), of(b)),
            });
        }
        f.write_str(texts.last().map_or("0", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_twice_stands_once_and_what_is_known_is_folded() {
        let twice = Expression::new(1, |x| (&x[0] * 2.0).exp() + (&x[0] * 2.0).exp());
        assert_eq!(
            twice.steps(),
            [Step::Input(0), Step::Constant(2.0), Step::Multiply(0, 1), Step::Exp(2), Step::Add(3, 3)]
        );
        let folded = Expression::new(2, |x| (&x[0] * 1.0 + 0.0) * (&x[1] * 0.0 + 1.0));
        assert_eq!(folded.steps(), [Step::Input(0)]);
        assert_eq!(folded.inputs(), 2);
    }

    #[test]
    fn alive_is_what_is_still_read() {
        assert_eq!(Expression::new(1, |x| x[0].exp().tanh().exp()).most_alive(), 2);
        // Inputs come first, and a sum is there with both of its terms.
        let sum = Expression::new(4, |x| (&x[0] + &x[1]) * (&x[2] + &x[3]));
        assert_eq!(sum.most_alive(), 5);
    }

    #[test]
    fn texts_are_arithmetic() {
        let gate = Expression::new(2, |x| &x[0].max(&x[1]) * 2.0 + 1.0 - &x[1]);
        assert_eq!(gate.to_string(), "((max(x0, x1) * 2 + 1) + x1 * -1)");
    }
}
