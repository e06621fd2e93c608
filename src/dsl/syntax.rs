//! The syntax tree. Spans are byte ranges of the source text.

use super::Value;

/// A byte range of the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub fn contains(self, position: usize) -> bool {
        (self.start..self.end).contains(&position)
    }
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct File {
    pub uses: Vec<Use>,
    pub definitions: Vec<Definition>,
    /// All comments, in order, wherever they stand.
    pub comments: Vec<Comment>,
    /// Names that stand for something that could not be parsed, and was reported.
    pub unknown: Vec<String>,
}

/// `use "blocks.vitx"`: the blocks of another file.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// From the folder of the file that it stands in.
    pub path: String,
    pub span: Span,
}

/// A comment, from `//` to the end of its line (trailing blanks left out).
#[derive(Debug, Clone, PartialEq)]
pub struct Comment {
    pub text: String,
    pub span: Span,
}

/// An identifier where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefinitionKind {
    Model,
    Block,
}

/// `model name(parameters) { .. }` or `block name(parameters) { .. }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub kind: DefinitionKind,
    pub name: Name,
    pub parameters: Vec<Parameter>,
    /// The parameter list with its brackets; empty where there is none.
    pub parameters_span: Span,
    pub body: Body,
    pub span: Span,
}

/// `name` or `name = default`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: Name,
    pub default: Option<Expr>,
    pub span: Span,
}

/// `{ statements }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    pub statements: Vec<Statement>,
    pub span: Span,
}

impl Body {
    /// What `let` names in it, not in the braces within.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.statements.iter().flat_map(|statement| match &statement.kind {
            StatementKind::Let { name, .. } | StatementKind::LetShared { name, .. } => std::slice::from_ref(name),
            StatementKind::LetEach { names, .. } => names,
            _ => &[],
        })
    }

    /// What stands in it alone, without a label: as in `if c { 64 } else { 32 }`.
    pub fn only(&self) -> Option<&Expr> {
        match self.statements.as_slice() {
            [Statement { kind: StatementKind::Apply { label: None, value }, .. }] => Some(value),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `let name = value`: a number, or a branch of the network that starts at the current tensor
    /// and leaves it as it is.
    Let { name: Name, value: Expr },
    /// `let name = shared layer(arguments)`: a layer whose weights are the same wherever the name stands.
    LetShared { name: Name, value: Expr },
    /// `let [a, b] = list`: names the items.
    LetEach { names: Vec<Name>, value: Expr },
    /// `require condition, "message"`.
    Require { condition: Expr, message: Option<String> },
    /// `layer`, `label: layer`: takes the current tensor and makes the next.
    Apply { label: Option<Name>, value: Expr },
    /// A piece that could not be parsed, and was reported.
    Invalid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    Literal(Value),
    List(Vec<Expr>),
    /// `(expression)`
    Group(Box<Expr>),
    /// `-expression`
    Negate(Box<Expr>),
    /// `not expression`
    Not(Box<Expr>),
    /// `first op rest op rest`, from left to right, all operators of one precedence.
    Chain {
        first: Box<Expr>,
        rest: Vec<(Operator, Expr)>,
    },
    /// `a -> b -> c`: each applied to the one before.
    Flow(Vec<Expr>),
    /// A layer, a block or a value: `name`, `name(arguments)`.
    Call {
        name: Name,
        arguments: Vec<Argument>,
    },
    /// `residual { .. }`, `residual layer`: the body's result plus its input.
    Residual(Body),
    /// `{ .. }`: a branch of the network.
    Branch(Body),
    /// `if a { .. } else if b { .. } else { .. }`: conditions with what they choose.
    If {
        arms: Vec<(Expr, Body)>,
        otherwise: Option<Body>,
    },
    /// `repeat layer ×count as i`, `repeat ×count as i { .. }`.
    Repeat {
        repeated: Box<Expr>,
        count: Box<Expr>,
        /// Names the number of the round, from 0.
        index: Option<Name>,
    },
    /// A piece that could not be parsed, and was reported.
    Invalid,
}

/// `value` or `name = value` in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    pub name: Option<Name>,
    pub value: Expr,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

impl Operator {
    const ALL: [Self; 13] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Remainder,
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::And,
        Self::Or,
    ];

    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
        }
    }

    /// The operator that a sign or a word stands for.
    pub fn of(symbol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.symbol() == symbol)
    }

    /// Whether it makes a number of numbers, and a tensor of tensors; others make truth values.
    pub fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder)
    }
}
