//! Operations that move elements, or average them along an axis.

use super::{Emitter, Id, Kind, Operation, Symbol};
use crate::backend::cuda::{kernels::layout, launch::Element};

impl Emitter<'_> {
    /// A tensor as it is stored, a parameter in full precision: these kernels convert.
    fn stored(&self, id: Id) -> (Element, Symbol) {
        (self.element(id), self.at(id))
    }

    pub(super) fn move_elements(&mut self, operation: &Operation) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        let (x, y) = (self.stored(inputs[0]), self.stored(outputs[0]));
        let launch = match &operation.kind {
            Kind::Transpose { shape, permutation } => layout::permute(shape, permutation, x, y),
            &Kind::Mean { around } => layout::mean(around, x, y),
            &Kind::MeanGradient { around } => layout::mean_gradient(around, x, y),
            &Kind::Slice { around, start, length } => layout::slice(around, start, length, x, y),
            &Kind::Pad { around, before, after } => layout::pad(around, before, after, x, y),
            &Kind::Expand { count } => layout::expand(count, self.elements(inputs[0]), x, y),
            Kind::Concat { parts } => {
                let axis: usize = parts.iter().map(|[_, length, _]| length).sum();
                let mut start = 0;
                let mut launches = Vec::new();
                for (&id, &[outer, length, inner]) in inputs.iter().zip(parts) {
                    launches.push(layout::place([outer, axis, inner], start, length, self.stored(id), y));
                    start += length;
                }
                self.launches(launches, outputs);
                return;
            }
            _ => return,
        };
        self.launch(launch, outputs);
    }
}
