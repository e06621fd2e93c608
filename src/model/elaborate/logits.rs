//! What does not train as it was meant: logits that are an activation's, though the loss itself applies
//! softmax to them, and tokens that never differ.

use super::Elaborator;
use crate::{dsl::Problem, model::layers::Function};

impl Elaborator<'_> {
    /// Warns of tokens in front of the others that start at zero and that nothing tells apart: what takes one token by
    /// its place does, and a network treats all others alike.
    pub(super) fn check_tokens(&mut self) {
        let takes = self.nodes.iter().filter(|pending| pending.node.kind == "take").count();
        let equal = |tensor: usize| {
            let pending = tensor.checked_sub(1).and_then(|index| self.nodes.get(index));
            pending.map_or(0, |pending| pending.node.layer.equal_tokens())
        };
        let (mut chain, mut longest) = (0, (0, 0));
        for (index, pending) in self.nodes.iter().enumerate() {
            let own = equal(index + 1);
            let follows = pending.node.inputs.first().is_some_and(|input| equal(*input) > 0);
            chain = if own > 0 && follows { chain + own } else { own };
            longest = longest.max((chain, index + 1));
        }
        let (count, last) = longest;
        if count >= 2 + takes {
            let problem = Problem::warning("vitx::tokens", format!("{count} tokens start at zero and learn the same"));
            let problem = problem.label(self.tensors[last].span, "nothing tells them apart");
            let problem = Self::on_the_way(problem, self.nodes[last - 1].way.as_ref());
            self.report(problem.help(format!("`class_token(count = {count})` has tokens that start at random")));
        }
    }

    /// Reports an activation that the logits are the result of.
    pub(super) fn check_logits(&mut self, output: usize) {
        let mut open = vec![output];
        let mut found = Vec::new();
        let last = |tensor: usize| self.tensors[tensor].shape.last();
        let mut seen = vec![false; self.tensors.len()];
        while let Some(tensor) = open.pop() {
            let Some(pending) = tensor.checked_sub(1).and_then(|index| self.nodes.get(index)) else { return };
            if std::mem::replace(&mut seen[tensor], true) {
                continue;
            }
            let layer = &pending.node.layer;
            match layer.activation() {
                Some(function) => found.push((tensor, function)),
                None if layer.keeps_last_axis()
                    && pending.node.inputs.iter().all(|input| last(*input) == last(tensor)) =>
                {
                    open.extend(&pending.node.inputs);
                }
                // Some of the logits are no activation's.
                None => return,
            }
        }
        let softmax = found.iter().all(|(_, function)| *function == Function::Softmax);
        // What is averaged or added up is no longer the activation itself, but probabilities they remain.
        let direct = found.iter().all(|(tensor, _)| self.tensors[*tensor].shape == self.tensors[output].shape);
        if !softmax && !direct {
            return;
        }
        for (tensor, function) in found {
            let message = format!("the logits go through {}", function.word());
            let help = "logits go into the loss, which applies softmax; leave it out";
            let problem = match softmax {
                true => Problem::new("vitx::logits", message).help(help),
                false => Problem::warning("vitx::logits", message)
                    .help("logits have no activation: end with `dense(num_classes)`"),
            };
            let label = format!("its activation is {}", function.word());
            let pending = &self.nodes[tensor - 1];
            let given = pending.origins.get("activation").map(|(place, _)| *place);
            let problem = problem.label(given.unwrap_or(self.tensors[tensor].span), label);
            self.report(Self::on_the_way(problem, pending.way.as_ref()));
        }
    }
}
