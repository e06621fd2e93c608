//! Where the device keeps parameters, their moments and their gradients.

use super::kernels::adamw;
use crate::{
    backend::{BackendError, StateTensor, Store},
    graph::{Builder, Network, Parameter, operation, ops},
    passes::{inputs, ordered},
};

/// Tensors start at multiples of so many elements: 128 bytes of bfloat16, 256 of float32.
const ALIGNMENT: usize = 64;

/// One parameter: row `i` of `rows` lies at `offset + i * stride`, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub offset: usize,
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

/// The order and form of all parameters in memory. First moments, second moments and gradients lie in the
/// same way, each group `len` elements after the one before.
///
/// The query, key and value kernels of an attention that reads one tensor lie side by side, row by row, as one
/// `[in, query + key + value]` matrix, and their biases one after the other: three products become one. A
/// normalisation's beta follows its gamma, for their gradients come from one reduction.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
}

/// Parameters that lie together.
enum Group {
    /// One after the other.
    Row(Vec<usize>),
    /// Matrices of as many rows, side by side.
    Columns(Vec<usize>),
}

impl Layout {
    /// For a network lowered onto a builder.
    pub fn new(builder: &Builder, network: &Network) -> Self {
        let parameters = &builder.parameters;
        let mut grouped = vec![false; parameters.len()];
        let mut groups = Vec::new();
        for group in together(builder, network) {
            let (Group::Row(members) | Group::Columns(members)) = &group;
            // A parameter that two operators share lies where the first wants it.
            if members.iter().any(|&index| grouped[index]) {
                continue;
            }
            members.iter().for_each(|&index| grouped[index] = true);
            groups.push(group);
        }
        groups.extend((0..parameters.len()).filter(|&index| !grouped[index]).map(|index| Group::Row(vec![index])));
        let mut slots = vec![Slot { offset: 0, rows: 0, width: 0, stride: 0 }; parameters.len()];
        let mut len = 0;
        for group in groups {
            match group {
                Group::Row(members) => {
                    for index in members {
                        let value = &parameters[index].value;
                        let (rows, width) = (value.rows(), value.last());
                        slots[index] = Slot { offset: len, rows, width, stride: width };
                        len += value.len();
                    }
                }
                Group::Columns(members) => {
                    let stride = members.iter().map(|&index| parameters[index].value.last()).sum();
                    let rows = parameters[members[0]].value.rows();
                    let mut column = 0;
                    for index in members {
                        let width = parameters[index].value.last();
                        slots[index] = Slot { offset: len + column, rows, width, stride };
                        column += width;
                    }
                    len += rows * stride;
                }
            }
            len = len.next_multiple_of(ALIGNMENT);
        }
        Self { slots, len }
    }

    /// Of the parameter of this index in the network.
    pub fn slot(&self, index: usize) -> Slot {
        self.slots[index]
    }

    /// Elements of one group, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The table of [`adamw`] for a store and shadows at these addresses; 0 for no shadows. The groups are flat,
    /// padding included, so that they are one tensor to the update.
    pub fn table(&self, store: u64, shadow: u64) -> Vec<adamw::Chunk> {
        let group = |index: usize| store + (size_of::<f32>() * index * self.len) as u64;
        let [parameter, m, v, gradient] = [0, 1, 2, 3].map(group);
        adamw::chunks(&[adamw::Tensor { parameter, gradient, m, v, shadow, len: self.len }])
    }

    /// Parameters and both moments of a store as they lie on the device: float32, three groups.
    pub fn pack(&self, store: &Store) -> Vec<f32> {
        let mut packed = vec![0.0; 3 * self.len];
        for (position, (_, parameter, start)) in store.layout().enumerate() {
            let values = &store.values[start..][..parameter.value.len()];
            self.each_row(position, |at, row, width| {
                packed[at..at + width].copy_from_slice(&values[row * width..][..width]);
            });
        }
        packed
    }

    /// The inverse of [`Layout::pack`].
    pub fn unpack(&self, packed: &[f32], store: &mut Store) {
        let places: Vec<(usize, usize)> =
            store.layout().map(|(_, parameter, start)| (start, parameter.value.len())).collect();
        for (position, (start, len)) in places.into_iter().enumerate() {
            let values = &mut store.values[start..][..len];
            self.each_row(position, |at, row, width| {
                values[row * width..][..width].copy_from_slice(&packed[at..at + width]);
            });
        }
    }

    /// Everything that was packed, by name.
    pub fn state(&self, packed: &[f32], store: &Store) -> Vec<StateTensor> {
        let tensors = store.layout().enumerate();
        tensors.map(|(position, (name, parameter, _))| self.tensor(position, name, parameter, packed)).collect()
    }

    /// The gradients, which the device keeps as a group of their own.
    pub fn gradients(&self, group: &[f32], store: &Store) -> Vec<StateTensor> {
        let tensors = store.parameters().iter().enumerate();
        tensors.map(|(index, parameter)| self.tensor(index, parameter.name.clone(), parameter, group)).collect()
    }

    fn tensor(&self, position: usize, name: String, parameter: &Parameter, packed: &[f32]) -> StateTensor {
        let mut data = Vec::with_capacity(parameter.value.len());
        self.each_row(position, |at, _, width| data.extend_from_slice(&packed[at..at + width]));
        StateTensor { name, shape: parameter.shape.clone(), data }
    }

    /// Calls `row(place, index, width)` for each row of the tensor at a position of the store's layout.
    fn each_row(&self, position: usize, mut row: impl FnMut(usize, usize, usize)) {
        let (group, index) = (position / self.slots.len(), position % self.slots.len());
        let Slot { offset, rows, width, stride } = self.slots[index];
        for at in 0..rows {
            row(group * self.len + offset + at * stride, at, width);
        }
    }

    /// Checks that a store fits in what the kernels count with.
    ///
    /// # Errors
    /// When it is too large.
    pub fn check(&self) -> Result<(), BackendError> {
        if self.len > i32::MAX as usize {
            return Err(BackendError::Other(format!("{} parameters are more than the cuda backend takes", self.len)));
        }
        Ok(())
    }
}

/// The groups that operators want.
fn together(builder: &Builder, network: &Network) -> Vec<Group> {
    let graph = &builder.graph;
    let index_of = |value: &crate::graph::Value| builder.parameter_index(value.node);
    let mut groups = Vec::new();
    for node in ordered(graph) {
        let Some(operation) = operation(graph, node) else { continue };
        let sources = inputs(graph, node);
        if operation.as_any().is::<ops::LayerNorm>() {
            groups.extend(sources[1..].iter().map(index_of).collect::<Option<Vec<_>>>().map(Group::Row));
        }
        if operation.as_any().is::<ops::Attention>()
            && let Some(dense) = projections(builder, network, &sources[..3])
        {
            groups.push(Group::Columns(dense.iter().map(|own| own[0]).collect()));
            if dense.iter().all(|own| own.len() == 2) {
                groups.push(Group::Row(dense.iter().map(|own| own[1]).collect()));
            }
        }
    }
    groups
}

/// Kernel and bias indices of the three products that make an attention's inputs, if these are three products of
/// one tensor that nothing else reads.
pub fn projections(builder: &Builder, network: &Network, sources: &[crate::graph::Value]) -> Option<[Vec<usize>; 3]> {
    let graph = &builder.graph;
    let mut input = None;
    let mut found: [Vec<usize>; 3] = Default::default();
    for (source, own) in sources.iter().zip(&mut found) {
        if source.node == network.logits.node || !operation(graph, source.node)?.as_any().is::<ops::Dense>() {
            return None;
        }
        let operands = inputs(graph, source.node);
        let same = *input.get_or_insert((operands[0].node, operands[0].output));
        if same != (operands[0].node, operands[0].output) {
            return None;
        }
        for operand in &operands[1..] {
            own.push(builder.parameter_index(operand.node)?);
        }
    }
    let distinct: std::collections::HashSet<_> = found.iter().flatten().collect();
    let alike = found.iter().all(|own| own.len() == found[0].len());
    (alike && distinct.len() == 3 * found[0].len()).then_some(found)
}
