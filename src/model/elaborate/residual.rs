//! `residual { .. }`: what the body gives plus what it was given.

use super::{Current, Elaborator, Naming, layer_call::Values};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Body, Span},
    },
    model::{evaluate::Scope, layers::find},
};

impl Elaborator<'_> {
    pub(super) fn residual(
        &mut self,
        body: &Body,
        span: Span,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        let inner = self.level(naming)?;
        let result = self.body(body, current, inner, &mut Scope::within(scope));
        let add = find("add")?;
        let (input, result) = (current?, result?);
        if self.tensors[input].shape != self.tensors[result].shape {
            self.report_misfit(span, input, result);
            return None;
        }
        self.layer(add, Values::default(), &[result, input], inner, span)
    }

    fn report_misfit(&mut self, span: Span, input: usize, result: usize) {
        let (given, got) = (&self.tensors[input], &self.tensors[result]);
        let message =
            format!("this `residual` gives {:?}, and its input is {:?}: they cannot be added", got.shape, given.shape);
        let causes = given.causes | got.causes;
        let mut problem = Problem::new("vitx::shape", message).causes(causes);
        let (same, want) = match (got.shape.split_last(), given.shape.split_last()) {
            (Some((_, got)), Some((want, given))) if got == given => (true, *want),
            _ => (false, 0),
        };
        let help = match self.sets_last_axis(result).filter(|_| same) {
            Some((kind, place, list)) => {
                problem = problem.label(place, format!("gives {:?}", got.shape));
                let units = if list { "the last of `units`" } else { "`units`" };
                format!("{units} of `{kind}` must be {want}: as many as the residual's input has")
            }
            None => {
                problem = problem.label(self.at(span), format!("gives {:?}", got.shape));
                format!("what stands in a residual must give the shape of its input, {:?}", given.shape)
            }
        };
        problem = problem.label(given.span, format!("its input is {:?}", given.shape));
        self.report(problem.help(help));
    }

    /// The layer that made a tensor's last axis as long as it is, by its argument `units`: its name, where that was
    /// given, and whether it is a list.
    fn sets_last_axis(&self, tensor: usize) -> Option<(&'static str, Span, bool)> {
        let mut tensor = tensor;
        loop {
            let pending = self.nodes.get(tensor.checked_sub(1)?)?;
            if let Some((place, _)) = pending.origins.get("units") {
                let list = matches!(pending.node.arguments.get("units"), Some(Value::List(_)));
                return Some((pending.node.kind, *place, list));
            }
            let [input] = pending.node.inputs[..] else { return None };
            if self.tensors[input].shape != self.tensors[tensor].shape {
                return None;
            }
            tensor = input;
        }
    }
}
