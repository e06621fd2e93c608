//! Which kernel runs an operator, on the rows of a few images or as numbered tasks.

pub mod update;

use super::{
    kernel::{Call, Kernel, Kind, Packing, Split},
    kernels::{
        activation, attention, cross_entropy, dropout, elementwise, gemm, layer_norm, pointwise, softmax, transpose,
    },
};
use crate::graph::{
    Operation,
    ops::{
        self, Activation, ActivationGradient, AdamWUpdate, Attention, AttentionGradient, AttentionShape, Axes,
        HeadProduct, RandomState, Roles, around, flat, position,
    },
};
use gemm::{Epilogue, Mat, NR, panels::Panels};

/// Rows of a kernel's gradient that a task computes.
const ROWS: usize = 256;

/// The dropout mask at an iteration, its key read from the encoded state.
fn mask(operator: &ops::Dropout, encoded: &[f32]) -> dropout::Mask {
    let random = RandomState::decode(encoded);
    dropout::Mask::new(random.philox, operator.stream, random.iteration, operator.rate)
}

/// The kernel of an operator on inputs of these shapes, batch axis included; `None` when this
/// backend has none. The second input may be kept in panels.
pub fn kernel(operation: &dyn Operation, shapes: &[&[usize]], panels: Option<Panels>) -> Option<Kernel> {
    let any = operation.as_any();
    let [_, width] = flat(shapes[0]);
    // One row per image: a tile would stream the whole kernel matrix through the cache for a few
    // rows, so such products run on the whole batch.
    if shapes[0].len() == 2
        && let Some(kernel) = wide_dense(operation, shapes, panels)
    {
        return Some(kernel);
    }
    if any.is::<ops::Dense>() {
        let (n, operands) = (shapes[1][1], shapes.len());
        let run = move |call: &mut Call| {
            let (m, a) = (call.inputs[0].len() / width, Mat::rows(call.inputs[0], width));
            let bias = (operands == 3).then(|| call.inputs[2]);
            let residual = call.inputs.get(operands).map(|residual| (*residual, n));
            let epilogue = Epilogue { bias, residual, accumulate: false };
            let [out, copy @ ..] = &mut call.outputs[..] else { return };
            let copy = copy.first_mut().map_or(&mut [][..], |copy| copy);
            gemm::gemm_packed_twice(m, n, width, a, call.inputs[1], out, n, copy, &epilogue);
        };
        let kernel = Kernel::per_image(run).adds().streams(n.is_multiple_of(NR));
        return Some(kernel.packed(Packing { input: 1, k: width, n, transposed: false }));
    }
    if any.is::<ops::DenseInputGradient>() {
        let (n, operands) = (shapes[1][0], shapes.len());
        let run = move |call: &mut Call| {
            let (m, a) = (call.inputs[0].len() / width, Mat::rows(call.inputs[0], width));
            let residual = call.inputs.get(operands).map(|residual| (*residual, n));
            let epilogue = Epilogue { residual, ..Epilogue::default() };
            gemm::gemm_packed(m, n, width, a, call.inputs[1], call.outputs[0], n, &epilogue);
        };
        return Some(Kernel::per_image(run).adds().packed(Packing { input: 1, k: width, n, transposed: true }));
    }
    if any.is::<ops::DenseKernelGradient>() {
        let n = flat(shapes[1])[1];
        return Some(
            Kernel::per_image(move |call| {
                let k = call.inputs[0].len() / width;
                let (a, b) = (Mat::transposed(call.inputs[0], width), Mat::rows(call.inputs[1], n));
                gemm::gemm(width, n, k, a, b, call.outputs[0], n, !call.begin, call.scratch);
            })
            .outputs(&[Kind::Sum])
            .begins()
            .scratch(rows_scratch(shapes[0], move |k| gemm::scratch_len(width, n, k))),
        );
    }
    if let Some(sum) = any.downcast_ref::<ops::SumLeading>() {
        let len: usize = sum.shape.iter().product();
        let run = move |call: &mut Call| {
            elementwise::sum_rows(call.inputs[0].len() / len, len, call.inputs[0], call.outputs[0])
        };
        return Some(Kernel::per_image(run).outputs(&[Kind::Sum]));
    }
    if let Some(&ops::LayerNorm { epsilon }) = any.downcast_ref() {
        let run = move |call: &mut Call| {
            let rows = call.inputs[0].len() / width;
            let [y, mean, rstd] = &mut call.outputs[..] else { return };
            layer_norm::forward(rows, width, call.inputs[0], call.inputs[1], call.inputs[2], epsilon, y, mean, rstd);
        };
        return Some(Kernel::per_image(run).outputs(&[Kind::PerImage; 3]).cheap());
    }
    if any.is::<ops::LayerNormGradient>() {
        let run = move |call: &mut Call| {
            let [dy, x, gamma, mean, rstd] = call.inputs[..] else { return };
            let [dx, dgamma, dbeta] = &mut call.outputs[..] else { return };
            layer_norm::backward(x.len() / width, width, x, gamma, mean, rstd, dy, dx, dgamma, dbeta);
        };
        return Some(Kernel::per_image(run).outputs(&[Kind::PerImage, Kind::Sum, Kind::Sum]));
    }
    if let Some(&operator) = any.downcast_ref::<Attention>() {
        return Some(attention_forward(operator, shapes));
    }
    if let Some(gradient) = any.downcast_ref::<AttentionGradient>() {
        return Some(attention_backward(gradient, shapes));
    }
    if let Some(&operator) = any.downcast_ref::<HeadProduct>() {
        return Some(head_product(operator, shapes));
    }
    elementwise_kernel(operation, shapes).or_else(|| layout_kernel(operation, shapes))
}

/// Matrix products on the whole batch, shared by columns or rows of the result.
fn wide_dense(operation: &dyn Operation, shapes: &[&[usize]], panels: Option<Panels>) -> Option<Kernel> {
    let any = operation.as_any();
    let [rows, width] = flat(shapes[0]);
    if any.is::<ops::Dense>() {
        let columns = shapes[1][1];
        let run = move |call: &mut Call| {
            let (n, part) = (call.part.len(), call.part.clone());
            let [a, b] = [call.inputs[0], call.inputs[1]];
            if let Some(panels) = panels {
                panels.product(rows, a, b, part.clone(), call.outputs[0], call.scratch);
            } else {
                let (a, b) = (Mat::rows(a, width), Mat::rows(&b[part.start..], columns));
                gemm::gemm(rows, n, width, a, b, call.outputs[0], n, false, call.scratch);
            }
            if let Some(bias) = call.inputs.get(2) {
                elementwise::add_rows_in_place(call.outputs[0], &bias[part]);
            }
        };
        let scratch = move |n| match panels {
            Some(_) => Panels::product_scratch_len(rows),
            None => gemm::scratch_len(rows, n, width),
        };
        return Some(Kernel::per_image(run).scratch(scratch).split(Split::Columns { rows, columns }));
    }
    if any.is::<ops::DenseInputGradient>() {
        let columns = shapes[1][0];
        let run = move |call: &mut Call| {
            let (n, part) = (call.part.len(), call.part.clone());
            let [a, b] = [call.inputs[0], call.inputs[1]];
            if let Some(panels) = panels {
                return panels.transposed_product(rows, a, b, part, call.outputs[0], call.scratch);
            }
            let (a, b) = (Mat::rows(a, width), Mat::transposed(&b[part.start * width..], width));
            gemm::gemm(rows, n, width, a, b, call.outputs[0], n, false, call.scratch);
        };
        let scratch = move |n| match panels {
            Some(panels) => panels.transposed_product_scratch_len(rows, n),
            None => gemm::scratch_len(rows, n, width),
        };
        return Some(Kernel::per_image(run).scratch(scratch).split(Split::Columns { rows, columns }));
    }
    if any.is::<ops::DenseKernelGradient>() {
        let columns = flat(shapes[1])[1];
        let run = move |call: &mut Call| {
            let a = Mat::transposed(&call.inputs[0][call.part.start..], width);
            let b = Mat::rows(call.inputs[1], columns);
            let (m, c) = (call.part.len(), &mut call.outputs[0]);
            gemm::gemm(m, columns, rows, a, b, c, columns, false, call.scratch);
        };
        let kernel = Kernel::per_image(run).scratch(move |m| gemm::scratch_len(m, columns, rows));
        return Some(kernel.split(Split::Rows { rows: width, columns, together: ROWS }));
    }
    None
}

/// Scratch as a function of rows, for a tensor of a known number of rows per image.
fn rows_scratch(
    shape: &[usize],
    scratch: impl Fn(usize) -> usize + Send + Sync + 'static,
) -> impl Fn(usize) -> usize + Send + Sync + 'static {
    let rows_per_image: usize = shape[1..shape.len() - 1].iter().product();
    move |images| scratch(images * rows_per_image)
}

fn per_image_attention(
    operator: &Attention,
    shape: &AttentionShape,
    mask: Option<dropout::Mask>,
    image: usize,
) -> attention::Attention {
    let &AttentionShape { tokens, sources, heads, key_dim, value_dim, .. } = shape;
    let (scale, &Attention { shared_keys, summed, .. }) = (operator.scale(key_dim), operator);
    attention::Attention { tokens, sources, heads, key_dim, value_dim, scale, shared_keys, summed, mask, image }
}

/// The part of a per-image tensor that belongs to one image of a call.
fn image(tensor: &[f32], images: usize, index: usize) -> &[f32] {
    let len = tensor.len() / images;
    &tensor[index * len..][..len]
}

fn image_mut(tensor: &mut [f32], images: usize, index: usize) -> &mut [f32] {
    let len = tensor.len() / images;
    &mut tensor[index * len..][..len]
}

fn attention_forward(operator: Attention, shapes: &[&[usize]]) -> Kernel {
    let shape = AttentionShape::new(&operator, shapes[0], shapes[1], shapes[2]);
    let any_image = per_image_attention(&operator, &shape, None, 0);
    let (scratch, kept) = (any_image.forward_scratch_len(), any_image.kept_len(shapes.len() > 3));
    Kernel::per_image(move |call| {
        let mask = call.inputs.get(3).map(|random| mask(&operator.dropout, random));
        for index in 0..call.images {
            let [q, k, v] = [0, 1, 2].map(|input| image(call.inputs[input], call.images, index));
            let [out, kept, copy @ ..] = &mut call.outputs[..] else { return };
            let [out, kept] = [out, kept].map(|output| image_mut(output, call.images, index));
            let copy = copy.first_mut().map_or(&mut [][..], |copy| image_mut(copy, call.images, index));
            let kernel = per_image_attention(&operator, &shape, mask, call.first + index);
            kernel.forward(q, k, v, out, copy, kept, call.scratch);
        }
    })
    // The weights would be most of what a step keeps: tokens times tokens for each head.
    .outputs(&[Kind::PerImage, Kind::Abridged(kept)])
    .scratch(move |_| scratch)
    .streams(shape.value_dim.is_multiple_of(NR))
}

fn attention_backward(gradient: &AttentionGradient, shapes: &[&[usize]]) -> Kernel {
    let (operator, weights) = (gradient.0, gradient.weights());
    let shape = AttentionShape::new(&operator, shapes[1], shapes[2], shapes[3]);
    let scratch = per_image_attention(&operator, &shape, None, 0).backward_scratch_len();
    Kernel::per_image(move |call| {
        let mask = call.inputs.get(weights + 1).map(|random| mask(&operator.dropout, random));
        for index in 0..call.images {
            let [dy, q, k, v, kept] = [0, 1, 2, 3, weights].map(|input| image(call.inputs[input], call.images, index));
            let y = if operator.summed { &[] } else { image(call.inputs[4], call.images, index) };
            let [dq, dk, dv] = &mut call.outputs[..] else { return };
            let [dq, dk, dv] = [dq, dk, dv].map(|output| image_mut(output, call.images, index));
            let kernel = per_image_attention(&operator, &shape, mask, call.first + index);
            kernel.backward(q, k, v, y, kept, dy, dq, dk, dv, call.scratch);
        }
    })
    .outputs(&[Kind::PerImage; 3])
    .scratch(move |_| scratch)
}

/// A product of parameters, or of their gradients, for each head.
fn head_product(operator: HeadProduct, shapes: &[&[usize]]) -> Kernel {
    let [heads, rows, inner, columns] = operator.lengths(shapes);
    let Roles { head, row, column, inner: inner_axis } = operator.roles();
    let output = &operator.output_shapes(shapes)[0][..];
    let strides = |axes: Axes, shape: &[usize], names: [char; 3]| {
        names.map(|name| position(axes, name).map_or(0, |axis| shape[axis + 1..].iter().product()))
    };
    let a = strides(operator.a, shapes[0], [head, row, inner_axis]);
    let b = strides(operator.b, shapes[1], [head, inner_axis, column]);
    let c = strides(operator.c, output, [head, row, column]);
    fn matrix(data: &[f32], [head, row_stride, col_stride]: [usize; 3], index: usize) -> Mat<'_> {
        Mat { data: &data[index * head..], row_stride, col_stride }
    }
    let transposed = |[head, row, column]: [usize; 3]| [head, column, row];
    // A product writes whole rows: if the result's rows are its columns, it is the transposed one.
    let ((m, n), (a, b), order) = match c {
        [_, _, 1] => ((rows, columns), (a, b), [0, 1]),
        _ => ((columns, rows), (transposed(b), transposed(a)), [1, 0]),
    };
    let [next, ld] = [c[0], c[1].max(c[2])];
    Kernel::per_image(move |call| {
        let [left, right] = order.map(|input| call.inputs[input]);
        for head in 0..heads {
            let c = &mut call.outputs[0][head * next..];
            gemm::gemm(m, n, inner, matrix(left, a, head), matrix(right, b, head), c, ld, false, call.scratch);
        }
    })
    .scratch(move |_| gemm::scratch_len(m, n, inner))
}

fn elementwise_kernel(operation: &dyn Operation, shapes: &[&[usize]]) -> Option<Kernel> {
    let any = operation.as_any();
    let [_, width] = flat(shapes[0]);
    let per_image: usize = shapes[0].iter().skip(1).product();
    Some(if let Some(activation) = any.downcast_ref::<Activation>() {
        match activation::own(activation.name()) {
            Some((run, _)) => Kernel::per_image(move |call| run(call.inputs[0], call.outputs[0])),
            None => {
                let program = pointwise::Program::new(&activation.expression())?;
                Kernel::per_image(move |call| program.run(&call.inputs[..1], call.outputs[0]))
            }
        }
        .cheap()
    } else if let Some(ActivationGradient(activation)) = any.downcast_ref() {
        match activation::own(activation.name()) {
            Some((_, run)) => Kernel::per_image(move |call| run(call.inputs[1], call.inputs[0], call.outputs[0])),
            None => {
                let program = pointwise::Program::new(&activation.expression().gradient(0))?;
                Kernel::per_image(move |call| program.run(&call.inputs[..2], call.outputs[0]))
            }
        }
    } else if let Some(&operator) = any.downcast_ref::<ops::Dropout>() {
        Kernel::per_image(move |call| {
            let mask = mask(&operator, call.inputs[1]);
            dropout::apply(&mask, (call.first * per_image) as u64, call.inputs[0], call.outputs[0]);
        })
        .cheap()
    } else if any.is::<ops::Softmax>() {
        Kernel::per_image(move |call| {
            softmax::forward(call.inputs[0].len() / width, width, call.inputs[0], call.outputs[0])
        })
    } else if any.is::<ops::SoftmaxGradient>() {
        Kernel::per_image(move |call| {
            softmax::backward(call.inputs[0].len() / width, width, call.inputs[1], call.inputs[0], call.outputs[0]);
        })
    } else if any.is::<ops::Add>() {
        if shapes[0] == shapes[1] {
            Kernel::per_image(|call| elementwise::add(call.inputs[0], call.inputs[1], call.outputs[0]))
        } else {
            Kernel::per_image(|call| elementwise::add_rows(call.inputs[0], call.inputs[1], call.outputs[0]))
        }
    } else if let Some(&ops::Scale { factor }) = any.downcast_ref() {
        Kernel::per_image(move |call| elementwise::scale(factor, call.inputs[0], call.outputs[0]))
    } else if any.is::<ops::CrossEntropy>() {
        let batch = shapes[0][0];
        Kernel::per_image(move |call| {
            let losses = &mut call.scratch[..batch];
            cross_entropy::forward(batch, width, call.inputs[0], call.inputs[1], losses);
            let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
            call.outputs[0][0] = (sum / batch as f64) as f32;
        })
        .scratch(move |_| batch)
        .split(Split::Once)
    } else if any.is::<ops::CrossEntropyGradient>() {
        let (batch, classes) = (shapes[1][0], shapes[1][1]);
        Kernel::per_image(move |call| {
            let scale = call.inputs[0][0] / batch as f32;
            let (logits, labels) = (call.inputs[1], call.inputs[2]);
            cross_entropy::backward(labels.len(), classes, logits, labels, scale, call.outputs[0]);
        })
    } else if let Some(&rule) = any.downcast_ref::<AdamWUpdate>() {
        update::elements(rule)
    } else {
        return None;
    })
}

fn layout_kernel(operation: &dyn Operation, shapes: &[&[usize]]) -> Option<Kernel> {
    let any = operation.as_any();
    // Shapes of one image: the batch axis goes, so axes count one less.
    let inner = |shape: &[usize], axis: usize| axis.checked_sub(1).map(|axis| around(&shape[1..], axis));
    Some(if let Some(operator) = any.downcast_ref::<ops::Transpose>() {
        if operator.permutation[0] != 0 {
            return None;
        }
        let shape = shapes[0].to_vec();
        let axes: Vec<usize> = operator.permutation[1..].iter().map(|axis| axis - 1).collect();
        Kernel::per_image(move |call| {
            for index in 0..call.images {
                let (from, to) =
                    (image(call.inputs[0], call.images, index), image_mut(call.outputs[0], call.images, index));
                transpose::permute(&shape[1..], &axes, from, to);
            }
        })
    } else if let Some(operator) = any.downcast_ref::<ops::Mean>() {
        let [outer, length, inner] = inner(shapes[0], operator.axis)?;
        Kernel::per_image(move |call| {
            elementwise::mean_axis(call.images * outer, length, inner, call.inputs[0], call.outputs[0]);
        })
    } else if let Some(operator) = any.downcast_ref::<ops::MeanGradient>() {
        let [outer, length, inner] = inner(&operator.output_shapes(shapes)[0], operator.axis)?;
        Kernel::per_image(move |call| {
            elementwise::mean_axis_backward(call.images * outer, length, inner, call.inputs[0], call.outputs[0]);
        })
    } else if let Some(&ops::Slice { axis, start, length }) = any.downcast_ref() {
        let [_, from, inner] = inner(shapes[0], axis)?;
        Kernel::per_image(move |call| {
            let (from, to) = (call.inputs[0].chunks(from * inner), call.outputs[0].chunks_mut(length * inner));
            from.zip(to).for_each(|(from, to)| to.copy_from_slice(&from[start * inner..][..length * inner]));
        })
    } else if let Some(&ops::Pad { axis, before, after }) = any.downcast_ref() {
        let [_, length, inner] = inner(shapes[0], axis)?;
        Kernel::per_image(move |call| {
            let to = call.outputs[0].chunks_mut((before + length + after) * inner);
            for (from, to) in call.inputs[0].chunks(length * inner).zip(to) {
                to.fill(0.0);
                to[before * inner..][..length * inner].copy_from_slice(from);
            }
        })
    } else if let Some(operator) = any.downcast_ref::<ops::Concat>() {
        let parts: Vec<usize> = shapes
            .iter()
            .map(|shape| inner(shape, operator.axis).map(|[_, length, inner]| length * inner))
            .collect::<Option<_>>()?;
        let row: usize = parts.iter().sum();
        Kernel::per_image(move |call| {
            let mut start = 0;
            for (input, &len) in call.inputs.iter().zip(&parts) {
                for (from, to) in input.chunks(len).zip(call.outputs[0].chunks_mut(row)) {
                    to[start..][..len].copy_from_slice(from);
                }
                start += len;
            }
        })
    } else if any.is::<ops::Expand>() {
        Kernel::per_image(|call| {
            let source = call.inputs[0];
            call.outputs[0].chunks_mut(source.len()).for_each(|row| row.copy_from_slice(source));
        })
    } else {
        return None;
    })
}
