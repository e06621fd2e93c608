use std::any::Any;

use super::{SumLeading, flat, flops, viewed};
use crate::{
    graph::{Builder, Gradients, Operation, Value, primitives::View},
    onnx::{Attribute, Dim, Tensor, Writer},
};

/// `y = x W (+ bias)`, Keras' `Dense` without its activation: x `[.., in]`, W `[in, out]`,
/// bias `[out]`, y `[.., out]`.
#[derive(Debug)]
pub struct Dense;

impl Operation for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let (x, kernel) = (inputs[0], inputs[1]);
        assert_eq!(x.last(), Some(&kernel[0]), "dense: {x:?} x {kernel:?}");
        vec![[&x[..x.len() - 1], &[kernel[1]]].concat()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        let (x, kernel, dy) = (&site.inputs[0], &site.inputs[1], &site.grads[0]);
        let mut grads = vec![
            site.wanted[0].then(|| builder.apply_one(DenseInputGradient, &[dy, kernel])),
            site.wanted[1].then(|| builder.apply_one(DenseKernelGradient, &[x, dy])),
        ];
        if let Some(bias) = site.inputs.get(2) {
            grads.push(Some(builder.apply_one(SumLeading { shape: bias.shape.clone() }, &[dy])));
        }
        grads
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, kernel) = (&inputs[0], &inputs[1]);
        let [rows, last] = flat(&x.shape);
        let product = builder.prim_matmul(&viewed(x, &[rows, last]), kernel);
        let y = match inputs.get(2) {
            Some(bias) => builder.prim_add(&product, View::from(bias).broadcast(&product.shape)),
            None => product,
        };
        vec![viewed(&y, &self.output_shapes(&[&x.shape, &kernel.shape])[0])]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        flops(inputs[0].iter().copied().chain([inputs[1][1]]))
    }

    fn onnx(&self, writer: &mut Writer, inputs: &[Tensor], shape: &[Dim]) -> Option<Tensor> {
        let [x, kernel, bias @ ..] = inputs else { return None };
        let (input, output) = (kernel.shape[0], kernel.shape[1]);
        if writer.has_channels_second(x) {
            // Among convolutions it is one: of a pixel.
            let kernel = writer.transpose(kernel, &[1, 0]);
            let kernel = writer.reshape(&kernel, &[output, input, 1.into(), 1.into()]);
            return Some(writer.channels_second(x, shape, |writer, x, shape| {
                let inputs: Vec<&Tensor> = [x, &kernel].into_iter().chain(bias).collect();
                writer.node("Conv", &inputs, vec![Attribute::ints("kernel_shape", [1, 1])], shape)
            }));
        }
        if x.rank() == 2 {
            let inputs: Vec<&Tensor> = [x, kernel].into_iter().chain(bias).collect();
            return Some(writer.node("Gemm", &inputs, Vec::new(), shape));
        }
        let product = writer.matmul(x, kernel, shape);
        Some(bias.iter().fold(product, |product, bias| writer.binary("Add", &product, bias)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dx = dy W^T`: dy `[.., out]`, W `[in, out]`, dx `[.., in]`.
#[derive(Debug)]
pub struct DenseInputGradient;

impl Operation for DenseInputGradient {
    fn name(&self) -> &'static str {
        "dense_input_gradient"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        let (dy, kernel) = (inputs[0], inputs[1]);
        vec![[&dy[..dy.len() - 1], &[kernel[0]]].concat()]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (dy, kernel) = (&inputs[0], &inputs[1]);
        let dx = builder.prim_matmul(&viewed(dy, &flat(&dy.shape)), View::from(kernel).permute(&[1, 0]));
        vec![viewed(&dx, &self.output_shapes(&[&dy.shape, &kernel.shape])[0])]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        flops(inputs[0].iter().copied().chain([inputs[1][0]]))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `dW = x^T dy`, summed over all rows: x `[.., in]`, dy `[.., out]`, dW `[in, out]`.
#[derive(Debug)]
pub struct DenseKernelGradient;

impl Operation for DenseKernelGradient {
    fn name(&self) -> &'static str {
        "dense_kernel_gradient"
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![vec![flat(inputs[0])[1], flat(inputs[1])[1]]]
    }

    fn gradient(&self, _: &mut Builder, _: &Gradients) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let (x, dy) = (&inputs[0], &inputs[1]);
        let x = viewed(x, &flat(&x.shape));
        vec![builder.prim_matmul(View::from(&x).permute(&[1, 0]), &viewed(dy, &flat(&dy.shape)))]
    }

    fn flops(&self, inputs: &[&[usize]]) -> u64 {
        flops(inputs[0].iter().copied().chain([flat(inputs[1])[1]]))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
