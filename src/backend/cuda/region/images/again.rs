//! What a convolution took is made again in its backward pass, of what batch norm took, where that is read there anyway.

use std::ops::Range;

use super::fits;
use crate::backend::cuda::{
    compile::operations::{AfterNorm, Kind, Operation, Operations, Origin},
    kernels::depthwise::Depthwise,
};

/// Puts the batch norm that made what the gradient of a kernel in this run reads into the run, if another of its operations reads
/// what that batch norm took: the run has an operation more. Which operations must be part of one region for that to be worth it.
pub fn make(operations: &mut Operations, run: &Range<usize>, shape: &Depthwise) -> Option<Range<usize>> {
    let list = &operations.list;
    let gradient = run.clone().find(|&index| matches!(list[index].kind, Kind::DepthwiseKernelGradient { .. }))?;
    let &[x, dy] = &list[gradient].inputs[..] else { return None };
    let maker = operations.maker(x).filter(|&maker| !run.contains(&maker) && fits(operations, &list[maker], shape))?;
    let Operation { kind, name, inputs, .. } = list[maker].clone();
    let Kind::BatchNorm { then: AfterNorm { sum: None, .. }, .. } = kind else { return None };
    let reader = run.clone().find(|&index| list[index].inputs.contains(&inputs[0]))?;
    // Where the gradient itself can stand, as soon as what it reads is there.
    let at = operations.maker(dy).filter(|maker| run.contains(maker)).map_or(run.start, |maker| maker + 1);
    let tensor = &operations.tensors[x];
    let made = operations.tensor(tensor.elements, tensor.element, Origin::Computed);
    operations.list[gradient].inputs[0] = made;
    operations.list.insert(at, Operation { kind, name, inputs, outputs: vec![made] });
    let moved = |index: usize| if index < at { index } else { index + 1 };
    let [gradient, reader] = [gradient, reader].map(moved);
    Some(at.min(gradient).min(reader)..at.max(gradient).max(reader) + 1)
}
