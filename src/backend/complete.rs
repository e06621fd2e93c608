//! Every operator is whole: it has a shape rule, a gradient or a reason for none, a decomposition, a kernel on both
//! backends or a reason for none, and a case among those that the backends' tests run.

use std::{any::TypeId, collections::BTreeMap, path::Path};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{cpu, cuda, operators, reference};
use crate::{
    dsl::Source,
    graph::{
        Builder, Gradients, Node, Value,
        losses::Loss,
        operation,
        ops::{ALL, Differentiable, Entry, Input, RandomState},
        optimizers::{self, Optimizer},
    },
    model::{ImageSpec, elaborate},
    passes::{Lowering, Purpose, StepGraph},
};

/// An operator, and why it lacks something.
type Exception = (fn() -> TypeId, &'static str);

/// Operators that have no CUDA kernel, and why.
const NOT_ON_CUDA: &[Exception] = &[];

/// As the source calls an operator.
fn name(entry: &Entry) -> &'static str {
    (entry.name)().rsplit("::").next().unwrap_or_default()
}

/// An example's inputs as parameters, and numbers for them.
fn inputs(builder: &mut Builder, inputs: &[Input]) -> (Vec<Value>, FxHashMap<String, Vec<f32>>) {
    let mut numbers = FxHashMap::default();
    let values = inputs.iter().enumerate().map(|(index, input)| {
        let (name, shape) = (format!("x{index}"), input.shape());
        let len: usize = shape.iter().product();
        let values = match input {
            Input::Numbers(_) => (0..len).map(|i| 0.55 + 0.4 * ((i + 7 * index) as f32 * 0.37).sin()).collect(),
            Input::Labels { classes, .. } => (0..len).map(|i| (i % classes) as f32).collect(),
            Input::Random => RandomState::new(5, 9).encode().to_vec(),
        };
        numbers.insert(name.clone(), values);
        builder.input(name.as_str(), &shape)
    });
    (values.collect(), numbers)
}

fn shapes(values: &[Value]) -> Vec<&[usize]> {
    values.iter().map(|value| value.shape.as_slice()).collect()
}

/// The operators that the tests of backends run: those of `tests/support/operators.rs`, and the small model's.
fn tested() -> FxHashSet<TypeId> {
    let mut tested = FxHashSet::default();
    let mut add = |lowering: &Lowering, purpose: Purpose| {
        for graph in
            [StepGraph::build(lowering, 2, purpose.clone()), StepGraph::reassociated(lowering, 2, purpose, &[])]
        {
            let luminal = graph.unwrap().builder.graph;
            tested.extend(
                luminal
                    .graph
                    .node_indices()
                    .filter_map(|node| operation(&luminal, node).map(|operation| operation.as_any().type_id())),
            );
        }
    };
    for (_, apply) in operators::OPERATORS {
        add(&move |builder, batch| operators::network(builder, batch, [5, 7], apply), Purpose::Differentiate);
    }
    let texts =
        [include_str!("../../tests/support/small.vitx"), include_str!("../../tests/support/convolutional.vitx")];
    for (text, width) in texts.into_iter().zip([6, 9]) {
        let spec = ImageSpec { height: 9, width, channels: 2, num_classes: 5 };
        let model = elaborate(&Source::new("model", text), &BTreeMap::new(), &spec).unwrap();
        let optimizer = Optimizer {
            clip_norm: Some(1.0),
            gradient_accumulation_steps: 2,
            ..Optimizer::of(optimizers::find("muon").unwrap())
        };
        add(&move |builder, batch| model.lower(builder, batch), Purpose::Train(optimizer, Loss::default()));
    }
    tested
}

#[test]
fn every_operator_is_complete() {
    let tested = tested();
    for entry in ALL {
        let (name, id) = (name(entry), (entry.operator)());
        let example = (entry.example)();
        assert_eq!(example.operation.as_any().type_id(), id, "{name}: the example is of another operator");

        // The shape rule, and the decomposition with it.
        let mut builder = Builder::for_training();
        let (values, numbers) = inputs(&mut builder, &example.inputs);
        let expected = example.operation.output_shapes(&shapes(&values));
        let kernel = cpu::ops::kernel(&*example.operation, &cpu::ops::Site { shapes: &shapes(&values), panels: None });
        let role = cpu::ops::scheduling(&*example.operation).role;
        let on_cuda = cuda::ops::read(&*example.operation, &shapes(&values)).is_some();
        let primitives: Vec<Vec<usize>> =
            (entry.example)().operation.decompose(&mut builder, &values).into_iter().map(|value| value.shape).collect();
        assert_eq!(primitives, expected, "{name}: the shapes of its decomposition");

        // The gradient.
        let mut builder = Builder::for_training();
        let (values, _) = inputs(&mut builder, &example.inputs);
        let node = builder.add_node(Node(example.operation), &values.iter().collect::<Vec<_>>());
        let outputs: Vec<Value> = expected
            .iter()
            .enumerate()
            .map(|(output, shape)| Value { node, output: output as u8, shape: shape.clone() })
            .collect();
        let grads: Vec<Value> = expected
            .iter()
            .enumerate()
            .map(|(index, shape)| builder.input(format!("dy{index}").as_str(), shape))
            .collect();
        let wanted = vec![true; values.len()];
        let site = Gradients { inputs: &values, outputs: &outputs, grads: &grads, wanted: &wanted };
        let gradients = (entry.example)().operation.gradient(&mut builder, &site);
        assert_eq!(gradients.len(), values.len(), "{name}: a gradient, or none, for each input");
        for (gradient, value) in gradients.iter().zip(&values) {
            assert!(gradient.as_ref().is_none_or(|gradient| gradient.shape == value.shape), "{name}: {gradient:?}");
        }
        let differentiable = gradients.iter().any(Option::is_some);
        assert_eq!(differentiable, entry.differentiable == Differentiable::Yes, "{name}: {:?}", entry.differentiable);

        // The decomposition runs.
        let mut builder = Builder::for_training();
        let (values, _) = inputs(&mut builder, &(entry.example)().inputs);
        let node = builder.add_node(Node((entry.example)().operation), &values.iter().collect::<Vec<_>>());
        let outputs: Vec<Value> = outputs.into_iter().map(|output| Value { node, ..output }).collect();
        for (result, shape) in reference::run(builder, &numbers, &outputs).unwrap().iter().zip(&expected) {
            assert_eq!(result.len(), shape.iter().product::<usize>(), "{name}");
            assert!(result.iter().all(|value| value.is_finite()), "{name}: {result:?}");
        }

        // Kernels.
        let view = role == cpu::ops::Role::View;
        match kernel {
            Some(kernel) => assert_eq!(kernel.outputs.len(), expected.len(), "{name}: outputs of its cpu kernel"),
            None => assert!(view, "{name} has no cpu kernel: a line in src/backend/cpu/ops/mod.rs"),
        }
        let excused = NOT_ON_CUDA.iter().find(|(operator, _)| operator() == id);
        assert_eq!(on_cuda, excused.is_none(), "{name}: a line in src/backend/cuda/ops/mod.rs, or in NOT_ON_CUDA");
        assert!(tested.contains(&id), "{name}: no case in tests/support/operators.rs has it");
    }
}

#[test]
fn the_list_has_every_operator_of_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graph/ops");
    let mut implemented: Vec<String> = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let names = text.split("\nimpl Operation for ").skip(1).filter_map(|rest| rest.split([' ', '<']).next());
        implemented.extend(names.map(str::to_owned));
    }
    implemented.sort();
    let mut listed: Vec<&str> = ALL.iter().map(name).collect();
    listed.sort_unstable();
    assert_eq!(listed, implemented, "operators of src/graph/ops/all.rs and of the files beside it");
}
