//! `let enc = shared encoder(dim)`: a layer or block that has the same weights wherever it is called.

use std::ops::Range;

use super::{Current, Elaborator, Given, Naming, block::Call, braces::braces, layer_value::LayerValue};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Expr, ExprKind, Name, Span},
    },
    model::{
        evaluate::{Bound, Causes, Scope},
        layers::ParameterSpec,
    },
};

#[derive(Debug, Clone)]
enum What {
    /// The layer with its arguments.
    Layer(String, Causes),
    /// By number.
    Braces(usize),
}

/// One that a `let` names.
#[derive(Debug)]
pub(super) struct Shared {
    name: Name,
    what: What,
    /// The layers that its first call made, and where that stands: theirs are the weights.
    first: Option<(Range<usize>, Span)>,
}

impl Elaborator<'_> {
    /// What `let name = shared value` binds.
    pub(super) fn shared(&mut self, name: &Name, value: &Expr, scope: &Scope) -> Bound {
        if let Some(body) = braces(value) {
            let Bound::Braces(number) = self.hand_over(body, self.site, scope) else { return Bound::Unknown };
            return self.add_shared(name, What::Braces(number));
        }
        if let ExprKind::Call { name: given, arguments } = &value.kind
            && arguments.is_empty()
            && let Some(Bound::Braces(number)) = scope.read(&given.text)
        {
            return self.add_shared(name, What::Braces(*number));
        }
        let Some((layer, causes)) = self.value(value, scope) else { return Bound::Unknown };
        let Value::Str(text) = layer else {
            let message = format!("`shared` stands before a layer or a block, not {}", layer.kind());
            let problem = self.problem("vitx::layer", message, value.span, "expected a layer or a block");
            self.report(problem.causes(causes).help("`let encode = shared dense(64)`"));
            return Bound::Unknown;
        };
        self.add_shared(name, What::Layer(text, causes))
    }

    fn add_shared(&mut self, name: &Name, what: What) -> Bound {
        self.shared.push(Shared { name: name.clone(), what, first: None });
        Bound::Shared(self.shared.len() - 1)
    }

    /// Calls it: the first call makes the weights.
    pub(super) fn call_shared(&mut self, shared: usize, call: &Call) -> Current {
        let Shared { name, what, first } = &self.shared[shared];
        let (name, what, first) = (name.clone(), what.clone(), first.clone());
        // The weights are called after the `let`, however often it is called.
        let again = Name { text: format!("{}_again", name.text), span: name.span };
        let naming = match (call.naming.given, &first) {
            (Some(_), _) => call.naming,
            (None, None) => Naming { given: Some((Given::Let, &name)), numbered: false, ..call.naming },
            (None, Some(_)) => {
                Naming { given: Some((Given::Let, &again)), numbered: true, repeated: false, ..call.naming }
            }
        };
        let (span, call) = (call.span, Call { naming, ..*call });
        let start = self.nodes.len();
        let result = match &what {
            What::Layer(text, causes) => {
                let value = LayerValue { name: &name, text, causes: *causes };
                self.layer_value(&value, &call)?
            }
            What::Braces(number) => self.call_braces(*number, &name, &call)?,
        };
        let made = start..self.nodes.len();
        match first {
            None => self.shared[shared].first = Some((made, span)),
            Some((first, place)) => self.tie(&name, first, place, made, span)?,
        }
        Some(result)
    }

    /// Gives layers the weights of others, which have to be alike.
    fn tie(&mut self, name: &Name, first: Range<usize>, place: Span, made: Range<usize>, span: Span) -> Option<()> {
        let alike = first.len() == made.len()
            && first.clone().zip(made.clone()).all(|(a, b)| self.nodes[a].node.kind == self.nodes[b].node.kind);
        if !alike {
            let message = format!("`{}` is made of other layers here than where it is called first", name.text);
            let problem =
                self.problem("vitx::shared", message, span, "other layers").label(self.at(place), "called first");
            self.report(problem.help("weights are shared by layers that are alike"));
            return None;
        }
        for (owner, user) in first.zip(made) {
            let own = |node: usize| self.nodes[node].node.layer.parameters();
            let same = |(a, b): (&ParameterSpec, &ParameterSpec)| a.name == b.name && a.stored_shape == b.stored_shape;
            let (of_owner, of_user) = (own(owner), own(user));
            if of_user.iter().any(|spec| spec.averaged.is_some()) {
                let kind = self.nodes[user].node.kind;
                let message = format!("`{kind}` in `{}` cannot be shared", name.text);
                let label = "its moving averages would be of two places";
                let problem = Problem::new("vitx::shared", message).label(self.at(span), label);
                let problem = problem.label(self.at(place), "called first");
                self.report(problem.help("`layer_norm` and `rms_norm` have no moving averages"));
                return None;
            }
            let differ = of_owner.iter().zip(&of_user).find(|(a, b)| !same((a, b)));
            if let Some((a, b)) = differ {
                let message = format!(
                    "`{}` has weights {:?} where it is called first, and would need {:?} here: `{}` of `{}`",
                    name.text, a.stored_shape, b.stored_shape, b.name, self.nodes[user].node.kind
                );
                let mut problem = Problem::new("vitx::shared", message).label(self.at(span), "other weights");
                problem = problem.label(self.at(place), "called first");
                for &input in &self.nodes[user].node.inputs {
                    let tensor = &self.tensors[input];
                    problem = problem.label(tensor.span, format!("this gives {:?}", tensor.shape));
                }
                self.report(problem.help("what shares weights takes tensors of one width"));
                return None;
            }
            let owner = self.nodes[owner].node.weights.unwrap_or(owner);
            if !of_user.is_empty() {
                self.trained_alike(name, [owner, user], [place, span])?;
                self.nodes[user].node.weights = Some(owner);
            }
        }
        Some(())
    }
}
