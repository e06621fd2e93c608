//! The statements of braces, one after the other.

use std::collections::HashMap;

use super::{Current, Elaborator, Given, Naming};
use crate::{
    dsl::{
        Value,
        syntax::{Body, Expr, ExprKind, Name, Span, StatementKind},
    },
    model::evaluate::{Bound, Scope},
};

impl Elaborator<'_> {
    /// Follows the statements of braces, whose pieces are named as `naming` says.
    pub(super) fn body(&mut self, body: &Body, start: Current, naming: Naming, scope: &mut Scope) -> Current {
        let mut current = start;
        let mut labels: HashMap<&str, Span> = HashMap::new();
        let mut failed = 0;
        for statement in &body.statements {
            if !self.step(statement.span) {
                break;
            }
            scope.go_to(current);
            match &statement.kind {
                StatementKind::Invalid => current = None,
                StatementKind::LetShared { name, value } => {
                    let symbol = self.declare(name, || format!("`{}` is not used", name.text), 0);
                    let outer = scope.reads().enter(symbol);
                    let bound = self.shared(name, value, scope);
                    scope.reads().leave(outer);
                    scope.declare(name.text.clone(), bound, symbol);
                }
                StatementKind::LetEach { names, value } => self.each(names, value, scope),
                StatementKind::Require { condition, message } => {
                    if !self.require(condition, message.as_deref(), scope) {
                        // What does not fit follows from it: of the rest only the names count.
                        current = None;
                        self.untaken += 1;
                        failed += 1;
                    }
                }
                StatementKind::Let { name, value } => {
                    let symbol = self.declare(name, || format!("`{}` is not used", name.text), 0);
                    let outer = scope.reads().enter(symbol);
                    let bound = if let Some((first, rest)) = self.number_in_flow(value, scope) {
                        let bound = self.bound(first, scope);
                        self.report_number_in_flow(name, first, &bound);
                        scope.declare(name.text.clone(), bound.clone(), symbol);
                        current = self.flow(rest, current, naming.inner(), scope);
                        bound
                    } else if self.is_value(value, scope) {
                        self.bound(value, scope)
                    } else {
                        Bound::Tensor(self.apply(value, current, naming.named(Given::Let, name), scope))
                    };
                    scope.reads().leave(outer);
                    if let Bound::Tensor(Some(tensor)) = &bound {
                        self.named.insert(*tensor);
                    }
                    scope.declare(name.text.clone(), bound, symbol);
                }
                StatementKind::Apply { label, value } => {
                    let naming = label.as_ref().map_or(naming, |label| naming.named(Given::Label, label));
                    if let Some(label) = label {
                        self.check_label(label, *labels.entry(&label.text).or_insert(label.span));
                    }
                    current = self.apply(value, current, naming, scope);
                }
            }
        }
        self.untaken -= failed;
        current.filter(|_| !self.full)
    }

    /// `let half = dim` with a line behind it that begins with `->`: the number and the layers.
    fn number_in_flow<'e>(&self, value: &'e Expr, scope: &Scope) -> Option<(&'e Expr, &'e [Expr])> {
        let ExprKind::Flow(parts) = &value.kind else { return None };
        let (first, rest) = parts.split_first()?;
        // A text may be the name of a layer, and is meant as one.
        let text = match &first.kind {
            ExprKind::Call { name, .. } => matches!(scope.get(&name.text), Some(Bound::Value(Value::Str(_), _))),
            _ => false,
        };
        (!text && self.is_value(first, scope)).then_some((first, rest))
    }

    fn report_number_in_flow(&mut self, name: &Name, first: &Expr, bound: &Bound) {
        let Bound::Value(value, causes) = bound else { return };
        let message = format!("`->` goes on with `let {}`, which is {}, not a layer", name.text, value.kind());
        let problem = self.problem("vitx::layer", message, first.span, value.kind()).causes(*causes);
        self.report(problem.help("end the `let` with `;`, and begin the layers without `->`"));
    }

    fn check_label(&mut self, label: &Name, first: Span) {
        if first != label.span {
            let message = format!("`{}` names two layers", label.text);
            let problem = self.problem("vitx::name", message, label.span, "named again");
            self.report(problem.label(self.at(first), "the first one").help("labels of the same braces differ"));
        }
    }
}
