//! Pieces of network: what each makes of the current tensor.

use super::{Current, Elaborator, Naming, block::Call};
use crate::{
    dsl::{
        Value,
        syntax::{Expr, ExprKind, Name},
    },
    model::{
        MAX_LAYERS,
        evaluate::{Bound, Scope},
    },
};

impl Elaborator<'_> {
    /// The tensor that a piece of network makes of the current one. Without a current tensor
    /// (something before went wrong) names and arguments are checked all the same.
    pub(super) fn apply(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        if !self.step(expr.span) {
            return None;
        }
        let outer = scope.go_to(current);
        let result = self.piece(expr, current, naming, scope);
        scope.go_to(outer);
        result
    }

    fn piece(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        match &expr.kind {
            ExprKind::Group(inner) => self.apply(inner, current, naming, scope),
            ExprKind::Flow(parts) => self.flow(parts, current, naming, scope),
            ExprKind::Branch(body) => {
                let inner = self.level(naming)?;
                self.body(body, current, inner, &mut Scope::within(scope))
            }
            ExprKind::Residual(body) => self.residual(body, expr.span, current, naming, scope),
            ExprKind::Frozen(inner) => self.frozen(inner, current, naming, scope),
            ExprKind::Repeat { repeated, count, index } => {
                self.repeat(repeated, count, index.as_ref(), current, naming, scope)
            }
            ExprKind::Call { name, arguments } => {
                self.call(name, &Call { arguments, span: expr.span, current, naming, scope })
            }
            ExprKind::Invalid => None,
            ExprKind::If { arms, otherwise } if !self.is_value(expr, scope) => {
                self.conditional(arms, otherwise.as_ref(), current, naming, scope)
            }
            ExprKind::Negate(_) | ExprKind::Chain { .. } if self.is_network(expr, scope) => {
                self.arithmetic(expr, current, naming, scope)
            }
            _ => {
                let problem =
                    self.problem("vitx::layer", "a value is not a layer", expr.span, "expected a layer or a block");
                self.report(problem);
                None
            }
        }
    }

    /// How the pieces of braces are named: a name that is given to them is a level of their paths.
    pub(super) fn level<'n>(&mut self, naming: Naming<'n>) -> Option<Naming<'n>> {
        match naming.given {
            Some((_, name)) => Some(Naming::plain(Some(self.instance(&name.text, naming)?))),
            None => Some(naming.inner()),
        }
    }

    /// One layer after the other. A name is that of the one layer among tensors, or else a level.
    pub(super) fn flow(&mut self, parts: &[Expr], current: Current, naming: Naming, scope: &Scope) -> Current {
        let tensor = |part: &Expr| match &part.kind {
            ExprKind::Call { name, arguments } => {
                arguments.is_empty() && matches!(scope.get(&name.text), Some(Bound::Tensor(_)))
            }
            _ => false,
        };
        let mut layers = parts.iter().filter(|part| !tensor(part));
        let (only, inner) = match (naming.given, layers.next(), layers.next()) {
            (Some(_), Some(only), None) => (Some(only.span), naming.inner()),
            _ => (None, self.level(naming)?),
        };
        parts.iter().fold(current, |current, part| {
            let naming = if only == Some(part.span) { naming } else { inner };
            self.apply(part, current, naming, scope)
        })
    }

    fn repeat(
        &mut self,
        repeated: &Expr,
        count: &Expr,
        index: Option<&Name>,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        let times = match self.value(count, scope) {
            Some((other, causes)) => match other.whole() {
                Some(times) if (0..=MAX_LAYERS as i64).contains(&times) => Some(times),
                _ => {
                    let message = format!("a repeat count is a whole number from 0 to {MAX_LAYERS}, not {other}");
                    let problem = self.problem("vitx::repeat", message, count.span, "this count").causes(causes);
                    self.report(problem);
                    None
                }
            },
            None => None,
        };
        let mut inner = Scope::within(scope);
        let index = index.map(|name| (name, self.declare(name, || format!("`{}` is not used", name.text), 0)));
        let Some(times @ 1..) = times else {
            if let Some((name, symbol)) = index {
                inner.declare(name.text.as_str(), Bound::Unknown, symbol);
            }
            // What is repeated is checked, however often that is.
            let hidden = self.hidden();
            self.apply(repeated, None, hidden, &inner);
            return times.and(current);
        };
        let mut current = current;
        for round in 0..times {
            let errors = self.problems.len();
            let back = self.go_round(round, times);
            if let Some((name, symbol)) = index {
                inner.declare(name.text.as_str(), Bound::Value(Value::Int(round), 0), symbol);
            }
            current = self.apply(repeated, current, Naming { numbered: true, ..naming }, &inner);
            self.way = back;
            // Later rounds would only say the same again.
            if self.problems.len() > errors || self.full {
                return None;
            }
        }
        current
    }
}
