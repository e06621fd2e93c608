//! Where a long region of tiles is cut in pieces, each of whose weights, and sums over images, stay in the
//! cache from one tile to the next.
//!
//! A cut costs what crosses it: those tensors go through memory. So a region is cut only where it is
//! narrow, as between two blocks of a transformer.

use luminal::prelude::NodeIndex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    super::program::Work,
    draft::{Draft, Links, Tensor},
};

/// Weights and sums of a piece: half of a core's second-level cache, whose other half is for a tile.
const PIECE_ELEMENTS: usize = 256 * 1024;

/// The operators before which the regions of a finished draft are best cut.
pub fn cuts(draft: &Draft) -> FxHashSet<NodeIndex> {
    let mut cuts = FxHashSet::default();
    for ((work, _), links) in draft.regions.iter().zip(&draft.links) {
        if *work == Work::Images {
            cuts.extend(pieces(&draft.tensors, links).into_iter().map(|step| links[step].node));
        }
    }
    cuts
}

/// The steps that begin a piece, but for the first.
fn pieces(tensors: &[Tensor], links: &[Links]) -> Vec<usize> {
    let (mut starts, mut start) = (Vec::new(), 0);
    let mut candidate = None;
    let ends = narrow(tensors, links).into_iter().map(Some).chain([None]);
    for next in ends {
        let end = next.unwrap_or(links.len());
        if let Some(cut) = candidate.filter(|_| kept(tensors, &links[start..end]) > PIECE_ELEMENTS) {
            starts.push(cut);
            start = cut;
        }
        candidate = next;
    }
    starts
}

/// Elements of the weights and sums of some steps.
fn kept(tensors: &[Tensor], links: &[Links]) -> usize {
    let ids = links.iter().flat_map(|links| links.sources.iter().chain(&links.outputs));
    let ids: FxHashSet<usize> = ids.copied().filter(|&id| !tensors[id].per_image).collect();
    ids.into_iter().map(|id| tensors[id].len).sum()
}

/// The steps before which less crosses than before their neighbours.
fn narrow(tensors: &[Tensor], links: &[Links]) -> Vec<usize> {
    let crossing = crossing(tensors, links);
    let mut narrow = Vec::new();
    let mut falling = false;
    for step in 1..links.len() {
        falling = crossing[step] < crossing[step - 1] || falling && crossing[step] == crossing[step - 1];
        let rises = crossing.get(step + 1).is_some_and(|&next| next > crossing[step]);
        if falling && rises && links[step].node != links[step - 1].node {
            narrow.push(step);
        }
    }
    narrow
}

/// Elements per image that are made before each step and used from it on.
fn crossing(tensors: &[Tensor], links: &[Links]) -> Vec<usize> {
    let mut made: FxHashMap<usize, usize> = FxHashMap::default();
    let mut crossing = vec![0; links.len()];
    for (step, links) in links.iter().enumerate() {
        for id in &links.sources {
            // Counted from where it was last counted to.
            if let Some(from) = made.get_mut(id) {
                crossing[*from + 1..=step].iter_mut().for_each(|elements| *elements += tensors[*id].len);
                *from = step;
            }
        }
        made.extend(links.outputs.iter().filter(|&&id| tensors[id].per_image).map(|&id| (id, step)));
    }
    crossing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of three steps, as wide as `widths`: `x` to a wide tensor by a weight, to another, and back to a
    /// narrow one, to which `x` is added.
    fn blocks(weights: &[usize]) -> (Vec<Tensor>, Vec<Links>) {
        let per_image = |len| Tensor { len, per_image: true, ..Tensor::default() };
        let mut tensors = vec![per_image(10)];
        let mut links: Vec<Links> = Vec::new();
        for &weight in weights {
            let x = tensors.len() - 1;
            tensors.push(Tensor { len: weight, ..Tensor::default() });
            tensors.extend([per_image(40), per_image(40), per_image(10)]);
            for (sources, output) in [(vec![x, x + 1], x + 2), (vec![x + 2], x + 3), (vec![x + 3, x], x + 4)] {
                links.push(Links { node: NodeIndex::new(links.len()), sources, outputs: vec![output] });
            }
        }
        (tensors, links)
    }

    #[test]
    fn pieces_are_whole_blocks_whose_weights_fit() {
        let cut = |weights: &[usize]| {
            let (tensors, links) = blocks(weights);
            pieces(&tensors, &links)
        };
        let (third, all) = (PIECE_ELEMENTS / 3, PIECE_ELEMENTS);
        assert_eq!(cut(&[third; 3]), [0; 0]);
        assert_eq!(cut(&[third; 7]), [9, 18]);
        assert_eq!(cut(&[all; 3]), [3, 6]);
        assert_eq!(cut(&[2 * all, 1, 1, 2 * all]), [3, 9]);
        assert_eq!(cut(&[]), [0; 0]);
    }

    #[test]
    fn what_crosses_is_what_is_used_later() {
        let (tensors, links) = blocks(&[1, 1]);
        // The first input is not made here.
        assert_eq!(crossing(&tensors, &links), [0, 40, 40, 10, 50, 50]);
        assert_eq!(narrow(&tensors, &links), [3]);
    }
}
