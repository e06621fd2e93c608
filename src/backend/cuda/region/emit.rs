//! The launches of a region.

use super::{Parameter, Region, Sum, text};
use crate::backend::cuda::{
    compile::{
        emit::{Emitter, Symbol},
        operations::{Id, Operation},
    },
    kernels::{Dropout, int},
    launch::{Arg, Launch},
    program::{Cost, Work},
};

impl Emitter<'_> {
    /// One launch for all tiles, and one for the sums of the blocks'.
    pub fn region(&mut self, operation: &Operation, region: &Region) {
        let blocks = region.blocks();
        let sums = self.scratch(blocks * region.summed());
        let mut args = vec![Arg::I32(int(region.rows)), Arg::I32(int(region.tiles()))];
        let mut defines = Vec::new();
        for (number, parameter) in region.parameters.iter().enumerate() {
            match *parameter {
                Parameter::Activation(id) => args.push(Arg::Pointer(self.activation(id))),
                Parameter::Exact(id) => args.push(Arg::Pointer(self.at(id))),
                Parameter::Sums => args.push(Arg::Pointer(sums)),
                Parameter::Dropout(layer, count) => {
                    let dropout = self.dropout_once(Some(layer), count);
                    if let Some(dropout) = &dropout {
                        let (_, value) = dropout.define();
                        defines.push((text::how(number), value));
                    }
                    args.extend(Dropout::args_and_bits(dropout));
                }
            }
        }
        let launch = Launch {
            source: region.source,
            defines: defines.clone(),
            entry: text::ENTRY,
            grid: [blocks as u32, region.slices as u32, 1],
            block: [32 * region.warps as u32, 1, 1],
            shared_bytes: region.shared_bytes as u32,
            args,
        };
        let of_sums = |id: &Id| region.sums.iter().any(|sum| sum.outputs.contains(id));
        let outputs: Vec<Id> = operation.outputs.iter().copied().filter(|id| !of_sums(id)).collect();
        let bytes = self.bytes(operation.inputs.iter().chain(&outputs));
        self.push_costing(Work::Launch(launch), &outputs, Cost { bytes, flops: region.flops });
        if region.sums.is_empty() {
            return;
        }
        let to = |emitter: &mut Self, Sum { elements, outputs }: &Sum| match outputs[..] {
            [first, second] => emitter.pair(first, second, region.slices * elements / 2),
            _ => emitter.at(outputs[0]),
        };
        let places: Vec<Symbol> = region.sums.iter().map(|sum| to(self, sum)).collect();
        let launch = Launch {
            source: region.source,
            defines,
            entry: text::SUMS,
            grid: [region.summed().div_ceil(4 * text::SUM_THREADS) as u32, 1, 1],
            block: [text::SUM_THREADS as u32, 1, 1],
            shared_bytes: 0,
            args: [Arg::I32(int(blocks)), Arg::Pointer(sums)]
                .into_iter()
                .chain(places.into_iter().map(Arg::Pointer))
                .collect(),
        };
        let outputs: Vec<Id> = region.sums.iter().flat_map(|sum| sum.outputs.iter().copied()).collect();
        self.finish(launch, &outputs);
    }
}
