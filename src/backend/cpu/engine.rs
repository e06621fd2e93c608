use rayon::ThreadPool;
use rustc_hash::FxHashMap;

use super::{compile::compile, program::Program};
use crate::{
    backend::{BackendError, Batch, Engine, EngineOptions, StateTensor, Step},
    graph::{
        Parameter,
        ops::{AdamWUpdate, RandomState},
    },
    passes::{Lowering, Purpose, StepGraph},
};

/// Which program of a batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Evaluate,
    Differentiate,
    Train,
}

/// The CPU backend's [`Engine`]: programs by batch size over one store of parameters.
pub struct CpuEngine {
    lowering: Box<Lowering>,
    options: EngineOptions,
    rule: AdamWUpdate,
    parameters: Vec<Parameter>,
    /// Parameters, first moments, second moments.
    store: Vec<f32>,
    arena: Vec<f32>,
    workers: Vec<Vec<f32>>,
    programs: FxHashMap<(Kind, usize), Program>,
    pool: ThreadPool,
    labels: Vec<f32>,
    logits: Vec<f32>,
}

impl CpuEngine {
    /// Compiles nothing yet but lowers the network once, to initialise its parameters.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(lowering: Box<Lowering>, options: EngineOptions) -> Result<Self, BackendError> {
        let threads = options.threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| BackendError::Other(format!("cannot start {threads} threads: {error}")))?;
        let mut builder = crate::graph::Builder::new();
        lowering(&mut builder, 1);
        let parameters = builder.parameters;
        let total: usize = parameters.iter().map(|parameter| parameter.value.len()).sum();
        let mut store = vec![0.0; 3 * total];
        let mut rest = &mut store[..];
        for (index, parameter) in parameters.iter().enumerate() {
            let (values, after) = rest.split_at_mut(parameter.value.len());
            parameter.initializer.fill(options.seed, index as u32, values);
            rest = after;
        }
        let crate::backend::AdamW { beta_1, beta_2, epsilon, weight_decay } = options.optimizer;
        Ok(Self {
            lowering,
            options,
            rule: AdamWUpdate { beta_1, beta_2, epsilon, weight_decay },
            parameters,
            store,
            arena: Vec::new(),
            workers: vec![Vec::new(); threads],
            programs: FxHashMap::default(),
            pool,
            labels: Vec::new(),
            logits: Vec::new(),
        })
    }

    fn prepare(&mut self, kind: Kind, batch: usize) -> Result<(), BackendError> {
        if !self.programs.contains_key(&(kind, batch)) {
            let purpose = match kind {
                Kind::Evaluate => Purpose::Evaluate,
                Kind::Differentiate => Purpose::Differentiate,
                Kind::Train => Purpose::Train(self.rule),
            };
            let graph = StepGraph::build(&self.lowering, batch, purpose)
                .map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
            let program = compile(&graph, batch)
                .map_err(|name| BackendError::Other(format!("the cpu backend has no kernel for `{name}`")))?;
            self.programs.insert((kind, batch), program);
        }
        let program = &self.programs[&(kind, batch)];
        if self.arena.len() < program.arena_len {
            self.arena = vec![0.0; program.arena_len];
        }
        for worker in &mut self.workers {
            worker.resize(worker.len().max(program.worker_len()), 0.0);
        }
        Ok(())
    }

    fn run(&mut self, kind: Kind, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        let size = batch.labels.len();
        if size == 0 || !batch.images.len().is_multiple_of(size) {
            return Err(BackendError::Other(format!("{} pixels do not divide into {size} images", batch.images.len())));
        }
        self.prepare(kind, size)?;
        self.labels.clear();
        self.labels.extend(batch.labels.iter().map(|&label| label as f32));
        let random = RandomState::new(self.options.seed, step.iteration).encode();
        let rates = self.rule.rates(step.learning_rate, step.iteration);
        let program = &self.programs[&(kind, size)];
        for (name, slot) in &program.loads {
            let data: &[f32] = match name.as_str() {
                "labels" => &self.labels,
                "random" => &random,
                "rates" => &rates,
                "loss_gradient" => &[1.0],
                _ => batch.images,
            };
            let len = if slot.per_image { slot.len * size } else { slot.len };
            if data.len() != len {
                return Err(BackendError::Other(format!("`{name}` has {} values, not {len}", data.len())));
            }
            self.arena[slot.offset..][..len].copy_from_slice(data);
        }
        program.run(&mut self.store, &mut self.arena, &mut self.workers, &self.pool, step.iteration);
        let logits = program.logits;
        self.logits.clear();
        self.logits.extend_from_slice(&self.arena[logits.offset..][..logits.len * size]);
        let loss = self.arena[program.loss.offset];
        if !loss.is_finite() {
            let operator = "cross_entropy".to_owned();
            return Err(BackendError::NonFinite { loss, epoch: step.epoch, step: step.step, operator });
        }
        Ok(loss)
    }

    /// Offsets of all tensors in the store, by name.
    fn layout(&self) -> impl Iterator<Item = (String, &Parameter, usize)> {
        let total: usize = self.store.len() / 3;
        ["", "adamw/m/", "adamw/v/"].into_iter().enumerate().flat_map(move |(group, prefix)| {
            self.parameters.iter().scan(group * total, move |offset, parameter| {
                let start = *offset;
                *offset += parameter.value.len();
                Some((format!("{prefix}{}", parameter.name), parameter, start))
            })
        })
    }
}

/// A step that neither updates nor draws.
const STILL: Step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };

impl Engine for CpuEngine {
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        self.run(Kind::Train, batch, step)
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError> {
        self.run(Kind::Evaluate, batch, &STILL)
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn state(&self) -> Vec<StateTensor> {
        self.layout()
            .map(|(name, parameter, start)| StateTensor {
                name,
                shape: parameter.shape.clone(),
                data: self.store[start..][..parameter.value.len()].to_vec(),
            })
            .collect()
    }

    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        let layout: FxHashMap<String, (Vec<usize>, usize)> =
            self.layout().map(|(name, parameter, start)| (name, (parameter.shape.clone(), start))).collect();
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
            self.store[start..][..data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError> {
        self.run(Kind::Differentiate, batch, &STILL)?;
        let program = &self.programs[&(Kind::Differentiate, batch.labels.len())];
        let tensors = self.parameters.iter().zip(&program.gradients).map(|(parameter, slot)| StateTensor {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            data: self.arena[slot.offset..][..slot.len].to_vec(),
        });
        Ok(tensors.collect())
    }
}
