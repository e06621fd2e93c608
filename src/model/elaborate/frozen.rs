//! `frozen { .. }`: layers whose parameters stay as they are.

use super::{Current, Elaborator, Naming};
use crate::{
    dsl::{
        Problem,
        syntax::{Expr, ExprKind, Name, Span},
    },
    model::evaluate::{Bound, Scope},
};

impl Elaborator<'_> {
    /// A piece of network as it would be without the word, but that its layers are not trained: names and paths stay.
    pub(super) fn frozen(&mut self, inner: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        if let ExprKind::Call { name, arguments } = &inner.kind
            && arguments.is_empty()
            && matches!(scope.get(&name.text), Some(Bound::Tensor(_)))
        {
            scope.read(&name.text);
            let message = format!("`{}` is a tensor, whose layers were made where it was named", name.text);
            let problem = self.problem("vitx::layer", message, name.span, "expected a layer, a block or braces");
            self.report(
                problem.help(format!("`frozen` stands before what makes it: `let {0} = frozen ..`", name.text)),
            );
            return None;
        }
        self.frozen += 1;
        let result = self.apply(inner, current, naming, scope);
        self.frozen -= 1;
        result
    }

    /// Whether a layer is trained as the one is whose weights it has; reports it where it is not.
    pub(super) fn trained_alike(
        &mut self,
        name: &Name,
        [owner, user]: [usize; 2],
        [first, here]: [Span; 2],
    ) -> Option<()> {
        let [of_owner, of_user] = [owner, user].map(|node| self.nodes[node].node.frozen);
        if of_owner == of_user {
            return Some(());
        }
        let is = |frozen: bool| if frozen { "frozen" } else { "trained" };
        let message = format!(
            "the weights of `{}` are {} here and {} where it is called first",
            name.text,
            is(of_user),
            is(of_owner)
        );
        let problem = Problem::new("vitx::shared", message).label(self.at(here), is(of_user));
        let problem = problem.label(self.at(first), is(of_owner));
        self.report(
            problem.help("weights are the same in all calls: put `frozen` before each of them, or before none"),
        );
        None
    }

    /// Reports a network of which nothing would be trained, all that could be standing in `frozen`.
    pub(super) fn check_trained(&mut self) {
        let trained = |frozen: bool| {
            let nodes = self.nodes.iter().filter(move |pending| pending.node.frozen == frozen);
            nodes.flat_map(|pending| pending.node.parameters()).any(|spec| spec.averaged.is_none())
        };
        if trained(false) || !trained(true) {
            return;
        }
        let last = self.nodes.iter().rposition(|pending| !pending.node.parameters().is_empty());
        let Some(last) = last else { return };
        let problem = Problem::new("vitx::frozen", "nothing of this network is trained: all its parameters are frozen");
        let problem = problem.label(self.tensors[last + 1].span, "the last layer is frozen, too");
        let problem = Self::on_the_way(problem, self.nodes[last].way.clone().as_ref());
        self.problems.push(problem.help("leave at least the last layer outside of `frozen`"));
    }
}
