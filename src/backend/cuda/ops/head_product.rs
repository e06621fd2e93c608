//! Products of the kernels of projections, and sums over heads.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Kind, Operation, Origin},
        },
        kernels::{
            head_product::{Shaped, Strided, Term, product},
            sum_heads,
        },
        program::{Cost, Work},
    },
    graph::ops,
};

impl Read for ops::HeadProduct {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shapes = [shapes[0].try_into().ok()?, shapes[1].try_into().ok()?];
        Some(Reading::storing(Kind::HeadProduct(vec![Shaped { product: *self, shapes }]), &[Stored::Exact]))
    }
}

impl Emitter<'_> {
    /// What depends on parameters alone is made where the device is idle, from the beginning of the step on.
    pub fn head_product(&mut self, operation: &Operation, products: &[Shaped]) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let term = |(of, ids): (&Shaped, &[Id])| {
            let [a, b] = [0, 1].map(|side| self.strided(ids[side], of.shapes[side]));
            Term { of: *of, a, b }
        };
        let terms: Vec<Term<Symbol>> = products.iter().zip(inputs.chunks_exact(2)).map(term).collect();
        let Some(first) = products.first() else { return };
        let (to, result) = (self.element(outputs[0]), self.strided(outputs[0], first.result()));
        let Some(launch) = product(&terms, to, result) else { return };
        let bytes = self.bytes(inputs.iter().chain(outputs));
        let cost = Cost { bytes, flops: products.iter().map(Shaped::flops).sum() };
        self.push_costing(Work::Launch(launch), outputs, cost);
        if inputs.iter().all(|&id| matches!(self.operations.tensors[id].origin, Origin::Parameter(_))) {
            self.move_ahead();
        }
    }

    /// A matrix that is seen as a tensor of three axes, of which its columns are the last or the last two.
    fn strided(&self, id: Id, [_, second, third]: [usize; 3]) -> Strided<Symbol> {
        let slot = match self.operations.tensors[id].origin {
            Origin::Parameter(index) => Some(index),
            _ if self.fixed.contains_key(&id) => self.operations.gradients.iter().position(|&own| own == Some(id)),
            _ => None,
        };
        let strides = match slot.map(|index| self.layout.slot(index)) {
            Some(slot) if slot.width == third => [second * slot.stride, slot.stride, 1],
            Some(slot) if slot.width == second * third => [slot.stride, third, 1],
            of => {
                debug_assert!(of.is_none_or(|slot| slot.stride == slot.width), "{of:?}");
                [second * third, third, 1]
            }
        };
        Strided { at: self.at(id), strides }
    }

    pub fn sum_heads(&mut self, operation: &Operation, extents: [usize; 3]) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let bias = inputs.get(1).map(|&id| self.at(id));
        let (x, y) = (self.activation(inputs[0]), self.at(outputs[0]));
        self.launch(sum_heads::sum_heads(extents, self.precision, x, bias, y), outputs);
    }
}
