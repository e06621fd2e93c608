//! Computing again in the backward pass what is cheap, instead of keeping it since the forward pass
//! (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).

use std::rc::Rc;

use luminal::prelude::{Graph, NodeIndex};
use rustc_hash::FxHashMap;

use super::{
    super::ops::{self, Site},
    draft::{Call, Draft, Links, Tensor},
};
use crate::{graph::operation, passes::inputs};

/// How a tensor that is cheap to compute was made.
struct Made {
    node: NodeIndex,
    region: usize,
    sources: Rc<[usize]>,
    /// All tensors of the operator.
    outputs: Rc<[usize]>,
}

/// The cheap tensors of a draft.
pub struct Again<'a> {
    graph: &'a Graph,
    made: FxHashMap<usize, Made>,
    /// By region and tensor.
    copies: FxHashMap<(usize, usize), usize>,
}

impl<'a> Again<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        Self { graph, made: FxHashMap::default(), copies: FxHashMap::default() }
    }

    /// Remembers how a cheap operator made its outputs.
    pub fn made(&mut self, node: NodeIndex, region: usize, links: &Links) {
        let (sources, outputs): (Rc<[usize]>, Rc<[usize]>) = (links.sources[..].into(), links.outputs[..].into());
        for &id in &*outputs {
            self.made.insert(id, Made { node, region, sources: sources.clone(), outputs: outputs.clone() });
        }
    }

    /// A tensor of the draft's last region that holds what `id` does, for `user`: itself, unless it is cheap and of
    /// an earlier region.
    pub fn bring(&mut self, id: usize, user: NodeIndex, draft: &mut Draft) -> usize {
        let region = draft.regions.len() - 1;
        if let Some(&copy) = self.copies.get(&(region, id)) {
            return copy;
        }
        let Some(made) = self.made.get(&id).filter(|made| made.region < region) else { return id };
        let (node, sources, outputs) = (made.node, made.sources.clone(), made.outputs.clone());
        let Some(operation) = operation(self.graph, node) else { return id };
        let values = inputs(self.graph, node);
        let shapes: Vec<&[usize]> = values.iter().map(|value| value.shape.as_slice()).collect();
        let Some(kernel) = ops::kernel(operation, &Site { shapes: &shapes, panels: None }) else { return id };
        let sources = sources.iter().map(|&source| self.bring(source, user, draft)).collect();
        let mut copies = Vec::new();
        for &output in &*outputs {
            let Tensor { len, per_image, .. } = draft.tensors[output];
            copies.push(draft.tensor(Tensor { len, per_image, ..Tensor::default() }));
            self.copies.insert((region, output), draft.tensors.len() - 1);
        }
        let call = Call { name: operation.name(), parameters: Vec::new(), kernel, flops: 0 };
        draft.push(call, Links { node: user, sources, outputs: copies });
        self.copies[&(region, id)]
    }
}
