//! Fewer operations: what would only pass a tensor on goes into the operation that makes or takes it.

mod batch_norm;
mod projections;

use super::operations::{Id, Kind, Operation, Operations, Pointwise};
use crate::backend::cuda::layout::Layout;

/// Applies all rewrites. Each keeps what is computed, element for element, but for the rounding of tensors that are
/// no longer stored.
pub fn fuse(operations: &mut Operations, layout: &Layout) {
    loss_gradient(operations);
    projections::merge_all(operations, layout);
    batch_norm::merge_all(operations);
    pointwise(operations);
    bias_gradients(operations);
    residuals(operations);
    added_gradients(operations);
}

fn join(first: &str, second: &str) -> String {
    format!("{first}+{second}")
}

impl Operations {
    /// The only operation that reads a tensor, if it is read once.
    fn only_reader(&self, id: Id) -> Option<usize> {
        if self.uses(id) != 1 {
            return None;
        }
        self.list.iter().position(|operation| operation.inputs.contains(&id))
    }

    fn readers(&self, id: Id) -> Vec<usize> {
        (0..self.list.len()).filter(|&index| self.list[index].inputs.contains(&id)).collect()
    }

    fn is_result(&self, id: Id) -> bool {
        self.loss == id || self.logits == id || self.gradients.contains(&Some(id))
    }

    fn remove(&mut self, mut indices: Vec<usize>) {
        indices.sort_unstable();
        indices.dedup();
        for index in indices.into_iter().rev() {
            self.list.remove(index);
        }
    }
}

/// The loss and its gradient read the same logits.
fn loss_gradient(operations: &mut Operations) {
    let find = |kind: fn(&Kind) -> bool| operations.list.iter().position(|operation| kind(&operation.kind));
    let (Some(loss), Some(gradient)) = (
        find(|kind| matches!(kind, Kind::CrossEntropy { .. })),
        find(|kind| matches!(kind, Kind::CrossEntropyGradient)),
    ) else {
        return;
    };
    let [both, removed] = [loss, gradient].map(|index| operations.list[index].clone());
    let (name, outputs) = (join(&both.name, &removed.name), [both.outputs, removed.outputs].concat());
    operations.list[loss.min(gradient)] = Operation { kind: both.kind, name, inputs: both.inputs, outputs };
    operations.list.remove(loss.max(gradient));
}

/// An activation and the dropout after it; a dropout's gradient and the activation's after it.
fn pointwise(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        let first = operations.list[index].clone();
        index += 1;
        let Kind::Pointwise(one) = first.kind else { continue };
        if first.inputs.len() > 1 {
            continue;
        }
        let Some(reader) = operations.only_reader(first.outputs[0]) else { continue };
        let second = &operations.list[reader];
        let (kind, inputs) = match (&second.kind, one) {
            (
                Kind::Pointwise(Pointwise { activation: None, dropout }),
                Pointwise { activation: Some(activation), dropout: None },
            ) => (Kind::Pointwise(Pointwise { activation: Some(activation), dropout: *dropout }), first.inputs.clone()),
            (
                Kind::PointwiseGradient(Pointwise { activation, dropout: None }),
                Pointwise { activation: None, dropout: Some(dropout) },
            ) if second.inputs[0] == first.outputs[0] && second.inputs[1] != first.outputs[0] => (
                Kind::PointwiseGradient(Pointwise { activation: *activation, dropout: Some(dropout) }),
                vec![first.inputs[0], second.inputs[1]],
            ),
            _ => continue,
        };
        let (name, outputs) = (join(&first.name, &second.name), second.outputs.clone());
        operations.list[reader] = Operation { kind, name, inputs, outputs };
        index -= 1;
        operations.remove(vec![index]);
    }
}

/// A kernel's gradient and its bias' read the same tensor.
fn bias_gradients(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        let sum = operations.list[index].clone();
        index += 1;
        let Kind::SumRows { rows, width } = sum.kind else { continue };
        let kernel = operations.list.iter().position(|operation| {
            matches!(operation.kind, Kind::DenseKernelGradient { rows: r, n, bias: false, .. } if (r, n) == (rows, width))
                && operation.inputs[1] == sum.inputs[0]
        });
        let Some(kernel) = kernel else { continue };
        let operation = &mut operations.list[kernel];
        let Kind::DenseKernelGradient { bias, .. } = &mut operation.kind else { continue };
        *bias = true;
        operation.name = join(&operation.name, &sum.name);
        operation.outputs.push(sum.outputs[0]);
        // Both stand where the first of them stood, for what reads either stands after its own.
        let at = kernel.min(index - 1);
        let operation = operations.list[kernel].clone();
        operations.list[at] = operation;
        operations.remove(vec![kernel.max(index - 1)]);
        index -= 1;
    }
}

/// A sum, and the pointwise operation that makes one of its terms or the normalisation that reads it.
fn residuals(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        if matches!(operations.list[index].kind, Kind::Add { rows: 1, .. })
            && (ends_pointwise(operations, index) || begins_norm(operations, index))
        {
            continue;
        }
        index += 1;
    }
}

/// `x + dropout(activation(y))` in one pass. What is left to do stands one place earlier.
fn ends_pointwise(operations: &mut Operations, index: usize) -> bool {
    let add = operations.list[index].clone();
    for (term, other) in [(add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])] {
        let Some(maker) = operations.maker(term).filter(|_| operations.uses(term) == 1 && term != other) else {
            continue;
        };
        let made = &operations.list[maker];
        // Dropout alone goes into the normalisation that follows, where there is one.
        let Kind::Pointwise(Pointwise { activation: Some(_), .. }) = made.kind else { continue };
        if made.inputs.len() > 1 {
            continue;
        }
        let (kind, name) = (made.kind.clone(), join(&made.name, &add.name));
        let inputs = vec![made.inputs[0], other];
        operations.list[index] = Operation { kind, name, inputs, outputs: add.outputs };
        operations.remove(vec![maker]);
        return true;
    }
    false
}

/// `norm(x + dropout(b))` in one pass. Others read the sum too, so it is written as well.
fn begins_norm(operations: &mut Operations, index: usize) -> bool {
    let add = operations.list[index].clone();
    let sum = add.outputs[0];
    let norm = operations.readers(sum).into_iter().find(|&reader| {
        let operation = &operations.list[reader];
        matches!(operation.kind, Kind::LayerNorm { residual: None, .. }) && operation.inputs[0] == sum
    });
    let Some(norm) = norm else { return false };
    let Kind::LayerNorm { rows, width, epsilon, .. } = operations.list[norm].kind else { return false };
    // Gamma and beta are parameters, which are there from the start.
    let [_, gamma, beta] = operations.list[norm].inputs[..] else { return false };
    let (mut x, mut b, mut dropped) = (add.inputs[0], add.inputs[1], Pointwise::default());
    let mut name = join(&add.name, &operations.list[norm].name);
    let mut removed = vec![norm];
    for (term, other) in [(b, x), (x, b)] {
        let Some(maker) = operations.maker(term).filter(|_| operations.uses(term) == 1) else { continue };
        let made = &operations.list[maker];
        if let (Kind::Pointwise(pointwise @ Pointwise { activation: None, .. }), [y]) = (&made.kind, &made.inputs[..]) {
            (x, b, dropped) = (other, *y, *pointwise);
            name = join(&made.name, &name);
            removed.push(maker);
            break;
        }
    }
    let mut outputs = operations.list[norm].outputs.clone();
    outputs.push(sum);
    let kind = Kind::LayerNorm { rows, width, epsilon, residual: Some(dropped) };
    operations.list[index] = Operation { kind, name, inputs: vec![x, gamma, beta, b], outputs };
    operations.remove(removed);
    true
}

/// The gradient of an input and the sum with the gradient that came past it.
fn added_gradients(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        let add = operations.list[index].clone();
        index += 1;
        let Kind::Add { rows: 1, .. } = add.kind else { continue };
        for (dx, other) in [(add.inputs[1], add.inputs[0]), (add.inputs[0], add.inputs[1])] {
            let Some(maker) = operations.maker(dx) else { continue };
            let earlier = operations.maker(other).is_none_or(|other| other < maker);
            if operations.uses(dx) != 1 || operations.list[maker].outputs[0] != dx || !earlier {
                continue;
            }
            let operation = &mut operations.list[maker];
            match &mut operation.kind {
                Kind::LayerNormGradient { added, .. }
                | Kind::Conv2dInputGradient { added, .. }
                | Kind::DepthwiseInputGradient { added, .. }
                    if !*added =>
                {
                    *added = true;
                }
                _ => continue,
            }
            operation.inputs.push(other);
            operation.outputs[0] = add.outputs[0];
            operation.name = join(&operation.name, &add.name);
            index -= 1;
            operations.remove(vec![index]);
            break;
        }
    }
}
