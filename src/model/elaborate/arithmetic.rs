//! Arithmetic on tensors, element by element: `a * sigmoid(b) + 1` is one layer.

use super::{Current, Elaborator, Naming, layer_call::Values};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Expr, ExprKind, Operator, Span},
    },
    graph::expression::{Expression, Term},
    model::{
        combine::combine,
        evaluate::{Bound, Causes, Scope},
        layers::{Arithmetic, find, stretched},
    },
};

/// Most operators of one expression of tensors.
const MOST_OPERATORS: usize = 64;

/// Operators of an expression, those of the layers in it left out.
fn operators(expr: &Expr) -> usize {
    match &expr.kind {
        ExprKind::Group(inner) => operators(inner),
        ExprKind::Negate(inner) => 1 + operators(inner),
        ExprKind::Chain { first, rest } => {
            rest.iter().fold(operators(first), |count, (_, operand)| count + 1 + operators(operand))
        }
        _ => 0,
    }
}

/// Arithmetic whose tensors are made: numbers and inputs in a tree.
#[derive(Debug)]
enum Tree {
    Number(Value, Causes),
    /// An input by number.
    Input(usize),
    Negative(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

/// A piece of it. A number has no shape.
#[derive(Debug)]
struct Node {
    tree: Tree,
    shape: Option<Vec<usize>>,
    span: Span,
}

impl Node {
    /// What it makes of the inputs.
    fn term(&self, x: &[Term]) -> Term {
        match &self.tree {
            Tree::Number(value, _) => x[0].constant(number(value).unwrap_or(0.0)),
            Tree::Input(index) => x[*index].clone(),
            Tree::Negative(inner) => inner.term(x) * -1.0,
            Tree::Binary(operator, a, b) => {
                let a = a.term(x);
                match operator {
                    Operator::Add => a + b.term(x),
                    Operator::Subtract => a - b.term(x),
                    Operator::Multiply => a * b.term(x),
                    _ => match &b.tree {
                        // As a product: a division takes several times as long.
                        Tree::Number(value, _) => a * (1.0 / f64::from(number(value).unwrap_or(1.0))) as f32,
                        _ => a * b.term(x).reciprocal(),
                    },
                }
            }
        }
    }

    /// What the layer is called after: its last operator.
    fn kind(&self) -> &'static str {
        match &self.tree {
            Tree::Binary(Operator::Add, ..) => "add",
            Tree::Binary(Operator::Subtract, ..) => "subtract",
            Tree::Binary(Operator::Multiply, ..) => "multiply",
            Tree::Binary(..) => "divide",
            Tree::Negative(_) | Tree::Number(..) | Tree::Input(_) => "negative",
        }
    }

    fn causes(&self) -> Causes {
        match &self.tree {
            Tree::Number(_, causes) => *causes,
            Tree::Input(_) => 0,
            Tree::Negative(inner) => inner.causes(),
            Tree::Binary(_, a, b) => a.causes() | b.causes(),
        }
    }
}

/// A number that float32 has.
fn number(value: &Value) -> Option<f32> {
    let number = match value {
        Value::Int(number) => *number as f32,
        Value::Float(number) => *number as f32,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

impl Elaborator<'_> {
    /// Whether an expression is, or has in it, a piece of network: a tensor, a layer, a block.
    pub(super) fn is_network(&self, expr: &Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ExprKind::Flow(_)
            | ExprKind::Residual(_)
            | ExprKind::Frozen(_)
            | ExprKind::Branch(_)
            | ExprKind::Repeat { .. } => true,
            ExprKind::If { .. } => !self.is_value(expr, scope),
            ExprKind::Group(inner) | ExprKind::Negate(inner) => self.is_network(inner, scope),
            ExprKind::Chain { first, rest } => {
                let mut operands = std::iter::once(first.as_ref()).chain(rest.iter().map(|(_, operand)| operand));
                rest.iter().all(|(operator, _)| operator.is_arithmetic())
                    && operands.any(|operand| self.is_network(operand, scope))
            }
            ExprKind::Call { name, arguments } => match scope.get(&name.text) {
                _ if self.names_layer(expr, scope) => true,
                Some(bound) if arguments.is_empty() => matches!(bound, Bound::Tensor(_)),
                _ => {
                    let name = name.text.as_str();
                    self.own.contains_key(name) || find(name).is_some() || self.standard.contains_key(name)
                }
            },
            ExprKind::Literal(_) | ExprKind::List(_) | ExprKind::Not(_) | ExprKind::Invalid => false,
        }
    }

    /// The tensor that arithmetic makes of others. Pieces of network in it start at the current tensor.
    pub(super) fn arithmetic(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        let count = operators(expr);
        if count > MOST_OPERATORS {
            let message =
                format!("{count} operators in one expression of tensors; at most {MOST_OPERATORS} are allowed");
            let problem = self.problem("vitx::size", message, expr.span, "this one");
            self.report(problem.help("name a part of it by `let`"));
            return None;
        }
        // As in a flow, a name is that of the one layer among tensors, or else a level.
        let inner = if self.makes_layers(expr, scope) { self.level(naming)? } else { naming };
        let mut inputs: Vec<usize> = Vec::new();
        let node = self.operand(expr, current, inner.inner(), scope, &mut inputs)?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|&input| self.tensors[input].shape.clone()).collect();
        let expression = Expression::new(inputs.len(), |x| node.term(x));
        let layer = Arithmetic::new(node.kind(), expression, &shapes)?;
        let given = Values::known("formula", Value::Str(layer.formula()), node.span, node.causes());
        self.place(node.kind(), Box::new(layer), given, &inputs, inner, expr.span)
    }

    /// Whether some operand is more than the name of a tensor or a value.
    fn makes_layers(&self, expr: &Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ExprKind::Group(inner) | ExprKind::Negate(inner) => self.makes_layers(inner, scope),
            ExprKind::Chain { first, rest } => {
                self.makes_layers(first, scope) || rest.iter().any(|(_, operand)| self.makes_layers(operand, scope))
            }
            ExprKind::Call { name, arguments } if arguments.is_empty() => {
                scope.get(&name.text).is_none() || self.names_layer(expr, scope)
            }
            _ => !self.is_value(expr, scope),
        }
    }

    /// One piece: `None` where it could not be made, which was reported. All pieces are looked at.
    fn operand(
        &mut self,
        expr: &Expr,
        current: Current,
        naming: Naming,
        scope: &Scope,
        inputs: &mut Vec<usize>,
    ) -> Option<Node> {
        let span = expr.span;
        match &expr.kind {
            _ if self.is_value(expr, scope) && !self.names_layer(expr, scope) => {
                let (value, causes) = self.value(expr, scope)?;
                if number(&value).is_none() {
                    let message = format!("{value} cannot be reckoned with a tensor");
                    let place = self.blame(expr, scope);
                    self.report(Problem::new("vitx::type", message).label(place, "expected a number").causes(causes));
                    return None;
                }
                Some(Node { tree: Tree::Number(value, causes), shape: None, span })
            }
            ExprKind::Group(inner) => self.operand(inner, current, naming, scope, inputs),
            ExprKind::Negate(inner) => {
                let inner = self.operand(inner, current, naming, scope, inputs)?;
                Some(Node { shape: inner.shape.clone(), tree: Tree::Negative(Box::new(inner)), span })
            }
            ExprKind::Chain { first, rest } => {
                let mut total = self.operand(first, current, naming, scope, inputs);
                for (operator, operand) in rest {
                    let operand = self.operand(operand, current, naming, scope, inputs);
                    total = total.zip(operand).and_then(|(a, b)| self.binary(*operator, a, b));
                }
                total
            }
            _ => {
                let tensor = self.apply(expr, current, naming, scope)?;
                let known = inputs.iter().position(|input| *input == tensor);
                let index = known.unwrap_or_else(|| {
                    inputs.push(tensor);
                    inputs.len() - 1
                });
                Some(Node { tree: Tree::Input(index), shape: Some(self.tensors[tensor].shape.clone()), span })
            }
        }
    }

    fn binary(&mut self, operator: Operator, a: Node, b: Node) -> Option<Node> {
        let span = Span::new(a.span.start, b.span.end);
        let symbol = operator.symbol();
        if let (Tree::Number(x, of_x), Tree::Number(y, of_y)) = (&a.tree, &b.tree) {
            let causes = of_x | of_y;
            let combined = combine(operator, x, y);
            return match combined {
                Ok(value) => Some(Node { tree: Tree::Number(value, causes), shape: None, span }),
                Err(message) => {
                    let problem = self.problem("vitx::value", message, span, "in this expression");
                    self.report(problem.causes(causes));
                    None
                }
            };
        }
        if operator == Operator::Remainder {
            let problem = self.problem("vitx::type", "`%` takes numbers, not tensors", span, "has a tensor in it");
            self.report(problem.help("tensors are added, subtracted, multiplied and divided"));
            return None;
        }
        if let (Operator::Divide, Tree::Number(Value::Int(0) | Value::Float(0.0), causes)) = (operator, &b.tree) {
            let problem = self.problem("vitx::value", "a tensor / 0 has no value", span, "in this expression");
            self.report(problem.causes(*causes));
            return None;
        }
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => stretched(a, b),
            (shape, None) | (None, shape) => shape.clone(),
        };
        if let (None, Some(of_a), Some(of_b)) = (&shape, &a.shape, &b.shape) {
            let message = format!("shapes {of_a:?} and {of_b:?} do not fit `{symbol}`");
            let problem = Problem::new("vitx::shape", message)
                .label(self.at(a.span), format!("this gives {of_a:?}"))
                .label(self.at(b.span), format!("this gives {of_b:?}"));
            self.report(
                problem.help(
                    "both have one shape, or one has the last axes of the other, `[dim]` and `[tokens, dim]`, or axes of one \
                     entry, `[h, w, 1]`",
                ),
            );
            return None;
        }
        Some(Node { tree: Tree::Binary(operator, Box::new(a), Box::new(b)), shape, span })
    }
}
