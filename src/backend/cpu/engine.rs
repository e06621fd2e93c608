use std::sync::Arc;

use rayon::ThreadPool;
use rustc_hash::FxHashMap;

use super::{
    compile::{compile, panels::panels},
    kernels::gemm::{NR, panels::Panels},
    program::Program,
    run::Machine,
    watch::Watch,
};
use crate::{
    backend::{
        BackendError, Batch, Buffer, Engine, EngineOptions, Inspect, Lowerings, OperatorTime, Resident, StateTensor,
        Step, Store, Task,
    },
    graph::{Parameter, StepInput, ops::RandomState, optimizers::Plan},
    passes::Lowering,
    threads,
};

/// What a program is for, its batch size, and which of the lowerings it is of.
type Key = (Task, usize, usize);

/// The CPU backend's [`Engine`]: programs by batch size over one store of parameters.
pub struct CpuEngine {
    lowerings: Lowerings,
    options: EngineOptions,
    plan: Plan,
    store: Store,
    /// How each parameter lies in the store, and its slots with it, if not row-major.
    panels: Vec<Option<Panels>>,
    arena: Buffer,
    workers: Vec<Buffer>,
    programs: FxHashMap<Key, Program>,
    pool: Arc<ThreadPool>,
    /// Times by program, while profiling.
    profile: Option<FxHashMap<Key, Watch>>,
    labels: Vec<f32>,
    /// The optimizer's numbers of a step.
    scalars: Vec<f32>,
    logits: Vec<f32>,
}

impl CpuEngine {
    /// Compiles nothing yet but lowers the network once, to initialise its parameters.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(lowering: Box<Lowering>, options: EngineOptions) -> Result<Self, BackendError> {
        let pool = threads::pool(options.threads).map_err(|error| BackendError::Other(error.to_string()))?;
        // Perhaps fewer than were asked for.
        let threads = pool.current_num_threads();
        let mut builder = crate::graph::Builder::new();
        let pixels = lowering(&mut builder, 1).images.len();
        let panels_of = |parameter: &Parameter| panels(&builder.graph, &parameter.value);
        let panels: Vec<Option<Panels>> = builder.parameters.iter().map(panels_of).collect();
        let fill = |index: usize, parameter: &Parameter, values: &mut [f32]| {
            let (initializer, seed, address) = (parameter.initializer, options.seed, parameter.address());
            match panels[index] {
                Some(panels) => initializer.fill_runs(seed, address, values, NR, |run| panels.first(run)),
                None => initializer.fill(seed, address, values),
            }
        };
        options.optimizer.check(&builder.parameters).map_err(BackendError::Other)?;
        let plan = options.optimizer.plan(&builder.parameters);
        let store = pool.install(|| Store::filled(builder.parameters, &plan, fill))?;
        Ok(Self {
            lowerings: Lowerings::new(lowering, pixels),
            options,
            scalars: vec![0.0; plan.scalars()],
            plan,
            store,
            panels,
            arena: Buffer::zeroed(0)?,
            workers: (0..threads).map(|_| Buffer::zeroed(0)).collect::<Result<_, _>>()?,
            programs: FxHashMap::default(),
            pool,
            profile: None,
            labels: Vec::new(),
            logits: Vec::new(),
        })
    }

    fn prepare(&mut self, key: Key) -> Result<(), BackendError> {
        let (task, batch, lowering) = key;
        if !self.programs.contains_key(&key) {
            let purpose = task.purpose(&self.options.optimizer, &self.options.loss);
            self.programs.insert(key, compile(self.lowerings.get(lowering), batch, purpose)?);
        }
        let program = &self.programs[&key];
        if self.arena.len() < program.arena_len {
            // The old one goes first: there may not be room for both.
            self.arena = Buffer::zeroed(0)?;
            self.arena = Buffer::zeroed(program.arena_len)?;
        }
        for worker in &mut self.workers {
            if worker.len() < program.worker_len() {
                *worker = Buffer::zeroed(program.worker_len())?;
            }
        }
        Ok(())
    }

    fn run(&mut self, task: Task, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        let size = batch.labels.len();
        if size == 0 || !batch.images.len().is_multiple_of(size) {
            return Err(BackendError::Other(format!("{} pixels do not divide into {size} images", batch.images.len())));
        }
        let key = (task, size, self.lowerings.of(batch.images.len() / size));
        self.prepare(key)?;
        self.labels.clear();
        let mixed = task.trains() && self.options.loss.mixed;
        for (label, other, weight) in batch.targets(mixed)? {
            let target = [label as f32, other as f32, weight];
            self.labels.extend_from_slice(if mixed { &target } else { &target[..1] });
        }
        let random = RandomState::new(self.options.seed, step.iteration).encode();
        self.plan.write_scalars(step.learning_rate, step.iteration, &mut self.scalars);
        let program = &self.programs[&key];
        for (input, slot) in &program.loads {
            let data: &[f32] = match input {
                StepInput::Images => batch.images,
                StepInput::Labels => &self.labels,
                StepInput::Random => &random,
                StepInput::Scalars => &self.scalars,
                StepInput::LossGradient => &[1.0],
            };
            let len = if slot.per_image { slot.len * size } else { slot.len };
            if data.len() != len {
                return Err(BackendError::Other(format!("`{}` has {} values, not {len}", input.name(), data.len())));
            }
            self.arena[slot.offset..][..len].copy_from_slice(data);
        }
        let mut watch =
            self.profile.as_mut().map(|watches| watches.entry(key).or_insert_with(|| Watch::times(program)));
        // Averages lie in their group as the parameters do in theirs.
        let store_start = match task {
            Task::Evaluate => self.store.start(self.plan.evaluated_group()),
            Task::Differentiate | Task::Train | Task::Accumulate => 0,
        };
        // Until the loss is known, nothing has changed that a bad one would spoil.
        let forward = 0..program.loss_region + 1;
        let mut machine = Machine {
            store: &mut self.store.values[store_start..],
            arena: &mut self.arena,
            workers: &mut self.workers,
            pool: &self.pool,
        };
        for regions in [forward.clone(), forward.end..program.regions.len()] {
            program.run(regions, &mut machine, step.iteration, watch.as_deref());
            let loss = machine.arena[program.loss.offset];
            if !loss.is_finite() {
                let watch = Watch::values(program);
                program.run(forward, &mut machine, step.iteration, Some(&watch));
                let operator = watch.first_bad(program).unwrap_or_else(|| "the images".to_owned());
                return Err(BackendError::NonFinite { loss, epoch: step.epoch, step: step.step, operator });
            }
        }
        if let Some(watch) = &mut watch {
            watch.finish_run();
        }
        let loss = self.arena[program.loss.offset];
        let logits = program.logits;
        self.logits.clear();
        self.logits.extend_from_slice(&self.arena[logits.offset..][..logits.len * size]);
        Ok(loss)
    }
}

impl CpuEngine {
    /// Brings what the store has of a parameter into row-major order.
    fn unpack(&self, parameter: usize, stored: &[f32], data: &mut [f32]) {
        match self.panels[parameter] {
            Some(panels) => panels.unpack(stored, data),
            None => data.copy_from_slice(stored),
        }
    }
}

impl Engine for CpuEngine {
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        self.run(Task::of_step(&self.plan, step.iteration), batch, step)
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError> {
        self.run(Task::Evaluate, batch, &Step::STILL)
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.store.tensors()
    }

    fn state(&self) -> Result<Vec<StateTensor>, BackendError> {
        Ok(self.store.state_by(|parameter, stored, data| self.unpack(parameter, stored, data)))
    }

    fn weights(&self) -> Result<Vec<StateTensor>, BackendError> {
        let group = self.plan.evaluated_group();
        Ok(self.store.weights_by(group, |parameter, stored, data| self.unpack(parameter, stored, data)))
    }

    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        let panels = &self.panels;
        self.store.load_by(tensors, |parameter, data, stored| match panels[parameter] {
            Some(panels) => panels.pack(data, stored),
            None => stored.copy_from_slice(data),
        })
    }

    fn add_size(&mut self, lowering: Box<Lowering>) -> Result<(), BackendError> {
        self.lowerings.add(lowering, &self.store)
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }

    fn inspect(&mut self) -> &mut dyn Inspect {
        self
    }
}

impl Inspect for CpuEngine {
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError> {
        self.run(Task::Differentiate, batch, &Step::STILL)?;
        let size = batch.labels.len();
        let program = &self.programs[&(Task::Differentiate, size, self.lowerings.of(batch.images.len() / size))];
        let learned = self.store.parameters().iter().filter(|parameter| !parameter.frozen);
        let tensors = learned.zip(&program.gradients).map(|(parameter, slot)| StateTensor {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            data: self.arena[slot.offset..][..slot.len].to_vec(),
        });
        Ok(tensors.collect())
    }

    fn matmul_peak(&mut self) -> Result<Option<f64>, BackendError> {
        Ok(None)
    }

    fn device_bytes(&self) -> Option<u64> {
        None
    }

    fn start_profile(&mut self) -> bool {
        self.profile = Some(FxHashMap::default());
        true
    }

    fn profile(&self) -> Vec<OperatorTime> {
        let mut times: Vec<OperatorTime> = Vec::new();
        for (key, watch) in self.profile.iter().flatten() {
            for step in self.programs[key].steps() {
                let time = watch.time(step);
                let (calls, flops) = (watch.runs(), watch.runs() * step.flops);
                match times.iter_mut().find(|known| known.operator == step.name) {
                    Some(known) => {
                        known.calls += calls;
                        known.time += time;
                        known.flops += flops;
                    }
                    None => times.push(OperatorTime { operator: step.name.to_owned(), calls, time, flops }),
                }
            }
        }
        times.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.operator.cmp(&b.operator)));
        times
    }
}
