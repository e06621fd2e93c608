//! Operators that treat each element alone.

use smallvec::SmallVec;

use super::{Lower, Role, Scheduling, Site, image, mask};
use crate::{
    backend::cpu::{
        kernel::Kernel,
        kernels::{
            activation, dropout, elementwise,
            pointwise::{Input, Program},
        },
    },
    graph::{
        Operation,
        activations::ACTIVATIONS,
        expression::Expression,
        ops::{self, Activation, ActivationGradient, Operand},
    },
};

/// The kernel of any function of scalars, whose result has this shape.
fn evaluated(expression: &Expression, operands: &[Operand], shape: &[usize]) -> Option<Kernel> {
    let program = Program::new(expression)?;
    let operands: SmallVec<[Operand; 4]> = operands.iter().copied().collect();
    let per_image: usize = shape.iter().skip(1).product();
    // What repeats within an image repeats throughout a run of the program over one image.
    let by_image = operands.iter().any(|operand| matches!(operand, Operand::PerImage | Operand::ImageMask(_)));
    Some(Kernel::per_image(move |call| {
        let out = &mut *call.outputs[0];
        let images = out.len() / per_image;
        let len = if by_image { per_image } else { out.len() };
        for (index, out) in out.chunks_mut(len).enumerate() {
            let at = call.first + index;
            let operands = operands.iter().zip(&call.inputs);
            let inputs = operands.map(|(operand, &input)| match *operand {
                Operand::Whole if by_image => Input::Values(&input[index * per_image..][..per_image]),
                Operand::Whole | Operand::Shared => Input::Values(input),
                Operand::PerImage => Input::Values(image(input, images, index)),
                Operand::Mask(dropout) => Input::Mask(mask(&dropout, input), (at * per_image) as u64),
                Operand::ImageMask(dropout) => Input::Value(mask(&dropout, input).factor(at as u64)),
            });
            let inputs: SmallVec<[Input; 8]> = inputs.collect();
            program.run(&inputs, out);
        }
    }))
}

/// A kernel of its own for a function that has one: faster than [`evaluated`], and the same but for rounding.
fn own(expression: &Expression, operands: &[Operand], per_image: usize) -> Option<Kernel> {
    use Operand::{Mask, Shared, Whole};
    let sum = || *expression == Expression::new(2, |x| &x[0] + &x[1]);
    let product = || *expression == Expression::new(2, |x| &x[0] * &x[1]);
    match *operands {
        [Whole] => {
            let named = ACTIVATIONS.iter().filter_map(|rule| Activation::named(rule.name));
            let found = named.into_iter().find(|activation| activation.expression() == *expression)?;
            let (run, _) = activation::own(found.name())?;
            Some(Kernel::per_image(move |call| run(call.inputs[0], call.outputs[0])))
        }
        [Whole, Whole] if sum() => {
            Some(Kernel::per_image(|call| elementwise::add(call.inputs[0], call.inputs[1], call.outputs[0])))
        }
        [Whole, Shared] if sum() => {
            Some(Kernel::per_image(|call| elementwise::add_rows(call.inputs[0], call.inputs[1], call.outputs[0])))
        }
        [Whole, Mask(dropout)] if product() => Some(dropped(dropout, per_image)),
        [Whole, Whole] => {
            let named = ACTIVATIONS.iter().filter_map(|rule| Activation::named(rule.name));
            let found = named.into_iter().find(|activation| activation.expression().gradient(0) == *expression)?;
            let (_, run) = activation::own(found.name())?;
            Some(Kernel::per_image(move |call| run(call.inputs[1], call.inputs[0], call.outputs[0])))
        }
        _ => None,
    }
}

/// Whether the gradients of a function read all tensors that it reads, which are kept for them in any case.
fn keeps_operands(operator: &ops::Pointwise) -> bool {
    let whole: Vec<usize> =
        (0..operator.operands.len()).filter(|&operand| operator.operands[operand] == Operand::Whole).collect();
    let read = |input: usize| {
        (0..operator.operands.len())
            .filter(|&operand| operator.operands[operand].mask().is_none())
            .any(|operand| operator.slope(operand).1.contains(&Some(input)))
    };
    whole.len() == 1 || whole.into_iter().all(read)
}

impl Lower for ops::Pointwise {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let shape = self.output_shapes(site.shapes).swap_remove(0);
        // What is as large as the result repeats over nothing.
        let operands: SmallVec<[Operand; 4]> = self
            .operands
            .iter()
            .zip(site.shapes)
            .map(|(&operand, of)| match operand {
                Operand::Shared | Operand::PerImage if **of == shape[..] => Operand::Whole,
                _ => operand,
            })
            .collect();
        let kernel = own(&self.expression, &operands, shape.iter().skip(1).product())
            .or_else(|| evaluated(&self.expression, &operands, &shape))?;
        Some(if keeps_operands(self) { kernel.cheap() } else { kernel })
    }
}

impl Lower for Activation {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let kernel = match activation::own(self.name()) {
            Some((run, _)) => Kernel::per_image(move |call| run(call.inputs[0], call.outputs[0])),
            None => evaluated(&self.expression(), &[Operand::Whole], site.shapes[0])?,
        };
        Some(kernel.cheap())
    }
}

impl Lower for ActivationGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let Self(activation) = self;
        Some(match activation::own(activation.name()) {
            Some((_, run)) => Kernel::per_image(move |call| run(call.inputs[1], call.inputs[0], call.outputs[0])),
            None => evaluated(&activation.expression().gradient(0), &[Operand::Whole; 2], site.shapes[0])?,
        })
    }
}

fn dropped(operator: ops::Dropout, per_image: usize) -> Kernel {
    Kernel::per_image(move |call| {
        let mask = mask(&operator, call.inputs[1]);
        dropout::apply(&mask, (call.first * per_image) as u64, call.inputs[0], call.outputs[0]);
    })
}

impl Lower for ops::Dropout {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        Some(dropped(*self, site.shapes[0].iter().skip(1).product()).cheap())
    }
}

impl Lower for ops::Add {
    const SCHEDULING: Scheduling = Scheduling { role: Role::Sum, ..Scheduling::PLAIN };

    fn lower(&self, site: &Site) -> Option<Kernel> {
        Some(if site.shapes[0] == site.shapes[1] {
            Kernel::per_image(|call| elementwise::add(call.inputs[0], call.inputs[1], call.outputs[0]))
        } else {
            Kernel::per_image(|call| elementwise::add_rows(call.inputs[0], call.inputs[1], call.outputs[0]))
        })
    }
}

impl Lower for ops::Scale {
    fn lower(&self, _: &Site) -> Option<Kernel> {
        let &Self { factor } = self;
        Some(Kernel::per_image(move |call| elementwise::scale(factor, call.inputs[0], call.outputs[0])))
    }
}

#[cfg(test)]
mod tests {
    use rustc_hash::FxHashMap;

    use super::*;
    use crate::{
        backend::{
            cpu::{kernel::Call, kernels::isa::tests::noise, ops::kernel},
            reference,
        },
        graph::{
            Builder,
            ops::{Dropout, RandomState},
        },
    };

    /// Runs a kernel on some images at a time.
    fn run(kernel: &Kernel, tensors: &[(&[f32], bool)], images: usize, together: usize, len: usize) -> Vec<f32> {
        let mut out = vec![7.0; len];
        for first in (0..images).step_by(together) {
            let count = together.min(images - first);
            let part = |&(tensor, per_image): &(&'_ [f32], bool)| {
                let image = tensor.len() / images;
                if per_image { (first * image, count * image) } else { (0, tensor.len()) }
            };
            let inputs = tensors.iter().map(|tensor| {
                let (start, len) = part(tensor);
                &tensor.0[start..][..len]
            });
            let outputs = [&mut out[first * len / images..][..count * len / images]].into_iter().collect();
            let inputs = inputs.collect();
            let (scratch, part) = (&mut [][..], 0..0);
            (kernel.run)(&mut Call {
                inputs,
                outputs,
                scratch,
                first,
                images: count,
                begin: false,
                part,
                iteration: 0,
            });
        }
        out
    }

    #[test]
    fn operands_of_every_kind_on_a_few_images_at_a_time() {
        let dropout = |stream| Dropout { rate: 0.25, stream };
        let f = Expression::new(5, |x| &x[0] * &x[1].sigmoid() * &x[3] + &x[2].exp() * &x[4]);
        let kinds = [
            Operand::Whole,
            Operand::PerImage,
            Operand::Shared,
            Operand::Mask(dropout(1)),
            Operand::ImageMask(dropout(2)),
        ];
        for [images, times, suffix] in [[5, 3, 7], [1, 1, 1], [9, 5, 32], [2, 1, 150]] {
            let len = images * times * suffix;
            let random = RandomState::new(5, 9).encode();
            let tensors =
                [noise(1, len), noise(2, images * suffix), noise(3, suffix), random.to_vec(), random.to_vec()];
            let dims = [vec![images, times, suffix], vec![images, suffix], vec![suffix], vec![6], vec![6]];
            let shapes: Vec<&[usize]> = dims.iter().map(Vec::as_slice).collect();
            let operator = ops::Pointwise::new("gate", f.clone(), kinds.to_vec());
            let ours = kernel(&operator, &Site { shapes: &shapes, panels: None }).unwrap();

            let mut builder = Builder::for_training();
            let values: Vec<_> = shapes
                .iter()
                .enumerate()
                .map(|(index, shape)| builder.input(format!("x{index}").as_str(), shape))
                .collect();
            let y = builder.apply_one(operator, &values.iter().collect::<Vec<_>>());
            let named: FxHashMap<String, Vec<f32>> =
                tensors.iter().enumerate().map(|(index, tensor)| (format!("x{index}"), tensor.clone())).collect();
            let expected = reference::run(builder, &named, &[y]).unwrap().swap_remove(0);

            let tensors: Vec<(&[f32], bool)> = tensors
                .iter()
                .zip([true, true, false, false, false])
                .map(|(tensor, each)| (&tensor[..], each))
                .collect();
            let mut results = [1, 2, images].map(|together| run(&ours, &tensors, images, together, len));
            for (actual, expected) in results[0].iter().zip(&expected) {
                assert!((actual - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{actual} {expected}");
            }
            results.rotate_left(1);
            assert!(results.iter().all(|result| *result == results[2]), "images taken together change bits");
        }
    }

    #[test]
    fn kernels_of_their_own_are_their_expressions() {
        let dropout = Operand::Mask(Dropout { rate: 0.25, stream: 1 });
        let (whole, shared) = (Operand::Whole, Operand::Shared);
        let [sum, product] = [Expression::new(2, |x| &x[0] + &x[1]), Expression::new(2, |x| &x[0] * &x[1])];
        let mut cases =
            vec![(sum.clone(), vec![whole; 2]), (sum, vec![whole, shared]), (product, vec![whole, dropout])];
        for name in ["gelu", "relu", "silu", "tanh"] {
            let f = Activation::named(name).unwrap().expression();
            cases.push((f.gradient(0), vec![whole; 2]));
            cases.push((f, vec![whole]));
        }
        let (x, dy, row, random) = (noise(1, 3 * 77), noise(2, 3 * 77), noise(3, 77), RandomState::new(5, 9).encode());
        for (f, operands) in cases {
            let [fast, slow] = [own(&f, &operands, 77), evaluated(&f, &operands, &[3, 77])].map(Option::unwrap);
            let second = match operands.last() {
                Some(Operand::Shared) => (&row[..], false),
                Some(Operand::Mask(_)) => (&random[..], false),
                _ => (&dy[..], true),
            };
            let tensors = &[(&x[..], true), second][..operands.len()];
            for (fast, slow) in run(&fast, tensors, 3, 2, x.len()).iter().zip(run(&slow, tensors, 3, 2, x.len())) {
                assert!((fast - slow).abs() <= 1e-6 * slow.abs().max(1.0), "{f} {operands:?}: {fast} {slow}");
            }
        }
        assert!(own(&Expression::new(1, |x| x[0].exp()), &[whole], 77).is_none());
    }
}
