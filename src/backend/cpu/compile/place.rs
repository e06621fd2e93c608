//! Memory for the tensors of a draft: tiles of images in a thread's own, all else in one arena.

use super::{
    super::program::{Base, LANES, Slot, Work},
    draft::{Draft, Links, Tensor},
};
use crate::backend::plan::{self, Lifetime};

/// What a step reads and writes of a tile should be half of a core's second-level cache: the other half
/// is for weights and for what the next steps will touch.
const TILE_ELEMENTS: usize = 256 * 1024;

/// Where everything is.
pub struct Places {
    pub slots: Vec<Slot>,
    /// Images per tile and local elements of each region.
    pub tiles: Vec<(usize, usize)>,
    pub arena_len: usize,
}

/// Places the tensors of a finished draft.
pub fn place(draft: &Draft, batch: usize) -> Places {
    let Draft { tensors, regions, links, .. } = draft;
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
            .flat_map(|links| links.outputs.iter().copied())
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
        let elements = |links: &Links| -> usize {
            links
                .sources
                .iter()
                .chain(&links.outputs)
                .filter(|&&id| tensors[id].per_image)
                .map(|&id| tensors[id].len)
                .sum()
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
