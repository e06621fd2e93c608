use luminal::prelude::NodeIndex;

use super::super::{
    kernel::{Kernel, Kind, Packing, Split},
    program::{Step, Work},
};

/// What a last cache may hold until it is wanted again.
const CACHED_ELEMENTS: usize = 8 << 20;

/// A tensor of the program before it has a place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tensor {
    /// Elements per image, or all elements.
    pub len: usize,
    pub per_image: bool,
    /// Index of its place in the store: parameters and moments.
    pub stored: Option<usize>,
    /// Summed over lanes by the region that computes it.
    pub summed: bool,
    /// First and last region, and within one region first and last step.
    pub regions: (usize, usize),
    pub steps: (usize, usize),
}

/// The tensors that a step reads and writes.
#[derive(Debug)]
pub struct Links {
    /// The operator that the step belongs to, or for which it computes something again.
    pub node: NodeIndex,
    pub sources: Vec<usize>,
    pub outputs: Vec<usize>,
}

/// A program whose tensors have no places yet.
#[derive(Default)]
pub struct Draft {
    pub tensors: Vec<Tensor>,
    pub regions: Vec<(Work, Vec<Step>)>,
    /// As `regions`.
    pub links: Vec<Vec<Links>>,
    count: usize,
    /// Operands that are packed before all else: how, from which tensor, to which.
    packs: Vec<(Packing, usize, usize)>,
}

/// A step before it has operands.
pub struct Call {
    pub name: &'static str,
    pub parameters: Vec<String>,
    pub kernel: Kernel,
    pub flops: u64,
}

impl Draft {
    pub fn tensor(&mut self, tensor: Tensor) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    /// The region that a step of this kind on these tensors joins or opens; before a `cut` it opens one.
    pub fn open(&mut self, split: Split, sources: &[usize], cut: bool) -> usize {
        let work = Work::from(split);
        let mut made = self.links.last().into_iter().flatten().flat_map(|links| &links.outputs);
        let joins = match work {
            // A sum is not there before all images have gone through the region.
            Work::Images => !cut && !made.any(|id| self.tensors[*id].summed && sources.contains(id)),
            Work::Each => !made.any(|id| sources.contains(id)),
            Work::Single => false,
        };
        if !joins || self.regions.last().is_none_or(|(open, _)| *open != work) {
            self.regions.push((work, Vec::new()));
            self.links.push(Vec::new());
        }
        self.regions.len() - 1
    }

    /// Appends a step to the last region.
    pub fn push(&mut self, call: Call, links: Links) {
        let step = step(call, self.count);
        self.count += 1;
        if let (Some((_, steps)), Some(region)) = (self.regions.last_mut(), self.links.last_mut()) {
            steps.push(step);
            region.push(links);
        }
    }

    /// A source in the packed form, which all steps that want it share.
    pub fn packed(&mut self, packing: Packing, source: usize) -> usize {
        let same = |(known, id, _): &&(Packing, usize, usize)| *id == source && known.same_as(packing);
        if let Some((_, _, id)) = self.packs.iter().find(same) {
            return *id;
        }
        let id = self.tensor(Tensor { len: packing.len(), ..Tensor::default() });
        self.packs.push((packing, source, id));
        id
    }

    /// Opens a region, as the `index`-th, that packs operands.
    fn pack(&mut self, index: usize, packs: Vec<(Packing, usize, usize)>) {
        if packs.is_empty() {
            return;
        }
        let (mut steps, mut links) = (Vec::new(), Vec::new());
        for (packing, source, id) in packs {
            let call = Call { name: "pack", parameters: Vec::new(), kernel: packing.kernel(), flops: 0 };
            steps.push(step(call, self.count));
            links.push(Links { node: NodeIndex::end(), sources: vec![source], outputs: vec![id] });
            self.count += 1;
        }
        self.regions.insert(index, (Work::Each, steps));
        self.links.insert(index, links);
    }

    /// Puts the packing first, finds out from where to where each tensor lives, and gives those that are kept a
    /// second place, for their own region.
    pub fn finish(&mut self, batch: usize) {
        // What is made of parameters alone comes first, and then waits to be packed.
        let early = self.regions.iter().take_while(|(work, _)| *work == Work::Each).count();
        let (stored, made) = std::mem::take(&mut self.packs)
            .into_iter()
            .partition(|&(_, source, _)| self.tensors[source].stored.is_some());
        self.pack(early, made);
        self.pack(0, stored);
        for (region, links) in self.links.iter().enumerate() {
            for (step, links) in links.iter().enumerate() {
                for &id in &links.outputs {
                    self.tensors[id].regions = (region, region);
                    self.tensors[id].steps = (step, step);
                }
                for &id in &links.sources {
                    let tensor = &mut self.tensors[id];
                    if tensor.regions.1 == region {
                        tensor.steps.1 = step;
                    }
                    tensor.regions.1 = region;
                }
            }
        }
        self.stream(batch);
    }

    /// What a region makes and reads, and what is wanted once more long after, is written twice by kernels that can:
    /// the region reads a tile of it, and what is kept never is in the cache. Not where a cache may hold it all.
    fn stream(&mut self, batch: usize) {
        let mut kept = Vec::new();
        for (region, ((_, steps), links)) in self.regions.iter().zip(&self.links).enumerate() {
            for (step, (_, links)) in steps.iter().zip(links).enumerate().filter(|(_, (step, _))| step.kernel.streams) {
                let id = links.outputs[0];
                let Tensor { regions, steps: (first, last), .. } = self.tensors[id];
                if first < last && region + 1 < regions.1 {
                    kept.push((region, step, id));
                }
            }
        }
        if batch * kept.iter().map(|&(_, _, id)| self.tensors[id].len).sum::<usize>() <= CACHED_ELEMENTS {
            return;
        }
        for (region, step, id) in kept {
            let local = self.tensor(Tensor { regions: (region, region), ..self.tensors[id] });
            let links = &mut self.links[region];
            links[step].outputs[0] = local;
            links[step].outputs.push(id);
            self.regions[region].1[step].kernel.outputs.push(Kind::PerImage);
            for source in links[step + 1..].iter_mut().flat_map(|links| &mut links.sources) {
                if *source == id {
                    *source = local;
                }
            }
        }
    }
}

fn step(call: Call, index: usize) -> Step {
    let Call { name, parameters, kernel, flops } = call;
    Step { name, parameters, index, kernel, flops, inputs: Vec::new(), outputs: Vec::new(), cold: Vec::new() }
}
