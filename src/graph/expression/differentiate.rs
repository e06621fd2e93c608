//! Derivatives of expressions, again as expressions.

use super::{Expression, Step, Term, term::Arena};

/// `1 / sqrt(2π)`
const DENSITY: f32 = 0.398_942_3;

impl Expression {
    /// The derivative by an input, as a function of the same inputs. Reverse mode over the steps.
    #[must_use]
    pub fn derivative(&self, input: usize) -> Self {
        let arena = Arena::of(&self.steps);
        let mut adjoints: Vec<Option<Term>> = vec![None; self.steps.len()];
        if let Some(last) = adjoints.last_mut() {
            *last = Some(arena.constant(1.0));
        }
        let mut result = arena.constant(0.0);
        for (id, step) in self.steps.iter().enumerate().rev() {
            let Some(adjoint) = adjoints[id].take() else { continue };
            let term = |id| arena.term(id);
            let mut pass = |to: usize, share: Term| {
                adjoints[to] = Some(match adjoints[to].take() {
                    Some(sum) => sum + share,
                    None => share,
                });
            };
            match *step {
                Step::Input(number) if number == input => result = adjoint,
                Step::Input(_) | Step::Constant(_) | Step::Less(..) => {}
                Step::Add(a, b) => {
                    pass(a, adjoint.clone());
                    pass(b, adjoint);
                }
                Step::Multiply(a, b) => {
                    pass(a, &adjoint * term(b));
                    pass(b, adjoint * term(a));
                }
                Step::Reciprocal(a) => pass(a, adjoint * (term(id) * term(id) * -1.0)),
                Step::Sqrt(a) => pass(a, adjoint * (term(id) * 2.0).reciprocal()),
                Step::Exp(a) => pass(a, adjoint * term(id)),
                Step::Log1p(a) => pass(a, adjoint * (term(a) + 1.0).reciprocal()),
                Step::Tanh(a) => pass(a, &adjoint - &adjoint * (term(id) * term(id))),
                Step::NormalCdf(a) => pass(a, adjoint * ((term(a) * term(a) * -0.5).exp() * DENSITY)),
                Step::Max(a, b) => {
                    let first = term(b).less(&term(a));
                    pass(a, &adjoint * &first);
                    pass(b, &adjoint - &adjoint * first);
                }
                Step::Min(a, b) => {
                    let first = term(a).less(&term(b));
                    pass(a, &adjoint * &first);
                    pass(b, &adjoint - &adjoint * first);
                }
            }
        }
        Self { inputs: self.inputs, steps: arena.steps_of(&result) }
    }

    /// `dy` times the derivative by an input: a function of `dy`, which comes first, and the inputs.
    #[must_use]
    pub fn gradient(&self, input: usize) -> Self {
        let slope = self.derivative(input);
        let shifted = slope.steps.iter().map(|step| match *step {
            Step::Input(number) => Step::Input(number + 1),
            other => other,
        });
        let arena = Arena::of(&shifted.collect::<Vec<_>>());
        let result = arena.input(0) * arena.term(slope.steps.len() - 1);
        Self { inputs: self.inputs + 1, steps: arena.steps_of(&result) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_the_other_factor() {
        let product = Expression::new(2, |x| &x[0] * &x[1]);
        assert_eq!(product.derivative(0).to_string(), "x1");
        assert_eq!(product.gradient(1).to_string(), "x0 * x1");
        assert_eq!(Expression::new(2, |x| x[0].clone()).derivative(1).to_string(), "0");
    }

    #[test]
    fn of_two_that_are_equal_the_second_has_the_derivative() {
        let relu = Expression::new(1, |x| x[0].max(&x[0].constant(0.0)));
        assert_eq!(relu.derivative(0).to_string(), "(0 < x0)");
    }
}
