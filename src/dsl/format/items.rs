//! What stands in sequences: its place, and the sequences in it.

use crate::dsl::syntax::{Argument, Definition, Expr, ExprKind, Parameter, Span, Statement, StatementKind, Use};

/// What stands in a sequence: between two brackets, or in the file.
pub(super) trait Item {
    fn span(&self) -> Span;
    /// The sequences of its own, whose comments are theirs.
    fn sequences(&self, spans: &mut Vec<Span>);
}

/// What a file is made of.
pub(super) enum Piece<'f> {
    Use(&'f Use),
    Definition(&'f Definition),
}

impl Item for Piece<'_> {
    fn span(&self) -> Span {
        match self {
            Self::Use(used) => used.span,
            Self::Definition(definition) => definition.span,
        }
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        match self {
            Self::Use(_) => {}
            Self::Definition(definition) => definition.sequences(spans),
        }
    }
}

impl Item for Definition {
    fn span(&self) -> Span {
        self.span
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        if !self.parameters.is_empty() {
            spans.push(self.parameters_span);
        }
        spans.push(self.body.span);
    }
}

impl Item for Parameter {
    fn span(&self) -> Span {
        self.span
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        if let Some(default) = &self.default {
            default.sequences(spans);
        }
    }
}

impl Item for Argument {
    fn span(&self) -> Span {
        self.span
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        self.value.sequences(spans);
    }
}

impl Item for Statement {
    fn span(&self) -> Span {
        self.span
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        match &self.kind {
            StatementKind::Let { value, .. }
            | StatementKind::LetShared { value, .. }
            | StatementKind::LetEach { value, .. }
            | StatementKind::Require { condition: value, .. }
            | StatementKind::Apply { value, .. } => value.sequences(spans),
            StatementKind::Invalid => {}
        }
    }
}

impl Item for Expr {
    fn span(&self) -> Span {
        self.span
    }

    fn sequences(&self, spans: &mut Vec<Span>) {
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Invalid => {}
            ExprKind::List(items) if items.is_empty() => {}
            ExprKind::List(_) => spans.push(self.span),
            ExprKind::Group(inner) | ExprKind::Negate(inner) | ExprKind::Not(inner) | ExprKind::Frozen(inner) => {
                inner.sequences(spans);
            }
            ExprKind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    condition.sequences(spans);
                    spans.push(body.span);
                }
                spans.extend(otherwise.iter().map(|body| body.span));
            }
            ExprKind::Chain { first, rest } => {
                first.sequences(spans);
                rest.iter().for_each(|(_, operand)| operand.sequences(spans));
            }
            ExprKind::Flow(steps) => steps.iter().for_each(|step| step.sequences(spans)),
            ExprKind::Call { arguments, .. } if arguments.is_empty() => {}
            ExprKind::Call { name, .. } => spans.push(Span::new(name.span.end, self.span.end)),
            ExprKind::Residual(body) | ExprKind::Branch(body) => spans.push(body.span),
            ExprKind::Repeat { repeated, count, .. } => {
                repeated.sequences(spans);
                count.sequences(spans);
            }
        }
    }
}
