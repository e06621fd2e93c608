//! The syntax tree. Spans are byte ranges of the source text.

use super::Value;

/// A byte range of the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to, but not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Whether a byte lies in it.
    pub fn contains(self, position: usize) -> bool {
        (self.start..self.end).contains(&position)
    }
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct File {
    /// At the head of the file, in order.
    pub uses: Vec<Use>,
    /// Models and blocks, in order.
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
    /// From `use` to the end of the path.
    pub span: Span,
}

/// A comment, from `//` to the end of its line (trailing blanks left out).
#[derive(Debug, Clone, PartialEq)]
pub struct Comment {
    /// With its `//`.
    pub text: String,
    /// As long as the text.
    pub span: Span,
}

/// An identifier where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// As it is written.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What a definition makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefinitionKind {
    /// A network, from an image to logits.
    Model,
    /// A piece of networks that is called as a layer is.
    Block,
}

/// `model name(parameters) { .. }` or `block name(parameters) { .. }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Model or block.
    pub kind: DefinitionKind,
    /// By which calls name it.
    pub name: Name,
    /// In order; those with a default may be left out of a call.
    pub parameters: Vec<Parameter>,
    /// The parameter list with its brackets; empty where there is none.
    pub parameters_span: Span,
    /// What it does with the tensor that comes in.
    pub body: Body,
    /// From `model` or `block` to the closing bracket.
    pub span: Span,
}

/// `name` or `name = default`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Stands for the value in the body.
    pub name: Name,
    /// The value where a call gives none.
    pub default: Option<Expr>,
    /// With the default.
    pub span: Span,
}

/// `{ statements }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// In order, each fed by the one before.
    pub statements: Vec<Statement>,
    /// With the brackets.
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

/// A line of a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// Without the comment behind it.
    pub span: Span,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `let name = value`: a number, or a branch of the network that starts at the current tensor
    /// and leaves it as it is.
    Let {
        /// Stands for the value, or for the branch, from here to the end of the body.
        name: Name,
        /// What it names.
        value: Expr,
    },
    /// `let name = shared layer(arguments)`, `shared { .. }`: a layer whose weights are the same wherever the name stands.
    LetShared {
        /// Stands for the layer from here to the end of the body.
        name: Name,
        /// A call of a layer or a block, or braces.
        value: Expr,
    },
    /// `let [a, b] = list`: names the items.
    LetEach {
        /// One for each item.
        names: Vec<Name>,
        /// A list with as many items.
        value: Expr,
    },
    /// `require condition, "message"`.
    Require {
        /// Must be true.
        condition: Expr,
        /// What the diagnostic says otherwise.
        message: Option<String>,
    },
    /// `layer`, `label: layer`: takes the current tensor and makes the next.
    Apply {
        /// Takes the place of the layer's kind in the paths of its parameters.
        label: Option<Name>,
        /// A layer, a block, or what makes one of them.
        value: Expr,
    },
    /// A piece that could not be parsed, and was reported.
    Invalid,
}

/// An expression where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// With brackets and arguments.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, a truth value or a text.
    Literal(Value),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `(expression)`
    Group(Box<Expr>),
    /// `-expression`
    Negate(Box<Expr>),
    /// `not expression`
    Not(Box<Expr>),
    /// `first op rest op rest`, from left to right, all operators of one precedence.
    Chain {
        /// The leftmost operand.
        first: Box<Expr>,
        /// Each operator with the operand to its right.
        rest: Vec<(Operator, Expr)>,
    },
    /// `a -> b -> c`: each applied to the one before.
    Flow(Vec<Expr>),
    /// A layer, a block or a value: `name`, `name(arguments)`.
    Call {
        /// Of a layer, a block, a parameter, or of what `let` named.
        name: Name,
        /// In order; none where there are no brackets.
        arguments: Vec<Argument>,
    },
    /// `residual { .. }`, `residual layer`: the body's result plus its input.
    Residual(Body),
    /// `frozen { .. }`, `frozen layer`: a piece of network whose parameters stay as they are.
    Frozen(Box<Expr>),
    /// `{ .. }`: a branch of the network.
    Branch(Body),
    /// `if a { .. } else if b { .. } else { .. }`: conditions with what they choose.
    If {
        /// In order: the body of the first condition that is true is taken.
        arms: Vec<(Expr, Body)>,
        /// The body where no condition is true; without it one of them has to be.
        otherwise: Option<Body>,
    },
    /// `repeat layer ×count as i`, `repeat ×count as i { .. }`.
    Repeat {
        /// A layer, a block or a body.
        repeated: Box<Expr>,
        /// How often, a whole number.
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
    /// The parameter that it is for; without one it goes by its place.
    pub name: Option<Name>,
    /// An expression, in the scope of the call.
    pub value: Expr,
    /// With the name.
    pub span: Span,
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `and`
    And,
    /// `or`
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

    /// As it is written.
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
