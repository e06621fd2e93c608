//! The oracle: the graph decomposed into luminal's primitives, on luminal's own CPU compiler.

use std::cell::RefCell;

use luminal::prelude::{CPUCompiler, Compiler, Graph, NodeIndex, Tensor};
use rustc_hash::FxHashMap;

use super::{
    BackendError, Batch, Engine, EngineOptions, Inspect, Lowerings, OPTIMIZER, OperatorTime, Resident, StateTensor,
    Step, Store, Task,
};
use crate::{
    graph::{
        Builder, Load, StepInput, Value,
        losses::Loss,
        ops::RandomState,
        optimizers::{Ema, Optimizer, Plan},
    },
    passes::{Decompose, Lowering, StepGraph},
};

/// Compiles a decomposed graph by one of luminal's own compilers; nodes that it replaces are renamed in the list.
pub type CompileGraph = fn(&mut Graph, Vec<&mut NodeIndex>);

/// luminal's CPU compiler.
pub fn on_cpu(graph: &mut Graph, remap: Vec<&mut NodeIndex>) {
    graph.compile(CPUCompiler::default(), remap);
}

/// A graph that luminal has compiled, to be run any number of times.
pub struct Compiled {
    graph: Graph,
    loads: Vec<(Load, NodeIndex)>,
    outputs: Vec<Value>,
}

impl Compiled {
    /// Decomposes and compiles for the CPU. `outputs` are what [`Compiled::run`] gives.
    pub fn new(builder: Builder, outputs: &[Value]) -> Self {
        Self::by(on_cpu, builder, outputs)
    }

    /// Decomposes and compiles.
    pub fn by(compile: CompileGraph, mut builder: Builder, outputs: &[Value]) -> Self {
        let mut graph = std::mem::take(&mut builder.graph);
        let values = RefCell::new(outputs.to_vec());
        Decompose { values: &values }.compile(&mut graph, ());
        let mut outputs = values.into_inner();
        let remap: Vec<&mut NodeIndex> = outputs.iter_mut().map(|value| &mut value.node).collect();
        let load = |node| graph.graph.node_weight(node)?.as_any().downcast_ref::<Load>();
        let loads = graph.graph.node_indices().filter_map(|node| Some((load(node)?.clone(), node))).collect();
        compile(&mut graph, remap);
        Self { graph, loads, outputs }
    }

    /// Runs on inputs and parameters, and gives the outputs, row-major.
    ///
    /// # Errors
    /// The name of an input that is not given.
    pub fn run(&mut self, input: impl Fn(&Load) -> Option<Vec<f32>>) -> Result<Vec<Vec<f32>>, String> {
        self.graph.tensors.clear();
        for (load, node) in &self.loads {
            let data = input(load).ok_or_else(|| load.to_string())?;
            self.graph.set_tensor(*node, 0, Tensor::new(data));
        }
        self.graph.execute();
        let read = |value: &Value| {
            let tensor = self.graph.get_tensor_ref(value.node, value.output)?;
            tensor.data.as_any().downcast_ref::<Vec<f32>>().cloned()
        };
        Ok(self.outputs.iter().map(|value| read(value).unwrap_or_default()).collect())
    }
}

/// Runs a graph once on inputs given by name and reads values back. Slow; every kernel is held to it.
///
/// # Errors
/// The name of an input that is not given.
pub fn run(builder: Builder, inputs: &FxHashMap<String, Vec<f32>>, outputs: &[Value]) -> Result<Vec<Vec<f32>>, String> {
    Compiled::new(builder, outputs).run(|load| inputs.get(&load.to_string()).cloned())
}

/// The reference backend's [`Engine`].
pub struct ReferenceEngine {
    compile: CompileGraph,
    lowerings: Lowerings,
    seed: u64,
    optimizer: Optimizer,
    loss: Loss,
    plan: Plan,
    store: Store,
    /// By task, batch size and lowering.
    compiled: FxHashMap<(Task, usize, usize), Compiled>,
    /// By task: what a step changes, as the graph gives it: parameters by index, and groups of the store.
    changed: FxHashMap<Task, Vec<(usize, usize)>>,
    logits: Vec<f32>,
}

impl ReferenceEngine {
    /// Initialises the parameters as every backend does. `options.threads` has no effect.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(lowering: Box<Lowering>, options: EngineOptions) -> Result<Self, BackendError> {
        Self::by(on_cpu, lowering, options)
    }

    /// The same by another of luminal's compilers.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn by(compile: CompileGraph, lowering: Box<Lowering>, options: EngineOptions) -> Result<Self, BackendError> {
        let mut builder = Builder::new();
        let pixels = lowering(&mut builder, 1).images.len();
        options.optimizer.check(&builder.parameters).map_err(BackendError::Other)?;
        let plan = options.optimizer.plan(&builder.parameters);
        Ok(Self {
            compile,
            lowerings: Lowerings::new(lowering, pixels),
            seed: options.seed,
            optimizer: options.optimizer,
            loss: options.loss,
            store: Store::new(builder.parameters, &plan, options.seed)?,
            plan,
            compiled: FxHashMap::default(),
            changed: FxHashMap::default(),
            logits: Vec::new(),
        })
    }

    /// Runs a program: loss, logits, then gradients or the updated state (a parameter and its slots, one parameter
    /// after the other).
    fn run(&mut self, task: Task, batch: &Batch, step: &Step) -> Result<Vec<Vec<f32>>, BackendError> {
        let size = batch.labels.len();
        let lowering = self.lowerings.of(batch.images.len() / size.max(1));
        let compiled = match self.compiled.entry((task, size, lowering)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let graph =
                    StepGraph::build(self.lowerings.get(lowering), size, task.purpose(&self.optimizer, &self.loss))
                        .map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
                let mut outputs = vec![graph.loss, graph.network.logits];
                match task {
                    Task::Evaluate => {}
                    Task::Differentiate => outputs.extend(graph.gradients.into_iter().flatten()),
                    Task::Train | Task::Accumulate => {
                        let states = graph.states.iter().enumerate();
                        let changed =
                            states.flat_map(|(index, state)| state.changed.iter().map(move |&group| (index, group)));
                        self.changed.insert(task, changed.collect());
                        outputs.extend(graph.states.into_iter().flat_map(|state| state.updated));
                    }
                }
                entry.insert(Compiled::by(self.compile, graph.builder, &outputs))
            }
        };
        let store = &self.store;
        let state = |wanted: &str| {
            let entry = store.entries().iter().find(|entry| entry.name == wanted)?;
            Some(store.of(entry).to_vec())
        };
        let averages = task == Task::Evaluate && self.plan.evaluated_group() > 0;
        let mixed = task.trains() && self.loss.mixed;
        let labels: Vec<f32> = batch
            .targets(mixed)?
            .flat_map(|(label, other, weight)| {
                [label as f32, other as f32, weight].into_iter().take(if mixed { 3 } else { 1 })
            })
            .collect();
        let (seed, plan) = (self.seed, &self.plan);
        let outputs = compiled.run(|load| match load {
            Load::Step(StepInput::Images) => Some(batch.images.to_vec()),
            Load::Step(StepInput::Labels) => Some(labels.clone()),
            Load::Step(StepInput::Random) => Some(RandomState::new(seed, step.iteration).encode().to_vec()),
            Load::Step(StepInput::Scalars) => Some(plan.step_scalars(step.learning_rate, step.iteration)),
            Load::Step(StepInput::LossGradient) => Some(vec![1.0]),
            Load::Parameter(name) if averages => state(&format!("{OPTIMIZER}{}/{name}", Ema::SLOT)),
            Load::Parameter(name) => state(name),
            Load::Slot { slot, parameter } => {
                state(&format!("{OPTIMIZER}{slot}/{}", store.parameters()[*parameter].name))
            }
            Load::Other(_) => None,
        });
        let mut outputs =
            outputs.map_err(|name| BackendError::Other(format!("the graph's input `{name}` is unknown")))?;
        self.logits = std::mem::take(&mut outputs[1]);
        let loss = outputs[0].first().copied().unwrap_or(f32::NAN);
        if !loss.is_finite() {
            let operator = "cross_entropy".to_owned();
            return Err(BackendError::NonFinite { loss, epoch: step.epoch, step: step.step, operator });
        }
        Ok(outputs)
    }
}

impl Engine for ReferenceEngine {
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<f32, BackendError> {
        let task = Task::of_step(&self.plan, step.iteration);
        let outputs = self.run(task, batch, step)?;
        for (updated, &(parameter, group)) in outputs[2..].iter().zip(&self.changed[&task]) {
            let mut entries = self.store.entries().iter();
            let place = entries.find(|entry| (entry.parameter, entry.group) == (parameter, group));
            let Some(start) = place.map(|entry| entry.start) else { continue };
            self.store.values[start..][..updated.len()].copy_from_slice(updated);
        }
        Ok(outputs[0][0])
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<f32, BackendError> {
        Ok(self.run(Task::Evaluate, batch, &Step::STILL)?[0][0])
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.store.tensors()
    }

    fn state(&self) -> Result<Vec<StateTensor>, BackendError> {
        Ok(self.store.state())
    }

    fn weights(&self) -> Result<Vec<StateTensor>, BackendError> {
        Ok(self.store.weights_by(self.plan.evaluated_group(), |_, stored, data| data.copy_from_slice(stored)))
    }

    fn load_state(&mut self, tensors: &[StateTensor]) -> Result<(), BackendError> {
        self.store.load(tensors)
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

impl Inspect for ReferenceEngine {
    fn gradients(&mut self, batch: &Batch) -> Result<Vec<StateTensor>, BackendError> {
        let outputs = self.run(Task::Differentiate, batch, &Step::STILL)?;
        let named = self.store.parameters().iter().zip(outputs.into_iter().skip(2));
        let tensor = |(parameter, data): (&crate::graph::Parameter, Vec<f32>)| StateTensor {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            data,
        };
        Ok(named.map(tensor).collect())
    }

    fn matmul_peak(&mut self) -> Result<Option<f64>, BackendError> {
        Ok(None)
    }

    fn device_bytes(&self) -> Option<u64> {
        None
    }

    fn start_profile(&mut self) -> bool {
        false
    }

    fn profile(&self) -> Vec<OperatorTime> {
        Vec::new()
    }
}
