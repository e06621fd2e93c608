use rayon::ThreadPool;
use rustc_hash::FxHashMap;

use super::{compile::compile, program::Program};
use crate::{
    backend::{BackendError, Batch, Engine, EngineOptions, StateTensor, Step, Store, Task},
    graph::ops::{AdamWUpdate, RandomState},
    passes::{Lowering, StepGraph},
};

/// The CPU backend's [`Engine`]: programs by batch size over one store of parameters.
pub struct CpuEngine {
    lowering: Box<Lowering>,
    options: EngineOptions,
    rule: AdamWUpdate,
    store: Store,
    arena: Vec<f32>,
    workers: Vec<Vec<f32>>,
    programs: FxHashMap<(Task, usize), Program>,
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
        Ok(Self {
            lowering,
            options,
            rule: options.optimizer.rule(),
            store: Store::new(builder.parameters, options.seed),
            arena: Vec::new(),
            workers: vec![Vec::new(); threads],
            programs: FxHashMap::default(),
            pool,
            labels: Vec::new(),
            logits: Vec::new(),
        })
    }

    fn prepare(&mut self, task: Task, batch: usize) -> Result<(), BackendError> {
        if !self.programs.contains_key(&(task, batch)) {
            let graph = StepGraph::build(&self.lowering, batch, task.purpose(self.rule))
                .map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
            let program = compile(&graph, batch)
                .map_err(|name| BackendError::Other(format!("the cpu backend has no kernel for `{name}`")))?;
            self.programs.insert((task, batch), program);
        }
        let program = &self.programs[&(task, batch)];
        if self.arena.len() < program.arena_len {
            self.arena = vec![0.0; program.arena_len];
        }
        for worker in &mut self.workers {
            worker.resize(worker.len().max(program.worker_len()), 0.0);
        }
        Ok(())
    }

    fn run(&mut self, task: Task, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        let size = batch.labels.len();
        if size == 0 || !batch.images.len().is_multiple_of(size) {
            return Err(BackendError::Other(format!("{} pixels do not divide into {size} images", batch.images.len())));
        }
        self.prepare(task, size)?;
        self.labels.clear();
        self.labels.extend(batch.labels.iter().map(|&label| label as f32));
        let random = RandomState::new(self.options.seed, step.iteration).encode();
        let rates = self.rule.rates(step.learning_rate, step.iteration);
        let program = &self.programs[&(task, size)];
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
        program.run(&mut self.store.values, &mut self.arena, &mut self.workers, &self.pool, step.iteration);
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
}

impl Engine for CpuEngine {
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        self.run(Task::Train, batch, step)
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError> {
        self.run(Task::Evaluate, batch, &Step::STILL)
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn state(&self) -> Vec<StateTensor> {
        self.store.state()
    }

    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        self.store.load(tensors)
    }

    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError> {
        self.run(Task::Differentiate, batch, &Step::STILL)?;
        let program = &self.programs[&(Task::Differentiate, batch.labels.len())];
        let tensors = self.store.parameters().iter().zip(&program.gradients).map(|(parameter, slot)| StateTensor {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            data: self.arena[slot.offset..][..slot.len].to_vec(),
        });
        Ok(tensors.collect())
    }
}
