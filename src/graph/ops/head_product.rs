use std::any::Any;

use super::flops;
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// Names of a tensor's three axes.
pub type Axes = [char; 3];

/// A matrix product for each head, written as `numpy.einsum` does: with axes `ihk`, `jhk` and `ihj` it is
/// `c[i, h, j] = Σ_k a[i, h, k] b[j, h, k]`. One axis is in all three tensors, the heads; one in the operands only,
/// over which is summed; and each operand shares one with the result, whose last axis is not the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadProduct {
    /// Of the left operand.
    pub a: Axes,
    /// Of the right operand.
    pub b: Axes,
    /// Of the result.
    pub c: Axes,
}

/// The axes of a [`HeadProduct`] by what they are for: `c[head, row, column] = Σ a[head, row, inner] b[head, inner, column]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roles {
    pub head: char,
    pub row: char,
    pub inner: char,
    pub column: char,
}

impl HeadProduct {
    pub(crate) fn roles(&self) -> Roles {
        let Self { a, b, c } = self;
        let find = |in_a, in_b, in_c| {
            let named = |axis: &&char| (a.contains(axis), b.contains(axis), c.contains(axis)) == (in_a, in_b, in_c);
            *a.iter().chain(b).find(named).unwrap_or_else(|| panic!("head_product: {}", self.equation()))
        };
        Roles {
            head: find(true, true, true),
            row: find(true, false, true),
            inner: find(true, true, false),
            column: find(false, true, true),
        }
    }

    /// Length of an axis, from the shapes of both operands.
    pub(crate) fn length(&self, axis: char, shapes: &[&[usize]]) -> usize {
        let operands = [(self.a, shapes[0]), (self.b, shapes[1])];
        let mut lengths = operands.iter().filter_map(|(axes, shape)| Some(shape[position(*axes, axis)?]));
        let length = lengths.next().unwrap_or_else(|| panic!("head_product: no axis {axis} in {}", self.equation()));
        assert!(lengths.all(|other| other == length), "head_product {}: {shapes:?}", self.equation());
        length
    }

    /// Lengths of heads, rows, inner axis and columns.
    pub(crate) fn lengths(&self, shapes: &[&[usize]]) -> [usize; 4] {
        let Roles { head, row, inner, column } = self.roles();
        [head, row, inner, column].map(|axis| self.length(axis, shapes))
    }

    /// The permutations that bring both operands into the order of heads, rows and columns, and the result out of it.
    pub(crate) fn permutations(&self) -> [[usize; 3]; 3] {
        let Roles { head, row, inner, column } = self.roles();
        [
            permutation(self.a, [head, row, inner]),
            permutation(self.b, [head, inner, column]),
            permutation([head, row, column], self.c),
        ]
    }

    fn equation(&self) -> String {
        let [a, b, c] = [self.a, self.b, self.c].map(|axes| axes.iter().collect::<String>());
        format!("{a},{b}->{c}")
    }
}

/// Where an axis is in a tensor.
pub(crate) fn position(axes: Axes, axis: char) -> Option<usize> {
    axes.iter().position(|&known| known == axis)
}

/// The permutation that brings a tensor's axes into an order.
fn permutation(axes: Axes, order: Axes) -> [usize; 3] {
    order.map(|axis| position(axes, axis).unwrap_or_else(|| panic!("head_product: no axis {axis} in {axes:?}")))
}

impl Operation for HeadProduct {
    fn name(&self) -> &'static str {
        "head_product"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axes", self.equation())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![self.c.iter().map(|&axis| self.length(axis, inputs)).collect()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let Self { a, b, c } = *self;
        let dy = &site.grads[0];
        vec![
            site.wanted[0].then(|| builder.apply_one(Self { a: c, b, c: a }, &[dy, &site.inputs[1]])),
            site.wanted[1].then(|| builder.apply_one(Self { a: c, b: a, c: b }, &[dy, &site.inputs[0]])),
        ]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let [a, b, order] = self.permutations();
        let (a, b) = (View::from(&inputs[0]).permute(&a), View::from(&inputs[1]).permute(&b));
        let product = builder.prim_batched_matmul(a, b);
        vec![builder.prim_contiguous(View::from(&product).permute(&order))]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        flops(self.lengths(inputs))
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let equation = Attribute::text("equation", &self.equation());
        Some(writer.node("Einsum", &[&inputs[0], &inputs[1]], vec![equation], shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
