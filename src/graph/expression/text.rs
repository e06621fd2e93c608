//! Expressions in the language of CUDA kernels.

use std::fmt::Write;

use super::{Expression, Formulas, Step};

impl Expression {
    /// The body of a function of float32 numbers `x0, x1, ..`, in one line: one local a step, then a
    /// `return`. `normal_cdf` is a function that the kernel's source has.
    #[must_use]
    pub fn cuda(&self) -> String {
        format!("{}return t{};", locals(self.steps()), self.steps().len() - 1)
    }
}

impl Formulas {
    /// As [`Expression::cuda`], but for the end: the results go to `y0, y1, ..`.
    #[must_use]
    pub fn cuda(&self) -> String {
        let mut text = locals(self.steps());
        for (number, result) in self.results().iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "y{number} = t{result}; ");
        }
        text
    }
}

/// A local for each step.
fn locals(steps: &[Step]) -> String {
    let mut text = String::new();
    for (id, step) in steps.iter().enumerate() {
        let value = match *step {
            Step::Input(number) => format!("x{number}"),
            Step::Constant(value) => literal(value),
            Step::Add(a, b) => format!("t{a} + t{b}"),
            Step::Multiply(a, b) => format!("t{a} * t{b}"),
            Step::Reciprocal(a) => format!("1.0f / t{a}"),
            Step::Sqrt(a) => format!("sqrtf(t{a})"),
            Step::Exp(a) => format!("expf(t{a})"),
            Step::Log1p(a) => format!("log1pf(t{a})"),
            Step::Tanh(a) => format!("tanhf(t{a})"),
            Step::NormalCdf(a) => format!("normal_cdf(t{a})"),
            Step::Less(a, b) => format!("t{a} < t{b} ? 1.0f : 0.0f"),
            Step::Max(a, b) => format!("t{a} < t{b} ? t{b} : t{a}"),
            Step::Min(a, b) => format!("t{b} < t{a} ? t{b} : t{a}"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "const float t{id} = {value}; ");
    }
    text
}

/// A number as C++ reads it back to the same bits.
pub(crate) fn literal(value: f32) -> String {
    if value.is_finite() { format!("{value:e}f") } else { format!("{}INFINITY", if value < 0.0 { "-" } else { "" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_local_a_step() {
        let expression = Expression::new(2, |x| x[0].max(&x[1]) * 0.1);
        assert_eq!(
            expression.cuda(),
            "const float t0 = x0; const float t1 = x1; const float t2 = t0 < t1 ? t1 : t0; \
             const float t3 = 1e-1f; const float t4 = t2 * t3; return t4;"
        );
        assert_eq!(literal(-2.5e-8), "-2.5e-8f");
    }
}
