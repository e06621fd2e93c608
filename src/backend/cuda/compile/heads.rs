//! Attention between products in another order, as `passes::reassociate` leaves it, in the form that kernels take.

use super::operations::{Id, Kind, Operation, Operations, Origin};
use crate::backend::cuda::launch::Element;

/// Attention's kernels do one head. Where the operator adds the heads' outputs, or the gradients by keys that heads share, a sum over heads
/// follows. A layer's kernel that is a product of parameters is stored as `activations` are, like a parameter's shadow. What
/// depends on parameters alone stands first, so that no run of other operations is cut by it.
pub fn split(operations: &mut Operations, activations: Element) {
    sums(operations);
    biases(operations);
    terms(operations);
    for index in 0..operations.list.len() {
        let operation = &operations.list[index];
        let kernels = match operation.kind {
            Kind::Dense { .. } | Kind::DenseInputGradient { .. } => &operation.inputs[1..2],
            Kind::ProjectedAttention { .. } => &operation.inputs[1..3],
            _ => continue,
        };
        for kernel in kernels.iter().copied() {
            if operations.is_head_product(kernel) {
                operations.tensors[kernel].element = activations;
            }
        }
    }
    let tensors = &operations.tensors;
    let parameter = |id: &Id| matches!(tensors[*id].origin, Origin::Parameter(_));
    let first = |operation: &Operation| {
        matches!(operation.kind, Kind::HeadProduct(_)) && operation.inputs.iter().all(parameter)
    };
    operations.list.sort_by_key(|operation| !first(operation));
}

/// Puts sums over heads after attention and its gradient.
fn sums(operations: &mut Operations) {
    // The statistics of an attention whose output is summed, and the outputs of its heads.
    let mut apart: Vec<(Id, Id)> = Vec::new();
    let mut index = 0;
    while index < operations.list.len() {
        let mut operation = operations.list[index].clone();
        index += 1;
        let (summed, rows, heads, width) = match operation.kind {
            Kind::Attention { shape, operator } if operator.summed => {
                (0, shape.batch * shape.tokens, shape.heads, shape.value_dim)
            }
            Kind::AttentionGradient { shape, operator } => {
                if operator.summed
                    && let Some(&(_, heads)) = apart.iter().find(|(of, _)| operation.inputs.get(4) == Some(of))
                {
                    operation.inputs.insert(4, heads);
                }
                if !operator.shared_keys {
                    operations.list[index - 1] = operation;
                    continue;
                }
                (1, shape.batch * shape.sources, shape.heads, shape.key_dim)
            }
            _ => continue,
        };
        let sum = operation.outputs[summed];
        let element = operations.tensors[sum].element;
        let each = operations.tensor(rows * heads * width, element, Origin::Computed);
        operation.outputs[summed] = each;
        if let Kind::Attention { .. } = operation.kind {
            apart.push((operation.outputs[1], each));
        }
        operations.list[index - 1] = operation;
        // Where the sources are images, nobody asks for their gradient.
        if operations.uses(sum) == 0 {
            continue;
        }
        let kind = Kind::SumHeads { rows, heads, width, bias: false };
        let sum = Operation { kind, name: "sum_heads".into(), inputs: vec![each], outputs: vec![sum] };
        operations.list.insert(index, sum);
        index += 1;
    }
}

/// The bias after a sum over heads.
fn biases(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        let add = operations.list[index].clone();
        index += 1;
        let Kind::Add { width: repeated, .. } = add.kind else { continue };
        let Some(maker) = operations.maker(add.inputs[0]).filter(|_| operations.uses(add.inputs[0]) == 1) else {
            continue;
        };
        let sum = &operations.list[maker];
        let Kind::SumHeads { rows, heads, width, bias: false } = sum.kind else { continue };
        if repeated != width || operations.tensors[add.inputs[1]].element != Element::F32 {
            continue;
        }
        let kind = Kind::SumHeads { rows, heads, width, bias: true };
        let (name, inputs) = (format!("{}+{}", sum.name, add.name), vec![sum.inputs[0], add.inputs[1]]);
        operations.list[index - 1] = Operation { kind, name, inputs, outputs: add.outputs };
        operations.list.remove(maker);
        index -= 1;
    }
}

/// Two products whose sum is wanted: a kernel's gradient by way of another kernel, and by way of its bias.
fn terms(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        let add = operations.list[index].clone();
        index += 1;
        let Kind::Add { rows: 1, .. } = add.kind else { continue };
        let product = |id: Id| {
            let maker = operations.maker(id).filter(|_| operations.uses(id) == 1)?;
            match &operations.list[maker].kind {
                Kind::HeadProduct(products) if products.len() == 1 => Some((maker, products[0])),
                _ => None,
            }
        };
        let (Some((a, first)), Some((b, second))) = (product(add.inputs[0]), product(add.inputs[1])) else { continue };
        // The result lies as the first one's.
        if first.extents() != second.extents() || first.axes_of_result() != second.axes_of_result() || a == b {
            continue;
        }
        let inputs = [a, b].into_iter().flat_map(|maker| operations.list[maker].inputs.clone()).collect();
        let (kind, name) = (Kind::HeadProduct(vec![first, second]), operations.list[a].name.clone());
        operations.list[index - 1] = Operation { kind, name, inputs, outputs: add.outputs };
        operations.list.remove(a.max(b));
        operations.list.remove(a.min(b));
        index -= 2;
    }
}
