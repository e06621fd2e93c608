use rustc_hash::FxHashMap;

use super::{BackendError, Buffer, StateTensor};
use crate::graph::{Parameter, optimizers::Plan};

/// Names of what an optimizer keeps begin so, in checkpoints.
pub const OPTIMIZER: &str = "optimizer/";

/// A tensor of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `NAME`, or `optimizer/SLOT/NAME`.
    pub name: String,
    /// Index of its parameter.
    pub parameter: usize,
    /// 0 for parameters, then one more than the number of the slot.
    pub group: usize,
    /// Its first element.
    pub start: usize,
}

/// What training changes: parameters, then their first slots, then their second slots, and so on, each group in the order
/// of the network's parameters, in one allocation.
#[derive(Debug)]
pub struct Store {
    parameters: Vec<Parameter>,
    entries: Vec<Entry>,
    pub values: Buffer,
}

impl Store {
    /// Initialised parameters, and slots of zero.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(parameters: Vec<Parameter>, plan: &Plan, seed: u64) -> Result<Self, BackendError> {
        let fill = |_: usize, parameter: &Parameter, values: &mut [f32]| {
            parameter.initializer.fill(seed, parameter.address(), values);
        };
        Self::filled(parameters, plan, fill)
    }

    /// Parameters as `fill` leaves them, and slots of zero.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn filled(
        parameters: Vec<Parameter>,
        plan: &Plan,
        fill: impl Fn(usize, &Parameter, &mut [f32]),
    ) -> Result<Self, BackendError> {
        let (mut entries, mut len) = (Vec::new(), 0);
        for group in 0..=plan.most_slots() {
            for (index, parameter) in parameters.iter().enumerate() {
                let name = match group.checked_sub(1) {
                    None => parameter.name.clone(),
                    Some(slot) => match plan.slots(index).get(slot) {
                        Some(slot) => format!("{OPTIMIZER}{slot}/{}", parameter.name),
                        None => continue,
                    },
                };
                entries.push(Entry { name, parameter: index, group, start: len });
                len += parameter.value.len();
            }
        }
        let mut values = Buffer::zeroed(len)?;
        for (index, parameter) in parameters.iter().enumerate() {
            fill(index, parameter, &mut values[entries[index].start..][..parameter.value.len()]);
        }
        Ok(Self { parameters, entries, values })
    }

    /// The network's parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Every tensor, in the order of the values.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The parameter that a tensor is, or is kept of.
    pub fn parameter(&self, entry: &Entry) -> &Parameter {
        &self.parameters[entry.parameter]
    }

    /// The elements of a tensor.
    pub fn of(&self, entry: &Entry) -> &[f32] {
        &self.values[entry.start..][..self.parameter(entry).value.len()]
    }

    /// Names and shapes, in the order of [`Store::entries`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.entries.iter().map(|entry| (entry.name.clone(), self.parameter(entry).shape.clone())).collect()
    }

    /// A copy of everything, in the order of [`Store::entries`].
    pub fn state(&self) -> Vec<StateTensor> {
        self.state_by(|_, stored, data| data.copy_from_slice(stored))
    }

    /// As [`Store::state`], where `read` brings what is stored of a parameter, given by its index, or of its slots into
    /// row-major order.
    pub fn state_by(&self, read: impl Fn(usize, &[f32], &mut [f32])) -> Vec<StateTensor> {
        self.tensors_by(usize::MAX, read)
    }

    /// As [`Store::state_by`], the parameters alone.
    pub fn weights_by(&self, read: impl Fn(usize, &[f32], &mut [f32])) -> Vec<StateTensor> {
        self.tensors_by(0, read)
    }

    /// The tensors of the groups up to one.
    fn tensors_by(&self, last: usize, read: impl Fn(usize, &[f32], &mut [f32])) -> Vec<StateTensor> {
        let tensor = |entry: &Entry| {
            let stored = self.of(entry);
            let mut data = vec![0.0; stored.len()];
            read(entry.parameter, stored, &mut data);
            StateTensor { name: entry.name.clone(), shape: self.parameter(entry).shape.clone(), data }
        };
        self.entries.iter().filter(|entry| entry.group <= last).map(tensor).collect()
    }

    /// Sets the tensors given by name; others keep their values.
    ///
    /// # Errors
    /// [`BackendError::State`] for an unknown name or a wrong shape. Nothing is changed then.
    pub fn load(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        self.load_by(tensors, |_, data, stored| stored.copy_from_slice(data))
    }

    /// As [`Store::load`], where `write` is the reverse of what [`Store::state_by`] reads with.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_by(
        &mut self,
        tensors: &[StateTensor],
        write: impl Fn(usize, &[f32], &mut [f32]),
    ) -> Result<(), BackendError> {
        let layout: FxHashMap<&str, &Entry> = self.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let problem = |name: &str, problem: String| BackendError::State { name: name.to_owned(), problem };
        let mut writes = Vec::new();
        for tensor in tensors {
            let entry = layout
                .get(tensor.name.as_str())
                .ok_or_else(|| problem(&tensor.name, "the model has no such tensor".into()))?;
            let shape = &self.parameter(entry).shape;
            if *shape != tensor.shape || tensor.data.len() != shape.iter().product::<usize>() {
                return Err(problem(&tensor.name, format!("shape {:?}, the model has {shape:?}", tensor.shape)));
            }
            writes.push((entry.parameter, entry.start, &tensor.data));
        }
        for (index, start, data) in writes {
            write(index, data, &mut self.values[start..][..data.len()]);
        }
        Ok(())
    }
}
