//! Attention with its projections in one kernel, where they have been multiplied with each other.

use super::operations::{Id, Kind, Operation, Operations, Origin};
use crate::{
    backend::cuda::{kernels::attention_projected::Projected, launch::Precision, ops::attention::kernel},
    graph::ops::{self, AttentionShape},
};

/// Takes the projections of queries and values into an attention whose heads have the projected tokens as keys and
/// whose outputs are added, for blocks with so many bytes of shared memory. Queries, values and the heads' outputs are
/// no tensors then; the gradients of queries and values are, for the gradients of their kernels.
pub fn form(operations: &mut Operations, precision: Precision, block_memory: usize) {
    let mut index = 0;
    while index < operations.list.len() {
        if let Some(form) = find(operations, index, precision, block_memory) {
            // The projections stand before it, and the bias after.
            index -= form.removed.len();
            form.apply(operations);
        }
        index += 1;
    }
}

/// An attention that can be one kernel with its projections.
struct Form {
    attention: usize,
    gradient: Option<usize>,
    /// The operations of the projections.
    removed: Vec<usize>,
    projected: Projected,
    shape: AttentionShape,
    operator: ops::Attention,
    /// The addition of a bias to the output, and the bias.
    bias: Option<(usize, Id)>,
    /// Tokens, the kernels of queries and values, and their biases or none.
    inputs: Vec<Id>,
}

fn find(operations: &Operations, index: usize, precision: Precision, block_memory: usize) -> Option<Form> {
    let attention = &operations.list[index];
    let Kind::Attention { shape, operator } = attention.kind else { return None };
    let projected = Projected::of(&kernel(&shape, &operator, precision, block_memory))?;
    let [query, tokens, value] = attention.inputs[..] else { return None };
    let gradient = operations.list.iter().position(|operation| {
        matches!(operation.kind, Kind::AttentionGradient { .. })
            && operation.inputs.get(4) == Some(&attention.outputs[1])
    });
    let readers = 1 + usize::from(gradient.is_some());
    let mut removed = Vec::new();
    let mut inputs = vec![tokens];
    let mut biases: Vec<Id> = Vec::new();
    for of_tokens in [query, value] {
        let maker = operations.maker(of_tokens)?;
        let Operation { kind: Kind::Dense { k, n, .. }, inputs: of, .. } = &operations.list[maker] else { return None };
        let only_here = operations.uses(of_tokens) == readers;
        // Products of kernels are stored as activations are.
        let fits = [*k, *n] == [shape.key_dim, shape.heads * shape.key_dim] && operations.is_head_product(of[1]);
        if of[0] != tokens || !fits || !only_here || removed.contains(&maker) {
            return None;
        }
        inputs.push(of[1]);
        biases.extend(of.get(2));
        removed.push(maker);
    }
    // Both have one or neither.
    if biases.len() == 1 {
        return None;
    }
    inputs.extend(biases);
    let bias = bias(operations, attention.outputs[0], shape.value_dim);
    Some(Form { attention: index, gradient, bias, removed, projected, shape, operator, inputs })
}

/// What adds a bias of this width to an output that nothing else reads, and the bias.
fn bias(operations: &Operations, out: Id, width: usize) -> Option<(usize, Id)> {
    let add = operations.list.iter().position(|operation| operation.inputs.first() == Some(&out))?;
    let of = &operations.list[add];
    let repeated = matches!(of.kind, Kind::Add { width: repeated, .. } if repeated == width);
    let parameter = matches!(operations.tensors[*of.inputs.get(1)?].origin, Origin::Parameter(_));
    (repeated && parameter && operations.uses(out) == 1).then_some((add, of.inputs[1]))
}

impl Form {
    fn apply(self, operations: &mut Operations) {
        let Self { attention, gradient, bias, mut removed, projected, shape, operator, inputs } = self;
        let statistics = operations.list[attention].outputs[1];
        if let Some(gradient) = gradient {
            let operation = &mut operations.list[gradient];
            operation.kind = Kind::ProjectedAttentionGradient { projected, shape, operator };
            operation.inputs = [&[operation.inputs[0]], &inputs[..], &[statistics]].concat();
        }
        let operation = &mut operations.list[attention];
        operation.kind = Kind::ProjectedAttention { projected, shape, operator, bias: bias.is_some() };
        operation.name = format!("dense+dense+{}", operation.name);
        operation.inputs = inputs;
        if let Some((add, bias)) = bias {
            let Operation { name, outputs, .. } = operations.list[add].clone();
            let operation = &mut operations.list[attention];
            operation.name = format!("{}+{name}", operation.name);
            operation.inputs.push(bias);
            operation.outputs[0] = outputs[0];
            removed.push(add);
        }
        removed.sort_unstable();
        for index in removed.into_iter().rev() {
            operations.list.remove(index);
        }
    }
}
