//! Arithmetic on the values of the language.

mod scope;

pub use self::scope::{Bound, Causes, Scope};

use self::scope::{exhausted, take};
use super::{
    combine::combine,
    functions::{FUNCTIONS, NumberFunction},
    layers::{LAYERS, initializers::scheme},
};
use crate::dsl::{
    Problem, Value,
    syntax::{Argument, Body, Expr, ExprKind, Name, Operator, Span},
};

/// Most items of a list, those of the lists in it counted.
const MAX_LIST: usize = 4096;

/// Deepest lists in lists.
const MAX_LIST_DEPTH: usize = 8;

/// Why there is no value: the problem, or `None` where it was reported already.
type Fault = Option<Box<Problem>>;

/// The value of an expression, and what from outside it depends on.
///
/// # Errors
/// The problem, or `None` where it was reported already.
pub fn value(expr: &Expr, scope: &Scope) -> Result<(Value, Causes), Fault> {
    let problem = |message: String, label: &str| Box::new(Problem::new("vitx::value", message).label(expr.span, label));
    if !take(&scope.left.work, 1) {
        return Err(Some(exhausted()));
    }
    match &expr.kind {
        ExprKind::Literal(value) => copy(value, 0, scope),
        ExprKind::Group(inner) => value(inner, scope),
        ExprKind::List(items) => list(items, expr.span, scope),
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
        ExprKind::Not(inner) => {
            let (holds, causes) = condition(inner, scope)?;
            Ok((Value::Bool(!holds), causes))
        }
        ExprKind::Chain { rest, .. } if matches!(rest[..], [(Operator::And | Operator::Or, _), ..]) => {
            logic(expr, scope)
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
        ExprKind::If { arms, otherwise } => choice(arms, otherwise.as_ref(), expr.span, scope),
        ExprKind::Call { name, arguments } if scope.is_shape(&name.text) => shape(name, arguments, expr.span, scope),
        ExprKind::Call { name, arguments } if arguments.is_empty() => named(name, scope),
        ExprKind::Call { name, arguments } => match scope.function(&name.text) {
            Some(function) => call(function, arguments, expr.span, scope),
            None if scope.get(&name.text).is_none() && (scope.is_layer(&name.text) || scheme(&name.text).is_some()) => {
                layer(name, arguments, scope)
            }
            None => Err(Some(not_a_function(name, expr.span, scope))),
        },
        ExprKind::Invalid => Err(None),
        _ => {
            let help =
                "`let x = ..` names what layers make, and a block takes such a name, or that of a layer, or braces";
            Err(Some(Box::new(problem("a layer is not a value".into(), "expected a value").help(help))))
        }
    }
}

/// A layer or a block as a value is a text that says which, with the arguments that it holds: `layer_norm(1e-3)`.
fn layer(name: &Name, arguments: &[Argument], scope: &Scope) -> Result<(Value, Causes), Fault> {
    let (mut held, mut all) = (Vec::new(), 0);
    for argument in arguments {
        let (value, causes) = value(&argument.value, scope)?;
        all |= causes;
        held.push(match &argument.name {
            Some(name) => format!("{} = {value}", name.text),
            None => value.to_string(),
        });
    }
    copy(&Value::Str(format!("{}({})", name.text, held.join(", "))), all, scope)
}

/// The value of a name.
fn named(name: &Name, scope: &Scope) -> Result<(Value, Causes), Fault> {
    match scope.read(&name.text) {
        Some(Bound::Value(value, causes)) => copy(value, *causes, scope),
        Some(Bound::Tensor(Some(_))) => {
            let problem = Problem::new("vitx::value", format!("`{}` is a tensor, not a value", name.text));
            Err(Some(Box::new(problem.label(name.span, "expected a value"))))
        }
        Some(Bound::Shared(_)) => {
            let problem = Problem::new("vitx::value", format!("`{}` is a layer, not a value", name.text));
            Err(Some(Box::new(problem.label(name.span, "expected a value"))))
        }
        Some(Bound::Braces(_)) => {
            let problem = Problem::new("vitx::value", format!("`{}` is braces, not a value", name.text));
            Err(Some(Box::new(problem.label(name.span, "expected a value"))))
        }
        Some(Bound::Tensor(None) | Bound::Unknown) => Err(None),
        // A layer, or a word that an argument of one takes: `norm = layer_norm`, `act = gelu`.
        None if scope.is_layer(&name.text) || scope.is_word(&name.text) => {
            copy(&Value::Str(name.text.clone()), 0, scope)
        }
        None => {
            let names = scope.iter().filter(|(_, bound)| matches!(bound, Bound::Value(..) | Bound::Unknown));
            let problem = Problem::new("vitx::name", format!("there is no parameter `{}`", name.text));
            let mut problem = problem.label(name.span, "not defined here");
            match name.text.as_str() {
                "None" | "null" | "nil" => problem = problem.help("there is no empty value: leave the argument out"),
                word => {
                    if let Some(function) = scope.function(word) {
                        problem = problem.help(function.about);
                    }
                }
            }
            let layers = LAYERS.iter().map(|layer| layer.name);
            let layers = layers.chain(scope.left.blocks.iter().map(String::as_str));
            Err(Some(Box::new(scope.suggest(problem, &name.text, names.map(|(name, _)| name).chain(layers)))))
        }
    }
}

/// A call in the place of a value that is none of a function.
fn not_a_function(name: &Name, span: Span, scope: &Scope) -> Box<Problem> {
    if scope.get(&name.text).is_some() {
        let message = format!("`{}` is no function, and takes no arguments in a value", name.text);
        return Box::new(Problem::new("vitx::value", message).label(span, "expected a value"));
    }
    let problem = Problem::new("vitx::name", format!("there is no function `{}`", name.text));
    let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    let problem = problem.label(name.span, "not known").note(&format!("functions of numbers are {}", names.join(", ")));
    let layers = LAYERS.iter().map(|layer| layer.name).chain(scope.left.blocks.iter().map(String::as_str));
    Box::new(scope.suggest(problem, &name.text, names.into_iter().chain(layers)))
}

fn call(
    function: &NumberFunction,
    arguments: &[Argument],
    span: Span,
    scope: &Scope,
) -> Result<(Value, Causes), Fault> {
    let (mut values, mut all) = (Vec::new(), 0);
    for argument in arguments {
        if let Some(name) = &argument.name {
            let message = format!("`{}` has no argument `{}`", function.name, name.text);
            let problem = Problem::new("vitx::argument", message).label(name.span, "not known");
            return Err(Some(Box::new(problem.help(function.about))));
        }
        let (value, causes) = value(&argument.value, scope)?;
        values.push(value);
        all |= causes;
    }
    let value = function.call(&values).map_err(|message| {
        let problem = Problem::new("vitx::value", message).label(span, "in this expression").causes(all);
        Some(Box::new(problem.help(function.about)))
    })?;
    Ok((value, all))
}

/// `shape`, or `shape(x)` of a tensor: its lengths, without the batch.
fn shape(name: &Name, arguments: &[Argument], span: Span, scope: &Scope) -> Result<(Value, Causes), Fault> {
    let misuse = |message: String, place: Span| {
        let problem = Problem::new("vitx::value", message).label(place, "expected the name of a tensor");
        let help = "`shape` is that of the current tensor, `shape(x)` that of one that `let x = ..` names";
        Err(Some(Box::new(problem.help(help))))
    };
    let tensor = match arguments {
        [] => scope.left.current.get(),
        [Argument { name: None, value: Expr { kind: ExprKind::Call { name: of, arguments }, .. }, span }]
            if arguments.is_empty() =>
        {
            match scope.read(&of.text) {
                Some(Bound::Tensor(tensor)) => *tensor,
                Some(Bound::Unknown) => None,
                _ => return misuse(format!("`{}` is not a tensor", of.text), *span),
            }
        }
        [only] => return misuse("`shape` takes the name of a tensor".to_owned(), only.span),
        _ => return misuse(format!("`{}` takes one tensor", name.text), span),
    };
    let shapes = scope.left.shapes.borrow();
    let (lengths, causes) = tensor.and_then(|tensor| shapes.get(tensor)).ok_or(None)?;
    let lengths = lengths.iter().map(|length| Value::Int(i64::try_from(*length).unwrap_or(i64::MAX))).collect();
    copy(&Value::List(lengths), *causes, scope)
}

/// Whether a condition holds.
///
/// # Errors
/// As [`value`].
pub fn condition(expr: &Expr, scope: &Scope) -> Result<(bool, Causes), Fault> {
    match value(expr, scope)? {
        (Value::Bool(holds), causes) => Ok((holds, causes)),
        (other, causes) => {
            let message = format!("a condition is true or false, not {other}");
            let problem = Problem::new("vitx::condition", message).label(expr.span, other.kind()).causes(causes);
            Err(Some(Box::new(problem.help("`n > 0` and `name == \"relu\"` are conditions"))))
        }
    }
}

/// `a and b and c`, `a or b or c`: of those behind one that decides, only the names are looked at.
fn logic(expr: &Expr, scope: &Scope) -> Result<(Value, Causes), Fault> {
    let ExprKind::Chain { first, rest } = &expr.kind else { return Err(None) };
    let (mut holds, mut all) = condition(first, scope)?;
    for (operator, operand) in rest {
        if holds == (*operator == Operator::Or) {
            check_names(operand, scope)?;
            continue;
        }
        let (other, causes) = condition(operand, scope)?;
        (holds, all) = (other, all | causes);
    }
    Ok((Value::Bool(holds), all))
}

/// `if a { 1 } else { 2 }`: of what is not chosen, only the names are looked at.
fn choice(
    arms: &[(Expr, Body)],
    otherwise: Option<&Body>,
    span: Span,
    scope: &Scope,
) -> Result<(Value, Causes), Fault> {
    let only = |body: &'_ Body| match body.only() {
        Some(_) => Ok(()),
        None => {
            let problem = Problem::new("vitx::condition", "a choice between values has one value in its braces");
            Err(Some(Box::new(problem.label(body.span, "expected one value"))))
        }
    };
    let (mut chosen, mut all) = (None, 0);
    for (when, body) in arms {
        only(body)?;
        let taken = match chosen {
            Some(_) => {
                check_names(when, scope)?;
                false
            }
            None => {
                let (holds, causes) = condition(when, scope)?;
                all |= causes;
                holds
            }
        };
        if taken {
            chosen = body.only();
        } else if let Some(other) = body.only() {
            check_names(other, scope)?;
        }
    }
    match otherwise {
        Some(body) => {
            only(body)?;
            match (chosen, body.only()) {
                (None, other) => chosen = other,
                (_, Some(other)) => check_names(other, scope)?,
                _ => {}
            }
        }
        None => {
            let problem = Problem::new("vitx::condition", "a choice between values has an `else`");
            let problem = problem.label(span, "has no value where no condition holds");
            return Err(Some(Box::new(problem.help("write `if a { 1 } else { 2 }`"))));
        }
    }
    let (value, causes) = value(chosen.ok_or(None)?, scope)?;
    Ok((value, all | causes))
}

/// Looks at the names in an expression that is not worked out.
///
/// # Errors
/// As [`value`].
pub fn check_names(expr: &Expr, scope: &Scope) -> Result<(), Fault> {
    if !take(&scope.left.work, 1) {
        return Err(Some(exhausted()));
    }
    match &expr.kind {
        ExprKind::Group(inner) | ExprKind::Negate(inner) | ExprKind::Not(inner) => check_names(inner, scope),
        ExprKind::List(items) => items.iter().try_for_each(|item| check_names(item, scope)),
        ExprKind::Chain { first, rest } => {
            check_names(first, scope)?;
            rest.iter().try_for_each(|(_, operand)| check_names(operand, scope))
        }
        ExprKind::If { arms, otherwise } => {
            let bodies = arms.iter().map(|(_, body)| body).chain(otherwise);
            arms.iter().try_for_each(|(when, _)| check_names(when, scope))?;
            bodies.filter_map(Body::only).try_for_each(|only| check_names(only, scope))
        }
        ExprKind::Call { name, arguments } => {
            let known = scope.is_shape(&name.text) || !arguments.is_empty() && scope.function(&name.text).is_some();
            if !known {
                match (arguments.is_empty(), scope.is_layer(&name.text) || scheme(&name.text).is_some()) {
                    (true, _) => match named(name, scope) {
                        // What it is does not matter.
                        Err(Some(problem)) if problem.code() == "vitx::name" => return Err(Some(problem)),
                        _ => {}
                    },
                    (false, true) => {}
                    (false, false) => return Err(Some(not_a_function(name, expr.span, scope))),
                }
            }
            arguments.iter().try_for_each(|argument| check_names(&argument.value, scope))
        }
        _ => Ok(()),
    }
}

/// A copy of a value, whose work is counted.
fn copy(value: &Value, causes: Causes, scope: &Scope) -> Result<(Value, Causes), Fault> {
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

fn list(items: &[Expr], span: Span, scope: &Scope) -> Result<(Value, Causes), Fault> {
    let mut values = Vec::new();
    let (mut count, mut depth, mut all) = (0_usize, 0, 0);
    for item in items {
        let (value, causes) = value(item, scope)?;
        count += 1 + value.items();
        depth = depth.max(value.depth());
        if count > MAX_LIST || depth >= MAX_LIST_DEPTH {
            let message =
                format!("a list has at most {MAX_LIST} items in all, and lists in it to a depth of {MAX_LIST_DEPTH}");
            return Err(Some(Box::new(Problem::new("vitx::value", message).label(span, "this one is larger"))));
        }
        all |= causes;
        values.push(value);
    }
    Ok((Value::List(values), all))
}
