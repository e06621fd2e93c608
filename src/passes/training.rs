use std::cell::RefCell;

use luminal::prelude::Compiler;

use super::{Autodiff, Fuse, OptimizerState, Reassociate, Updates, optimizer::Change};
use crate::graph::{Builder, Network, StepInput, Value, losses::Loss, optimizers::Optimizer};

/// Builds a network for a batch size on a graph.
pub type Lowering = dyn Fn(&mut Builder, usize) -> Network + Send + Sync;

/// What a graph is built for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// Loss and logits, dropout off.
    Evaluate,
    /// Gradients, dropout off.
    Differentiate,
    /// One optimizer step that minimises a loss, dropout on. All else has the plain cross-entropy.
    Train(Optimizer, Loss),
    /// The same without the step: gradients are added to those of former micro-batches.
    Accumulate(Optimizer, Loss),
}

impl Purpose {
    /// What trains, and what is minimised.
    pub fn trains(&self) -> Option<(&Optimizer, &Loss)> {
        match self {
            Self::Train(optimizer, loss) | Self::Accumulate(optimizer, loss) => Some((optimizer, loss)),
            Self::Evaluate | Self::Differentiate => None,
        }
    }
}

/// A network with its loss and, as the purpose asks, its backward pass and updates.
#[derive(Debug)]
pub struct StepGraph {
    /// Holds the graph, its inputs and its parameters.
    pub builder: Builder,
    /// The images, and the logits.
    pub network: Network,
    /// `[batch]`, or as [`Loss::labels`] has them.
    pub labels: Value,
    /// The mean loss of the batch, `[1]`.
    pub loss: Value,
    /// One per parameter; empty when evaluating. Of a moving average, the statistic of the batch that it takes up; none of
    /// what is frozen.
    pub gradients: Vec<Option<Value>>,
    /// One per parameter; empty unless training.
    pub states: Vec<OptimizerState>,
}

/// What is done to a network besides its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrites<'a> {
    None,
    Fused,
    Reassociated(&'a [usize]),
}

impl StepGraph {
    /// Lowers the network and runs the passes.
    ///
    /// # Errors
    /// The name of a parameter that the loss does not depend on.
    pub fn build(lowering: &Lowering, batch: usize, purpose: Purpose) -> Result<Self, String> {
        Self::with(lowering, batch, purpose, Rewrites::None)
    }

    /// As [`StepGraph::build`], with [`Fuse`] before the loss, so that gradients are those of what was fused, and at
    /// the end.
    ///
    /// # Errors
    /// As [`StepGraph::build`].
    pub fn fused(lowering: &Lowering, batch: usize, purpose: Purpose) -> Result<Self, String> {
        Self::with(lowering, batch, purpose, Rewrites::Fused)
    }

    /// As [`StepGraph::fused`], with [`Reassociate`] before all else, for a backend that has slower kernels for heads that are wider than
    /// each of `widths`.
    ///
    /// # Errors
    /// As [`StepGraph::build`].
    pub fn reassociated(lowering: &Lowering, batch: usize, purpose: Purpose, widths: &[usize]) -> Result<Self, String> {
        Self::with(lowering, batch, purpose, Rewrites::Reassociated(widths))
    }

    fn with(lowering: &Lowering, batch: usize, purpose: Purpose, rewrites: Rewrites) -> Result<Self, String> {
        let mut builder = if purpose.trains().is_some() { Builder::for_training() } else { Builder::new() };
        builder.batch_statistics = purpose != Purpose::Evaluate;
        let network = lowering(&mut builder, batch);
        let without_effect = RefCell::default();
        if let Rewrites::Reassociated(widths) = rewrites {
            Reassociate { widths, without_effect: &without_effect }.compile(&mut builder.graph, ());
        }
        let removed = RefCell::default();
        if rewrites != Rewrites::None {
            Fuse { kept: std::slice::from_ref(&network.logits), removed: &removed }.compile(&mut builder.graph, ());
        }
        let labels = purpose.trains().map_or_else(|| vec![batch], |(_, loss)| loss.labels(batch));
        let labels = builder.input(StepInput::Labels, &labels);
        let loss = match purpose.trains() {
            Some((_, loss)) => loss.apply(&mut builder, &network.logits, &labels),
            None => builder.cross_entropy(&network.logits, &labels),
        };
        let (mut gradients, mut states) = (Vec::new(), Vec::new());
        if purpose != Purpose::Evaluate {
            let seed = builder.input(StepInput::LossGradient, &[1]);
            let learned =
                builder.parameters.iter().filter(|parameter| !parameter.frozen && parameter.averaged.is_none());
            let wanted: Vec<Value> = learned.map(|parameter| parameter.value.clone()).collect();
            let found = RefCell::default();
            Autodiff { loss: &loss, seed: &seed, wanted: &wanted, gradients: &found }.compile(&mut builder.graph, ());
            let mut found = found.into_inner().into_iter();
            for index in 0..builder.parameters.len() {
                if builder.parameters[index].frozen {
                    gradients.push(None);
                    continue;
                }
                if builder.parameters[index].averaged.is_some() {
                    let statistic = builder.averages.iter().find(|(average, _)| *average == index);
                    let statistic = statistic.map(|(_, value)| value.clone()).ok_or_else(|| name(&builder, index))?;
                    gradients.push(Some(statistic));
                    continue;
                }
                let value = builder.parameters[index].value.clone();
                let without_effect = without_effect.borrow().contains(&value.node);
                gradients.push(match found.next().flatten() {
                    Some(gradient) => Some(gradient),
                    None if without_effect => Some(builder.scale(&value, 0.0)),
                    None => return Err(name(&builder, index)),
                });
            }
            if let Some((optimizer, _)) = purpose.trains() {
                let plan = optimizer.plan(&builder.parameters);
                let scalars = builder.input(StepInput::Scalars, &[plan.scalars()]);
                let changes = builder.parameters.iter().zip(&gradients);
                let changes: Vec<Change> = changes
                    .map(|(parameter, gradient)| Change {
                        parameter: parameter.value.clone(),
                        by: gradient.clone(),
                        averaged: parameter.averaged,
                    })
                    .collect();
                let found = RefCell::default();
                let ends = matches!(purpose, Purpose::Train(..));
                Updates { plan: &plan, scalars: &scalars, parameters: &changes, ends, states: &found }
                    .compile(&mut builder.graph, ());
                states = found.into_inner();
            }
        }
        if rewrites != Rewrites::None {
            let kept: Vec<Value> =
                [&network.logits, &loss].into_iter().chain(gradients.iter().flatten()).cloned().collect();
            Fuse { kept: &kept, removed: &removed }.compile(&mut builder.graph, ());
            for node in removed.into_inner() {
                builder.graph.graph.remove_node(node);
            }
        }
        Ok(Self { builder, network, labels, loss, gradients, states })
    }
}

fn name(builder: &Builder, parameter: usize) -> String {
    builder.parameters[parameter].name.clone()
}
