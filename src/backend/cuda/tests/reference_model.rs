//! The programs of training steps: of the reference model's, and of others.

use std::collections::BTreeMap;

use crate::{
    backend::cuda::{
        compile::{Planner, Target, compile},
        device::BLOCK_MEMORY,
        kernels::attention,
        launch::Precision,
        layout::{Layout, WIDE},
        program::Program,
    },
    dsl::Source,
    graph::{Builder, losses::Loss, optimizers::Optimizer},
    model::{ImageSpec, elaborate},
    passes::{Purpose, StepGraph},
};

/// At batch 256, with tensors placed by a planner.
pub fn program(precision: Precision, planner: Planner, regions: bool) -> Program {
    let text = Source::new("cifar100_vit.vitx", include_str!("../../../../experiments/cifar100_vit.vitx"));
    program_of(&text, 256, precision, planner, regions)
}

/// The same of any model of CIFAR-100.
pub fn program_of(text: &Source, batch: usize, precision: Precision, planner: Planner, regions: bool) -> Program {
    let data = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };
    let architecture = elaborate(text, &BTreeMap::new(), &data).unwrap();
    let lowering = move |builder: &mut Builder, batch| architecture.lower(builder, batch);
    let purpose = Purpose::Train(Optimizer::default(), Loss::default());
    let graph = StepGraph::reassociated(&lowering, batch, purpose, attention::WIDTHS).unwrap();
    let mut builder = Builder::new();
    let network = lowering(&mut builder, 1);
    let layout = Layout::new(&builder, &network, &Optimizer::default().plan(&builder.parameters), WIDE);
    let target = Target { precision, seed: 1, block_memory: BLOCK_MEMORY, planner, regions };
    compile(&graph, &layout, batch, target).unwrap()
}
