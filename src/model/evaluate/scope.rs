//! What names stand for, and what a text may still ask for.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
};

use crate::{
    dsl::{
        Problem, Value,
        syntax::{Expr, ExprKind, Span},
    },
    model::{
        functions::{NumberFunction, function},
        layers::{
            LAYERS, find,
            initializers::{SCHEMES, scheme},
        },
        reads::{Reads, Symbol},
    },
};

/// How many values may be read for one text, items of lists counted; what else takes time is counted as the values
/// that could be read in it.
const MAX_WORK: usize = 5_000_000;

/// What binding a parameter of a block costs, in values.
const BINDING: usize = 8;

/// How many letters may be compared with letters of misspelt names for one text.
const MAX_COMPARED: usize = 20_000_000;

/// The name of the current tensor's shape.
const SHAPE: &str = "shape";

/// Parameters that were set from outside the text, as a set of bits: what a value depends on.
/// Those beyond the 64th have no bit, and are not named as causes.
pub type Causes = u64;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    Value(Value, Causes),
    /// A tensor by number; `None` when it could not be made, which was reported.
    Tensor(Option<usize>),
    /// A layer whose weights are shared, by number.
    Shared(usize),
    /// Braces that are an argument, by number.
    Braces(usize),
    /// A value that cannot be had, which was reported or is of no matter.
    Unknown,
}

/// What a name stands for, and what else is known of it.
#[derive(Debug, Clone)]
struct Entry {
    bound: Bound,
    symbol: Option<Symbol>,
    /// Where in the user's text its value stands.
    origin: Option<Span>,
}

/// Names and what they stand for, within those of an enclosing scope.
#[derive(Debug)]
pub struct Scope<'o> {
    outer: Option<&'o Scope<'o>>,
    names: HashMap<String, Entry>,
    pub(super) left: Rc<Left>,
}

/// What one text may still ask for.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) work: Cell<usize>,
    compared: Cell<usize>,
    reads: Reads,
    /// The shapes of the tensors so far, with what from outside they depend on.
    pub(super) shapes: RefCell<Vec<(Vec<usize>, Causes)>>,
    /// The current tensor.
    pub(super) current: Cell<Option<usize>>,
    /// The names of blocks.
    pub(super) blocks: HashSet<String>,
}

/// Takes so much of what is left; false when there is not as much.
pub(super) fn take(left: &Cell<usize>, units: usize) -> bool {
    let before = left.get();
    left.set(before.saturating_sub(units));
    before >= units
}

impl<'o> Scope<'o> {
    /// Of a text that can call `blocks`.
    pub fn new(blocks: HashSet<String>) -> Self {
        let left = Left {
            work: Cell::new(MAX_WORK),
            compared: Cell::new(MAX_COMPARED),
            reads: Reads::new(),
            shapes: RefCell::default(),
            current: Cell::new(None),
            blocks,
        };
        Self { outer: None, names: HashMap::new(), left: Rc::new(left) }
    }

    /// A scope of a block: only `globals` are seen.
    pub fn of_block(globals: &Scope<'_>) -> Self {
        Self { outer: None, names: globals.names.clone(), left: globals.left.clone() }
    }

    pub fn within(outer: &'o Scope<'o>) -> Self {
        Self { outer: Some(outer), names: HashMap::new(), left: outer.left.clone() }
    }

    /// All that is seen here, to be kept.
    ///
    /// # Errors
    /// When the text has asked for too much.
    pub fn captured(&self) -> Result<Scope<'static>, Box<Problem>> {
        let mut names = HashMap::new();
        let mut scope = Some(self);
        while let Some(Scope { outer, names: own, .. }) = scope {
            for (name, entry) in own.iter().filter(|(name, _)| !names.contains_key(*name)).collect::<Vec<_>>() {
                let units = match &entry.bound {
                    Bound::Value(value @ Value::List(_), _) => BINDING + value.items(),
                    Bound::Value(Value::Str(text), _) => BINDING + text.len() / 16,
                    _ => BINDING,
                };
                if !take(&self.left.work, units) {
                    return Err(exhausted());
                }
                names.insert(name.clone(), entry.clone());
            }
            scope = *outer;
        }
        Ok(Scope { outer: None, names, left: self.left.clone() })
    }

    pub fn get(&self, name: &str) -> Option<&Bound> {
        self.entry(name).map(|entry| &entry.bound)
    }

    /// As [`Scope::get`], by what is being worked out.
    pub fn read(&self, name: &str) -> Option<&Bound> {
        let entry = self.entry(name)?;
        entry.symbol.iter().for_each(|symbol| self.left.reads.note(*symbol));
        Some(&entry.bound)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.names.get(name).or_else(|| self.outer?.entry(name))
    }

    pub fn insert(&mut self, name: impl Into<String>, bound: Bound) {
        self.names.insert(name.into(), Entry { bound, symbol: None, origin: None });
    }

    /// Binds a name whose use is watched.
    pub fn declare(&mut self, name: impl Into<String>, bound: Bound, symbol: Symbol) {
        self.names.insert(name.into(), Entry { bound, symbol: Some(symbol), origin: None });
    }

    /// As [`Scope::declare`], of a value that stands at a place of the user's text.
    pub fn declare_from(&mut self, name: impl Into<String>, bound: Bound, symbol: Symbol, origin: Option<Span>) {
        self.names.insert(name.into(), Entry { bound, symbol: Some(symbol), origin });
    }

    /// Where in the user's text the values stand that an expression is made of: the first of them.
    pub fn origin(&self, expr: &Expr) -> Option<Span> {
        match &expr.kind {
            ExprKind::Call { name, arguments } if arguments.is_empty() => self.entry(&name.text)?.origin,
            ExprKind::Group(inner) | ExprKind::Negate(inner) => self.origin(inner),
            ExprKind::List(items) => items.iter().find_map(|item| self.origin(item)),
            ExprKind::Chain { first, rest } => {
                self.origin(first).or_else(|| rest.iter().find_map(|(_, operand)| self.origin(operand)))
            }
            _ => None,
        }
    }

    /// A tensor more, by number, with its shape.
    pub fn add_tensor(&self, shape: &[usize], causes: Causes) {
        self.left.shapes.borrow_mut().push((shape.to_vec(), causes));
    }

    /// From now on a tensor is the current one; gives the one before.
    pub fn go_to(&self, tensor: Option<usize>) -> Option<usize> {
        self.left.current.replace(tensor)
    }

    /// The function that a name stands for where arguments follow it.
    pub fn function(&self, name: &str) -> Option<&'static NumberFunction> {
        if self.is_layer(name) { None } else { function(name) }
    }

    /// Whether a name without a value is that of a layer or a block.
    pub(super) fn is_layer(&self, name: &str) -> bool {
        self.left.blocks.contains(name) || find(name).is_some()
    }

    /// Whether a name without a value is a word that arguments take, and no layer's: `he_normal`.
    pub fn is_word(&self, name: &str) -> bool {
        !self.is_layer(name) && (is_choice(name) || scheme(name).is_some())
    }

    /// Whether a name is the shape of the current tensor, or with a tensor in brackets of that.
    pub fn is_shape(&self, name: &str) -> bool {
        name == SHAPE && !self.is_layer(name) && self.get(name).is_none()
    }

    pub fn reads(&self) -> &Reads {
        &self.left.reads
    }

    /// All names, inner ones first; an outer one of the same name comes again.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&str, &Bound)> + '_> {
        let own = self.names.iter().map(|(name, entry)| (name.as_str(), &entry.bound));
        match self.outer {
            Some(outer) => Box::new(own.chain(outer.iter())),
            None => Box::new(own),
        }
    }

    /// Takes what a call of a block with so many parameters costs, or what a path of so many bytes does.
    ///
    /// # Errors
    /// When the text has asked for too much.
    pub fn charge(&self, parameters: usize, bytes: usize) -> Result<(), Box<Problem>> {
        let units = BINDING.saturating_mul(parameters).saturating_add(bytes / 16);
        if take(&self.left.work, units) { Ok(()) } else { Err(exhausted()) }
    }

    /// Adds "did you mean" by the nearest of `names`, while there is time for that.
    pub fn suggest<'n>(&self, problem: Problem, name: &str, names: impl Iterator<Item = &'n str>) -> Problem {
        if self.left.compared.get() == 0 {
            return problem;
        }
        let mut names: Vec<&str> = names.collect();
        let letters = names.iter().map(|other| name.len() * other.len() + 16).sum();
        if !take(&self.left.compared, letters) {
            return problem;
        }
        names.sort_unstable();
        problem.suggest(name, names)
    }
}

/// Whether an argument of some layer or initialiser takes the word, as `activation` takes `relu`.
fn is_choice(word: &str) -> bool {
    let arguments = LAYERS.iter().flat_map(|layer| layer.arguments);
    arguments.into_iter().any(|argument| argument.kind.words().contains(&word))
        || SCHEMES.iter().flat_map(|scheme| scheme.words).any(|(_, words)| words.contains(&word))
}

pub(super) fn exhausted() -> Box<Problem> {
    Box::new(Problem::new("vitx::size", "this text takes too long to work out"))
}
