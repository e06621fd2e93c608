//! From a syntax tree to an [`Architecture`].

mod arithmetic;
mod block;
mod body;
mod braces;
mod conditional;
mod constraint;
mod flow;
mod frozen;
mod layer_call;
mod layer_value;
mod logits;
mod model;
mod residual;
mod shared;
mod unused;
mod way;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

pub use constraint::{Constraint, parameters};

use braces::Braces;
use shared::Shared;
use unused::Declared;
use way::Way;

use super::{
    Architecture, ImageSpec, LayerNode, MAX_LAYERS,
    evaluate::{Bound, Causes, Scope, value},
    names::Names,
    reads::Symbol,
};
use crate::dsl::{
    self, Diagnostics, Problem, Source, Value, parse_tolerant,
    syntax::{Body, Definition, DefinitionKind, Expr, ExprKind, File, Name, Span},
    unread,
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
    if let Some(problem) = unread(&file.uses, source) {
        return Err(problem.in_source(source).into());
    }
    // What a piece that could not be read would have meant is not known: errors of meaning come after those of syntax.
    if let Some(diagnostics) = Diagnostics::collect(problems, source) {
        return Err(diagnostics);
    }
    let prelude = dsl::parse(&Source::new("prelude.vitx", PRELUDE))?;
    let mut elaborator = Elaborator::new(&file, block::by_name(&prelude), Vec::new());
    let architecture = elaborator.model(overrides, data);
    // Of a text with errors, these are all there is to say: much of it would not be unused without them.
    let (warnings, errors) = elaborator.problems.into_iter().partition(Problem::is_warning);
    match (Diagnostics::collect(errors, source), architecture) {
        (None, Some(architecture)) => {
            let model = file.definitions.iter().find(|definition| definition.kind == DefinitionKind::Model);
            let notes = model.map(|model| dsl::notes(&file, &source.text, model)).unwrap_or_default();
            Ok(Architecture { warnings: dsl::warnings(warnings, source), notes, ..architecture })
        }
        (Some(diagnostics), _) => Err(diagnostics),
        (None, None) => Err(Problem::new("vitx::model", format!("`{}` defines no network", source.name)).into()),
    }
}

/// Height and width of images that a model sets itself, by the parameter `image_size`; `None` where it takes that of
/// the data set, or where the text or its parameters are wrong, which [`elaborate`] reports.
pub fn own_image_size(source: &Source, overrides: &BTreeMap<String, Value>) -> Option<[usize; 2]> {
    let (file, _) = parse_tolerant(source).ok()?;
    let model = file.definitions.iter().find(|definition| definition.kind == DefinitionKind::Model)?;
    let mut elaborator = Elaborator::new(&file, HashMap::new(), Vec::new());
    let (scope, _) = elaborator.parameters(model, overrides);
    match scope.get("image_size") {
        Some(Bound::Value(value, _)) => model::extent(value),
        _ => None,
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
    /// Where its arguments were given, and what from outside they depend on.
    origins: BTreeMap<&'static str, (Span, Causes)>,
    way: Option<Rc<Way>>,
}

struct Elaborator<'a> {
    file: &'a File,
    /// The blocks of the file by name, and the standard ones.
    own: HashMap<&'a str, &'a Definition>,
    standard: HashMap<&'a str, &'a Definition>,
    /// The blocks of the file that were followed.
    expanded: HashSet<&'a str>,
    /// Those that the model led to, and those that only blocks without use call.
    used_blocks: HashSet<&'a str>,
    called_blocks: HashSet<&'a str>,
    /// A value said which layer is called: blocks without a call may be there for another value.
    by_value: bool,
    declared: Vec<Declared>,
    declared_symbols: HashSet<Symbol>,
    shared: Vec<Shared>,
    /// Braces that are arguments, and whether each was called.
    braces: Vec<Rc<Braces<'a>>>,
    called_braces: Vec<bool>,
    /// Tensors that `let`s name.
    named: HashSet<usize>,
    /// A block that nothing calls is being checked.
    unused: bool,
    /// How many braces around this place are not chosen.
    untaken: usize,
    /// How many `frozen` are around this place.
    frozen: usize,
    problems: Vec<Problem>,
    globals: Scope<'static>,
    names: Names,
    nodes: Vec<Pending>,
    tensors: Vec<Tensor>,
    /// Blocks being expanded, outermost first, and whether they are standard ones.
    blocks: Vec<(&'a str, bool)>,
    /// How many blocks and braces that are arguments are being expanded.
    depth: usize,
    /// In a standard block: the call in the user's text, where problems are shown.
    site: Option<Span>,
    /// How the expansion came to where it is.
    way: Option<Rc<Way>>,
    steps: usize,
    /// Where names are defined, in the order of the text; made when it is needed.
    below: Option<HashMap<&'a str, Vec<Span>>>,
    /// Layers so far, those that layers are made of counted.
    layers: usize,
    /// A bound was passed and reported; nothing more is expanded.
    full: bool,
}

/// How a piece of network is to be named, and where.
#[derive(Clone, Copy)]
struct Naming<'n> {
    given: Option<(Given, &'n Name)>,
    /// The level of the path that it stands on.
    parent: Option<usize>,
    /// It is one of a repeat, and gets a number.
    numbered: bool,
    /// It stands in braces that are repeated on this level, where what is given a name gets a number.
    repeated: bool,
}

/// Where a name was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Label,
    Let,
}

impl<'n> Naming<'n> {
    fn plain(parent: Option<usize>) -> Self {
        Self { given: None, parent, numbered: false, repeated: false }
    }

    /// Of a piece within this one that has no name of its own.
    fn inner(self) -> Self {
        Self { repeated: self.repeated || self.numbered, ..Self::plain(self.parent) }
    }

    /// Of a piece within this one that is given a name.
    fn named(self, given: Given, name: &'n Name) -> Self {
        Self { given: Some((given, name)), numbered: self.repeated, ..self }
    }
}

type Current = Option<usize>;

/// Where parameters and `let`s of definitions stand, by name.
fn defined(file: &File) -> HashMap<&str, Vec<Span>> {
    let mut places: HashMap<&str, Vec<Span>> = HashMap::new();
    for definition in &file.definitions {
        let parameters = definition.parameters.iter().map(|parameter| &parameter.name);
        for name in parameters.chain(definition.body.names()) {
            places.entry(&name.text).or_default().push(name.span);
        }
    }
    places
}

/// The name without arguments that stands at a place of an expression.
fn named_at(expr: &Expr, start: usize) -> Option<&Name> {
    match &expr.kind {
        ExprKind::Call { name, .. } if name.span.start == start => Some(name),
        ExprKind::Group(inner) | ExprKind::Negate(inner) | ExprKind::Not(inner) => named_at(inner, start),
        ExprKind::List(items) => items.iter().find_map(|item| named_at(item, start)),
        ExprKind::Chain { first, rest } => {
            named_at(first, start).or_else(|| rest.iter().find_map(|(_, operand)| named_at(operand, start)))
        }
        _ => None,
    }
}

impl<'a> Elaborator<'a> {
    fn new(file: &'a File, standard: HashMap<&'a str, &'a Definition>, problems: Vec<Problem>) -> Self {
        let own = block::by_name(file);
        let blocks = own.keys().chain(standard.keys()).map(|name| (*name).to_owned()).collect();
        Self {
            file,
            own,
            standard,
            expanded: HashSet::new(),
            used_blocks: HashSet::new(),
            called_blocks: HashSet::new(),
            by_value: false,
            declared: Vec::new(),
            declared_symbols: HashSet::new(),
            shared: Vec::new(),
            braces: Vec::new(),
            called_braces: Vec::new(),
            named: HashSet::new(),
            unused: false,
            untaken: 0,
            frozen: 0,
            problems,
            globals: Scope::new(blocks),
            names: Names::default(),
            nodes: Vec::new(),
            tensors: Vec::new(),
            blocks: Vec::new(),
            depth: 0,
            site: None,
            way: None,
            steps: 0,
            below: None,
            layers: 0,
            full: false,
        }
    }

    fn report(&mut self, problem: Problem) {
        if !self.counts(&problem) {
            return;
        }
        let problem = if problem.has_way() { problem } else { Self::on_the_way(problem, self.way.as_ref()) };
        self.problems.push(problem);
    }

    /// The place to show of a value: in a standard block that of the user's text which it comes from.
    fn blame(&self, expr: &Expr, scope: &Scope) -> Span {
        self.site.map_or(expr.span, |site| scope.origin(expr).unwrap_or(site))
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
                self.report_value(problem, expr, scope);
                None
            }
        }
    }

    /// Reports why an expression has no value, unless that was done.
    fn report_value(&mut self, problem: Option<Box<Problem>>, expr: &Expr, scope: &Scope) {
        if let Some(problem) = problem {
            let problem = match self.site {
                Some(_) => problem.moved_to(self.blame(expr, scope), "in the block"),
                None => self.below(*problem, expr),
            };
            self.report(problem);
        }
    }

    fn bound(&mut self, expr: &Expr, scope: &Scope) -> Bound {
        self.value(expr, scope).map_or(Bound::Unknown, |(value, causes)| Bound::Value(value, causes))
    }

    /// Tells of a name that is not known where the text defines it further down.
    fn below(&mut self, problem: Problem, expr: &Expr) -> Problem {
        match named_at(expr, problem.start()).filter(|_| problem.code() == "vitx::name") {
            Some(name) => self.defined_below(problem, name),
            None => problem,
        }
    }

    fn defined_below(&mut self, problem: Problem, name: &Name) -> Problem {
        let file = self.file;
        let at = name.span.start;
        let below = self.below.get_or_insert_with(|| defined(file));
        let spans = below.get(name.text.as_str()).map_or(&[][..], Vec::as_slice);
        let next = spans.get(spans.partition_point(|span| span.start <= at));
        let around = file.definitions.partition_point(|definition| definition.span.start <= at).checked_sub(1);
        let around = around.and_then(|index| file.definitions.get(index));
        match next.zip(around).filter(|(next, around)| around.span.contains(next.start)) {
            Some((next, _)) => problem.label(*next, "defined here").help("it is defined below: move it up"),
            None => problem,
        }
    }

    /// Whether an expression is arithmetic rather than a piece of network.
    fn is_value(&self, expr: &Expr, scope: &Scope) -> bool {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::List(_) | ExprKind::Not(_) => true,
            ExprKind::Negate(_) | ExprKind::Chain { .. } => !self.is_network(expr, scope),
            ExprKind::If { arms, otherwise } => {
                let bodies = arms.iter().map(|(_, body)| body).chain(otherwise);
                bodies.filter_map(Body::only).any(|only| self.is_value(only, scope))
            }
            ExprKind::Invalid => true,
            ExprKind::Group(inner) => self.is_value(inner, scope),
            ExprKind::Call { name, arguments } => {
                let name = name.text.as_str();
                match arguments.is_empty() {
                    _ if scope.is_shape(name) => true,
                    true => match scope.get(name) {
                        Some(bound) => matches!(bound, Bound::Value(..) | Bound::Unknown),
                        None => scope.is_word(name),
                    },
                    false => scope.get(name).is_none() && scope.function(name).is_some(),
                }
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
}
