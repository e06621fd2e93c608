//! Batch normalisation with what comes after it: an activation, a sum, or both.

use super::{
    super::operations::{AfterNorm, Id, Kind, Operation, Operations, Pointwise, Sum},
    join,
};
use crate::graph::ops::Activation;

/// Applies the rewrites.
pub fn merge_all(operations: &mut Operations) {
    let mut index = 0;
    while index < operations.list.len() {
        if matches!(operations.list[index].kind, Kind::BatchNorm { .. })
            && (takes_activation(operations, index).is_some() || goes_into_sum(operations, index).is_some())
        {
            // What came of it stands further down.
            continue;
        }
        index += 1;
    }
}

/// An activation without dropout, and nothing else.
fn activation(operation: &Operation) -> Option<Activation> {
    match operation.kind {
        Kind::Pointwise(Pointwise { activation, dropout: None }) if operation.inputs.len() == 1 => activation,
        _ => None,
    }
}

/// The activation that alone reads a tensor, but for that activation's gradient: where they stand.
fn activated(operations: &Operations, id: Id) -> Option<(usize, Activation, Option<usize>)> {
    if operations.is_result(id) {
        return None;
    }
    let readers = operations.readers(id);
    let &forward = readers.iter().find(|&&reader| activation(&operations.list[reader]).is_some())?;
    let function = activation(&operations.list[forward])?;
    let backward = readers.iter().copied().find(|&reader| {
        let operation = &operations.list[reader];
        let of = Pointwise { activation: Some(function), dropout: None };
        matches!(operation.kind, Kind::PointwiseGradient(it) if it == of)
            && operation.inputs[1] == id
            && operation.inputs[0] != id
    });
    (readers.len() == 1 + usize::from(backward.is_some())).then_some((forward, function, backward))
}

/// `f(norm(x))` in one pass. Its gradient makes `f'(norm(x))` of x again where that is all that asks for it, so that what f takes is never
/// in memory.
fn takes_activation(operations: &mut Operations, index: usize) -> Option<()> {
    let norm = operations.list[index].clone();
    let Kind::BatchNorm { rows, channels, epsilon, then } = norm.kind else { return None };
    if then != AfterNorm::default() {
        return None;
    }
    let (forward, function, backward) = activated(operations, norm.outputs[0])?;
    let &[x, gamma, beta, ..] = &norm.inputs[..] else { return None };
    if let Some(backward) = backward {
        let [dy, dz] = [operations.list[backward].inputs[0], operations.list[backward].outputs[0]];
        let readers = operations.readers(dz);
        let of_norm = |&reader: &usize| {
            let operation = &operations.list[reader];
            matches!(
                operation.kind,
                Kind::BatchNormSums { activation: None, .. } | Kind::BatchNormGradient { activation: None, .. }
            ) && operation.inputs[..2] == [dz, x]
        };
        if operations.is_result(dz) || readers.is_empty() || !readers.iter().all(of_norm) {
            return None;
        }
        let before = operations.list[backward].name.clone();
        for reader in readers {
            let operation = &mut operations.list[reader];
            operation.inputs[0] = dy;
            match &mut operation.kind {
                Kind::BatchNormSums { activation, .. } => {
                    *activation = Some(function);
                    operation.inputs.extend([gamma, beta]);
                }
                Kind::BatchNormGradient { activation, .. } => {
                    *activation = Some(function);
                    operation.inputs.push(beta);
                }
                _ => {}
            }
            operation.name = join(&before, &operation.name);
        }
    }
    let then = AfterNorm { activation: Some(function), sum: None };
    let name = join(&norm.name, &operations.list[forward].name);
    let outputs = operations.list[forward].outputs.clone();
    let kind = Kind::BatchNorm { rows, channels, epsilon, then };
    operations.list[forward] = Operation { kind, name, inputs: norm.inputs, outputs };
    operations.remove([index].into_iter().chain(backward).collect());
    Some(())
}

/// A sum of the normalised tensor, or of what the activation made of it, and another in the same pass; after a sum also relu, whose
/// gradient can be told from what it makes.
fn goes_into_sum(operations: &mut Operations, index: usize) -> Option<()> {
    let norm = operations.list[index].clone();
    let Kind::BatchNorm { rows, channels, epsilon, then: AfterNorm { activation, sum: None } } = norm.kind else {
        return None;
    };
    let reader = operations.only_reader(norm.outputs[0])?;
    let add = operations.list[reader].clone();
    if !matches!(add.kind, Kind::Add { rows: 1, .. }) || add.inputs[0] == add.inputs[1] {
        return None;
    }
    let other = add.inputs[usize::from(add.inputs[0] == norm.outputs[0])];
    // The kernel takes both in the type of the result.
    let element = |id: Id| operations.tensors[id].element;
    if element(other) != element(add.outputs[0]) || element(norm.outputs[0]) != element(other) {
        return None;
    }
    let inputs = [norm.inputs, vec![other]].concat();
    let (mut at, mut name, mut outputs) = (reader, join(&norm.name, &add.name), add.outputs);
    let mut then = AfterNorm { activation, sum: Some(Sum::AfterActivation) };
    let mut removed = vec![index];
    let relu = Activation::named("relu");
    if activation.is_none()
        && let Some((forward, function, backward)) = activated(operations, outputs[0])
        && Some(function) == relu
    {
        then = AfterNorm { activation: relu, sum: Some(Sum::BeforeActivation) };
        name = join(&name, &operations.list[forward].name);
        outputs = operations.list[forward].outputs.clone();
        removed.push(reader);
        at = forward;
        if let Some(backward) = backward {
            // relu(x) > 0 wherever x > 0.
            operations.list[backward].inputs[1] = outputs[0];
        }
    }
    let kind = Kind::BatchNorm { rows, channels, epsilon, then };
    operations.list[at] = Operation { kind, name, inputs, outputs };
    operations.remove(removed);
    Some(())
}
