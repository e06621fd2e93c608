//! What memory a call touches, and whether it writes it.

use super::{Emitter, Id, Symbol};
use crate::backend::cuda::{
    gemm::Epilogue,
    program::{Base, Extent, Place, Work},
    state,
};

impl Emitter<'_> {
    /// All memory that work of the operation under way touches, tensors as a whole. What it names and is not known to
    /// be only read counts as written: its outputs, and its scratch. `None` for what finds its memory by a table.
    pub(super) fn touched(&self, work: &Work<Symbol>) -> Option<Vec<Extent<Symbol>>> {
        // Operands of products, and the memory of launches.
        let (operands, launches) = match work {
            Work::Launch(launch) => (Vec::new(), std::slice::from_ref(launch)),
            Work::Gemm(gemm, plain) => {
                let mut operands = vec![(gemm.a.place, false), (gemm.b.place, false), (gemm.d.place, true)];
                match gemm.epilogue {
                    Epilogue::None => {}
                    Epilogue::Bias(bias) => operands.push((bias, false)),
                    Epilogue::RowSum(sum) => operands.push((sum, true)),
                }
                (operands, &plain[..])
            }
        };
        let [read, written] = [&self.inputs, &self.results].map(|ids| self.roots(ids));
        let only_read = |&symbol: &Symbol| match symbol {
            Symbol::Tensor(id, _) => read.contains(&id) && !written.contains(&id),
            Symbol::Fixed(_) => false,
        };
        let named = launches.iter().flat_map(|launch| launch.pointers()).map(|symbol| (*symbol, !only_read(symbol)));
        let mut touched: Vec<Extent<Symbol>> = Vec::new();
        for (symbol, written) in operands.into_iter().chain(named) {
            let extent = self.extent(symbol, written)?;
            if !touched.contains(&extent) {
                touched.push(extent);
            }
        }
        Some(touched)
    }

    /// The tensors that these are, or are parts of, but for those with fixed places.
    fn roots(&self, ids: &[Id]) -> Vec<Id> {
        let root = |&id: &Id| match self.at(id) {
            Symbol::Tensor(root, _) => Some(root),
            Symbol::Fixed(_) => None,
        };
        ids.iter().filter_map(root).collect()
    }

    /// The whole of what a symbol is part of.
    fn extent(&self, symbol: Symbol, written: bool) -> Option<Extent<Symbol>> {
        let place = match symbol {
            Symbol::Tensor(id, _) => {
                let tensor = &self.operations.tensors[id];
                let bytes = tensor.elements * tensor.element.size();
                return Some(Extent { place: Symbol::Tensor(id, 0), bytes, written });
            }
            Symbol::Fixed(place) => place,
        };
        // Rows of parameters may lie between rows of others, so each is as good as all, but for the wide ones.
        let segment = |element: usize| {
            let segment = self.layout.segment(element);
            (segment.start, segment.len())
        };
        let (offset, bytes, written) = match place.base {
            Base::Store => {
                let (float, len) = (size_of::<f32>(), self.layout.len());
                let group = place.offset / float / len;
                let (start, elements) = segment(place.offset / float % len);
                // Only the update writes parameters and slots; gradients come after them.
                (float * (group * len + start), float * elements, group >= self.layout.states())
            }
            Base::Shadow => {
                let (start, elements) = segment(place.offset / 2);
                (2 * start, 2 * elements, false)
            }
            Base::State => (place.offset, state::bytes(place)?, place != state::STEP),
            Base::Arena | Base::Data => return None,
        };
        Some(Extent { place: Symbol::Fixed(Place { base: place.base, offset }), bytes, written })
    }
}
