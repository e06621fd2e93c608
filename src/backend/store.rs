use rustc_hash::FxHashMap;

use super::{BackendError, Buffer, StateTensor};
use crate::graph::{Parameter, optimizers::Plan};

/// Names of what an optimizer keeps begin so, in checkpoints.
pub const OPTIMIZER: &str = "optimizer/";

/// Names of the averages of parameters begin so: [`OPTIMIZER`] with [`Ema::SLOT`](crate::graph::optimizers::Ema::SLOT).
pub const AVERAGE: &str = "optimizer/ema/";

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
    /// All elements, in the order of the entries.
    pub values: Buffer,
    /// The group of the parameters' averages, if they are kept.
    averages: Option<usize>,
}

impl Store {
    /// Initialised parameters, slots of zero, and averages that are the parameters.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(parameters: Vec<Parameter>, plan: &Plan, seed: u64) -> Result<Self, BackendError> {
        let fill = |_: usize, parameter: &Parameter, values: &mut [f32]| {
            parameter.initializer.fill(seed, parameter.address(), values);
        };
        Self::filled(parameters, plan, fill)
    }

    /// Parameters as `fill` leaves them, slots of zero, and averages that are the parameters.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn filled(
        parameters: Vec<Parameter>,
        plan: &Plan,
        fill: impl Fn(usize, &Parameter, &mut [f32]),
    ) -> Result<Self, BackendError> {
        let (mut entries, mut len) = (Vec::new(), 0);
        for group in 0..plan.store_groups() {
            for (index, parameter) in parameters.iter().enumerate() {
                let slot = plan.slots(index).into_iter().find(|(of, _)| *of == group);
                let name = match slot {
                    None if group == 0 => parameter.name.clone(),
                    Some((_, slot)) => format!("{OPTIMIZER}{slot}/{}", parameter.name),
                    None => continue,
                };
                entries.push(Entry { name, parameter: index, group, start: len });
                len += parameter.value.len();
            }
        }
        let mut values = Buffer::zeroed(len)?;
        for (index, parameter) in parameters.iter().enumerate() {
            fill(index, parameter, &mut values[entries[index].start..][..parameter.value.len()]);
        }
        let mut store = Self { parameters, entries, values, averages: plan.ema_group() };
        for index in 0..store.parameters.len() {
            store.follow(index);
        }
        Ok(store)
    }

    /// Makes the average of a parameter the parameter itself.
    fn follow(&mut self, parameter: usize) {
        let Some(group) = self.averages else { return };
        let of = |group| self.entries.iter().find(|entry| entry.parameter == parameter && entry.group == group);
        if let (Some(own), Some(average)) = (of(0), of(group)) {
            let (from, len) = (own.start, self.parameters[parameter].value.len());
            self.values.copy_within(from..from + len, average.start);
        }
    }

    /// The first element of a group.
    pub fn start(&self, group: usize) -> usize {
        self.entries.iter().find(|entry| entry.group == group).map_or(0, |entry| entry.start)
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
        self.entries.iter().map(|entry| self.tensor(entry, &entry.name, &read)).collect()
    }

    /// As [`Store::state_by`], one group alone by the names of the parameters.
    pub fn weights_by(&self, group: usize, read: impl Fn(usize, &[f32], &mut [f32])) -> Vec<StateTensor> {
        let entries = self.entries.iter().filter(|entry| entry.group == group);
        entries.map(|entry| self.tensor(entry, &self.parameter(entry).name, &read)).collect()
    }

    fn tensor(&self, entry: &Entry, name: &str, read: impl Fn(usize, &[f32], &mut [f32])) -> StateTensor {
        let stored = self.of(entry);
        let mut data = vec![0.0; stored.len()];
        read(entry.parameter, stored, &mut data);
        StateTensor { name: name.to_owned(), shape: self.parameter(entry).shape.clone(), data }
    }

    /// Sets the tensors given by name; others keep their values. The average of a parameter that comes without one becomes
    /// the parameter itself.
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
            writes.push((entry.group, entry.parameter, entry.start, &tensor.data));
        }
        // Parameters first, for averages that are given come after those that follow.
        writes.sort_by_key(|(group, ..)| *group);
        for (group, index, start, data) in writes {
            write(index, data, &mut self.values[start..][..data.len()]);
            if group == 0 {
                self.follow(index);
            }
        }
        Ok(())
    }
}
