//! Which operator goes before which.

use std::iter::Peekable;

use pest::iterators::Pair;

use super::{Children, Rule, TreeBuilder};
use crate::dsl::{Problem, syntax::*};

/// The levels of operators: what is of a later one is taken first. Those of one level are taken from left to right.
const LEVELS: [fn(Operator) -> bool; 5] = [
    |operator| operator == Operator::Or,
    |operator| operator == Operator::And,
    |operator| !operator.is_arithmetic() && !matches!(operator, Operator::And | Operator::Or),
    |operator| matches!(operator, Operator::Add | Operator::Subtract),
    |operator| matches!(operator, Operator::Multiply | Operator::Divide | Operator::Remainder),
];

/// The level of comparisons, which `not` stands before.
const COMPARISONS: usize = 2;

/// What is left of an expression.
struct Rest<'a> {
    /// Operands, and the operators between them.
    children: Peekable<Children<'a>>,
    /// The operator behind the last operand, and where it stands.
    next: Option<(Operator, Span)>,
    /// The whole expression.
    span: Span,
}

impl<'a> TreeBuilder<'a> {
    /// Operands with operators between them.
    pub(super) fn condition(&mut self, pair: Pair<'a, Rule>) -> Expr {
        let span = self.span(&pair);
        let children = self.children(pair).peekable();
        self.level(0, &mut Rest { children, next: None, span })
    }

    /// A piece whose operators are of a level or later ones.
    fn level(&mut self, level: usize, rest: &mut Rest<'a>) -> Expr {
        let Some(of_level) = LEVELS.get(level) else { return self.operand(rest) };
        if level == COMPARISONS
            && let Some(word) = rest.children.next_if(|child| child.as_rule() == Rule::not_word)
        {
            let operand = self.level(level, rest);
            let span = Span::new(self.span(&word).start, operand.span.end);
            return Expr { kind: ExprKind::Not(Box::new(operand)), span };
        }
        let first = self.level(level + 1, rest);
        let mut operands: Vec<(Operator, Expr)> = Vec::new();
        while let Some((operator, place)) = rest.next.filter(|(operator, _)| of_level(*operator)) {
            if level == COMPARISONS && operands.len() == 1 {
                self.compared_twice(place);
            }
            operands.push((operator, self.level(level + 1, rest)));
        }
        let Some((_, last)) = operands.last() else { return first };
        let span = Span::new(first.span.start, last.span.end);
        if level == COMPARISONS && operands.len() > 1 {
            return Expr { kind: ExprKind::Invalid, span };
        }
        if matches!(first.kind, ExprKind::Repeat { .. }) {
            return self.count_in_brackets(first.span, span);
        }
        Expr { kind: ExprKind::Chain { first: Box::new(first), rest: operands }, span }
    }

    /// The next operand; reads the operator behind it.
    fn operand(&mut self, rest: &mut Rest<'a>) -> Expr {
        if let Some(word) = rest.children.next_if(|child| child.as_rule() == Rule::not_word) {
            let problem = Problem::new("vitx::syntax", "`not` stands before a condition");
            let problem = problem.label(self.span(&word), "not here");
            self.problems.push(problem.help("put it in brackets, with what it is of: `a == (not b)`"));
        }
        let operand = rest.children.next();
        let operand = self.required(operand, rest.span);
        let operator = rest.children.next();
        rest.next = operator.and_then(|sign| Some((Operator::of(sign.as_str())?, self.span(&sign))));
        operand
    }
}
