//! The CUDA backend's engine: programs by task and batch size over memory that stays on the device.

use rustc_hash::FxHashMap;

use super::{
    compile::{CompileError, Planner, Target, compile},
    device::Device,
    images::Kept,
    kernels::{attention, step, update},
    launch::{Element, Launch},
    layout::Layout,
    peak,
    program::{Base, Call, Place, Program},
    state,
};
use crate::{
    backend::{
        BackendError, Batch, Engine, EngineOptions, Inspect, Lowerings, OperatorTime, Part, Regions, Resident,
        StateTensor, Step, Store, Task, plan,
    },
    graph::optimizers::Plan,
    passes::{Lowering, StepGraph},
};

/// What a program is for, its batch size, the images that it takes itself, if it does, and which of the lowerings it is
/// of.
pub(super) type Key = (Task, usize, Option<Part>, usize);

/// The memory that programs share.
pub(super) struct Memory<M> {
    pub store: M,
    /// Empty unless activations are bfloat16.
    pub shadow: M,
    pub state: M,
    pub arena: M,
    pub arena_bytes: usize,
}

/// The CUDA backend's [`Engine`], on the driver's device or an emulated one.
pub struct CudaEngine<D: Device> {
    pub(super) lowerings: Lowerings,
    pub(super) options: EngineOptions,
    pub(super) plan: Plan,
    /// Initial values, and names; the device has the state.
    pub(super) store: Store,
    pub(super) layout: Layout,
    pub(super) planner: Planner,
    pub(super) memory: Memory<D::Memory>,
    pub(super) programs: FxHashMap<Key, Program>,
    prepared: FxHashMap<Key, D::Prepared>,
    pub(super) kept: FxHashMap<Part, Kept<D>>,
    /// A copy of the parameters, once one was wanted.
    pub(super) kept_weights: Option<D::Memory>,
    pub(super) last: Option<Key>,
    /// The group of the store whose copies the shadow holds.
    shadow_group: usize,
    logits: Vec<f32>,
    profile: Option<Vec<OperatorTime>>,
    /// Last, for fields are dropped in order: who leaves a pack has given its memory back before.
    pub(super) device: D,
}

impl<D: Device> CudaEngine<D> {
    /// Puts the initial parameters on the device; programs are compiled when they are first needed.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(lowering: Box<Lowering>, options: EngineOptions, mut device: D) -> Result<Self, BackendError> {
        let mut builder = crate::graph::Builder::new();
        let network = lowering(&mut builder, 1);
        options.optimizer.check(&builder.parameters).map_err(BackendError::Other)?;
        let plan = options.optimizer.plan(&builder.parameters);
        if plan.scalars() > step::MOST_SCALARS {
            let groups = plan.groups();
            return Err(BackendError::Other(format!(
                "train.optimizer: {groups} groups of parameters are more than the cuda backend takes; give fewer rates"
            )));
        }
        let layout = Layout::new(&builder, &network, &plan, device.wide());
        layout.check()?;
        let store = Store::new(builder.parameters, &plan, options.seed)?;
        let groups = size_of::<f32>() * layout.len();
        let table = layout.table(0, 0);
        let with_shadow = options.precision.element() == Element::Bf16;
        let mut memory = Memory {
            store: device
                .allocate((layout.states() + 1) * groups, "parameters, the optimizer's state and gradients")?,
            shadow: device.allocate(if with_shadow { groups / 2 } else { 0 }, "parameters as bfloat16")?,
            // The update's table, and that of the averages' shadow.
            state: device.allocate(state::TABLE.offset + 2 * size_of_val(&table[..]), "the state of a step")?,
            arena: device.allocate(0, "activations")?,
            arena_bytes: 0,
        };
        let shadow = if with_shadow { device.address(&memory.shadow) } else { 0 };
        let mut at = state::TABLE;
        for group in [0, plan.evaluated_group()] {
            let table = layout.table(device.address(&memory.store) + layout.group_start(group) as u64, shadow);
            device.write(&mut memory.state, at.offset, bytemuck::cast_slice(&table))?;
            at = at.plus(size_of_val(&table[..]));
        }
        let mut engine = Self {
            lowerings: Lowerings::new(lowering, network.images.len()),
            options,
            plan,
            store,
            layout,
            planner: plan::pack,
            device,
            memory,
            programs: FxHashMap::default(),
            prepared: FxHashMap::default(),
            kept: FxHashMap::default(),
            kept_weights: None,
            last: None,
            shadow_group: 0,
            logits: Vec::new(),
            profile: None,
        };
        engine.upload()?;
        Ok(engine)
    }

    /// Puts the host's copy of the state on the device.
    fn upload(&mut self) -> Result<(), BackendError> {
        let packed = self.layout.pack(&self.store);
        self.device.write(&mut self.memory.store, 0, bytemuck::cast_slice(&packed))?;
        self.write_shadow(0)
    }

    /// The group of the store that a task takes as the parameters.
    fn weights_of(&self, task: Task) -> usize {
        match task {
            Task::Evaluate => self.plan.evaluated_group(),
            Task::Differentiate | Task::Train | Task::Accumulate => 0,
        }
    }

    /// Makes the shadow that of the weights that a task reads, if it is not: to be called when its program is prepared.
    pub(super) fn shadow_for(&mut self, task: Task) -> Result<(), BackendError> {
        match self.weights_of(task) {
            group if group == self.shadow_group => Ok(()),
            group => self.write_shadow(group),
        }
    }

    fn write_shadow(&mut self, group: usize) -> Result<(), BackendError> {
        self.shadow_group = group;
        if self.options.precision.element() == Element::F32 {
            return Ok(());
        }
        let table = self.layout.table(0, 0);
        let place = if group == 0 { state::TABLE } else { state::TABLE.plus(size_of_val(&table[..])) };
        self.run_once("shadow", update::shadow(table.len(), place), None)
    }

    /// Runs one launch outside any program.
    pub(super) fn run_once(
        &mut self,
        name: &str,
        launch: Launch<Place>,
        part: Option<Part>,
    ) -> Result<(), BackendError> {
        let prepared = self.device.prepare(vec![self.placed(&Call::alone(name, launch), Task::Train, part)])?;
        self.device.launch(&prepared)?;
        self.device.synchronize()
    }

    /// Forgets the programs on the images of a part.
    pub(super) fn forget(&mut self, part: Part) {
        self.programs.retain(|key, _| key.2 != Some(part));
        self.prepared.retain(|key, _| key.2 != Some(part));
        self.last = None;
    }

    /// A call on the addresses of this engine's memory. Averages lie in their group as the parameters do in theirs.
    pub(super) fn placed(&self, call: &Call<Place>, task: Task, part: Option<Part>) -> Call<u64> {
        let address = |memory: &D::Memory| self.device.address(memory);
        let data = part.and_then(|part| self.kept.get(&part)).map_or(0, |kept| address(&kept.memory));
        let [store, shadow, state, arena] =
            [&self.memory.store, &self.memory.shadow, &self.memory.state, &self.memory.arena].map(address);
        let store = store + self.layout.group_start(self.weights_of(task)) as u64;
        call.map(&|Place { base, offset }| {
            offset as u64
                + match base {
                    Base::Store => store,
                    Base::Shadow => shadow,
                    Base::State => state,
                    Base::Arena => arena,
                    Base::Data => data,
                }
        })
    }

    /// Compiles and prepares a program unless that is done.
    pub(super) fn prepare(&mut self, key: Key) -> Result<(), BackendError> {
        let (task, batch, part, lowering) = key;
        if !self.programs.contains_key(&key) {
            let lowering = self.lowerings.get(lowering);
            let build = |batch: usize| {
                let purpose = task.purpose(&self.options.optimizer, &self.options.loss);
                StepGraph::reassociated(lowering, batch, purpose, attention::WIDTHS)
            };
            let graph =
                build(batch).map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
            let target = Target {
                precision: self.options.precision,
                seed: self.options.seed,
                block_memory: self.device.block_memory(),
                planner: self.planner,
                regions: self.options.regions != Regions::Off,
            };
            let of_graph = |graph: &StepGraph, batch: usize| compile(graph, &self.layout, batch, target);
            let of_batch = |batch: usize| match build(batch) {
                Ok(graph) => of_graph(&graph, batch),
                Err(name) => Err(CompileError::NoKernel(name)),
            };
            let mut program = of_graph(&graph, batch).map_err(|error| error.of_batch(batch, of_batch))?;
            // Without regions there may be tensors that are too large.
            if self.options.regions == Regions::Auto
                && program.has_regions()
                && let Ok(apart) = compile(&graph, &self.layout, batch, Target { regions: false, ..target })
            {
                program = self.faster(key, program, apart)?;
            }
            if let Some(kept) = part.and_then(|part| self.kept.get(&part)) {
                kept.surround(&mut program);
            }
            self.programs.insert(key, program);
        }
        self.make_room(self.programs[&key].arena_bytes)?;
        if !self.prepared.contains_key(&key) {
            let calls = self.calls(key);
            let prepared = self.device.prepare(calls)?;
            self.prepared.insert(key, prepared);
        }
        Ok(())
    }

    /// Whether a task's labels are two classes and the share of the first.
    pub(super) fn mixes(&self, task: Task) -> bool {
        task.trains() && self.options.loss.mixed
    }

    /// Makes the arena at least this large.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), BackendError> {
        if bytes > self.memory.arena_bytes {
            // The old one goes first: there may not be room for both.
            self.prepared.clear();
            (self.memory.arena, self.memory.arena_bytes) = (self.device.allocate(0, "activations")?, 0);
            // What is freed in the order of a stream is free when the stream has come to that.
            self.device.synchronize()?;
            self.memory.arena = self.device.allocate(bytes, "activations")?;
            self.memory.arena_bytes = bytes;
        }
        Ok(())
    }

    fn calls(&self, key: Key) -> Vec<Call<u64>> {
        self.programs[&key].calls.iter().map(|call| self.placed(call, key.0, key.2)).collect()
    }

    /// Starts a prepared program, or, while profiling, runs it call by call.
    pub(super) fn launch(&mut self, key: Key) -> Result<(), BackendError> {
        self.last = Some(key);
        if self.profile.is_none() {
            return self.device.launch(&self.prepared[&key]);
        }
        let times = self.device.time(self.calls(key))?;
        let profile = self.profile.get_or_insert_default();
        for (call, time) in self.programs[&key].calls.iter().zip(times) {
            let flops = call.cost.flops;
            match profile.iter_mut().find(|known| known.operator == call.name) {
                Some(known) => {
                    known.calls += 1;
                    known.time += time;
                    known.flops += flops;
                }
                None => profile.push(OperatorTime { operator: call.name.clone(), calls: 1, time, flops }),
            }
        }
        Ok(())
    }

    pub(super) fn write_state(&mut self, place: Place, bytes: &[u8]) -> Result<(), BackendError> {
        self.device.write(&mut self.memory.state, place.offset, bytes)
    }

    /// Runs a program on a batch of the caller's.
    fn run(&mut self, task: Task, batch: &Batch, at: &Step) -> Result<f32, BackendError> {
        let size = batch.labels.len();
        if size == 0 || !batch.images.len().is_multiple_of(size) {
            return Err(BackendError::Other(format!("{} pixels do not divide into {size} images", batch.images.len())));
        }
        let key = (task, size, None, self.lowerings.of(batch.images.len() / size));
        self.prepare(key)?;
        let program = &self.programs[&key];
        let (images, labels) = (program.images, program.labels);
        if images.elements != batch.images.len() {
            let (given, wanted) = (batch.images.len(), images.elements);
            return Err(BackendError::Other(format!("`images` has {given} values, not {wanted}")));
        }
        let bytes = encode(batch.images, images.element);
        self.device.write(&mut self.memory.arena, images.place.offset, &bytes)?;
        let mixed = self.mixes(task);
        let mut targets: Vec<u32> = Vec::new();
        for (label, other, weight) in batch.targets(mixed)? {
            let target = [label, other, weight.to_bits()];
            targets.extend_from_slice(if mixed { &target } else { &target[..1] });
        }
        self.device.write(&mut self.memory.arena, labels.offset, bytemuck::cast_slice(&targets))?;
        let scalars = self.plan.step_scalars(at.learning_rate, at.iteration);
        let state = step::State::new(at.iteration as u32, at.epoch, at.step, 0, &scalars);
        self.write_state(state::STEP, bytemuck::bytes_of(&state))?;
        self.clear_metrics()?;
        self.shadow_for(task)?;
        self.launch(key)?;
        let sums = self.metrics(&|_| (at.epoch, at.step))?;
        self.read_logits(key)?;
        Ok((sums.loss / size as f64) as f32)
    }

    fn read_logits(&mut self, key: Key) -> Result<(), BackendError> {
        let logits = self.programs[&key].logits;
        let mut bytes = vec![0; logits.elements * logits.element.size()];
        self.device.read(&self.memory.arena, logits.place.offset, &mut bytes)?;
        self.logits = decode(&bytes, logits.element);
        Ok(())
    }

    pub(super) fn read_store(&self, groups: std::ops::Range<usize>) -> Result<Vec<f32>, BackendError> {
        let len = self.layout.len();
        let mut values = vec![0.0_f32; groups.len() * len];
        let offset = size_of::<f32>() * groups.start * len;
        self.device.read(&self.memory.store, offset, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// Floats as a device stores them.
pub(super) fn encode(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => bytemuck::cast_slice(values).to_vec(),
        Element::Bf16 => values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

pub(super) fn decode(bytes: &[u8], element: Element) -> Vec<f32> {
    match element {
        Element::F32 => bytemuck::pod_collect_to_vec(bytes),
        Element::Bf16 => {
            bytes.as_chunks::<2>().0.iter().map(|&bits| half::bf16::from_le_bytes(bits).to_f32()).collect()
        }
    }
}

impl<D: Device> Engine for CudaEngine<D> {
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
        Ok(self.layout.state(&self.read_store(0..self.layout.states())?, &self.store))
    }

    fn weights(&self) -> Result<Vec<StateTensor>, BackendError> {
        let group = self.plan.evaluated_group();
        Ok(self.layout.parameters(&self.read_store(group..group + 1)?, &self.store))
    }

    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        let values = self.read_store(0..self.layout.states())?;
        self.layout.unpack(&values, &mut self.store);
        self.store.load(tensors)?;
        self.upload()
    }

    fn add_size(&mut self, lowering: Box<Lowering>) -> Result<(), BackendError> {
        self.lowerings.add(lowering, &self.store)
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }

    fn inspect(&mut self) -> &mut dyn Inspect {
        self
    }
}

impl<D: Device> Inspect for CudaEngine<D> {
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError> {
        self.run(Task::Differentiate, batch, &Step::STILL)?;
        let states = self.layout.states();
        let gradients = self.layout.parameters(&self.read_store(states..states + 1)?, &self.store);
        let learned = gradients.into_iter().zip(self.store.parameters()).filter(|(_, parameter)| !parameter.frozen);
        Ok(learned.map(|(gradient, _)| gradient).collect())
    }

    fn repeat(&mut self, batch: &Batch, step: &Step, train: bool) -> Result<(), BackendError> {
        let size = batch.labels.len();
        let lowering = self.lowerings.of(batch.images.len() / size.max(1));
        let key = (if train { Task::Train } else { Task::Evaluate }, size, None, lowering);
        // What the step reads is still there if it was the last.
        if self.last != Some(key) {
            return self.run(key.0, batch, step).map(|_| ());
        }
        self.launch(key)?;
        self.device.synchronize()
    }

    fn matmul_peak(&mut self) -> Result<Option<f64>, BackendError> {
        peak::matmul_peak(&mut self.device, self.options.precision).map(Some)
    }

    fn device_bytes(&self) -> Option<u64> {
        let groups = size_of::<f32>() * self.layout.len();
        let shadow = if self.options.precision.element() == Element::Bf16 { groups / 2 } else { 0 };
        let kept: usize = self.kept.values().map(|kept| kept.bytes).sum();
        let weights = if self.kept_weights.is_some() { groups } else { 0 };
        Some(((self.layout.states() + 1) * groups + shadow + self.memory.arena_bytes + kept + weights) as u64)
    }

    fn start_profile(&mut self) -> bool {
        self.profile = Some(Vec::new());
        true
    }

    fn profile(&self) -> Vec<OperatorTime> {
        let mut times = self.profile.clone().unwrap_or_default();
        times.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.operator.cmp(&b.operator)));
        times
    }
}
