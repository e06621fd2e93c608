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
        let total: usize = parameters.iter().map(|parameter| parameter.value.len()).sum();
        let mut values = Buffer::zeroed(3 * total)?;
        let mut rest = &mut values[..];
        for (index, parameter) in parameters.iter().enumerate() {
            let (own, after) = rest.split_at_mut(parameter.value.len());
            parameter.initializer.fill(seed, index as u32, own);
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

    /// A copy of everything, in the order of [`Store::layout`].
    pub fn state(&self) -> Vec<StateTensor> {
        self.layout()
            .map(|(name, parameter, start)| StateTensor {
                name,
                shape: parameter.shape.clone(),
                data: self.values[start..][..parameter.value.len()].to_vec(),
            })
            .collect()
    }

    /// Sets the tensors given by name; others keep their values.
    ///
    /// # Errors
    /// [`BackendError::State`] for an unknown name or a wrong shape. Nothing is changed then.
    pub fn load(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        let layout: FxHashMap<String, (&[usize], usize)> =
            self.layout().map(|(name, parameter, start)| (name, (&parameter.shape[..], start))).collect();
        let problem = |name: &str, problem: String| BackendError::State { name: name.to_owned(), problem };
        let mut copies = Vec::new();
        for tensor in tensors {
            let (shape, start) =
                layout.get(&tensor.name).ok_or_else(|| problem(&tensor.name, "the model has no such tensor".into()))?;
            if *shape != tensor.shape || tensor.data.len() != shape.iter().product::<usize>() {
                return Err(problem(&tensor.name, format!("shape {:?}, the model has {shape:?}", tensor.shape)));
            }
            copies.push((*start, &tensor.data));
        }
        for (start, data) in copies {
            self.values[start..][..data.len()].copy_from_slice(data);
        }
        Ok(())
    }
}
