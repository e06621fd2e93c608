//! Whether all tensors and launches of a program are within what kernels count with.

use rustc_hash::FxHashSet;

use super::{
    emit::{Emitter, Symbol, each_tensor},
    operations::{Id, Origin},
};
use crate::backend::{
    cuda::{launch::Launch, program::Work},
    extents::TooLarge,
};

/// Kernels count elements in 32 bits with a sign.
const MOST_ELEMENTS: usize = i32::MAX as usize;

/// Most blocks of a launch along each axis of its grid.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65535, 65535];

/// Checks the calls of a program, and the tensors that they were made for.
///
/// # Errors
/// What is furthest beyond a bound.
pub fn check(emitter: &Emitter) -> Result<(), TooLarge> {
    let parameters = emitter.layout.len();
    if parameters > MOST_ELEMENTS {
        return Err(too_large("the store of parameters".into(), "elements", parameters, MOST_ELEMENTS));
    }
    let named = named(emitter);
    let tensors = emitter.operations.tensors.iter().enumerate().filter(|(id, _)| named.contains(id));
    let largest = tensors.max_by_key(|(_, tensor)| tensor.elements);
    if let Some((id, tensor)) = largest.filter(|(_, tensor)| tensor.elements > MOST_ELEMENTS) {
        return Err(too_large(name(emitter, id), "elements", tensor.elements, MOST_ELEMENTS));
    }
    for call in &emitter.calls {
        let launches: &[Launch<Symbol>] = match &call.work {
            Work::Launch(launch) => std::slice::from_ref(launch),
            Work::Gemm(_, launches) => launches,
        };
        for (blocks, most) in launches.iter().flat_map(|launch| launch.grid.into_iter().zip(MOST_BLOCKS)) {
            if blocks > most {
                let of = call.parameters.first().map_or(String::new(), |name| format!(" of `{name}`"));
                return Err(too_large(
                    format!("`{}`{of}", call.name),
                    "blocks side by side",
                    blocks as usize,
                    most as usize,
                ));
            }
        }
    }
    Ok(())
}

/// The tensors that calls have to do with: what fusion has left out is no memory.
fn named(emitter: &Emitter) -> FxHashSet<Id> {
    let mut named = FxHashSet::default();
    for call in &emitter.calls {
        each_tensor(call, |id| {
            named.insert(id);
        });
    }
    named
}

fn too_large(what: String, unit: &'static str, size: usize, most: usize) -> TooLarge {
    TooLarge { what, unit, size: size as u128, most: most as u128, backend: "cuda" }
}

/// The operation that a tensor is made by or for, and a parameter that it has to do with.
fn name(emitter: &Emitter, id: Id) -> String {
    let operations = &emitter.operations;
    let parameter = |id: Id| match operations.tensors[id].origin {
        Origin::Parameter(index) => Some(emitter.parameters[index].name.as_str()),
        _ => None,
    };
    if let Some(name) = parameter(id) {
        return format!("the parameter `{name}`");
    }
    let root = |id: Id| match operations.tensors[id].origin {
        Origin::Columns { of, .. } => of,
        _ => id,
    };
    // What others are columns of is made with them.
    let part = || {
        let tensors = &operations.tensors;
        let is_part = |&part: &Id| matches!(tensors[part].origin, Origin::Columns { of, .. } if of == id);
        (0..tensors.len()).find(is_part).and_then(|part| operations.maker(part))
    };
    let operation = match operations.maker(id).or_else(part) {
        Some(maker) => &operations.list[maker],
        None if operations.tensors[id].origin == Origin::Images => return "the tensor of the images".into(),
        None => return "the workspace of an operator".into(),
    };
    // An operation without parameters is named after one that it comes after.
    let (mut at, mut steps) = (operation, 0);
    loop {
        if let Some(name) = at.inputs.iter().find_map(|&id| parameter(id)) {
            let how = if steps == 0 { "of" } else { "after" };
            return format!("the output of `{}` {how} `{name}`", operation.name);
        }
        let before = at.inputs.iter().filter_map(|&id| operations.maker(root(id))).min();
        let Some(before) = before.filter(|_| steps < operations.list.len()) else {
            return format!("the output of `{}`", operation.name);
        };
        (at, steps) = (&operations.list[before], steps + 1);
    }
}
