//! From a syntax tree to an [`Architecture`].

mod arithmetic;
mod block;
mod braces;
mod conditional;
mod constraint;
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

use block::Call;
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
    syntax::{Body, Definition, DefinitionKind, Expr, ExprKind, File, Name, Span, StatementKind},
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

    /// Follows the statements of braces, whose pieces are named as `naming` says.
    fn body(&mut self, body: &Body, start: Current, naming: Naming, scope: &mut Scope) -> Current {
        let mut current = start;
        let mut labels: HashMap<&str, Span> = HashMap::new();
        let mut failed = 0;
        for statement in &body.statements {
            if !self.step(statement.span) {
                break;
            }
            scope.go_to(current);
            match &statement.kind {
                StatementKind::Invalid => current = None,
                StatementKind::LetShared { name, value } => {
                    let symbol = self.declare(name, || format!("`{}` is not used", name.text), 0);
                    let outer = scope.reads().enter(symbol);
                    let bound = self.shared(name, value, scope);
                    scope.reads().leave(outer);
                    scope.declare(name.text.clone(), bound, symbol);
                }
                StatementKind::LetEach { names, value } => self.each(names, value, scope),
                StatementKind::Require { condition, message } => {
                    if !self.require(condition, message.as_deref(), scope) {
                        // What does not fit follows from it: of the rest only the names count.
                        current = None;
                        self.untaken += 1;
                        failed += 1;
                    }
                }
                StatementKind::Let { name, value } => {
                    let symbol = self.declare(name, || format!("`{}` is not used", name.text), 0);
                    let outer = scope.reads().enter(symbol);
                    let bound = if let Some((first, rest)) = self.number_in_flow(value, scope) {
                        let bound = self.bound(first, scope);
                        self.report_number_in_flow(name, first, &bound);
                        scope.declare(name.text.clone(), bound.clone(), symbol);
                        current = self.flow(rest, current, naming.inner(), scope);
                        bound
                    } else if self.is_value(value, scope) {
                        self.bound(value, scope)
                    } else {
                        Bound::Tensor(self.apply(value, current, naming.named(Given::Let, name), scope))
                    };
                    scope.reads().leave(outer);
                    if let Bound::Tensor(Some(tensor)) = &bound {
                        self.named.insert(*tensor);
                    }
                    scope.declare(name.text.clone(), bound, symbol);
                }
                StatementKind::Apply { label, value } => {
                    let naming = label.as_ref().map_or(naming, |label| naming.named(Given::Label, label));
                    if let Some(label) = label {
                        self.check_label(label, *labels.entry(&label.text).or_insert(label.span));
                    }
                    current = self.apply(value, current, naming, scope);
                }
            }
        }
        self.untaken -= failed;
        current.filter(|_| !self.full)
    }

    /// `let half = dim` with a line behind it that begins with `->`: the number and the layers.
    fn number_in_flow<'e>(&self, value: &'e Expr, scope: &Scope) -> Option<(&'e Expr, &'e [Expr])> {
        let ExprKind::Flow(parts) = &value.kind else { return None };
        let (first, rest) = parts.split_first()?;
        // A text may be the name of a layer, and is meant as one.
        let text = match &first.kind {
            ExprKind::Call { name, .. } => matches!(scope.get(&name.text), Some(Bound::Value(Value::Str(_), _))),
            _ => false,
        };
        (!text && self.is_value(first, scope)).then_some((first, rest))
    }

    fn report_number_in_flow(&mut self, name: &Name, first: &Expr, bound: &Bound) {
        let Bound::Value(value, causes) = bound else { return };
        let message = format!("`->` goes on with `let {}`, which is {}, not a layer", name.text, value.kind());
        let problem = self.problem("vitx::layer", message, first.span, value.kind()).causes(*causes);
        self.report(problem.help("end the `let` with `;`, and begin the layers without `->`"));
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

    fn check_label(&mut self, label: &Name, first: Span) {
        if first != label.span {
            let message = format!("`{}` names two layers", label.text);
            let problem = self.problem("vitx::name", message, label.span, "named again");
            self.report(problem.label(self.at(first), "the first one").help("labels of the same braces differ"));
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

    /// The tensor that a piece of network makes of the current one. Without a current tensor
    /// (something before went wrong) names and arguments are checked all the same.
    fn apply(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        if !self.step(expr.span) {
            return None;
        }
        let outer = scope.go_to(current);
        let result = self.piece(expr, current, naming, scope);
        scope.go_to(outer);
        result
    }

    fn piece(&mut self, expr: &Expr, current: Current, naming: Naming, scope: &Scope) -> Current {
        match &expr.kind {
            ExprKind::Group(inner) => self.apply(inner, current, naming, scope),
            ExprKind::Flow(parts) => self.flow(parts, current, naming, scope),
            ExprKind::Branch(body) => {
                let inner = self.level(naming)?;
                self.body(body, current, inner, &mut Scope::within(scope))
            }
            ExprKind::Residual(body) => self.residual(body, expr.span, current, naming, scope),
            ExprKind::Frozen(inner) => self.frozen(inner, current, naming, scope),
            ExprKind::Repeat { repeated, count, index } => {
                self.repeat(repeated, count, index.as_ref(), current, naming, scope)
            }
            ExprKind::Call { name, arguments } => {
                self.call(name, &Call { arguments, span: expr.span, current, naming, scope })
            }
            ExprKind::Invalid => None,
            ExprKind::If { arms, otherwise } if !self.is_value(expr, scope) => {
                self.conditional(arms, otherwise.as_ref(), current, naming, scope)
            }
            ExprKind::Negate(_) | ExprKind::Chain { .. } if self.is_network(expr, scope) => {
                self.arithmetic(expr, current, naming, scope)
            }
            _ => {
                let problem =
                    self.problem("vitx::layer", "a value is not a layer", expr.span, "expected a layer or a block");
                self.report(problem);
                None
            }
        }
    }

    /// How the pieces of braces are named: a name that is given to them is a level of their paths.
    fn level<'n>(&mut self, naming: Naming<'n>) -> Option<Naming<'n>> {
        match naming.given {
            Some((_, name)) => Some(Naming::plain(Some(self.instance(&name.text, naming)?))),
            None => Some(naming.inner()),
        }
    }

    /// One layer after the other. A name is that of the one layer among tensors, or else a level.
    fn flow(&mut self, parts: &[Expr], current: Current, naming: Naming, scope: &Scope) -> Current {
        let tensor = |part: &Expr| match &part.kind {
            ExprKind::Call { name, arguments } => {
                arguments.is_empty() && matches!(scope.get(&name.text), Some(Bound::Tensor(_)))
            }
            _ => false,
        };
        let mut layers = parts.iter().filter(|part| !tensor(part));
        let (only, inner) = match (naming.given, layers.next(), layers.next()) {
            (Some(_), Some(only), None) => (Some(only.span), naming.inner()),
            _ => (None, self.level(naming)?),
        };
        parts.iter().fold(current, |current, part| {
            let naming = if only == Some(part.span) { naming } else { inner };
            self.apply(part, current, naming, scope)
        })
    }

    fn repeat(
        &mut self,
        repeated: &Expr,
        count: &Expr,
        index: Option<&Name>,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        let times = match self.value(count, scope) {
            Some((other, causes)) => match other.whole() {
                Some(times) if (0..=MAX_LAYERS as i64).contains(&times) => Some(times),
                _ => {
                    let message = format!("a repeat count is a whole number from 0 to {MAX_LAYERS}, not {other}");
                    let problem = self.problem("vitx::repeat", message, count.span, "this count").causes(causes);
                    self.report(problem);
                    None
                }
            },
            None => None,
        };
        let mut inner = Scope::within(scope);
        let index = index.map(|name| (name, self.declare(name, || format!("`{}` is not used", name.text), 0)));
        let Some(times @ 1..) = times else {
            if let Some((name, symbol)) = index {
                inner.declare(name.text.as_str(), Bound::Unknown, symbol);
            }
            // What is repeated is checked, however often that is.
            let hidden = self.hidden();
            self.apply(repeated, None, hidden, &inner);
            return times.and(current);
        };
        let mut current = current;
        for round in 0..times {
            let errors = self.problems.len();
            let back = self.go_round(round, times);
            if let Some((name, symbol)) = index {
                inner.declare(name.text.as_str(), Bound::Value(Value::Int(round), 0), symbol);
            }
            current = self.apply(repeated, current, Naming { numbered: true, ..naming }, &inner);
            self.way = back;
            // Later rounds would only say the same again.
            if self.problems.len() > errors || self.full {
                return None;
            }
        }
        current
    }
}
