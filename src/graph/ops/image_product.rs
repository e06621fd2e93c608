use std::any::Any;

use super::{HeadProduct, flops, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// A [`HeadProduct`] of activations: for each image, or each window of it, by itself. Operands and result have as many more
/// axes in front, alike: `[batch, .., a, b, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageProduct(pub HeadProduct);

/// The leading axes of an operand, and the three of the product.
fn split(shape: &[usize]) -> (&[usize], &[usize]) {
    assert!(shape.len() > 3, "image_product: {shape:?}");
    shape.split_at(shape.len() - 3)
}

impl ImageProduct {
    /// Products for each head, and the lengths of heads, rows, inner axis and columns.
    pub(crate) fn lengths(&self, shapes: &[&[usize]]) -> (usize, [usize; 4]) {
        let ([leading, other], own) = ([split(shapes[0]).0, split(shapes[1]).0], shapes.iter().map(|s| split(s).1));
        assert_eq!(leading, other, "image_product: {shapes:?}");
        (leading.iter().product(), self.0.lengths(&own.collect::<Vec<_>>()))
    }
}

impl Operation for ImageProduct {
    fn name(&self) -> &'static str {
        "image_product"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        self.lengths(inputs);
        let own = self.0.output_shapes(&[split(inputs[0]).1, split(inputs[1]).1]).swap_remove(0);
        vec![[split(inputs[0]).0, &own].concat()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let HeadProduct { a, b, c } = self.0;
        let (dy, [x, y]) = (&site.grads[0], [&site.inputs[0], &site.inputs[1]]);
        vec![
            site.wanted[0].then(|| builder.apply_one(Self(HeadProduct { a: c, b, c: a }), &[dy, y])),
            site.wanted[1].then(|| builder.apply_one(Self(HeadProduct { a: c, b: a, c: b }), &[dy, x])),
        ]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape.as_slice()).collect();
        let (groups, [heads, rows, inner, columns]) = self.lengths(&shapes);
        let output = self.output_shapes(&shapes).swap_remove(0);
        let [a, b, c] = self.0.permutations();
        // The axis of the groups stays in front.
        let behind = |permutation: [usize; 3]| [&[0][..], &permutation.map(|axis| axis + 1)].concat();
        let mut by_head = |x: &Value, permutation: [usize; 3], lengths: [usize; 2]| {
            let x = viewed(x, &[&[groups][..], split(&x.shape).1].concat());
            let x = builder.prim_contiguous(View::from(&x).permute(&behind(permutation)));
            viewed(&x, &[groups * heads, lengths[0], lengths[1]])
        };
        let (a, b) = (by_head(&inputs[0], a, [rows, inner]), by_head(&inputs[1], b, [inner, columns]));
        let product = builder.prim_batched_matmul((&a).into(), (&b).into());
        let product = viewed(&product, &[groups, heads, rows, columns]);
        let product = builder.prim_contiguous(View::from(&product).permute(&behind(c)));
        vec![viewed(&product, &output)]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        let (groups, lengths) = self.lengths(inputs);
        flops([groups].into_iter().chain(lengths))
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let HeadProduct { a, b, c } = self.0;
        let [a, b, c] = [a, b, c].map(|axes| format!("...{}", axes.iter().collect::<String>()));
        let equation = Attribute::text("equation", &format!("{a},{b}->{c}"));
        Some(writer.node("Einsum", &[&inputs[0], &inputs[1]], vec![equation], shape))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
