use rustc_hash::FxHashMap;

use super::{BackendError, Buffer, StateTensor};
use crate::graph::Parameter;

/// What training changes: parameters, first moments, second moments, each group in the order of the
/// network's parameters, in one allocation.
#[derive(Debug)]
pub struct Store {
    parameters: Vec<Parameter>,
    pub values: Buffer,
}

impl Store {
    /// Initialised parameters, and moments of zero.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(parameters: Vec<Parameter>, seed: u64) -> Result<Self, BackendError> {
        Self::filled(parameters, |index, parameter, values| parameter.initializer.fill(seed, index as u32, values))
    }

    /// Parameters as `fill` leaves them, and moments of zero.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn filled(
        parameters: Vec<Parameter>,
        fill: impl Fn(usize, &Parameter, &mut [f32]),
    ) -> Result<Self, BackendError> {
        let total: usize = parameters.iter().map(|parameter| parameter.value.len()).sum();
        let mut values = Buffer::zeroed(3 * total)?;
        let mut rest = &mut values[..];
        for (index, parameter) in parameters.iter().enumerate() {
            let (own, after) = rest.split_at_mut(parameter.value.len());
            fill(index, parameter, own);
            rest = after;
        }
        Ok(Self { parameters, values })
    }

    /// The network's parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Every tensor by name, with its parameter and its first element: `NAME`, then `adamw/m/NAME`,
    /// then `adamw/v/NAME`.
    pub fn layout(&self) -> impl Iterator<Item = (String, &Parameter, usize)> {
        let total = self.values.len() / 3;
        ["", "adamw/m/", "adamw/v/"].into_iter().enumerate().flat_map(move |(group, prefix)| {
            self.parameters.iter().scan(group * total, move |offset, parameter| {
                let start = *offset;
                *offset += parameter.value.len();
                Some((format!("{prefix}{}", parameter.name), parameter, start))
            })
        })
    }

    /// Names and shapes, in the order of [`Store::layout`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.layout().map(|(name, parameter, _)| (name, parameter.shape.clone())).collect()
    }

    /// A copy of everything, in the order of [`Store::layout`].
    pub fn state(&self) -> Vec<StateTensor> {
        self.state_by(|_, stored, data| data.copy_from_slice(stored))
    }

    /// As [`Store::state`], where `read` brings what is stored of a parameter, given by its index, or of its moments
    /// into row-major order.
    pub fn state_by(&self, read: impl Fn(usize, &[f32], &mut [f32])) -> Vec<StateTensor> {
        let tensor = |(index, (name, parameter, start)): (usize, (String, &Parameter, usize))| {
            let stored = &self.values[start..][..parameter.value.len()];
            let mut data = vec![0.0; stored.len()];
            read(index % self.parameters.len(), stored, &mut data);
            StateTensor { name, shape: parameter.shape.clone(), data }
        };
        self.layout().enumerate().map(tensor).collect()
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
        let count = self.parameters.len();
        let layout: FxHashMap<String, (usize, &[usize], usize)> = self
            .layout()
            .enumerate()
            .map(|(index, (name, parameter, start))| (name, (index % count, &parameter.shape[..], start)))
            .collect();
        let problem = |name: &str, problem: String| BackendError::State { name: name.to_owned(), problem };
        let mut writes = Vec::new();
        for tensor in tensors {
            let (index, shape, start) = *layout
                .get(&tensor.name)
                .ok_or_else(|| problem(&tensor.name, "the model has no such tensor".into()))?;
            if shape != tensor.shape || tensor.data.len() != shape.iter().product::<usize>() {
                return Err(problem(&tensor.name, format!("shape {:?}, the model has {shape:?}", tensor.shape)));
            }
            writes.push((index, start, &tensor.data));
        }
        for (index, start, data) in writes {
            write(index, data, &mut self.values[start..][..data.len()]);
        }
        Ok(())
    }
}
