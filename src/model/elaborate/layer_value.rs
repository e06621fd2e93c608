//! Layers and blocks that values stand for: `norm` in a block whose parameter is `norm = layer_norm(1e-3)`.

use super::{
    Current, Elaborator,
    block::{Call, LISTED},
};
use crate::{
    dsl::{
        Value, parse_layer,
        syntax::{Argument, Expr, ExprKind, Name},
    },
    model::{
        evaluate::{Bound, Causes, Scope},
        layers::{LAYERS, find},
    },
};

/// A value in the place of a layer.
pub(super) struct LayerValue<'v> {
    pub name: &'v Name,
    /// The layer's name, and the arguments that it holds.
    pub text: &'v str,
    pub causes: Causes,
}

impl<'a> Elaborator<'a> {
    /// Whether an expression is a name whose value is a layer or a block, which arguments may follow.
    pub(super) fn names_layer(&self, expr: &Expr, scope: &Scope) -> bool {
        let ExprKind::Call { name, .. } = &expr.kind else { return false };
        let text = match scope.get(&name.text) {
            Some(Bound::Value(Value::Str(text), _)) => text,
            Some(Bound::Shared(_) | Bound::Braces(_)) => return true,
            _ => return false,
        };
        let layer = text.split('(').next().unwrap_or_default().trim();
        self.own.contains_key(layer) || find(layer).is_some() || self.standard.contains_key(layer)
    }

    /// Calls what a value stands for, as if it stood there itself: the arguments of the call and those that the value
    /// holds together.
    pub(super) fn layer_value(&mut self, value: &LayerValue, call: &Call) -> Current {
        let scope = call.scope;
        if let Err(problem) = scope.charge(1, value.text.len()) {
            self.full = true;
            self.report(*problem);
            return None;
        }
        let parsed = parse_layer(value.text);
        let layer = parsed.as_ref().map_or(value.text, |(layer, _)| layer.as_str());
        let own = self.own.get(layer).copied();
        let standard = self.standard.get(layer).copied();
        let (block, kind) = (own.or(standard.filter(|_| find(layer).is_none())), find(layer));
        let parameters: Vec<&str> = match (block, kind) {
            (Some(block), _) => block.parameters.iter().map(|parameter| parameter.name.text.as_str()).collect(),
            (None, Some(kind)) => kind.arguments.iter().map(|argument| argument.name).collect(),
            (None, None) => {
                self.report_no_layer(value, layer, scope);
                return None;
            }
        };
        self.by_value = true;
        let place = self.at(value.name.span);
        // Those that the value holds are named: what the call gives without a name comes first.
        let held =
            parsed.map(|(_, held)| held).unwrap_or_default().into_iter().enumerate().map(|(index, (name, held))| {
                let name = name.or_else(|| parameters.get(index).map(|name| (*name).to_owned()));
                let name = name.map(|text| Name { text, span: place });
                Argument { name, value: Expr { kind: ExprKind::Literal(held), span: place }, span: place }
            });
        let arguments: Vec<Argument> = call.arguments.iter().cloned().chain(held).collect();
        let call = Call { arguments: &arguments, ..*call };
        let known = self.problems.len();
        let result = match (block, kind) {
            (Some(block), _) => self.block(block, own.is_none(), &call),
            (None, Some(kind)) => self.layer_call(kind, &call),
            (None, None) => None,
        };
        // Whatever is wrong in it depends on what the value is.
        let problems = self.problems.split_off(known);
        self.problems.extend(problems.into_iter().map(|problem| problem.causes(value.causes)));
        result
    }

    fn report_no_layer(&mut self, value: &LayerValue, layer: &str, scope: &Scope) {
        let message = format!("`{}` is {}, not a layer", value.name.text, Value::Str(value.text.to_owned()));
        let problem = self.problem("vitx::layer", message, value.name.span, "expected a layer or a block");
        let blocks = self.own.keys().chain(self.standard.keys()).copied();
        let names = LAYERS.iter().map(|layer| layer.name).chain(blocks);
        let problem = scope.suggest(problem.help(LISTED), layer, names).causes(value.causes);
        self.report(problem);
    }
}
