use std::cell::RefCell;

use luminal::prelude::{Compiler, Dependency, Graph, NodeIndex, ToIdsMut};
use petgraph::{Direction, visit::EdgeRef};
use rustc_hash::FxHashSet;

use super::{inputs, only_user, ordered, with_builder};
use crate::graph::{
    Builder, Load, Value, operation,
    ops::{Attention, AttentionShape, Dense, HeadProduct},
};

/// Multiplies the projections of an attention with each other before tokens go through them, where that takes fewer
/// operations: products of three matrices taken in the other order.
///
/// *Keys.* A score `(x_i W_q + b_q) (x_j W_k + b_k)ᵀ` of a head is `(x_i W_q W_kᵀ + b_q W_kᵀ) x_jᵀ` and a term that is the
/// same for all `j`, which a softmax does not see. So with `W_q W_kᵀ` as the projection of queries, the sources are
/// themselves the keys of all heads. *Values.* With P the weights of a head, what it adds to the output is
/// `P (x W_v + b_v) W_o = P (x W_v W_o + b_v W_o)`: with `W_v W_o` as the projection of values, the sum over heads is the
/// output, but for its bias.
///
/// Worth it where heads are about as wide as the model, as in Keras' example, where both are `projection_dim`: one
/// projection instead of two, twice. Heads that share a model's width (`key_dim = dim / num_heads`) are left as they are.
///
/// Heads become as wide as the model. Where a backend has other kernels for wider heads, they stay as they are if they would need those.
pub struct Reassociate<'a> {
    /// Wider heads than each of these are done by a slower kernel.
    pub widths: &'a [usize],
    /// Receives the parameters on which nothing depends any more: the biases of keys.
    pub without_effect: &'a RefCell<FxHashSet<NodeIndex>>,
}

impl Compiler for Reassociate<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let attentions: Vec<NodeIndex> =
            ordered(graph).into_iter().filter(|&node| attention(graph, node).is_some()).collect();
        with_builder(graph, |builder| {
            for node in attentions {
                if let Some(bias) = rewrite(builder, node, self.widths) {
                    self.without_effect.borrow_mut().insert(bias);
                }
            }
        });
    }
}

fn attention(graph: &Graph, node: NodeIndex) -> Option<&Attention> {
    operation(graph, node)?.as_any().downcast_ref()
}

/// A dense layer of parameters, with one user.
struct Projection {
    node: NodeIndex,
    x: Value,
    kernel: Value,
    bias: Option<Value>,
}

fn projection(graph: &Graph, node: NodeIndex) -> Option<Projection> {
    if !operation(graph, node)?.as_any().is::<Dense>() {
        return None;
    }
    let mut operands = inputs(graph, node).into_iter();
    let (x, kernel, bias) = (operands.next()?, operands.next()?, operands.next());
    let is_parameter =
        |value: &Value| matches!(graph.graph[value.node].as_any().downcast_ref(), Some(Load::Parameter(_)));
    let parameters = is_parameter(&kernel) && bias.iter().all(is_parameter);
    (parameters && x.shape.len() == 3).then_some(Projection { node, x, kernel, bias })
}

/// Multiply-adds of some products, each given by the lengths of its axes.
fn work<const N: usize>(products: [&[usize]; N]) -> usize {
    let product = |lengths: &&[usize]| lengths.iter().fold(1_usize, |product, &length| product.saturating_mul(length));
    products.iter().map(product).fold(0, usize::saturating_add)
}

/// Rewrites an attention if that pays. Gives the bias of its keys if it has lost its effect.
fn rewrite(builder: &mut Builder, node: NodeIndex, widths: &[usize]) -> Option<NodeIndex> {
    let graph = &builder.graph;
    let old = *attention(graph, node)?;
    let operands = inputs(graph, node);
    let shape = AttentionShape::new(&old, &operands[0].shape, &operands[1].shape, &operands[2].shape);
    let AttentionShape { batch, tokens, sources, heads, key_dim, value_dim } = shape;
    let (token_rows, source_rows) = (batch * tokens, batch * sources);
    let as_fast = |width: usize| widths.iter().all(|&least| width <= least || key_dim.max(value_dim) > least);
    let projected = |input: usize| {
        let node = operands[input].node;
        only_user(graph, node).and_then(|_| projection(graph, node))
    };

    let keys = projected(0).zip(projected(1)).filter(|(query, key)| {
        let (from, to) = (query.x.last(), key.x.last());
        let apart: [&[usize]; 3] =
            [&[token_rows, from, key_dim], &[source_rows, to, key_dim], &[token_rows, sources, key_dim]];
        let together: [&[usize]; 3] = [&[from, key_dim, to], &[token_rows, from, to], &[token_rows, sources, to]];
        as_fast(to) && work(together) < work(apart)
    });
    let output = only_user(graph, node).and_then(|user| projection(graph, user)).filter(|output| {
        let reads_heads = output.x.node == node && output.x.output == 0;
        reads_heads && graph.graph.neighbors_directed(output.node, Direction::Outgoing).next().is_some()
    });
    let values = projected(2).zip(output).filter(|(value, output)| {
        let (from, to) = (value.x.last(), output.kernel.last());
        let apart: [&[usize]; 3] =
            [&[source_rows, from, value_dim], &[token_rows, sources, value_dim], &[token_rows, value_dim, to]];
        let together: [&[usize]; 3] = [&[from, value_dim, to], &[source_rows, from, to], &[token_rows, sources, to]];
        as_fast(to) && work(together) < work(apart)
    });
    if keys.is_none() && values.is_none() {
        return None;
    }

    let (mut new, mut operands) = (old, operands);
    let (mut removed, mut without_effect) = (vec![node], None);
    if let Some((query, key)) = keys {
        new.scale = Some(old.scale(key_dim));
        new.shared_keys = true;
        let by_key = HeadProduct { a: ['i', 'h', 'k'], b: ['j', 'h', 'k'], c: ['i', 'h', 'j'] };
        let keys = [key.kernel.shape[0], heads, key_dim];
        operands[0] = project(builder, &query, by_key, &key.kernel, keys, heads);
        operands[1] = key.x;
        removed.extend([query.node, key.node]);
        without_effect = key.bias.map(|bias| bias.node);
    }
    let mut output = None;
    if let Some((value, out)) = values {
        new.summed = true;
        let by_output = HeadProduct { a: ['i', 'h', 'k'], b: ['h', 'k', 'j'], c: ['i', 'h', 'j'] };
        let outputs = [heads, value_dim, out.kernel.last()];
        operands[2] = project(builder, &value, by_output, &out.kernel, outputs, heads);
        removed.extend([value.node, out.node]);
        output = Some(out);
    }
    let operands: Vec<&Value> = operands.iter().collect();
    let mixed = builder.apply(new, &operands).swap_remove(0);
    let (last, mixed) = match output {
        Some(Projection { node, bias: Some(bias), .. }) => (node, builder.add(&mixed, &bias)),
        Some(Projection { node, .. }) => (node, mixed),
        None => (node, mixed),
    };
    redirect(&mut builder.graph, last, mixed.node);
    for node in removed {
        builder.graph.graph.remove_node(node);
    }
    without_effect
}

/// A projection whose kernel, and bias, are first multiplied by another one's kernel, head by head.
fn project(
    builder: &mut Builder,
    of: &Projection,
    product: HeadProduct,
    other: &Value,
    other_shape: [usize; 3],
    heads: usize,
) -> Value {
    let other = builder.reshape(other, &other_shape);
    let mut fold = |value: &Value, rows: usize, shape: &dyn Fn(usize) -> Vec<usize>| {
        let value = builder.reshape(value, &[rows, heads, value.len() / rows / heads]);
        let folded = builder.apply_one(product, &[&value, &other]);
        let width = folded.len() / rows;
        builder.reshape(&folded, &shape(width))
    };
    let rows = of.kernel.shape[0];
    let kernel = fold(&of.kernel, rows, &|width| vec![rows, width]);
    let bias = of.bias.as_ref().map(|bias| fold(bias, 1, &|width| vec![width]));
    builder.dense(&of.x, &kernel, bias.as_ref())
}

/// Lets the users of a node's first output read another node's instead.
fn redirect(graph: &mut Graph, from: NodeIndex, to: NodeIndex) {
    let edges: Vec<(NodeIndex, Dependency)> =
        graph.graph.edges_directed(from, Direction::Outgoing).map(|edge| (edge.target(), *edge.weight())).collect();
    for (user, dependency) in edges {
        graph.graph.add_edge(to, user, dependency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Initializer, Network},
        passes::{Purpose, StepGraph},
    };

    /// What an attention between projections of `dim` became, and the counts of dense layers and of head products.
    fn folded(batch: usize, sizes: [usize; 2], heads: usize, key_dim: usize) -> (bool, bool, usize, usize) {
        folded_for(&[], batch, sizes, heads, key_dim)
    }

    /// The same where wider heads than these are slower.
    fn folded_for(
        widths: &[usize],
        batch: usize,
        [tokens, dim]: [usize; 2],
        heads: usize,
        key_dim: usize,
    ) -> (bool, bool, usize, usize) {
        let lowering = move |b: &mut Builder, batch: usize| {
            let images = b.input("images", &[batch, tokens, dim]);
            let project = |b: &mut Builder, x: &Value, name: &str, width: usize| {
                let kernel = b.parameter(name, &[x.last(), width], &[x.last(), width], Initializer::Zeros);
                let bias = b.parameter(&format!("{name}/bias"), &[width], &[width], Initializer::Zeros);
                b.dense(x, &kernel, Some(&bias))
            };
            let width = heads * key_dim;
            let [q, k, v] = ["query", "key", "value"].map(|name| project(b, &images, name, width));
            let y = b.attention(&q, &k, &v, heads, 0.1);
            let y = project(b, &y, "output", dim);
            let y = b.mean(&y, 1);
            Network { logits: project(b, &y, "classify", 3), images }
        };
        let graph = StepGraph::reassociated(&lowering, batch, Purpose::Evaluate, widths).unwrap();
        let graph = &graph.builder.graph;
        let nodes = ordered(graph);
        let attention = nodes.iter().find_map(|&node| attention(graph, node)).unwrap();
        let count = |is: &dyn Fn(&dyn std::any::Any) -> bool| {
            nodes.iter().filter(|&&node| operation(graph, node).is_some_and(|operation| is(operation.as_any()))).count()
        };
        let (dense, products) = (count(&|any| any.is::<Dense>()), count(&|any| any.is::<HeadProduct>()));
        (attention.shared_keys, attention.summed, dense, products)
    }

    #[test]
    fn heads_as_wide_as_the_model_are_multiplied_first() {
        // Two kernels and two biases.
        assert_eq!(folded(64, [144, 64], 4, 64), (true, true, 3, 4));
    }

    #[test]
    fn heads_that_share_the_models_width_stay() {
        assert_eq!(folded(64, [144, 64], 4, 16), (false, false, 5, 0));
    }

    #[test]
    fn a_batch_too_small_for_the_products_of_kernels_stays() {
        // 192³ multiply-adds for each head are more than 8 rows save, and fewer than 800 do.
        assert_eq!(folded(1, [8, 192], 3, 192), (false, false, 5, 0));
        assert_eq!(folded(100, [8, 192], 3, 192), (true, true, 3, 4));
    }

    #[test]
    fn heads_that_would_go_by_a_slower_kernel_stay() {
        assert_eq!(folded(64, [16, 160], 2, 128), (true, true, 3, 4));
        assert_eq!(folded_for(&[64, 128], 64, [16, 160], 2, 128), (false, false, 5, 0));
        assert_eq!(folded_for(&[64, 128], 64, [144, 64], 4, 64), (true, true, 3, 4));
        // They are slow already.
        assert_eq!(folded_for(&[64, 128], 200, [16, 160], 2, 160), (true, true, 3, 4));
    }

    #[test]
    fn the_bias_of_keys_has_no_gradient_and_is_no_error() {
        let lowering = |b: &mut Builder, batch: usize| {
            let images = b.input("images", &[batch, 6, 4]);
            let [q, k, v] = ["query", "key", "value"].map(|name| {
                let kernel = b.parameter(name, &[4, 8], &[4, 8], Initializer::Zeros);
                let bias = b.parameter(&format!("{name}/bias"), &[8], &[8], Initializer::Zeros);
                b.dense(&images, &kernel, Some(&bias))
            });
            let y = b.attention(&q, &k, &v, 2, 0.0);
            Network { logits: b.mean(&y, 1), images }
        };
        let graph = StepGraph::reassociated(&lowering, 9, Purpose::Differentiate, &[]).unwrap();
        let scaled: Vec<bool> = graph
            .gradients
            .iter()
            .map(|gradient| {
                let operation = operation(&graph.builder.graph, gradient.as_ref().unwrap().node).unwrap();
                operation.as_any().downcast_ref::<crate::graph::ops::Scale>().is_some_and(|scale| scale.factor == 0.0)
            })
            .collect();
        // In the order query, query/bias, key, key/bias, value, value/bias.
        assert_eq!(scaled, [false, false, false, true, false, false]);
    }
}
