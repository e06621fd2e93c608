//! From a step graph to a [`Program`]: kernels chosen, regions cut, memory planned.

use luminal::prelude::{Graph, NodeIndex};
use petgraph::{Direction, visit::EdgeRef};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    plan::{self, Lifetime},
    program::{Base, LANES, Program, Region, Slot, Step, Work},
    steps::{self, Kind, Packing, Split},
};
use crate::{
    graph::{Load, Value, operation, ops},
    passes::{StepGraph, inputs, ordered},
};

/// What a step reads and writes of a tile should be half of a core's second-level cache: the other half
/// is for weights and for what the next steps will touch.
const TILE_ELEMENTS: usize = 256 * 1024;

type Key = (NodeIndex, u8);

/// A tensor of the program before it has a place.
struct Tensor {
    /// Elements per image, or all elements.
    len: usize,
    per_image: bool,
    /// Index of its place in the store: parameters and moments.
    stored: Option<usize>,
    /// Summed over lanes by the region that computes it.
    summed: bool,
    /// First and last region, and within one region first and last step.
    regions: (usize, usize),
    steps: (usize, usize),
}

/// Compiles a graph. The store holds parameters, then first moments, then second moments, each in
/// the order of the builder's parameters.
///
/// # Errors
/// The name of an operator that has no kernel.
pub fn compile(graph: &StepGraph, batch: usize) -> Result<Program, String> {
    let luminal = &graph.builder.graph;
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut ids: FxHashMap<Key, usize> = FxHashMap::default();
    let mut stored: FxHashMap<Key, usize> = FxHashMap::default();
    let mut store_len = 0;
    let m = graph.states.iter().map(|state| &state.m);
    let v = graph.states.iter().map(|state| &state.v);
    for value in graph.builder.parameters.iter().map(|parameter| &parameter.value).chain(m).chain(v) {
        stored.insert((value.node, value.output), store_len);
        store_len += value.len();
    }

    let mut loads: Vec<(String, usize)> = Vec::new();
    let mut regions: Vec<(Work, Vec<Step>)> = Vec::new();
    let mut links: Vec<Vec<(Vec<usize>, Vec<usize>)>> = Vec::new();
    let mut count = 0;
    // Sums that the product before them has taken over.
    let mut added: FxHashSet<NodeIndex> = FxHashSet::default();
    // Operands to be packed before all else: packing, from which tensor, to which.
    let mut packs: Vec<(Packing, usize, usize)> = Vec::new();
    for node in ordered(luminal) {
        let Some(operation) = operation(luminal, node) else {
            let Some(load) = luminal.graph[node].as_any().downcast_ref::<Load>() else { continue };
            let place = stored.get(&(node, 0)).copied();
            let known = graph.builder.inputs.iter().map(|input| (&input.name, &input.value));
            let parameters = graph.builder.parameters.iter().map(|parameter| (&parameter.name, &parameter.value));
            let moments = graph.states.iter().flat_map(|state| [(&load.0, &state.m), (&load.0, &state.v)]);
            let Some((_, value)) = known.chain(parameters).chain(moments).find(|(_, value)| value.node == node) else {
                continue;
            };
            let per_image = matches!(load.0.as_str(), "labels") || value.node == graph.network.images.node;
            let len = if per_image { value.len() / batch } else { value.len() };
            ids.insert((node, 0), tensors.len());
            if place.is_none() {
                loads.push((load.0.clone(), tensors.len()));
            }
            tensors.push(Tensor { len, per_image, stored: place, summed: false, regions: (0, 0), steps: (0, 0) });
            continue;
        };
        if added.contains(&node) {
            continue;
        }
        let sources: Vec<Value> = inputs(luminal, node);
        let mut source_ids: Vec<usize> = sources.iter().map(|source| ids[&(source.node, source.output)]).collect();
        if operation.as_any().is::<ops::Reshape>() {
            ids.insert((node, 0), source_ids[0]);
            continue;
        }
        let shapes: Vec<&[usize]> = sources.iter().map(|source| source.shape.as_slice()).collect();
        let kernel = steps::kernel(operation, &shapes).ok_or_else(|| operation.name().to_owned())?;
        let batched = operation.as_any().is::<ops::Expand>() || source_ids.iter().any(|&id| tensors[id].per_image);
        let split = if kernel.split == Split::Images && !batched { Split::Once } else { kernel.split };

        // A product that is only added to something known starts from that: a pass over memory less.
        let sum = sum_of(luminal, node).filter(|_| kernel.adds && split == Split::Images);
        let residual = sum.as_ref().and_then(|(_, other)| ids.get(&(other.node, other.output)));
        let mut output_node = node;
        if let (Some((sum, _)), Some(&residual)) = (sum, residual) {
            source_ids.push(residual);
            added.insert(sum);
            output_node = sum;
        }

        let output_shapes = operation.output_shapes(&shapes);
        let mut output_ids = Vec::new();
        for (output, shape) in output_shapes.iter().enumerate() {
            let key = (output_node, output as u8);
            let id = if split == Split::Elements {
                source_ids[[0, 2, 3][output]]
            } else {
                let elements: usize = shape.iter().product();
                let sum = kernel.outputs[output] == Kind::Sum;
                let per_image = batched && !sum && matches!(split, Split::Images | Split::Columns { .. });
                let len = if per_image { elements / batch } else { elements };
                let summed = sum && split == Split::Images;
                tensors.push(Tensor { len, per_image, stored: None, summed, regions: (0, 0), steps: (0, 0) });
                tensors.len() - 1
            };
            ids.insert(key, id);
            output_ids.push(id);
        }

        if let Some(packing) = kernel.packing {
            let source = source_ids[packing.input];
            let known =
                packs.iter().find(|(other, known, _)| *known == source && other.transposed == packing.transposed);
            source_ids[packing.input] = match known {
                Some((_, _, id)) => *id,
                None => {
                    let len = packing.len();
                    tensors.push(Tensor {
                        len,
                        per_image: false,
                        stored: None,
                        summed: false,
                        regions: (0, 0),
                        steps: (0, 0),
                    });
                    packs.push((packing, source, tensors.len() - 1));
                    tensors.len() - 1
                }
            };
        }
        let reads_open_sum = links.last().is_some_and(|open| {
            open.iter().any(|(_, outputs)| outputs.iter().any(|id| tensors[*id].summed && source_ids.contains(id)))
        });
        let work = Work::from(split);
        let joins =
            work == Work::Images && regions.last().is_some_and(|(open, _)| *open == Work::Images) && !reads_open_sum;
        if !joins {
            regions.push((work, Vec::new()));
            links.push(Vec::new());
        }
        let flops = operation.flops(&shapes);
        if let (Some((_, steps)), Some(links)) = (regions.last_mut(), links.last_mut()) {
            let named = |value: &Value| {
                let mut parameters = graph.builder.parameters.iter();
                Some(parameters.find(|parameter| parameter.value.node == value.node)?.name.clone())
            };
            let parameters = sources.iter().filter_map(named).collect();
            let (name, index) = (operation.name(), count);
            steps.push(Step {
                name,
                parameters,
                index,
                kernel,
                flops,
                inputs: Vec::new(),
                outputs: Vec::new(),
                cold: Vec::new(),
            });
            count += 1;
            links.push((source_ids, output_ids));
        }
    }

    if !packs.is_empty() {
        let step = |(index, (packing, ..)): (usize, &(Packing, usize, usize))| Step {
            name: "pack",
            parameters: Vec::new(),
            index: count + index,
            kernel: packing.kernel(),
            flops: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            cold: Vec::new(),
        };
        regions.insert(0, (Work::Each, packs.iter().enumerate().map(step).collect()));
        links.insert(0, packs.iter().map(|&(_, source, id)| (vec![source], vec![id])).collect());
    }

    let lifetimes = |tensors: &mut Vec<Tensor>| {
        for (region, links) in links.iter().enumerate() {
            for (step, (sources, outputs)) in links.iter().enumerate() {
                for &id in outputs {
                    tensors[id].regions = (region, region);
                    tensors[id].steps = (step, step);
                }
                for &id in sources {
                    let tensor = &mut tensors[id];
                    if tensor.regions.1 == region {
                        tensor.steps.1 = step;
                    }
                    tensor.regions.1 = region;
                }
            }
        }
    };
    lifetimes(&mut tensors);
    let end = regions.len();
    let id_of = |value: &Value| ids[&(value.node, value.output)];
    let results: Vec<usize> =
        [&graph.loss, &graph.network.logits].into_iter().chain(&graph.gradients).map(id_of).collect();
    let loss_region = tensors[results[0]].regions.0;
    for (index, &id) in results.iter().enumerate() {
        if index < 2 || graph.states.is_empty() {
            tensors[id].regions.1 = end;
        }
    }
    // Inputs are set before the program runs and may be read by any region.
    for &(_, id) in &loads {
        tensors[id].regions = (0, end);
    }

    let slots = place(&tensors, &regions, &links, batch);
    let slot = |id: &usize| slots.slots[*id];
    for ((_, steps), links) in regions.iter_mut().zip(&links) {
        for (step, (sources, outputs)) in steps.iter_mut().zip(links) {
            step.inputs = sources.iter().map(slot).collect();
            step.outputs = outputs.iter().map(slot).collect();
        }
    }
    for (_, steps) in &mut regions {
        let mut warm: Vec<Slot> = Vec::new();
        for step in steps {
            let cold = |slot: &&Slot| slot.base == Base::Arena && slot.per_image && !warm.contains(slot);
            step.cold = step.inputs.iter().filter(cold).copied().collect();
            warm.extend(step.inputs.iter().chain(&step.outputs));
        }
    }
    let regions = regions
        .into_iter()
        .zip(slots.tiles)
        .map(|((work, steps), (tile, local_len))| Region { work, steps, tile, local_len })
        .collect();
    let mut results = results.iter().map(slot);
    let (loss, logits) = (results.next(), results.next());
    Ok(Program {
        batch,
        regions,
        loss: loss.ok_or("loss")?,
        loss_region,
        logits: logits.ok_or("logits")?,
        gradients: results.collect(),
        loads: loads.into_iter().map(|(name, id)| (name, slots.slots[id])).collect(),
        arena_len: slots.arena_len,
    })
}

/// The sum of two equal shapes that is all that a node's output goes into, and its other operand.
fn sum_of(graph: &Graph, node: NodeIndex) -> Option<(NodeIndex, Value)> {
    let mut users = graph.graph.edges_directed(node, Direction::Outgoing);
    let user = users.next()?.target();
    if users.next().is_some() || !operation(graph, user)?.as_any().is::<ops::Add>() {
        return None;
    }
    let [a, b] = <[Value; 2]>::try_from(inputs(graph, user)).ok()?;
    (a.shape == b.shape).then(|| (user, if a.node == node { b } else { a }))
}

struct Places {
    slots: Vec<Slot>,
    /// Images per tile and local elements of each region.
    tiles: Vec<(usize, usize)>,
    arena_len: usize,
}

fn place(
    tensors: &[Tensor],
    regions: &[(Work, Vec<Step>)],
    links: &[Vec<(Vec<usize>, Vec<usize>)>],
    batch: usize,
) -> Places {
    let lane = batch.div_ceil(LANES);
    let is_local = |tensor: &Tensor| {
        tensor.per_image
            && tensor.stored.is_none()
            && tensor.regions.0 == tensor.regions.1
            && tensor.regions.0 < regions.len()
            && regions[tensor.regions.0].0 == Work::Images
    };
    let mut slots: Vec<Slot> = tensors
        .iter()
        .map(|tensor| Slot {
            base: if tensor.stored.is_some() { Base::Store } else { Base::Arena },
            offset: tensor.stored.unwrap_or(0),
            len: tensor.len,
            per_image: tensor.per_image,
            lanes: None,
        })
        .collect();

    let mut tiles = Vec::new();
    for (region, links) in links.iter().enumerate() {
        let locals: Vec<usize> = links
            .iter()
            .flat_map(|(_, outputs)| outputs.iter().copied())
            .filter(|&id| tensors[id].regions.0 == region && is_local(&tensors[id]))
            .collect();
        let fit = |images: usize| {
            let buffers: Vec<Lifetime> = locals
                .iter()
                .map(|&id| Lifetime {
                    len: tensors[id].len * images,
                    first: tensors[id].steps.0,
                    last: tensors[id].steps.1,
                })
                .collect();
            plan::pack(&buffers)
        };
        let elements = |(sources, outputs): &(Vec<usize>, Vec<usize>)| -> usize {
            sources.iter().chain(outputs).filter(|&&id| tensors[id].per_image).map(|&id| tensors[id].len).sum()
        };
        let per_image = links.iter().map(elements).max().unwrap_or(1).max(1);
        let tile = (TILE_ELEMENTS / per_image).clamp(1, lane);
        let (offsets, local_len) = fit(tile);
        for (&id, offset) in locals.iter().zip(offsets) {
            slots[id].base = Base::Local;
            slots[id].offset = offset;
        }
        tiles.push((tile, local_len));
    }

    let mut buffers = Vec::new();
    let mut owners = Vec::new();
    for (id, tensor) in tensors.iter().enumerate() {
        if slots[id].base != Base::Arena {
            continue;
        }
        let len = if tensor.per_image { tensor.len * batch } else { tensor.len };
        let (first, last) = tensor.regions;
        buffers.push(Lifetime { len, first, last });
        owners.push((id, false));
        if tensor.summed {
            buffers.push(Lifetime { len: tensor.len * batch.div_ceil(lane), first, last: first });
            owners.push((id, true));
        }
    }
    let (offsets, arena_len) = plan::pack(&buffers);
    for (&(id, lanes), offset) in owners.iter().zip(offsets) {
        if lanes {
            slots[id].lanes = Some(offset);
        } else {
            slots[id].offset = offset;
        }
    }
    Places { slots, tiles, arena_len }
}
