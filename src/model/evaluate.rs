//! Arithmetic on the values of the language.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use super::{
    layers::{Kind, LAYERS},
    reads::{Reads, Symbol},
};
use crate::dsl::{
    Problem, Value,
    syntax::{Expr, ExprKind, Operator, Span},
};

/// Most items of a list, those of the lists in it counted.
const MAX_LIST: usize = 4096;

/// Deepest lists in lists.
const MAX_LIST_DEPTH: usize = 8;

/// How many values may be read for one text, items of lists counted; what else takes time is counted as the values
/// that could be read in it.
const MAX_WORK: usize = 5_000_000;

/// What binding a parameter of a block costs, in values.
const BINDING: usize = 8;

/// How many letters may be compared with letters of misspelt names for one text.
const MAX_COMPARED: usize = 20_000_000;

/// Parameters that were set from outside the text, as a set of bits: what a value depends on.
/// Those beyond the 64th have no bit, and are not named as causes.
pub type Causes = u64;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    Value(Value, Causes),
    /// A tensor by number; `None` when it could not be made, which was reported.
    Tensor(Option<usize>),
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
    left: Rc<Left>,
}

/// What one text may still ask for.
#[derive(Debug)]
struct Left {
    work: Cell<usize>,
    compared: Cell<usize>,
    reads: Reads,
}

/// Takes so much of what is left; false when there is not as much.
fn take(left: &Cell<usize>, units: usize) -> bool {
    let before = left.get();
    left.set(before.saturating_sub(units));
    before >= units
}

impl<'o> Scope<'o> {
    pub fn new() -> Self {
        let left = Left { work: Cell::new(MAX_WORK), compared: Cell::new(MAX_COMPARED), reads: Reads::new() };
        Self { outer: None, names: HashMap::new(), left: Rc::new(left) }
    }

    /// A scope of a block: only `globals` are seen.
    pub fn of_block(globals: &Scope<'_>) -> Self {
        Self { outer: None, names: globals.names.clone(), left: globals.left.clone() }
    }

    pub fn within(outer: &'o Scope<'o>) -> Self {
        Self { outer: Some(outer), names: HashMap::new(), left: outer.left.clone() }
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

/// The value of an expression, and what from outside it depends on.
///
/// # Errors
/// The problem, or `None` where it was reported already.
pub fn value(expr: &Expr, scope: &Scope) -> Result<(Value, Causes), Option<Box<Problem>>> {
    let problem = |message: String, label: &str| Box::new(Problem::new("vitx::value", message).label(expr.span, label));
    if !take(&scope.left.work, 1) {
        return Err(Some(exhausted()));
    }
    match &expr.kind {
        ExprKind::Literal(value) => copy(value, 0, scope),
        ExprKind::Group(inner) => value(inner, scope),
        ExprKind::List(items) => list(items, scope).map_err(|error| match error {
            Fault::Item(problem) => problem,
            Fault::Large => Some(problem(
                format!("a list has at most {MAX_LIST} items in all, and lists in it to a depth of {MAX_LIST_DEPTH}"),
                "this one is larger",
            )),
        }),
        ExprKind::Negate(inner) => {
            let (number, causes) = value(inner, scope)?;
            let negative = match number {
                Value::Int(number) => number
                    .checked_neg()
                    .map(Value::Int)
                    .ok_or_else(|| problem(format!("-({number}) is too large a number"), "here"))?,
                Value::Float(number) => Value::Float(-number),
                other => return Err(Some(problem(format!("{} has no negative", other.kind()), "expected a number"))),
            };
            Ok((negative, causes))
        }
        ExprKind::Chain { first, rest } => {
            let (mut total, mut causes) = value(first, scope)?;
            for (operator, operand) in rest {
                let (right, others) = value(operand, scope)?;
                causes |= others;
                total = combine(*operator, &total, &right)
                    .map_err(|message| Some(Box::new(problem(message, "in this expression").causes(causes))))?;
            }
            Ok((total, causes))
        }
        ExprKind::Call { name, arguments } if arguments.is_empty() => match scope.read(&name.text) {
            Some(Bound::Value(value, causes)) => copy(value, *causes, scope),
            Some(Bound::Tensor(Some(_))) => {
                Err(Some(problem(format!("`{}` is a tensor, not a value", name.text), "expected a value")))
            }
            Some(Bound::Tensor(None) | Bound::Unknown) => Err(None),
            None => {
                let names = scope.iter().filter(|(_, bound)| matches!(bound, Bound::Value(..) | Bound::Unknown));
                let problem = Problem::new("vitx::name", format!("there is no parameter `{}`", name.text));
                let mut problem = problem.label(name.span, "not defined here");
                match name.text.as_str() {
                    word if is_choice(word) => {
                        problem = problem.help(format!("a word as a value stands in quotes: `\"{word}\"`"))
                    }
                    "None" | "null" | "nil" => {
                        problem = problem.help("there is no empty value: leave the argument out")
                    }
                    _ => {}
                }
                Err(Some(Box::new(scope.suggest(problem, &name.text, names.map(|(name, _)| name)))))
            }
        },
        ExprKind::Invalid => Err(None),
        _ => Err(Some(problem("a layer is not a value".into(), "expected a value"))),
    }
}

/// Whether an argument of some layer takes the word, as `activation` takes `relu`.
fn is_choice(word: &str) -> bool {
    let arguments = LAYERS.iter().flat_map(|layer| layer.arguments);
    arguments.into_iter().any(|argument| matches!(argument.kind, Kind::Choice(words) if words.contains(&word)))
}

fn exhausted() -> Box<Problem> {
    Box::new(Problem::new("vitx::size", "this text takes too long to work out"))
}

/// A copy of a value, whose work is counted.
fn copy(value: &Value, causes: Causes, scope: &Scope) -> Result<(Value, Causes), Option<Box<Problem>>> {
    let units = match value {
        Value::Str(text) => text.len() / 16,
        Value::List(_) => value.items(),
        _ => 0,
    };
    if !take(&scope.left.work, units) {
        return Err(Some(exhausted()));
    }
    Ok((value.clone(), causes))
}

enum Fault {
    Item(Option<Box<Problem>>),
    Large,
}

fn list(items: &[Expr], scope: &Scope) -> Result<(Value, Causes), Fault> {
    let mut values = Vec::new();
    let (mut count, mut depth, mut causes) = (0_usize, 0, 0);
    for item in items {
        let (value, others) = value(item, scope).map_err(Fault::Item)?;
        count += 1 + value.items();
        depth = depth.max(value.depth());
        if count > MAX_LIST || depth >= MAX_LIST_DEPTH {
            return Err(Fault::Large);
        }
        causes |= others;
        values.push(value);
    }
    Ok((Value::List(values), causes))
}

/// Whole numbers stay whole where the result is; a whole number and a fraction give a fraction.
pub fn combine(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let symbol = operator.symbol();
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        if *b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
            return Err(format!("{a} {symbol} 0 has no value"));
        }
        let exact = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            // The one remainder that overflows, by -1, is 0.
            Operator::Remainder => Some(a.wrapping_rem(*b)),
            Operator::Divide if a.wrapping_rem(*b) == 0 => a.checked_div(*b),
            Operator::Divide => return Ok(Value::Float(*a as f64 / *b as f64)),
        };
        return exact.map(Value::Int).ok_or_else(|| format!("{a} {symbol} {b} is too large a number"));
    }
    let number = |value: &Value| match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        other => Err(format!("`{symbol}` takes numbers, not {}", other.kind())),
    };
    let (a, b) = (number(left)?, number(right)?);
    let result = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => a % b,
    };
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(format!("{left} {symbol} {right} has no value")) }
}
