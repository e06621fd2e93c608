//! From a syntax tree to an [`Architecture`].

mod layer_call;

use std::collections::BTreeMap;

use super::{
    Architecture, ImageSpec, LayerNode, MAX_LAYERS, MAX_PARAMETERS,
    evaluate::{Bound, Scope, value},
    layers::{Arguments, LAYERS},
    names::{Names, Style},
};
use crate::dsl::{
    self, Diagnostics, Problem, Source, Value, parse_tolerant,
    syntax::{Argument, Body, Definition, DefinitionKind, Expr, ExprKind, File, Name, Span, StatementKind},
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
        prelude: &prelude,
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
}

/// A node whose path is not settled yet.
struct Pending {
    name: usize,
    node: LayerNode,
}

struct Elaborator<'a> {
    file: &'a File,
    prelude: &'a File,
    problems: Vec<Problem>,
    globals: Scope,
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

    fn value(&mut self, expr: &Expr, scope: &Scope) -> Option<Value> {
        match value(expr, scope) {
            Ok(value) => Some(value),
            Err(problem) => {
                let site = self.site;
                self.problems.extend(problem.map(|problem| match site {
                    Some(span) => Problem::new(problem.code(), problem.message()).label(span, "in this block"),
                    None => problem,
                }));
                None
            }
        }
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
        let size = |size: usize| Bound::Value(Value::Int(size as i64));
        if data.height == data.width {
            self.globals.insert("image_size".into(), size(data.height));
        }
        self.globals.insert("channels".into(), size(data.channels));
        self.globals.insert("num_classes".into(), size(data.num_classes));

        let mut scope = self.globals.clone();
        let mut bindings = BTreeMap::new();
        for parameter in &model.parameters {
            let name = &parameter.name.text;
            let bound = match (overrides.get(name), &parameter.default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => self.value(default, &scope),
                (None, None) => match scope.get(name) {
                    Some(Bound::Value(value)) => Some(value.clone()),
                    _ => {
                        let message = format!("parameter `{name}` has no value");
                        let problem = self.problem(
                            "vitx::parameter",
                            message,
                            parameter.span,
                            "needs a default, or a value from outside",
                        );
                        self.report(problem.help(format!("give it with `--param {name}=VALUE`")));
                        None
                    }
                },
            };
            if let Some(value) = bound {
                scope.insert(name.clone(), Bound::Value(value.clone()));
                bindings.insert(name.clone(), value);
            } else {
                // What depends on it stays silent: the tensor it pretends to be is reported already.
                scope.insert(name.clone(), Bound::Tensor(None));
            }
        }
        for name in
            overrides.keys().filter(|name| !model.parameters.iter().any(|parameter| parameter.name.text == **name))
        {
            let known = model.parameters.iter().map(|parameter| parameter.name.text.as_str());
            let message = format!("model `{}` has no parameter `{name}`", model.name.text);
            let problem = self.problem("vitx::parameter", message, model.name.span, "this model");
            self.report(problem.suggest(name, known));
        }

        let mut number = |name: &str, otherwise: usize| match scope.get(name) {
            Some(Bound::Value(Value::Int(value))) if (1..=1 << 20).contains(value) => Some(*value as usize),
            Some(Bound::Value(value)) => {
                let message = format!("`{name}` is {value}, not a whole number from 1 to {}", 1 << 20);
                self.problems.push(Problem::new("vitx::parameter", message).label(model.name.span, "in this model"));
                None
            }
            _ => Some(otherwise),
        };
        let (height, width) = match scope.contains_key("image_size") {
            true => number("image_size", data.height).map(|size| (size, size))?,
            false => (data.height, data.width),
        };
        let (channels, num_classes) = (number("channels", data.channels)?, number("num_classes", data.num_classes)?);
        for (name, expected) in [("channels", data.channels), ("num_classes", data.num_classes)] {
            let given = if name == "channels" { channels } else { num_classes };
            if given < expected || name == "channels" && given != expected {
                let message = format!("the model has {name} = {given}, the data set {expected}");
                self.problems.push(Problem::new("vitx::parameter", message).label(model.name.span, "this model"));
            }
        }

        let image_shape = [height, width, channels];
        self.tensors.push(Tensor { shape: image_shape.to_vec(), span: model.name.span });
        let output = self.body(&model.body, Some(0), None, &mut scope)?;
        let shape = &self.tensors[output].shape;
        if *shape != [num_classes] {
            let message = format!("the network ends in shape {shape:?}, not in logits of shape [{num_classes}]");
            let origin = self.tensors[output].span;
            let problem = self.problem("vitx::shape", message, origin, format!("gives {shape:?}"));
            self.report(problem.help("end with `dense(num_classes)`"));
        }
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

    fn body(&mut self, body: &Body, start: Current, parent: Option<usize>, scope: &mut Scope) -> Current {
        let mut current = start;
        for statement in &body.statements {
            match &statement.kind {
                StatementKind::Invalid => current = None,
                StatementKind::Let { name, value } => {
                    let bound = if self.is_value(value, scope) {
                        self.value(value, scope).map_or(Bound::Tensor(None), Bound::Value)
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
                arguments.is_empty() && matches!(scope.get(&name.text), Some(Bound::Value(_)))
            }
            _ => false,
        }
    }

    /// The tensor that a piece of network makes of the current one. Without a current tensor
    /// (something before went wrong) names and arguments are checked all the same.
    fn apply(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        self.steps += 1;
        if self.steps > MAX_STEPS && !self.full {
            self.full = true;
            let problem = self.problem("vitx::size", "the network is too large", expr.span, "expanding this");
            self.report(problem.help(format!("a network has at most {MAX_LAYERS} layers")));
        }
        if self.full {
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
            ExprKind::Branch(body) => self.body(body, current, naming.parent, &mut scope.clone()),
            ExprKind::Residual(body) => {
                let result = self.body(body, current, naming.parent, &mut scope.clone());
                let add = LAYERS.iter().find(|layer| layer.name == "add")?;
                let (input, result) = (current?, result?);
                self.layer(add, Arguments::default(), &[result, input], Naming::plain(naming.parent), expr.span)
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
        let times = match self.value(count, scope)? {
            Value::Int(times) if (0..=MAX_LAYERS as i64).contains(&times) => times,
            other => {
                let message = format!("a repeat count is a whole number from 0 to {MAX_LAYERS}, not {other}");
                let problem = self.problem("vitx::repeat", message, count.span, "this count");
                self.report(problem);
                return None;
            }
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

    fn call(
        &mut self,
        name: &Name,
        arguments: &[Argument],
        span: Span,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        if let (Some(Bound::Tensor(tensor)), true) = (scope.get(&name.text), arguments.is_empty()) {
            return *tensor;
        }
        let find = |file: &'a File| {
            let blocks = file.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Block);
            blocks.into_iter().find(|definition| definition.name.text == name.text)
        };
        if let Some(block) = find(self.file) {
            return self.block(block, false, arguments, span, current, naming, scope);
        }
        if let Some(layer) = LAYERS.iter().find(|layer| layer.name == name.text) {
            return self.layer_call(layer, arguments, span, current, naming, scope);
        }
        if let Some(block) = find(self.prelude) {
            return self.block(block, true, arguments, span, current, naming, scope);
        }
        let tensors =
            scope.iter().filter(|(_, bound)| matches!(bound, Bound::Tensor(_))).map(|(name, _)| name.as_str());
        let blocks = self.file.definitions.iter().chain(&self.prelude.definitions);
        let blocks =
            blocks.filter(|definition| definition.kind == DefinitionKind::Block).map(|block| block.name.text.as_str());
        let mut names: Vec<&str> = LAYERS.iter().map(|layer| layer.name).chain(blocks).chain(tensors).collect();
        names.sort_unstable();
        let problem =
            self.problem("vitx::name", format!("there is no layer or block `{}`", name.text), name.span, "not known");
        let problem = problem.suggest(&name.text, names);
        self.report(problem);
        None
    }

    #[allow(clippy::too_many_arguments)]
    fn block(
        &mut self,
        block: &'a Definition,
        standard: bool,
        arguments: &[Argument],
        span: Span,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        let name = &block.name.text;
        if self.blocks.contains(name) || self.blocks.len() >= MAX_DEPTH {
            let chain = self.blocks.iter().chain([name]).map(String::as_str).collect::<Vec<_>>().join(" -> ");
            let problem =
                self.problem("vitx::recursion", format!("block `{name}` contains itself: {chain}"), span, "here");
            self.report(problem);
            return None;
        }
        let given =
            self.assign(name, &block.parameters.iter().map(|p| p.name.text.as_str()).collect::<Vec<_>>(), arguments)?;
        let mut inner = self.globals.clone();
        let mut complete = true;
        for parameter in &block.parameters {
            let key = parameter.name.text.as_str();
            let value = match (given.get(key), &parameter.default) {
                (Some(argument), _) => self.value(&argument.value, scope),
                (None, Some(default)) => {
                    let site = self.site;
                    if standard && site.is_none() {
                        self.site = Some(span);
                    }
                    let value = self.value(default, &inner);
                    self.site = site;
                    value
                }
                (None, None) => {
                    let problem = self.problem(
                        "vitx::argument",
                        format!("`{name}` needs `{key}`"),
                        span,
                        format!("`{key}` is missing"),
                    );
                    self.report(problem);
                    None
                }
            };
            complete &= value.is_some();
            inner.insert(key.to_owned(), value.map_or(Bound::Tensor(None), Bound::Value));
        }
        if !complete {
            return None;
        }
        let instance = self.instance(name, naming)?;
        let site = self.site;
        if standard && site.is_none() {
            self.site = Some(span);
        }
        self.blocks.push(name.clone());
        let result = self.body(&block.body, current, Some(instance), &mut inner);
        self.blocks.pop();
        self.site = site;
        result
    }

    /// Which argument goes to which parameter.
    fn assign<'e>(
        &mut self,
        callee: &str,
        parameters: &[&str],
        arguments: &'e [Argument],
    ) -> Option<BTreeMap<String, &'e Argument>> {
        let mut given: BTreeMap<String, &Argument> = BTreeMap::new();
        let mut fine = true;
        for (index, argument) in arguments.iter().enumerate() {
            let name = match &argument.name {
                Some(name) if parameters.contains(&name.text.as_str()) => name.text.clone(),
                Some(name) => {
                    let message = format!("`{callee}` has no argument `{}`", name.text);
                    let problem = self.problem("vitx::argument", message, name.span, "not known");
                    let problem = problem.suggest(&name.text, parameters.iter().copied());
                    self.report(problem);
                    fine = false;
                    continue;
                }
                None if index < parameters.len() => parameters[index].to_owned(),
                None => {
                    let message = format!("`{callee}` takes at most {} arguments", parameters.len());
                    let problem = self.problem("vitx::argument", message, argument.span, "one too many");
                    self.report(problem);
                    fine = false;
                    continue;
                }
            };
            if let Some(before) = given.insert(name.clone(), argument) {
                let problem =
                    self.problem("vitx::argument", format!("`{name}` is given twice"), argument.span, "again");
                let problem = problem.label(self.at(before.span), "first");
                self.report(problem);
                fine = false;
            }
        }
        fine.then_some(given)
    }

    fn instance(&mut self, kind: &str, naming: Naming) -> Option<usize> {
        let (base, style) = match (naming.label, naming.numbered) {
            (Some(label), false) => (label.text.as_str(), Style::Label),
            (Some(label), true) => (label.text.as_str(), Style::Numbered),
            (None, true) => (kind, Style::Numbered),
            (None, false) => (kind, Style::Kind),
        };
        let added = self.names.add(naming.parent, base, style);
        if let (None, Some(label)) = (added, naming.label) {
            let problem = self.problem("vitx::name", format!("`{base}` names two layers"), label.span, "named again");
            self.report(problem);
        }
        added
    }
}
