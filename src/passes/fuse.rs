use std::cell::RefCell;

use luminal::prelude::{Compiler, Dependency, Graph, NodeIndex, ToIdsMut};
use petgraph::{Direction, visit::EdgeRef};
use rustc_hash::FxHashSet;

use super::{inputs, ordered};
use crate::graph::{
    Node, Operation, Value,
    expression::Expression,
    operation,
    ops::{Activation, ActivationGradient, Add, Dropout, Operand, Pointwise, Scale},
};

/// Most tensors and masks that one operator reads.
const MOST_OPERANDS: usize = 8;
/// Most numbers that it has at hand at a time, of those that it has computed.
const MOST_ALIVE: usize = 12;

/// Makes one [`Pointwise`] of two pointwise operators of which one alone reads what the other makes: that tensor is
/// never in memory.
///
/// Activations, sums, scalings and dropout count as pointwise, but two of these stay apart: what backends make of them,
/// as the ends of products and the beginnings of normalisations, is better.
pub struct Fuse<'a> {
    /// Tensors that are wanted whoever reads them.
    pub kept: &'a [Value],
    /// Receives the nodes whose work others have taken over. They read nothing and nothing reads them, and they are to be
    /// removed once all nodes are there: numbers say in which order operators were written, and luminal gives those of
    /// removed nodes to new ones.
    pub removed: &'a RefCell<FxHashSet<NodeIndex>>,
}

impl Compiler for Fuse<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let kept: FxHashSet<NodeIndex> = self.kept.iter().map(|value| value.node).collect();
        let mut removed = self.removed.borrow_mut();
        for node in ordered(graph) {
            while !removed.contains(&node)
                && let Some(fused) = fused(graph, node, &kept)
            {
                removed.extend(replace(graph, node, fused));
            }
        }
    }
}

/// A pointwise operator, and the tensors that it reads.
struct Site {
    pointwise: Pointwise,
    inputs: Vec<Value>,
    /// Whether it is more than an activation, a sum, a scaling or a dropout.
    general: bool,
}

/// What becomes of a node.
struct Fused {
    pointwise: Pointwise,
    inputs: Vec<Value>,
    /// Whose work it takes over.
    producer: NodeIndex,
}

fn site(graph: &Graph, node: NodeIndex) -> Option<Site> {
    use Operand::{Mask, Shared, Whole};
    let operation = operation(graph, node)?;
    let (any, inputs) = (operation.as_any(), inputs(graph, node));
    if let Some(pointwise) = any.downcast_ref::<Pointwise>() {
        return Some(Site { pointwise: pointwise.clone(), inputs, general: true });
    }
    let (expression, operands) = if let Some(activation) = any.downcast_ref::<Activation>() {
        (activation.expression(), vec![Whole])
    } else if let Some(ActivationGradient(activation)) = any.downcast_ref() {
        (activation.expression().gradient(0), vec![Whole; 2])
    } else if any.is::<Add>() {
        let second = if inputs[0].shape == inputs[1].shape { Whole } else { Shared };
        (Expression::new(2, |x| &x[0] + &x[1]), vec![Whole, second])
    } else if let Some(&Scale { factor }) = any.downcast_ref() {
        (Expression::new(1, |x| &x[0] * factor), vec![Whole])
    } else if let Some(&dropout) = any.downcast_ref::<Dropout>() {
        (Expression::new(2, |x| &x[0] * &x[1]), vec![Whole, Mask(dropout)])
    } else {
        return None;
    };
    Some(Site { pointwise: Pointwise::new(operation.name(), expression, operands), inputs, general: false })
}

/// A node together with one of those that it reads, if there is one that it may take over.
fn fused(graph: &Graph, node: NodeIndex, kept: &FxHashSet<NodeIndex>) -> Option<Fused> {
    let outer = site(graph, node)?;
    let shape = outer.pointwise.output_shapes(&shapes(&outer.inputs)).swap_remove(0);
    (0..outer.inputs.len()).find_map(|input| {
        let value = &outer.inputs[input];
        // What is smaller than the result would be computed as often as it repeats.
        if outer.pointwise.operands[input] != Operand::Whole || kept.contains(&value.node) {
            return None;
        }
        let inner = site(graph, value.node)?;
        let alone = graph.graph.neighbors_directed(value.node, Direction::Outgoing).all(|user| user == node);
        let whole = inner.pointwise.output_shapes(&shapes(&inner.inputs))[0] == shape;
        if !alone || !whole || !(outer.general || inner.general) {
            return None;
        }
        joined(&outer, input, &inner).map(|(pointwise, inputs)| Fused { pointwise, inputs, producer: value.node })
    })
}

fn shapes(values: &[Value]) -> Vec<&[usize]> {
    values.iter().map(|value| value.shape.as_slice()).collect()
}

/// One operator with another in place of one of its inputs; `None` where that would be too much for one.
fn joined(outer: &Site, input: usize, inner: &Site) -> Option<(Pointwise, Vec<Value>)> {
    let others = (0..outer.inputs.len()).filter(|&other| other != input);
    let read = others
        .map(|other| (&outer.inputs[other], outer.pointwise.operands[other]))
        .chain(inner.inputs.iter().zip(inner.pointwise.operands.iter().copied()));
    // What both read is read once.
    let mut distinct: Vec<(&Value, Operand)> = Vec::new();
    let numbers: Vec<usize> = read
        .map(|read| {
            distinct.iter().position(|known| *known == read).unwrap_or_else(|| {
                distinct.push(read);
                distinct.len() - 1
            })
        })
        .collect();
    let expression = outer.pointwise.expression.with(input, &inner.pointwise.expression).merged(&numbers);
    let (expression, used) = expression.pruned();
    let (inputs, operands): (Vec<Value>, Vec<Operand>) =
        used.into_iter().map(|number| (distinct[number].0.clone(), distinct[number].1)).unzip();
    let fits = operands.len() <= MOST_OPERANDS && expression.most_alive() <= MOST_ALIVE;
    (fits && operands.contains(&Operand::Whole)).then(|| {
        (
            Pointwise::new(
                if outer.general { outer.pointwise.name } else { inner.pointwise.name },
                expression,
                operands,
            ),
            inputs,
        )
    })
}

/// Lets a node read nothing.
fn detach(graph: &mut Graph, node: NodeIndex) {
    let edges: Vec<_> = graph.graph.edges_directed(node, Direction::Incoming).map(|edge| edge.id()).collect();
    for edge in edges {
        graph.graph.remove_edge(edge);
    }
}

/// Puts an operator in the place of a node, whose number others know it by. Gives the producer if nothing reads it any
/// more.
fn replace(graph: &mut Graph, node: NodeIndex, Fused { pointwise, inputs, producer }: Fused) -> Option<NodeIndex> {
    detach(graph, node);
    graph.graph[node] = Box::new(Node(Box::new(pointwise)));
    for (order, value) in inputs.iter().enumerate() {
        let dependency =
            Dependency::Data { input_order: order as u8, output_order: value.output, shape: value.tracker() };
        graph.graph.add_edge(value.node, node, dependency);
    }
    let unread = graph.graph.neighbors_directed(producer, Direction::Outgoing).next().is_none();
    unread.then(|| detach(graph, producer)).map(|()| producer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Builder, Initializer, Network, StepInput},
        passes::{Lowering, Purpose, StepGraph},
    };

    fn parameter(b: &mut Builder, name: &str, shape: &[usize]) -> Value {
        b.parameter(name, shape, shape, Initializer::Zeros)
    }

    /// A network of what `body` makes of `[batch, 5, 7]` and of a layer of it.
    fn network(
        body: impl Fn(&mut Builder, &Value, &Value) -> Value + Send + Sync,
    ) -> impl Fn(&mut Builder, usize) -> Network {
        move |b, batch| {
            let images = b.input(StepInput::Images, &[batch, 5, 7]);
            let [one, two] = ["one", "two"].map(|name| {
                let kernel = parameter(b, name, &[7, 7]);
                b.dense(&images, &kernel, None)
            });
            let y = body(b, &one, &two);
            let y = b.mean(&y, 1);
            let kernel = parameter(b, "classify", &[7, 3]);
            Network { logits: b.dense(&y, &kernel, None), images }
        }
    }

    /// The pointwise operators of a step, forward and backward, as it is written and fused.
    fn counts(lowering: &Lowering) -> [usize; 2] {
        let purpose =
            Purpose::Train(crate::graph::optimizers::Optimizer::default(), crate::graph::losses::Loss::default());
        [StepGraph::build(lowering, 2, purpose.clone()), StepGraph::fused(lowering, 2, purpose)].map(|graph| {
            let graph = graph.unwrap().builder.graph;
            ordered(&graph).into_iter().filter(|&node| site(&graph, node).is_some()).count()
        })
    }

    fn product(b: &mut Builder, x: &Value, y: &Value) -> Value {
        b.pointwise("multiply", Expression::new(2, |x| &x[0] * &x[1]), &[(x, Operand::Whole), (y, Operand::Whole)])
    }

    fn sigmoid(b: &mut Builder, x: &Value) -> Value {
        b.activation(x, Activation::named("sigmoid").unwrap_or_else(|| panic!("sigmoid")))
    }

    #[test]
    fn a_gate_is_one_operator_and_each_of_its_gradients_another() {
        let gate = network(|b, x, y| {
            let gate = sigmoid(b, y);
            let gated = product(b, x, &gate);
            b.dropout(&gated, 0.25)
        });
        assert_eq!(counts(&gate), [7, 3]);
    }

    #[test]
    fn a_chain_that_ends_in_a_residual() {
        let chain = network(|b, x, y| {
            let scale = parameter(b, "scale", &[7]);
            let product = Expression::new(2, |x| &x[0] * &x[1]);
            let scaled = b.pointwise("scale", product, &[(x, Operand::Whole), (&scale, Operand::Shared)]);
            let half = b.scale(&scaled, 0.5);
            b.add(&half, y)
        });
        let [written, fused] = counts(&chain);
        assert!(written == 6 && fused == 3, "{written} {fused}");
    }

    #[test]
    fn what_two_read_and_what_is_not_general_stays() {
        let twice = network(|b, x, y| {
            let gate = sigmoid(b, x);
            let one = product(b, &gate, y);
            let sum = b.add(&gate, x);
            let both = b.concat(&[&one, &sum], 1);
            b.dropout(&both, 0.25)
        });
        let graph = StepGraph::fused(&twice, 2, Purpose::Evaluate).unwrap().builder.graph;
        assert_eq!(ordered(&graph).into_iter().filter(|&node| site(&graph, node).is_some()).count(), 3);
        let plain = network(|b, x, y| {
            let active = b.activation(x, Activation::named("gelu").unwrap());
            let sum = b.add(&active, y);
            b.scale(&sum, 0.5)
        });
        let [written, fused] = counts(&plain);
        assert_eq!(written, fused);
    }

    #[test]
    fn one_tensor_read_in_many_ways_is_read_once_and_too_much_is_left_alone() {
        let square = network(|b, x, _| {
            let gate = sigmoid(b, x);
            let square = product(b, &gate, &gate);
            product(b, x, &square)
        });
        let graph = StepGraph::fused(&square, 2, Purpose::Evaluate).unwrap().builder.graph;
        let sites: Vec<Site> = ordered(&graph).into_iter().filter_map(|node| site(&graph, node)).collect();
        assert_eq!(sites.len(), 1);
        assert_eq!(sites[0].pointwise.operands, [Operand::Whole]);

        let many = network(|b, x, y| {
            let mut sum = product(b, x, y);
            for index in 0..20 {
                let scale = parameter(b, &format!("scale{index}"), &[7]);
                let f = Expression::new(2, |x| &x[0] * &x[1]);
                sum = b.pointwise("scale", f, &[(&sum, Operand::Whole), (&scale, Operand::Shared)]);
            }
            sum
        });
        let graph = StepGraph::fused(&many, 2, Purpose::Evaluate).unwrap().builder.graph;
        let sites: Vec<Site> = ordered(&graph).into_iter().filter_map(|node| site(&graph, node)).collect();
        assert!((3..=4).contains(&sites.len()), "{}", sites.len());
        assert!(sites.iter().all(|site| site.inputs.len() <= MOST_OPERANDS));
    }
}
