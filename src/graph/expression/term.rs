//! How expressions are written: terms with Rust's own operators.

use std::{
    cell::RefCell,
    ops::{Add, Mul, Sub},
    rc::Rc,
};

use super::{Id, Step};

/// The steps of an expression that is being written.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena(Rc<RefCell<Vec<Step>>>);

/// A step of an expression that is being written.
#[derive(Debug, Clone)]
pub struct Term {
    arena: Arena,
    pub(super) id: Id,
}

impl Arena {
    /// An arena that goes on from these steps.
    pub(super) fn of(steps: &[Step]) -> Self {
        Self(Rc::new(RefCell::new(steps.to_vec())))
    }

    pub(super) fn input(&self, number: usize) -> Term {
        self.push(Step::Input(number))
    }

    pub(super) fn constant(&self, value: f32) -> Term {
        self.push(Step::Constant(value))
    }

    pub(super) fn term(&self, id: Id) -> Term {
        Term { arena: self.clone(), id }
    }

    /// Adds a step, or finds it. Steps are few: a search costs less than a map.
    pub(super) fn push(&self, step: Step) -> Term {
        let mut steps = self.0.borrow_mut();
        let id = steps.iter().position(|old| *old == step).unwrap_or_else(|| {
            steps.push(step);
            steps.len() - 1
        });
        self.term(id)
    }

    fn value(&self, id: Id) -> Option<f32> {
        match self.0.borrow()[id] {
            Step::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The steps that a term needs, in order, the term last.
    pub(super) fn steps_of(&self, result: &Term) -> Vec<Step> {
        self.steps_of_all(std::slice::from_ref(result)).0
    }

    /// The steps that terms need, in order, and which of them the terms are.
    pub(super) fn steps_of_all(&self, results: &[Term]) -> (Vec<Step>, Vec<Id>) {
        let steps = self.0.borrow();
        let mut needed = vec![false; steps.len()];
        results.iter().for_each(|result| needed[result.id] = true);
        for id in (0..steps.len()).rev() {
            if needed[id] {
                steps[id].operands().for_each(|operand| needed[operand] = true);
            }
        }
        let mut number = vec![0; steps.len()];
        let mut kept = Vec::new();
        for (id, step) in steps.iter().enumerate().filter(|(id, _)| needed[*id]) {
            number[id] = kept.len();
            kept.push(step.renumbered(|operand| number[operand]));
        }
        (kept, results.iter().map(|result| number[result.id]).collect())
    }
}

impl Term {
    fn unary(&self, step: impl FnOnce(Id) -> Step) -> Self {
        self.arena.push(step(self.id))
    }

    fn binary(&self, other: &Self, step: impl FnOnce(Id, Id) -> Step) -> Self {
        self.arena.push(step(self.id, other.id))
    }

    /// A number, where a term stands.
    pub fn constant(&self, value: f32) -> Self {
        self.arena.constant(value)
    }

    /// `1 / self`.
    #[must_use]
    pub fn reciprocal(&self) -> Self {
        self.unary(Step::Reciprocal)
    }

    /// `sqrt(self)`, not a number below 0.
    #[must_use]
    pub fn sqrt(&self) -> Self {
        self.unary(Step::Sqrt)
    }

    /// `exp(self)`
    #[must_use]
    pub fn exp(&self) -> Self {
        self.unary(Step::Exp)
    }

    /// `ln(1 + self)`.
    #[must_use]
    pub fn log1p(&self) -> Self {
        self.unary(Step::Log1p)
    }

    /// `tanh(self)`
    #[must_use]
    pub fn tanh(&self) -> Self {
        self.unary(Step::Tanh)
    }

    /// The distribution function of the standard normal distribution.
    #[must_use]
    pub fn normal_cdf(&self) -> Self {
        self.unary(Step::NormalCdf)
    }

    /// `1 / (1 + e^-self)`.
    #[must_use]
    pub fn sigmoid(&self) -> Self {
        ((self * -1.0).exp() + 1.0).reciprocal()
    }

    /// 1 where it is less than `other`, else 0.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        self.binary(other, Step::Less)
    }

    /// 1 above zero, -1 below, else 0. It has no derivative.
    #[must_use]
    pub fn sign(&self) -> Self {
        let zero = self.constant(0.0);
        zero.less(self) - self.less(&zero)
    }

    /// See [`Step::Max`].
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        self.binary(other, Step::Max)
    }

    /// See [`Step::Min`].
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        self.binary(other, Step::Min)
    }

    fn plus(&self, other: &Self) -> Self {
        match (self.arena.value(self.id), self.arena.value(other.id)) {
            (Some(a), Some(b)) => self.constant(a + b),
            (Some(0.0), _) => other.clone(),
            (_, Some(0.0)) => self.clone(),
            _ => self.binary(other, Step::Add),
        }
    }

    /// A product with zero is zero: of finite numbers only, but infinite ones are caught as a loss
    /// that is not finite.
    fn times(&self, other: &Self) -> Self {
        match (self.arena.value(self.id), self.arena.value(other.id)) {
            (Some(a), Some(b)) => self.constant(a * b),
            (Some(1.0), _) | (_, Some(0.0)) => other.clone(),
            (_, Some(1.0)) | (Some(0.0), _) => self.clone(),
            _ => self.binary(other, Step::Multiply),
        }
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, |$a:ident, $b:ident| $result:expr) => {
        impl $trait<&Term> for &Term {
            type Output = Term;
            fn $method(self, other: &Term) -> Term {
                let ($a, $b) = (self, other);
                $result
            }
        }
        impl $trait<Term> for &Term {
            type Output = Term;
            fn $method(self, other: Term) -> Term {
                $trait::$method(self, &other)
            }
        }
        impl $trait<&Term> for Term {
            type Output = Term;
            fn $method(self, other: &Term) -> Term {
                $trait::$method(&self, other)
            }
        }
        impl $trait<Term> for Term {
            type Output = Term;
            fn $method(self, other: Term) -> Term {
                $trait::$method(&self, &other)
            }
        }
        impl $trait<f32> for &Term {
            type Output = Term;
            fn $method(self, other: f32) -> Term {
                $trait::$method(self, &self.constant(other))
            }
        }
        impl $trait<f32> for Term {
            type Output = Term;
            fn $method(self, other: f32) -> Term {
                $trait::$method(&self, other)
            }
        }
    };
}

operator!(Add, add, |a, b| a.plus(b));
operator!(Mul, mul, |a, b| a.times(b));
operator!(Sub, sub, |a, b| a.plus(&b.times(&b.constant(-1.0))));
