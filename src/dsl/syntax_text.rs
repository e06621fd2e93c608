use std::fmt;

use serde::Serialize;

use super::Value;
use super::syntax::{Argument, Body, DefinitionKind, Expr, ExprKind, File, StatementKind};
use crate::diagram::Diagram;

/// A node of a syntax tree without its spans, for people and for other tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyntaxNode {
    /// What it is, and what it is called: `call dense`.
    pub text: String,
    /// What it is made of, in the order of the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<SyntaxNode>,
}

/// The stable text form of a syntax tree: one node a line, indented, without spans.
pub fn syntax_text(file: &File) -> String {
    let mut out = String::new();
    for node in syntax_nodes(file) {
        node.write(0, &mut out);
    }
    out
}

/// The definitions of a file, and its comments behind them.
pub fn syntax_nodes(file: &File) -> Vec<SyntaxNode> {
    let mut tree = Tree { nodes: Vec::new() };
    for used in &file.uses {
        tree.line(format_args!("use {}", Value::Str(used.path.clone())));
    }
    for definition in &file.definitions {
        let kind = match definition.kind {
            DefinitionKind::Model => "model",
            DefinitionKind::Block => "block",
        };
        tree.nest(format_args!("{kind} {}", definition.name.text), |tree| {
            for parameter in &definition.parameters {
                tree.nest(format_args!("parameter {}", parameter.name.text), |tree| {
                    if let Some(default) = &parameter.default {
                        tree.expr(default);
                    }
                });
            }
            tree.body(&definition.body);
        });
    }
    for comment in &file.comments {
        tree.line(format_args!("comment {}", comment.text));
    }
    tree.nodes
}

impl SyntaxNode {
    fn write(&self, depth: usize, out: &mut String) {
        out.extend(std::iter::repeat_n("  ", depth));
        out.push_str(&self.text);
        out.push('\n');
        self.children.iter().for_each(|child| child.write(depth + 1, out));
    }

    /// Draws the node and all below it.
    pub fn draw(&self, diagram: &mut Diagram, parent: Option<usize>) {
        let number = diagram.add(vec![self.text.clone()], parent);
        self.children.iter().for_each(|child| child.draw(diagram, Some(number)));
    }
}

struct Tree {
    /// Of the level that is being written.
    nodes: Vec<SyntaxNode>,
}

impl Tree {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.nest(text, |_| {});
    }

    fn nest(&mut self, head: fmt::Arguments<'_>, children: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.nodes);
        children(self);
        let children = std::mem::replace(&mut self.nodes, before);
        self.nodes.push(SyntaxNode { text: head.to_string(), children });
    }

    fn body(&mut self, body: &Body) {
        self.nest(format_args!("body"), |tree| {
            for statement in &body.statements {
                match &statement.kind {
                    StatementKind::Let { name, value } => {
                        tree.nest(format_args!("let {}", name.text), |tree| tree.expr(value));
                    }
                    StatementKind::LetShared { name, value } => {
                        tree.nest(format_args!("let {} shared", name.text), |tree| tree.expr(value));
                    }
                    StatementKind::LetEach { names, value } => {
                        let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
                        tree.nest(format_args!("let [{}]", names.join(", ")), |tree| tree.expr(value));
                    }
                    StatementKind::Require { condition, message } => {
                        let message = message.as_ref().map(|text| format!(" {}", Value::Str(text.clone())));
                        let message = message.unwrap_or_default();
                        tree.nest(format_args!("require{message}"), |tree| tree.expr(condition));
                    }
                    StatementKind::Apply { label: Some(label), value } => {
                        tree.nest(format_args!("label {}", label.text), |tree| tree.expr(value));
                    }
                    StatementKind::Apply { label: None, value } => tree.expr(value),
                    StatementKind::Invalid => tree.line(format_args!("invalid")),
                }
            }
        });
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Literal(value) => self.line(format_args!("{value}")),
            ExprKind::List(items) => self.nest(format_args!("list"), |tree| tree.exprs(items)),
            ExprKind::Group(inner) => self.nest(format_args!("group"), |tree| tree.expr(inner)),
            ExprKind::Negate(inner) => self.nest(format_args!("negate"), |tree| tree.expr(inner)),
            ExprKind::Not(inner) => self.nest(format_args!("not"), |tree| tree.expr(inner)),
            ExprKind::If { arms, otherwise } => self.nest(format_args!("if"), |tree| {
                for (condition, body) in arms {
                    tree.nest(format_args!("condition"), |tree| tree.expr(condition));
                    tree.body(body);
                }
                if let Some(body) = otherwise {
                    tree.nest(format_args!("else"), |tree| tree.body(body));
                }
            }),
            ExprKind::Chain { first, rest } => self.nest(format_args!("arithmetic"), |tree| {
                tree.expr(first);
                for (operator, operand) in rest {
                    tree.line(format_args!("{}", operator.symbol()));
                    tree.expr(operand);
                }
            }),
            ExprKind::Flow(steps) => self.nest(format_args!("flow"), |tree| tree.exprs(steps)),
            ExprKind::Call { name, arguments } => self.nest(format_args!("call {}", name.text), |tree| {
                for Argument { name, value, .. } in arguments {
                    match name {
                        Some(name) => tree.nest(format_args!("argument {}", name.text), |tree| tree.expr(value)),
                        None => tree.expr(value),
                    }
                }
            }),
            ExprKind::Residual(body) => self.nest(format_args!("residual"), |tree| tree.body(body)),
            ExprKind::Frozen(inner) => self.nest(format_args!("frozen"), |tree| tree.expr(inner)),
            ExprKind::Branch(body) => self.body(body),
            ExprKind::Repeat { repeated, count, index } => self.nest(format_args!("repeat"), |tree| {
                tree.nest(format_args!("count"), |tree| tree.expr(count));
                if let Some(index) = index {
                    tree.line(format_args!("index {}", index.text));
                }
                tree.expr(repeated);
            }),
            ExprKind::Invalid => self.line(format_args!("invalid")),
        }
    }

    fn exprs(&mut self, exprs: &[Expr]) {
        exprs.iter().for_each(|expr| self.expr(expr));
    }
}
