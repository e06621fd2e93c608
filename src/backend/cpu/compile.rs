//! From a step graph to a [`Program`]: kernels chosen, regions cut, memory planned.

mod again;
mod cuts;
mod draft;
mod order;
pub mod panels;
mod place;
mod updates;

use std::cmp::Reverse;

use luminal::prelude::{Graph, NodeIndex};
use rustc_hash::{FxHashMap, FxHashSet};

use self::{
    again::Again,
    cuts::cuts,
    draft::{Call, Draft, Links, Tensor},
    order::Order,
    panels::panels,
    place::place,
    updates::updates,
};
use super::{
    kernel::{Kind, Split},
    ops::{self as kernels, Role, Site, scheduling},
    program::{Base, Program, Region, Slot, Update},
};
use crate::{
    backend::{BackendError, extents},
    graph::{Load, Operation, StepInput, Value, operation, ops},
    passes::{Lowering, Purpose, StepGraph, inputs, only_user},
};

type Key = (NodeIndex, u8);

/// Compiles a network for a batch size. The store holds parameters, then their first slots, then their second slots, and
/// so on, each in the order of the builder's parameters.
///
/// # Errors
/// When the loss does not depend on a parameter, or an operator has no kernel.
pub fn compile(lowering: &Lowering, batch: usize, purpose: Purpose) -> Result<Program, BackendError> {
    let graph = StepGraph::reassociated(lowering, batch, purpose.clone(), &[])
        .map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
    extents::check(&graph, "cpu").map_err(|error| {
        error.of_batch(batch, |batch| match StepGraph::reassociated(lowering, batch, purpose.clone(), &[]) {
            Ok(graph) => extents::check(&graph, "cpu"),
            Err(_) => Ok(()),
        })
    })?;
    program(&graph, batch).map_err(|name| BackendError::Other(format!("the cpu backend has no kernel for `{name}`")))
}

fn program(graph: &StepGraph, batch: usize) -> Result<Program, String> {
    let drafted = Drafted::new(graph, batch, &FxHashSet::default())?;
    let cuts = cuts(&drafted.draft);
    let drafted = if cuts.is_empty() { drafted } else { Drafted::new(graph, batch, &cuts)? };
    drafted.program(graph, batch)
}

/// A draft, and what the graph calls its tensors.
struct Drafted {
    draft: Draft,
    ids: FxHashMap<Key, usize>,
    loads: Vec<(StepInput, usize)>,
}

impl Drafted {
    /// Drafts a graph's program, whose regions are cut before some operators.
    fn new(graph: &StepGraph, batch: usize, cuts: &FxHashSet<NodeIndex>) -> Result<Self, String> {
        let luminal = &graph.builder.graph;
        let mut draft = Draft::default();
        let mut ids: FxHashMap<Key, usize> = FxHashMap::default();
        let mut stored: FxHashMap<Key, usize> = FxHashMap::default();
        let mut store_len = 0;
        let slots = graph.states.iter().flat_map(|state| state.groups.iter().zip(&state.slots));
        let mut slots: Vec<(&usize, &Value)> = slots.collect();
        slots.sort_by_key(|(group, _)| **group);
        let slots = slots.into_iter().map(|(_, slot)| slot);
        for value in graph.builder.parameters.iter().map(|parameter| &parameter.value).chain(slots) {
            stored.insert((value.node, value.output), store_len);
            store_len += value.len();
        }

        let mut loads: Vec<(StepInput, usize)> = Vec::new();
        let mut again = Again::new(luminal);
        let order = Order::new(graph);
        // Sums that the product before them has taken over.
        let mut added: FxHashSet<NodeIndex> = FxHashSet::default();
        for node in order.nodes() {
            let Some(operation) = operation(luminal, node) else {
                let Some(load) = luminal.graph[node].as_any().downcast_ref::<Load>() else { continue };
                let place = stored.get(&(node, 0)).copied();
                let known = graph.builder.inputs.iter().map(|input| &input.value);
                let parameters = graph.builder.parameters.iter().map(|parameter| &parameter.value);
                let slots = graph.states.iter().flat_map(|state| &state.slots);
                let mut values = known.chain(parameters).chain(slots);
                let Some(value) = values.find(|value| value.node == node) else { continue };
                let per_image = matches!(load, Load::Step(input) if input.per_image());
                let len = if per_image { value.len() / batch } else { value.len() };
                let id = draft.tensor(Tensor { len, per_image, stored: place, ..Tensor::default() });
                ids.insert((node, 0), id);
                match (place, load) {
                    (Some(_), _) => {}
                    (None, &Load::Step(input)) => loads.push((input, id)),
                    (None, _) => return Err(format!("the input {load}")),
                }
                continue;
            };
            if added.contains(&node) {
                continue;
            }
            if update_of(luminal, node).is_some() {
                continue;
            }
            let sources: Vec<Value> = inputs(luminal, node);
            let parameters = order.names(&sources);
            let panels_of =
                |value: &Value| graph.builder.parameter_index(value.node).and_then(|_| panels(luminal, value));
            let role = scheduling(operation).role;
            if let Some(update) = operation.as_any().downcast_ref::<ops::Update>()
                && update_of(luminal, sources[1].node) == Some(node)
            {
                let [x, dy] = &inputs(luminal, sources[1].node)[..] else { return Err(operation.name().to_owned()) };
                let id_of = |value: &Value| ids[&(value.node, value.output)];
                let links = Links {
                    node,
                    sources: [x, dy, &sources[update.scalars_input()]].map(id_of).to_vec(),
                    outputs: (0..update.states())
                        .map(|state| id_of(&sources[ops::Update::state_input(state)]))
                        .collect(),
                };
                let kernel = kernels::update::dense(update, &x.shape, &dy.shape, panels_of(&sources[0]))
                    .ok_or_else(|| operation.name().to_owned())?;
                draft.open(kernel.split, &links.sources, false);
                let flops = ops::DenseKernelGradient.flops(&[&x.shape, &dy.shape]);
                draft.push(Call { name: update.optimizer.rule.dense_name, parameters, kernel, flops }, links);
                continue;
            }
            let mut source_ids: Vec<usize> = sources.iter().map(|source| ids[&(source.node, source.output)]).collect();
            if role == Role::View {
                ids.insert((node, 0), source_ids[0]);
                continue;
            }
            let shapes: Vec<&[usize]> = sources.iter().map(|source| source.shape.as_slice()).collect();
            let kernel = sources.get(usize::from(!matches!(role, Role::Update | Role::Direction)));
            let panels = match role {
                // The sum lies as the parameter does.
                Role::Accumulate => parameter_kept(graph, sources[0].node).and_then(panels_of),
                _ => kernel.and_then(panels_of),
            };
            let site = Site { shapes: &shapes, panels };
            let kernel = kernels::kernel(operation, &site).ok_or_else(|| operation.name().to_owned())?;
            let batched = role == Role::Repeat || source_ids.iter().any(|&id| draft.tensors[id].per_image);
            let split = if kernel.split == Split::Images && !batched { Split::Once } else { kernel.split };

            let region = draft.open(split, &source_ids, cuts.contains(&node));
            if split == Split::Images {
                source_ids = source_ids.into_iter().map(|id| again.bring(id, node, &mut draft)).collect();
            }
            // A product that is only added to something known starts from that: a pass over memory less.
            let sum = sum_of(luminal, node).filter(|_| kernel.adds && split == Split::Images);
            let residual = sum.as_ref().and_then(|(_, other)| ids.get(&(other.node, other.output)));
            let mut output_node = node;
            if let (Some((sum, _)), Some(&residual)) = (sum, residual) {
                source_ids.push(again.bring(residual, node, &mut draft));
                added.insert(sum);
                output_node = sum;
            }

            let output_shapes = operation.output_shapes(&shapes);
            let mut output_ids = Vec::new();
            for (output, shape) in output_shapes.iter().enumerate() {
                let key = (output_node, output as u8);
                let id = if role == Role::Update {
                    source_ids[ops::Update::state_input(output)]
                } else if role == Role::Accumulate && output == 0 {
                    source_ids[0]
                } else {
                    let elements: usize = shape.iter().product();
                    let sum = kernel.outputs[output] == Kind::Sum;
                    let per_image = batched && !sum && matches!(split, Split::Images | Split::Columns { .. });
                    let len = match kernel.outputs[output] {
                        Kind::Abridged(len) => len,
                        _ if per_image => elements / batch,
                        _ => elements,
                    };
                    let summed = sum && split == Split::Images;
                    draft.tensor(Tensor { len, per_image, summed, ..Tensor::default() })
                };
                ids.insert(key, id);
                output_ids.push(id);
            }

            if let Some(packing) = kernel.packing {
                source_ids[packing.input] = draft.packed(packing, source_ids[packing.input]);
            }
            let links = Links { node, sources: source_ids, outputs: output_ids };
            if split == Split::Images && kernel.cheap {
                again.made(node, region, &links);
            }
            let flops = operation.flops(&shapes);
            draft.push(Call { name: operation.name(), parameters, kernel, flops }, links);
        }
        draft.finish(batch);
        Ok(Self { draft, ids, loads })
    }

    /// Plans the memory.
    fn program(self, graph: &StepGraph, batch: usize) -> Result<Program, String> {
        let Self { mut draft, ids, loads } = self;
        let end = draft.regions.len();
        let id_of = |value: &Value| ids[&(value.node, value.output)];
        // Gradients that an update uses are no result.
        let gradients = if graph.states.is_empty() { &graph.gradients[..] } else { &[] }.iter().flatten();
        let results: Vec<usize> =
            [&graph.loss, &graph.network.logits].into_iter().chain(gradients).map(id_of).collect();
        let updates = updates(&draft);
        let loss_region = draft.tensors[results[0]].regions.0;
        let loss_region = updates[..loss_region].iter().filter(|update| update.is_none()).count();
        for &id in &results {
            draft.tensors[id].regions.1 = end;
        }
        // Inputs are set before the program runs and may be read by any region.
        for &(_, id) in &loads {
            draft.tensors[id].regions = (0, end);
        }
        let of_updates = draft.links.iter().zip(&updates).filter(|(_, update)| update.is_some());
        for id in of_updates.flat_map(|(links, _)| links).flat_map(|links| &links.sources) {
            draft.tensors[*id].regions.1 = end;
        }

        let slots = place(&draft, batch);
        let slot = |id: &usize| slots.slots[*id];
        for ((_, steps), links) in draft.regions.iter_mut().zip(&draft.links) {
            let mut warm: Vec<Slot> = Vec::new();
            for (step, links) in steps.iter_mut().zip(links) {
                step.inputs = links.sources.iter().map(slot).collect();
                step.outputs = links.outputs.iter().map(slot).collect();
                let cold = |slot: &&Slot| slot.base == Base::Arena && slot.per_image && !warm.contains(slot);
                step.cold = step.inputs.iter().filter(cold).copied().collect();
                warm.extend(step.inputs.iter().chain(&step.outputs));
            }
        }
        let (mut regions, mut beside) = (Vec::new(), Vec::new());
        for (((work, steps), (tile, local_len)), update) in draft.regions.into_iter().zip(slots.tiles).zip(updates) {
            match update {
                Some(from) => beside.extend(steps.into_iter().map(|step| Update { step, from })),
                None => regions.push(Region { work, steps, tile, local_len }),
            }
        }
        // Of those that may run at the same time the large ones first, which end late.
        beside.sort_by_key(|update| (update.from, Reverse(update.step.outputs[0].len)));
        let mut results = results.iter().map(slot);
        let (loss, logits) = (results.next(), results.next());
        Ok(Program {
            batch,
            regions,
            updates: beside,
            loss: loss.ok_or("loss")?,
            loss_region,
            logits: logits.ok_or("logits")?,
            gradients: results.collect(),
            loads: loads.into_iter().map(|(input, id)| (input, slots.slots[id])).collect(),
            arena_len: slots.arena_len,
        })
    }
}

/// The update that is all that a gradient goes into, if it is that of a dense kernel of one row per image:
/// such gradients are as large as the kernel, and quickly made where they are used.
fn update_of(graph: &Graph, node: NodeIndex) -> Option<NodeIndex> {
    let gradient = scheduling(operation(graph, node)?).role == Role::KernelGradient;
    if !gradient || inputs(graph, node).first()?.shape.len() != 2 {
        return None;
    }
    let user = only_user(graph, node)?;
    operation(graph, user)?.as_any().is::<ops::Update>().then_some(user)
}

/// The parameter of which a graph's input is kept.
fn parameter_kept(graph: &StepGraph, input: NodeIndex) -> Option<&Value> {
    let index = graph.states.iter().position(|state| state.slots.iter().any(|slot| slot.node == input))?;
    Some(&graph.builder.parameters[index].value)
}

/// The sum of two equal shapes that is all that a node's output goes into, and its other operand.
fn sum_of(graph: &Graph, node: NodeIndex) -> Option<(NodeIndex, Value)> {
    let user = only_user(graph, node)?;
    if scheduling(operation(graph, user)?).role != Role::Sum {
        return None;
    }
    let [a, b] = <[Value; 2]>::try_from(inputs(graph, user)).ok()?;
    (a.shape == b.shape).then(|| (user, if a.node == node { b } else { a }))
}
