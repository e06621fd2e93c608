//! The products of query, key and value as one.

use super::super::operations::{Id, Kind, Operation, Operations, Origin};
use crate::backend::cuda::{launch::Element, layout::Layout};

/// Three products of one tensor, whose kernels lie side by side, are one; so are their gradients.
pub fn merge_all(operations: &mut Operations, layout: &Layout) {
    let attentions: Vec<Operation> =
        operations.list.iter().filter(|operation| matches!(operation.kind, Kind::Attention { .. })).cloned().collect();
    for attention in attentions {
        merge(operations, layout, &attention.inputs[..3]);
    }
}

/// The columns of three parameters in their common matrix, if they have one: its width, and where each begins.
fn side_by_side(operations: &Operations, layout: &Layout, parameters: &[Id]) -> Option<(usize, Vec<usize>)> {
    let mut starts = Vec::new();
    let mut next = None;
    let mut total = 0;
    for &id in parameters {
        let Origin::Parameter(index) = operations.tensors[id].origin else { return None };
        let slot = layout.slot(index);
        if *next.get_or_insert(slot.offset) != slot.offset {
            return None;
        }
        starts.push(total);
        total += slot.width;
        next = Some(slot.offset + slot.width);
    }
    Some((total, starts))
}

fn merge(operations: &mut Operations, layout: &Layout, values: &[Id]) -> Option<()> {
    let makers: Vec<usize> = values.iter().map(|&id| operations.maker(id)).collect::<Option<_>>()?;
    let dense: Vec<Operation> = makers.iter().map(|&index| operations.list[index].clone()).collect();
    let Kind::Dense { rows, k, bias, .. } = dense[0].kind else { return None };
    let of_one = dense.iter().all(|operation| {
        matches!(operation.kind, Kind::Dense { bias: other, .. } if other == bias)
            && operation.inputs[0] == dense[0].inputs[0]
    });
    // What is no product of a kernel may have one input: keys may be the tokens themselves.
    if !of_one {
        return None;
    }
    let kernels: Vec<Id> = dense.iter().map(|operation| operation.inputs[1]).collect();
    let (n, starts) = side_by_side(operations, layout, &kernels)?;
    let Origin::Parameter(first) = operations.tensors[kernels[0]].origin else { return None };
    if layout.slot(first).stride != n {
        return None;
    }
    if bias {
        let biases: Vec<Id> = dense.iter().map(|operation| operation.inputs[2]).collect();
        side_by_side(operations, layout, &biases)?;
    }
    let readers: Vec<usize> = values.iter().flat_map(|&id| operations.readers(id)).collect();
    let attention =
        |index: &usize| matches!(operations.list[*index].kind, Kind::Attention { .. } | Kind::AttentionGradient { .. });
    if !readers.iter().all(attention) || values.iter().any(|&id| operations.is_result(id)) {
        return None;
    }
    let backward = readers.iter().find(|&&index| matches!(operations.list[index].kind, Kind::AttentionGradient { .. }));
    let gradients = backward.map(|&index| operations.list[index].outputs.clone());

    let activations = operations.tensors[values[0]].element;
    let whole = operations.tensor(rows * n, activations, Origin::Computed);
    for (&id, &start) in values.iter().zip(&starts) {
        operations.tensors[id].origin = Origin::Columns { of: whole, start, stride: n };
    }
    let mut inputs = dense[0].inputs.clone();
    inputs.truncate(if bias { 3 } else { 2 });
    // The last of the three stands where all kernels have been loaded.
    let last = makers.iter().copied().max()?;
    operations.list[last] =
        Operation { kind: Kind::Dense { rows, k, n, bias }, name: "dense".into(), inputs, outputs: vec![whole] };
    operations.remove(makers.iter().copied().filter(|&index| index != last).collect());
    if let Some(gradients) = gradients {
        merge_gradients(operations, &gradients, [rows, k, n], &starts, &kernels, dense[0].inputs[0]);
    }
    Some(())
}

/// The products that the gradients of query, key and value go into.
fn merge_gradients(
    operations: &mut Operations,
    gradients: &[Id],
    [rows, k, n]: [usize; 3],
    starts: &[usize],
    kernels: &[Id],
    x: Id,
) {
    let readers: Vec<usize> = gradients.iter().flat_map(|&id| operations.readers(id)).collect();
    let of = |operations: &Operations, gradient: Id, wanted: fn(&Kind) -> bool| {
        let mut found = operations.readers(gradient).into_iter().filter(|&index| wanted(&operations.list[index].kind));
        found.next()
    };
    let all = |wanted: fn(&Kind) -> bool| -> Vec<usize> {
        gradients.iter().filter_map(|&gradient| of(operations, gradient, wanted)).collect()
    };
    let inputs = all(|kind| matches!(kind, Kind::DenseInputGradient { .. }));
    let kernel = all(|kind| matches!(kind, Kind::DenseKernelGradient { .. }));
    let sums = all(|kind| matches!(kind, Kind::SumRows { .. }));
    let complete = |found: &[usize]| found.is_empty() || found.len() == 3;
    if readers.len() != inputs.len() + kernel.len() + sums.len()
        || ![&inputs, &kernel, &sums].map(|f| complete(f)).iter().all(|&ok| ok)
    {
        return;
    }
    // The three parts of the gradient of x meet in two sums.
    let sum = (!inputs.is_empty()).then(|| {
        let outputs: Vec<Id> = inputs.iter().map(|&index| operations.list[index].outputs[0]).collect();
        let add = |a: Id, b: Id| {
            let reader = operations.only_reader(a)?;
            let same = operations.only_reader(b)? == reader;
            (same && matches!(operations.list[reader].kind, Kind::Add { rows: 1, .. })).then_some(reader)
        };
        let orders = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];
        orders.into_iter().find_map(|[a, b, c]| {
            let inner = add(outputs[a], outputs[b])?;
            let outer = add(operations.list[inner].outputs[0], outputs[c])?;
            Some((inner, outer))
        })
    });
    let Some(sum) = sum.map_or(Some(None), |found| found.map(Some)) else { return };

    let activations = operations.tensors[gradients[0]].element;
    let whole = operations.tensor(rows * n, activations, Origin::Computed);
    for (&id, &start) in gradients.iter().zip(starts) {
        operations.tensors[id].origin = Origin::Columns { of: whole, start, stride: n };
    }
    let mut removed = Vec::new();
    let mut replace =
        |operations: &mut Operations, group: &[usize], at: usize, kind: Kind, inputs: Vec<Id>, output: Id| {
            let name = operations.list[group[0]].name.clone();
            removed.extend(group.iter().copied().filter(|&index| index != at));
            operations.list[at] = Operation { kind, name, inputs, outputs: vec![output] };
        };
    if let Some((inner, outer)) = sum {
        let output = operations.list[outer].outputs[0];
        let group: Vec<usize> = inputs.iter().copied().chain([inner, outer]).collect();
        let kind = Kind::DenseInputGradient { rows, k, n };
        replace(operations, &group, outer, kind, vec![whole, kernels[0]], output);
    }
    for (group, kind, inputs, size) in [
        (&kernel, Kind::DenseKernelGradient { rows, k, n, bias: false }, vec![x, whole], k * n),
        (&sums, Kind::SumRows { rows, width: n }, vec![whole], n),
    ] {
        let Some(&last) = group.iter().max() else { continue };
        let output = operations.tensor(size, Element::F32, Origin::Computed);
        for (&index, &start) in group.iter().zip(starts) {
            let own = operations.list[index].outputs[0];
            operations.tensors[own].origin = Origin::Columns { of: output, start, stride: n };
        }
        replace(operations, group, last, kind, inputs, output);
    }
    operations.remove(removed);
}
