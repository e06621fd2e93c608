//! From a syntax tree to an [`Architecture`].

mod block;
mod layer_call;

use std::collections::{BTreeMap, HashMap, HashSet};

use layer_call::Given;

use super::{
    Architecture, ImageSpec, LayerNode, MAX_LAYERS, MAX_PARAMETERS,
    evaluate::{Bound, Causes, Scope, value},
    layers::LAYERS,
    names::Names,
};
use crate::dsl::{
    self, Diagnostics, Problem, Source, Value, parse_tolerant,
    syntax::{Body, Definition, DefinitionKind, Expr, ExprKind, File, Name, Span, StatementKind},
};

/// The standard blocks, which a file can replace.
const PRELUDE: &str = include_str!("../../grammar/prelude.vitx");

/// Most blocks within blocks.
const MAX_DEPTH: usize = 64;

/// Most statements that are followed, repeats and blocks counted each time.
const MAX_STEPS: usize = 20 * MAX_LAYERS;

/// Checks a model and resolves everything in it: parameters (defaults, then `overrides`), blocks,
/// names, shapes. `image_size`, `channels` and `num_classes` come from `data` unless the model has
/// parameters of these names.
///
/// # Errors
/// All problems of the text and of the overrides.
pub fn elaborate(
    source: &Source,
    overrides: &BTreeMap<String, Value>,
    data: &ImageSpec,
) -> Result<Architecture, Diagnostics> {
    let (file, problems) = parse_tolerant(source)?;
    let prelude = dsl::parse(&Source::new("prelude.vitx", PRELUDE))?;
    let mut elaborator = Elaborator {
        file: &file,
        own: block::by_name(&file),
        standard: block::by_name(&prelude),
        expanded: HashSet::new(),
        problems,
        globals: Scope::new(),
        names: Names::default(),
        nodes: Vec::new(),
        tensors: Vec::new(),
        blocks: Vec::new(),
        site: None,
        steps: 0,
        full: false,
    };
    let architecture = elaborator.model(overrides, data);
    match (Diagnostics::collect(elaborator.problems, source), architecture) {
        (None, Some(architecture)) => Ok(architecture),
        (Some(diagnostics), _) => Err(diagnostics),
        (None, None) => Err(Problem::new("vitx::model", format!("`{}` defines no network", source.name)).into()),
    }
}

struct Tensor {
    shape: Vec<usize>,
    /// Where it arose.
    span: Span,
    /// What from outside its shape depends on.
    causes: Causes,
}

/// A node whose path is not settled yet.
struct Pending {
    name: usize,
    node: LayerNode,
}

struct Elaborator<'a> {
    file: &'a File,
    /// The blocks of the file by name, and the standard ones.
    own: HashMap<&'a str, &'a Definition>,
    standard: HashMap<&'a str, &'a Definition>,
    /// The blocks of the file that were followed.
    expanded: HashSet<&'a str>,
    problems: Vec<Problem>,
    globals: Scope<'static>,
    names: Names,
    nodes: Vec<Pending>,
    tensors: Vec<Tensor>,
    /// Blocks being expanded, outermost first.
    blocks: Vec<String>,
    /// In a standard block: the call in the user's text, where problems are shown.
    site: Option<Span>,
    steps: usize,
    /// A bound was passed and reported; nothing more is expanded.
    full: bool,
}

/// How a call's instance is to be named, and where.
#[derive(Clone, Copy)]
struct Naming<'n> {
    label: Option<&'n Name>,
    parent: Option<usize>,
    numbered: bool,
}

impl<'n> Naming<'n> {
    fn plain(parent: Option<usize>) -> Self {
        Self { label: None, parent, numbered: false }
    }
}

type Current = Option<usize>;

/// The cause that the parameter at a position among those set from outside is.
fn bit(position: usize) -> Causes {
    u32::try_from(position).ok().and_then(|position| 1_u64.checked_shl(position)).unwrap_or(0)
}

impl<'a> Elaborator<'a> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn at(&self, span: Span) -> Span {
        self.site.unwrap_or(span)
    }

    fn problem(&self, code: &'static str, message: impl Into<String>, span: Span, label: impl Into<String>) -> Problem {
        Problem::new(code, message).label(self.at(span), label)
    }

    fn value(&mut self, expr: &Expr, scope: &Scope) -> Option<(Value, Causes)> {
        match value(expr, scope) {
            Ok(value) => Some(value),
            Err(problem) => {
                let site = self.site;
                self.problems.extend(problem.map(|problem| match site {
                    Some(span) => problem.moved_to(span, "in this block"),
                    None => *problem,
                }));
                None
            }
        }
    }

    fn bound(&mut self, expr: &Expr, scope: &Scope) -> Bound {
        self.value(expr, scope).map_or(Bound::Unknown, |(value, causes)| Bound::Value(value, causes))
    }

    fn model(&mut self, overrides: &BTreeMap<String, Value>, data: &ImageSpec) -> Option<Architecture> {
        let mut models = self.file.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Model);
        let Some(model) = models.next() else {
            if self.problems.is_empty() {
                self.report(
                    Problem::new("vitx::model", "the file defines no model").help("begin with `model name { .. }`"),
                );
            }
            return None;
        };
        for other in models {
            let problem =
                self.problem("vitx::model", "a file defines one model", other.name.span, "this is a second one");
            self.report(problem.label(model.name.span, "the first one"));
        }
        let size = |size: usize| Bound::Value(Value::Int(size as i64), 0);
        if data.height == data.width {
            self.globals.insert("image_size", size(data.height));
        }
        self.globals.insert("channels", size(data.channels));
        self.globals.insert("num_classes", size(data.num_classes));

        let mut scope = Scope::of_block(&self.globals);
        let mut bindings = BTreeMap::new();
        for parameter in &model.parameters {
            let name = &parameter.name.text;
            let given = overrides.iter().position(|(given, _)| given == name);
            let bound = match (overrides.get(name), &parameter.default) {
                (Some(value), _) => Bound::Value(value.clone(), given.map_or(0, bit)),
                (None, Some(default)) => self.bound(default, &scope),
                (None, None) => match scope.get(name) {
                    Some(bound @ Bound::Value(..)) => bound.clone(),
                    _ => {
                        let message = format!("parameter `{name}` has no value");
                        let problem = self.problem(
                            "vitx::parameter",
                            message,
                            parameter.span,
                            "needs a default, or a value from outside",
                        );
                        self.report(problem.help(format!("give it with `--param {name}=VALUE`")));
                        Bound::Unknown
                    }
                },
            };
            if let Bound::Value(value, _) = &bound {
                bindings.insert(name.clone(), value.clone());
            }
            scope.insert(name.clone(), bound);
        }
        for (index, name) in overrides.keys().enumerate() {
            if model.parameters.iter().any(|parameter| parameter.name.text == *name) {
                continue;
            }
            let known = model.parameters.iter().map(|parameter| parameter.name.text.as_str());
            let message = format!("model `{}` has no parameter `{name}`", model.name.text);
            let problem = self.problem("vitx::parameter", message, model.name.span, "this model").causes(bit(index));
            self.report(problem.suggest(name, known));
        }

        let mut number = |name: &str, otherwise: usize| match scope.get(name) {
            Some(Bound::Value(Value::Int(value), causes)) if (1..=1 << 20).contains(value) => {
                Some((*value as usize, *causes))
            }
            Some(Bound::Value(value, causes)) => {
                let message = format!("`{name}` is {value}, not a whole number from 1 to {}", 1 << 20);
                let problem = Problem::new("vitx::parameter", message).label(model.name.span, "in this model");
                self.problems.push(problem.causes(*causes));
                None
            }
            _ => Some((otherwise, 0)),
        };
        let size = match scope.get("image_size").is_some() {
            true => number("image_size", data.height).map(|(size, causes)| (size, size, causes)),
            false => Some((data.height, data.width, 0)),
        };
        let (channels, num_classes) = (number("channels", data.channels), number("num_classes", data.num_classes));
        for (name, given, expected) in
            [("channels", channels, data.channels), ("num_classes", num_classes, data.num_classes)]
        {
            let Some((given, causes)) = given else { continue };
            if given < expected || name == "channels" && given != expected {
                let message = format!("the model has {name} = {given}, the data set {expected}");
                let problem = Problem::new("vitx::parameter", message).label(model.name.span, "this model");
                self.problems.push(problem.causes(causes));
            }
        }
        let image = size.zip(channels).map(|((height, width, causes), (channels, _))| Tensor {
            shape: vec![height, width, channels],
            span: model.name.span,
            causes,
        });
        let start = image.as_ref().map(|_| 0);
        self.tensors.extend(image);
        let output = self.body(&model.body, start, None, &mut scope);
        self.check_definitions();
        let ((height, width, _), (channels, _), (num_classes, _)) = (size?, channels?, num_classes?);
        let output = output?;
        let image_shape = [height, width, channels];
        let shape = &self.tensors[output].shape;
        if *shape != [num_classes] {
            let message = format!("the network ends in shape {shape:?}, not in logits of shape [{num_classes}]");
            let origin = self.tensors[output].span;
            let problem = self
                .problem("vitx::shape", message, origin, format!("gives {shape:?}"))
                .causes(self.tensors[output].causes);
            self.report(problem.help("end with `dense(num_classes)`"));
        }
        self.check_used(output);
        let paths = self.names.paths();
        let nodes: Vec<LayerNode> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|pending| LayerNode { path: paths[pending.name].clone(), ..pending.node })
            .collect();
        let parameters = nodes.iter().flat_map(|node| node.layer.parameters());
        let total = parameters.fold(0_usize, |total, parameter| total.saturating_add(parameter.len()));
        if total > MAX_PARAMETERS {
            let message = format!("the network has {total} parameters, more than {MAX_PARAMETERS}");
            let problem = self.problem("vitx::size", message, model.name.span, "this model");
            self.report(problem);
        }
        Some(Architecture { name: model.name.text.clone(), image_shape, num_classes, bindings, nodes, output })
    }

    /// Reports layers whose parameters could not be trained, for the logits do not depend on them.
    fn check_used(&mut self, output: usize) {
        let mut used = vec![false; self.tensors.len()];
        used[output] = true;
        // Inputs come before what is made of them.
        for (index, pending) in self.nodes.iter().enumerate().rev() {
            if used[index + 1] {
                pending.node.inputs.iter().for_each(|&input| used[input] = true);
            }
        }
        for (index, pending) in self.nodes.iter().enumerate() {
            if !used[index + 1] && !pending.node.layer.parameters().is_empty() {
                let message = format!("the result of this `{}` is not used", pending.node.kind);
                let problem = Problem::new("vitx::unused", message);
                self.problems.push(
                    problem
                        .label(self.tensors[index + 1].span, "the logits do not depend on it")
                        .help("merge it by `add` or `concat`, or leave it out: its parameters would never be trained"),
                );
            }
        }
    }

    fn body(&mut self, body: &Body, start: Current, parent: Option<usize>, scope: &mut Scope) -> Current {
        let mut current = start;
        for statement in &body.statements {
            if !self.step(statement.span) {
                return None;
            }
            match &statement.kind {
                StatementKind::Invalid => current = None,
                StatementKind::Let { name, value } => {
                    let bound = if self.is_value(value, scope) {
                        self.bound(value, scope)
                    } else {
                        let naming = Naming { label: Some(name), parent, numbered: false };
                        Bound::Tensor(self.apply(value, current, naming, scope))
                    };
                    scope.insert(name.text.clone(), bound);
                }
                StatementKind::Apply { label, value } => {
                    let naming = Naming { label: label.as_ref(), parent, numbered: false };
                    current = self.apply(value, current, naming, scope);
                }
            }
        }
        current
    }

    /// Whether an expression is arithmetic rather than a piece of network.
    fn is_value(&self, expr: &Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::List(_) | ExprKind::Negate(_) | ExprKind::Chain { .. } => true,
            ExprKind::Group(inner) => self.is_value(inner, scope),
            ExprKind::Call { name, arguments } => {
                arguments.is_empty() && matches!(scope.get(&name.text), Some(Bound::Value(..) | Bound::Unknown))
            }
            _ => false,
        }
    }

    /// Counts a step of the expansion; false where there have been too many.
    fn step(&mut self, span: Span) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS && !self.full {
            self.full = true;
            let problem = self.problem("vitx::size", "the network is too large", span, "expanding this");
            self.report(problem.help(format!("a network has at most {MAX_LAYERS} layers")));
        }
        !self.full
    }

    /// The tensor that a piece of network makes of the current one. Without a current tensor
    /// (something before went wrong) names and arguments are checked all the same.
    fn apply(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        if !self.step(expr.span) {
            return None;
        }
        match &expr.kind {
            ExprKind::Group(inner) => self.apply(inner, current, naming, scope),
            ExprKind::Flow(parts) => {
                let last = parts.len() - 1;
                parts.iter().enumerate().fold(current, |current, (index, part)| {
                    let naming = if index == last { naming } else { Naming::plain(naming.parent) };
                    self.apply(part, current, naming, scope)
                })
            }
            ExprKind::Branch(body) => self.body(body, current, naming.parent, &mut Scope::within(scope)),
            ExprKind::Residual(body) => {
                let result = self.body(body, current, naming.parent, &mut Scope::within(scope));
                let add = LAYERS.iter().find(|layer| layer.name == "add")?;
                let (input, result) = (current?, result?);
                self.layer(add, Given::default(), &[result, input], Naming::plain(naming.parent), expr.span)
            }
            ExprKind::Repeat { repeated, count } => self.repeat(repeated, count, current, naming, scope),
            ExprKind::Call { name, arguments } => self.call(name, arguments, expr.span, current, naming, scope),
            _ => {
                let problem =
                    self.problem("vitx::layer", "a value is not a layer", expr.span, "expected a layer or a block");
                self.report(problem);
                None
            }
        }
    }

    fn repeat(&mut self, repeated: &Expr, count: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        let times = match self.value(count, scope) {
            Some((Value::Int(times), _)) if (0..=MAX_LAYERS as i64).contains(&times) => Some(times),
            Some((other, causes)) => {
                let message = format!("a repeat count is a whole number from 0 to {MAX_LAYERS}, not {other}");
                let problem = self.problem("vitx::repeat", message, count.span, "this count").causes(causes);
                self.report(problem);
                None
            }
            None => None,
        };
        let Some(times @ 1..) = times else {
            // What is repeated is checked, however often that is.
            let hidden = self.hidden();
            self.apply(repeated, None, Naming::plain(hidden), scope);
            return times.and(current);
        };
        let mut current = current;
        for _ in 0..times {
            let errors = self.problems.len();
            current = self.apply(repeated, current, Naming { numbered: true, ..naming }, scope);
            // Later rounds would only say the same again.
            if self.problems.len() > errors || self.full {
                return None;
            }
        }
        current
    }
}
