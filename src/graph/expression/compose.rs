//! Expressions of expressions.

use super::{Expression, Step, Term, term::Arena};

impl Expression {
    /// The same function without the inputs that it does not read, and the numbers that the others had.
    #[must_use]
    pub fn pruned(&self) -> (Self, Vec<usize>) {
        let read = |number: usize| self.steps.contains(&Step::Input(number));
        let kept: Vec<usize> = (0..self.inputs).filter(|number| read(*number)).collect();
        let steps = self.steps.iter().map(|step| match *step {
            Step::Input(number) => Step::Input(kept.partition_point(|kept| *kept < number)),
            other => other,
        });
        (Self { inputs: kept.len(), steps: steps.collect() }, kept)
    }

    /// The function with another one in place of an input: its own other inputs come first, in their order, then those
    /// of `inner`.
    #[must_use]
    pub fn with(&self, input: usize, inner: &Self) -> Self {
        let others = self.inputs - 1;
        let arena = Arena::default();
        let inner_result = arena.append(&inner.steps, |number| arena.input(others + number));
        let result = arena.append(&self.steps, |number| match number.cmp(&input) {
            std::cmp::Ordering::Less => arena.input(number),
            std::cmp::Ordering::Equal => inner_result.clone(),
            std::cmp::Ordering::Greater => arena.input(number - 1),
        });
        Self { inputs: others + inner.inputs, steps: arena.steps_of(&result) }
    }

    /// The function of fewer inputs in which each stands for the input of the number that `merged` has for it.
    ///
    /// # Panics
    /// Unless `merged` has a number for every input.
    #[must_use]
    pub fn merged(&self, merged: &[usize]) -> Self {
        assert_eq!(merged.len(), self.inputs, "a number for each input");
        let arena = Arena::default();
        let result = arena.append(&self.steps, |number| arena.input(merged[number]));
        let inputs = merged.iter().map(|number| number + 1).max().unwrap_or(0);
        Self { inputs, steps: arena.steps_of(&result) }
    }

    /// The number that it always is, if it reads no input.
    #[must_use]
    pub fn constant(&self) -> Option<f32> {
        match self.steps[..] {
            [Step::Constant(value)] => Some(value),
            _ => None,
        }
    }

    /// The input that it is, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<usize> {
        match self.steps[..] {
            [Step::Input(number)] => Some(number),
            _ => None,
        }
    }
}

impl Arena {
    /// Adds steps whose inputs are terms of this arena: the term of the last.
    fn append(&self, steps: &[Step], input: impl Fn(usize) -> Term) -> Term {
        let mut terms: Vec<Term> = Vec::with_capacity(steps.len());
        for step in steps {
            terms.push(match *step {
                Step::Input(number) => input(number),
                Step::Constant(value) => self.constant(value),
                Step::Add(a, b) => &terms[a] + &terms[b],
                Step::Multiply(a, b) => &terms[a] * &terms[b],
                Step::Reciprocal(a) => terms[a].reciprocal(),
                other => self.push(other.renumbered(|id| terms[id].id)),
            });
        }
        terms.swap_remove(terms.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_not_read_go() {
        let (second, kept) = Expression::new(3, |x| &x[2] * &x[0]).pruned();
        assert_eq!((second.to_string(), second.inputs(), kept), ("x1 * x0".into(), 2, vec![0, 2]));
    }

    #[test]
    fn one_function_goes_into_another() {
        let product = Expression::new(3, |x| &x[0] * &x[1] + &x[2]);
        let sigmoid = Expression::new(1, |x| x[0].exp());
        let gate = product.with(1, &sigmoid);
        assert_eq!((gate.to_string().as_str(), gate.inputs()), ("(x0 * exp(x2) + x1)", 3));
        let same = gate.merged(&[0, 1, 0]);
        assert_eq!((same.to_string().as_str(), same.inputs()), ("(x0 * exp(x0) + x1)", 2));
    }

    #[test]
    fn what_it_always_is() {
        assert_eq!(Expression::new(2, |x| &x[0] * 0.0 + 2.0).constant(), Some(2.0));
        assert_eq!(Expression::new(2, |x| &x[1] * 1.0).identity(), Some(1));
        assert_eq!(Expression::new(1, |x| x[0].exp()).constant(), None);
    }
}
