//! Expressions in operators of ONNX.

use super::{Expression, Id, Step};
use crate::onnx::{Tensor, Writer};

/// Writes the nodes that compute an expression of tensors, which broadcast as NumPy's do. Where ONNX has a name for
/// what several steps are, that stands for them: it is exact where they would overflow, and runtimes know it.
pub fn onnx(writer: &mut Writer, expression: &Expression, inputs: &[Tensor]) -> Tensor {
    let steps = expression.steps();
    let mut translation = Translation { steps, inputs, values: vec![None; steps.len()] };
    translation.value(writer, steps.len() - 1)
}

struct Translation<'a> {
    steps: &'a [Step],
    inputs: &'a [Tensor],
    /// The steps that are written.
    values: Vec<Option<Tensor>>,
}

impl Translation<'_> {
    /// The value of a step, which is written when it is first asked for: one that another stands for is not there.
    fn value(&mut self, writer: &mut Writer, id: Id) -> Tensor {
        if let Some(value) = &self.values[id] {
            return value.clone();
        }
        let value = self.write(writer, id);
        self.values[id] = Some(value.clone());
        value
    }

    fn write(&mut self, writer: &mut Writer, id: Id) -> Tensor {
        if let Some(x) = self.sigmoid(id) {
            let x = self.value(writer, x);
            return writer.unary("Sigmoid", &x);
        }
        match self.steps[id] {
            Step::Input(number) => self.inputs[number].clone(),
            Step::Constant(value) => writer.scalar(value),
            Step::Add(a, b) => match self.negated(b) {
                Some(b) => self.binary(writer, "Sub", a, b),
                None => self.binary(writer, "Add", a, b),
            },
            Step::Multiply(a, b) => match (self.steps[a], self.steps[b]) {
                (Step::NormalCdf(x), _) if x == b => self.gelu(writer, b),
                (_, Step::NormalCdf(x)) if x == a => self.gelu(writer, a),
                (Step::Reciprocal(divisor), _) if self.sigmoid(a).is_none() => self.binary(writer, "Div", b, divisor),
                (_, Step::Reciprocal(divisor)) if self.sigmoid(b).is_none() => self.binary(writer, "Div", a, divisor),
                _ => self.binary(writer, "Mul", a, b),
            },
            Step::Reciprocal(a) => self.unary(writer, "Reciprocal", a),
            Step::Sqrt(a) => self.unary(writer, "Sqrt", a),
            Step::Exp(a) => self.unary(writer, "Exp", a),
            Step::Log1p(a) => {
                let (a, one) = (self.value(writer, a), writer.scalar(1.0));
                let more = writer.binary("Add", &a, &one);
                writer.unary("Log", &more)
            }
            Step::Tanh(a) => self.unary(writer, "Tanh", a),
            Step::NormalCdf(a) => {
                let more = self.erf_and_one(writer, a);
                let half = writer.scalar(0.5);
                writer.binary("Mul", &more, &half)
            }
            Step::Less(a, b) => {
                let (a, b) = (self.value(writer, a), self.value(writer, b));
                writer.less(&a, &b)
            }
            Step::Max(a, b) if self.is(b, 0.0) => self.unary(writer, "Relu", a),
            Step::Max(a, b) if self.is(a, 0.0) => self.unary(writer, "Relu", b),
            Step::Max(a, b) => self.binary(writer, "Max", a, b),
            Step::Min(a, b) => self.binary(writer, "Min", a, b),
        }
    }

    fn unary(&mut self, writer: &mut Writer, operator: &str, a: Id) -> Tensor {
        let a = self.value(writer, a);
        writer.unary(operator, &a)
    }

    fn binary(&mut self, writer: &mut Writer, operator: &str, a: Id, b: Id) -> Tensor {
        let (a, b) = (self.value(writer, a), self.value(writer, b));
        writer.binary(operator, &a, &b)
    }

    /// `1 + erf(x / sqrt(2))`
    fn erf_and_one(&mut self, writer: &mut Writer, x: Id) -> Tensor {
        let (x, root) = (self.value(writer, x), writer.scalar(std::f32::consts::SQRT_2));
        let x = writer.binary("Div", &x, &root);
        let (erf, one) = (writer.unary("Erf", &x), writer.scalar(1.0));
        writer.binary("Add", &erf, &one)
    }

    /// `x Φ(x)`, in the order in which runtimes look for it.
    fn gelu(&mut self, writer: &mut Writer, x: Id) -> Tensor {
        let more = self.erf_and_one(writer, x);
        let (x, half) = (self.value(writer, x), writer.scalar(0.5));
        let product = writer.binary("Mul", &x, &more);
        writer.binary("Mul", &product, &half)
    }

    fn is(&self, id: Id, value: f32) -> bool {
        self.steps[id] == Step::Constant(value)
    }

    /// Of `x * -1` the x.
    fn negated(&self, id: Id) -> Option<Id> {
        match self.steps[id] {
            Step::Multiply(x, factor) if self.is(factor, -1.0) => Some(x),
            Step::Multiply(factor, x) if self.is(factor, -1.0) => Some(x),
            _ => None,
        }
    }

    /// Of `1 / (1 + e^-x)` the x.
    fn sigmoid(&self, id: Id) -> Option<Id> {
        let Step::Reciprocal(sum) = self.steps[id] else { return None };
        let exponential = match self.steps[sum] {
            Step::Add(e, one) if self.is(one, 1.0) => e,
            Step::Add(one, e) if self.is(one, 1.0) => e,
            _ => return None,
        };
        match self.steps[exponential] {
            Step::Exp(minus) => self.negated(minus),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::ops::Activation, onnx::Dim};

    fn operators(expression: &Expression) -> String {
        let mut writer = Writer::new(&["y"]);
        let inputs: Vec<Tensor> =
            (0..expression.inputs()).map(|number| writer.input(&format!("x{number}"), &[Dim::Fixed(3)])).collect();
        let y = onnx(&mut writer, expression, &inputs);
        let finished = writer.finish(&[("y", &y)]);
        finished.nodes.iter().filter_map(|node| node.op_type.as_deref()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_has_a_name_in_onnx_is_called_by_it() {
        let of = |name: &str| operators(&Activation::named(name).unwrap().expression());
        assert_eq!(of("gelu"), "Div Erf Add Mul Mul");
        assert_eq!(of("relu"), "Relu");
        assert_eq!(of("relu6"), "Relu Min");
        assert_eq!(of("sigmoid"), "Sigmoid");
        assert_eq!(of("silu"), "Sigmoid Mul");
        assert_eq!(of("elu"), "Relu Min Exp Add Add");
    }

    #[test]
    fn a_step_that_is_read_twice_is_written_once() {
        let twice = Expression::new(2, |x| {
            let e = (&x[0] * &x[1]).exp();
            &e * &e + &e
        });
        assert_eq!(operators(&twice), "Mul Exp Mul Add");
        let quotient = Expression::new(2, |x| &x[0] * x[1].sqrt().reciprocal());
        assert_eq!(operators(&quotient), "Sqrt Div");
    }
}
