//! What fits on one line, as it stands there.

use super::{WIDTH, Writer, items::Item};
use crate::dsl::syntax::{Body, Expr, ExprKind, Span};

impl Writer<'_> {
    /// The expression on one line, `None` where it has a body or a comment, asks for several lines,
    /// or is too long for any.
    pub(super) fn flat(&self, expr: &Expr) -> Option<String> {
        let text = match &expr.kind {
            ExprKind::Literal(_) | ExprKind::Invalid => self.comments.slice(expr.span).to_owned(),
            ExprKind::List(items) if items.is_empty() => "[]".to_owned(),
            ExprKind::List(items) => {
                format!("[{}]", self.flat_items(items, expr.span, |writer, item| writer.flat(item))?)
            }
            ExprKind::Group(inner) => format!("({})", self.flat(inner)?),
            ExprKind::Negate(inner) => format!("-{}", self.flat(inner)?),
            ExprKind::Not(inner) => format!("not {}", self.flat(inner)?),
            ExprKind::Frozen(inner) => format!("frozen {}", self.flat(inner)?),
            ExprKind::If { arms, otherwise } => {
                let mut parts = Vec::new();
                for (condition, chosen) in arms {
                    parts.push(format!("if {} {}", self.flat(condition)?, self.flat_body(chosen)?));
                }
                if let Some(otherwise) = otherwise {
                    parts.push(self.flat_body(otherwise)?);
                }
                parts.join(" else ")
            }
            ExprKind::Chain { first, rest } => {
                let mut text = self.flat(first)?;
                for (operator, operand) in rest {
                    text += &format!(" {} {}", operator.symbol(), self.flat(operand)?);
                }
                text
            }
            ExprKind::Flow(steps) => steps.iter().map(|step| self.flat(step)).collect::<Option<Vec<_>>>()?.join(" -> "),
            ExprKind::Call { name, arguments } if arguments.is_empty() => name.text.clone(),
            ExprKind::Call { name, arguments } => {
                let span = Span::new(name.span.end, expr.span.end);
                let arguments = self.flat_items(arguments, span, |writer, argument| {
                    let value = writer.flat_argument(&argument.value)?;
                    Some(argument.name.as_ref().map_or(value.clone(), |name| format!("{} = {value}", name.text)))
                })?;
                format!("{}({arguments})", name.text)
            }
            ExprKind::Residual(_) | ExprKind::Branch(_) => return None,
            ExprKind::Repeat { repeated, count, index } => {
                let index = index.as_ref().map_or(String::new(), |name| format!(" as {}", name.text));
                format!("repeat {} ×{}{index}", self.flat(repeated)?, self.flat(count)?)
            }
        };
        (text.chars().count() <= WIDTH).then_some(text)
    }

    /// As [`Self::flat`], of an argument or a default: braces around one layer stay on its line.
    pub(super) fn flat_argument(&self, expr: &Expr) -> Option<String> {
        match &expr.kind {
            ExprKind::Branch(body) => self.flat_body(body),
            _ => self.flat(expr),
        }
    }

    /// `{ layer }`
    fn flat_body(&self, body: &Body) -> Option<String> {
        let only = body.only().filter(|_| !self.comments.any(body.span))?;
        Some(format!("{{ {} }}", self.flat(only)?))
    }

    pub(super) fn flat_items<T: Item>(
        &self,
        items: &[T],
        span: Span,
        flat: impl Fn(&Self, &T) -> Option<String>,
    ) -> Option<String> {
        let end = self.comments.end(span);
        if self.comments.any(Span::new(span.start, end)) {
            return None;
        }
        let asks_for_lines = items.last().is_some_and(|last| {
            let rest = Span::new(self.comments.end(last.span()), end);
            self.comments.slice(rest).contains(',')
        });
        if asks_for_lines {
            return None;
        }
        let mut text = String::new();
        for (index, item) in items.iter().enumerate() {
            text += if index == 0 { "" } else { ", " };
            text += &flat(self, item)?;
            if text.len() > 4 * WIDTH {
                return None;
            }
        }
        Some(text)
    }
}
