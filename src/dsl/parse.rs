use pest::{Parser, iterators::Pair};

use super::{
    Diagnostics, MAX_SOURCE_BYTES, Problem, Source, Value, bounds,
    repair::{Repaired, repair},
    syntax::*,
};

mod expected;
mod hints;
mod literal;
mod operators;
mod recover;

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/vitx.pest"]
struct Grammar;

/// Parses a text. All syntax errors of the text are reported together.
pub fn parse(source: &Source) -> Result<File, Diagnostics> {
    let (file, problems) = parse_tolerant(source)?;
    match Diagnostics::collect(problems, source) {
        Some(diagnostics) => Err(diagnostics),
        None => Ok(file),
    }
}

/// Parses what can be parsed, and reports the rest. `Err` only where nothing can.
pub(crate) fn parse_tolerant(source: &Source) -> Result<(File, Vec<Problem>), Diagnostics> {
    source.check_length()?;
    if let Some(problem) = bounds::check(&source.text) {
        return Err(problem.in_source(source).into());
    }
    let mut problems = Vec::new();
    let mut file = File::default();
    if let Some(Repaired { text, unknown }) = repair(&source.text, &mut problems) {
        let mut tree = TreeBuilder { text: &text, comments: Vec::new(), unknown, problems };
        match Grammar::parse(Rule::file, &text) {
            Ok(mut pairs) => {
                if let Some(pair) = pairs.next() {
                    tree.file(pair, &mut file);
                }
            }
            Err(error) => tree.report(&error, 0, Rule::file),
        }
        file.unknown = tree.unknown;
        file.comments = tree.comments;
        file.comments.sort_by_key(|comment| comment.span);
        file.comments.dedup();
        problems = tree.problems;
    }
    Ok((file, problems))
}

/// Parses a single literal.
pub(super) fn parse_value(source: &Source) -> Result<Value, Diagnostics> {
    parse_one(source, &source.text, Rule::only_value, "a value", |tree, pair| tree.value(pair))
}

/// Parses a condition. `read` is what is parsed, of the same length as the source's own text, to which places refer.
pub(crate) fn parse_condition(source: &Source, read: &str) -> Result<Expr, Diagnostics> {
    parse_one(source, read, Rule::only_condition, "a condition", |tree, pair| tree.condition(pair))
}

/// Parses what a rule has alone: `read`, with the places of the source. `what` is its name in a message.
fn parse_one<T>(
    source: &Source,
    read: &str,
    rule: Rule,
    what: &str,
    of: impl for<'a> FnOnce(&mut TreeBuilder<'a>, Pair<'a, Rule>) -> T,
) -> Result<T, Diagnostics> {
    source.check_length()?;
    if let Some(problem) = bounds::check(read) {
        return Err(problem.in_source(source).into());
    }
    let mut problems = Vec::new();
    let mut one = None;
    if let Some(Repaired { text, .. }) = repair(read, &mut problems)
        && (problems.is_empty() || !text.trim().is_empty())
    {
        let mut tree = TreeBuilder { text: &text, comments: Vec::new(), unknown: Vec::new(), problems };
        match Grammar::parse(rule, &text) {
            Ok(mut pairs) => {
                let pair = pairs.next().and_then(|pair| tree.children(pair).next());
                one = pair.map(|pair| of(&mut tree, pair));
            }
            Err(error) => tree.report(&error, 0, rule),
        }
        problems = tree.problems;
    }
    match (Diagnostics::collect(problems, source), one) {
        (None, Some(one)) => Ok(one),
        (Some(diagnostics), _) => Err(diagnostics),
        (None, None) => Err(Problem::new("vitx::syntax", format!("expected {what}")).in_source(source).into()),
    }
}

/// The arguments that a layer as a value holds, with their names where they have them.
pub(crate) type Held = Vec<(Option<String>, Value)>;

/// A layer or block as a value: its name, and its arguments. `None` where a text is none.
pub(crate) fn parse_layer(text: &str) -> Option<(String, Held)> {
    if text.len() > MAX_SOURCE_BYTES || bounds::check(text).is_some() {
        return None;
    }
    let mut problems = Vec::new();
    let Repaired { text, .. } = repair(text, &mut problems)?;
    let mut tree = TreeBuilder { text: &text, comments: Vec::new(), unknown: Vec::new(), problems };
    let pair = Grammar::parse(Rule::only_layer, &text).ok()?.next()?;
    let mut children = tree.children(pair);
    let name = children.next()?.as_str().to_owned();
    let mut arguments = Vec::new();
    for held in children {
        let mut name = None;
        for part in tree.children(held) {
            match part.as_rule() {
                Rule::name => name = Some(part.as_str().to_owned()),
                _ => arguments.push((name.take(), tree.value(part))),
            }
        }
    }
    tree.problems.is_empty().then_some((name, arguments))
}

struct TreeBuilder<'a> {
    text: &'a str,
    comments: Vec<Comment>,
    /// See [`File::unknown`].
    unknown: Vec<String>,
    problems: Vec<Problem>,
}

type Children<'a> = std::vec::IntoIter<Pair<'a, Rule>>;

impl<'a> TreeBuilder<'a> {
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        Span::new(pair.as_span().start(), end(pair.clone()))
    }

    /// The children that carry meaning; comments are put aside.
    fn children(&mut self, pair: Pair<'a, Rule>) -> Children<'a> {
        let mut children = Vec::new();
        for child in pair.into_inner() {
            match child.as_rule() {
                Rule::COMMENT => {
                    let text = child.as_str().trim_end().to_owned();
                    let start = child.as_span().start();
                    self.comments.push(Comment { span: Span::new(start, start + text.len()), text });
                }
                Rule::comma
                | Rule::equals
                | Rule::arrow
                | Rule::times
                | Rule::open_paren
                | Rule::close_paren
                | Rule::open_bracket
                | Rule::close_bracket
                | Rule::open_brace
                | Rule::close_brace
                | Rule::let_word
                | Rule::repeat_word
                | Rule::as_word
                | Rule::if_word
                | Rule::use_word
                | Rule::else_word
                | Rule::require_word
                | Rule::residual_word
                | Rule::frozen_word
                | Rule::second_bracket
                | Rule::EOI => {}
                _ => children.push(child),
            }
        }
        children.into_iter()
    }

    fn file(&mut self, pair: Pair<'a, Rule>, file: &mut File) {
        for child in self.children(pair) {
            match child.as_rule() {
                Rule::definition => file.definitions.extend(self.definition(child)),
                Rule::inclusion => {
                    let span = self.span(&child);
                    let path = self.children(child).next().map(|path| literal::unescape(path.as_str()));
                    file.uses.extend(path.map(|path| Use { path, span }));
                }
                _ => self.stray(&child),
            }
        }
    }

    fn definition(&mut self, pair: Pair<'a, Rule>) -> Option<Definition> {
        let span = self.span(&pair);
        let mut children = self.children(pair).peekable();
        let kind = match children.next()?.as_str() {
            "model" => DefinitionKind::Model,
            _ => DefinitionKind::Block,
        };
        let name = self.name(&children.next()?);
        let mut parameters_span = Span::new(name.span.end, name.span.end);
        let mut parameters = Vec::new();
        if let Some(list) = children.next_if(|child| child.as_rule() == Rule::parameters) {
            parameters_span = self.span(&list);
            for child in self.children(list) {
                match child.as_rule() {
                    Rule::parameter => parameters.extend(self.parameter(child)),
                    _ => self.bad_parameter(&child, &mut parameters),
                }
            }
        }
        let body = self.body(children.next()?);
        Some(Definition { kind, name, parameters, parameters_span, body, span })
    }

    fn parameter(&mut self, pair: Pair<'a, Rule>) -> Option<Parameter> {
        let span = self.span(&pair);
        let mut children = self.children(pair);
        let name = self.name(&children.next()?);
        let mut default = None;
        for child in children {
            match child.as_rule() {
                Rule::colon => self.colon(&child, "a default is written", &name),
                _ => default = Some(self.expr(child)),
            }
        }
        Some(Parameter { name, default, span })
    }

    fn name(&self, pair: &Pair<'_, Rule>) -> Name {
        Name { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    fn body(&mut self, pair: Pair<'a, Rule>) -> Body {
        let span = self.span(&pair);
        let mut statements = Vec::new();
        for child in self.children(pair) {
            self.statement(child, &mut statements);
        }
        Body { statements, span }
    }

    fn statement(&mut self, pair: Pair<'a, Rule>, statements: &mut Vec<Statement>) {
        for child in self.children(pair) {
            let span = self.span(&child);
            let mut kind = StatementKind::Invalid;
            match child.as_rule() {
                Rule::binding => {
                    let mut children = self.children(child);
                    let name = children.next();
                    let mut value = children.next();
                    let shared = value.take_if(|word| word.as_rule() == Rule::shared_word).is_some();
                    if let (Some(name), Some(value)) = (name, value.or_else(|| children.next())) {
                        kind = match name.as_rule() {
                            Rule::name if shared => {
                                StatementKind::LetShared { name: self.name(&name), value: self.expr(value) }
                            }
                            Rule::names => {
                                let names = self.children(name).map(|name| self.name(&name)).collect();
                                StatementKind::LetEach { names, value: self.expr(value) }
                            }
                            _ => StatementKind::Let { name: self.name(&name), value: self.expr(value) },
                        };
                    }
                }
                Rule::requirement => {
                    let mut children = self.children(child);
                    let condition = self.required(children.next(), span);
                    let message = children.next().map(|text| literal::unescape(text.as_str()));
                    kind = StatementKind::Require { condition, message };
                }
                Rule::application => {
                    let mut label = None;
                    for part in self.children(child) {
                        if part.as_rule() == Rule::label {
                            label = self.children(part).next().map(|name| self.name(&name));
                        } else {
                            kind = StatementKind::Apply { label: label.take(), value: self.expr(part) };
                        }
                    }
                }
                Rule::stray_comma => {
                    self.stray_comma(&child);
                    continue;
                }
                _ => {
                    self.invalid(&child, statements);
                    continue;
                }
            }
            if let StatementKind::Apply { label: None, value } = &kind
                && self.loose_argument(value, statements)
            {
                continue;
            }
            statements.push(Statement { kind, span });
        }
    }

    /// An expression; levels of the grammar that add nothing leave no trace.
    fn expr(&mut self, pair: Pair<'a, Rule>) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number | Rule::string | Rule::boolean => {
                self.literal(&pair).map_or(ExprKind::Invalid, ExprKind::Literal)
            }
            Rule::list => ExprKind::List(self.children(pair).map(|child| self.expr(child)).collect()),
            Rule::group => self.group(pair),
            Rule::flow => {
                let mut steps: Vec<Expr> = self.children(pair).map(|child| self.expr(child)).collect();
                match steps.len() {
                    1 => return steps.swap_remove(0),
                    _ => ExprKind::Flow(steps),
                }
            }
            Rule::condition => return self.condition(pair),
            Rule::unary => {
                let negative = pair.as_str().starts_with('-');
                let operand = self.children(pair).find(|child| child.as_rule() != Rule::minus);
                let operand = self.required(operand, span);
                if negative { ExprKind::Negate(Box::new(operand)) } else { return operand }
            }
            Rule::call | Rule::reference => {
                let mut children = self.children(pair);
                let name = children.next().map(|name| self.name(&name));
                let arguments = children.next().map(|list| self.arguments(list)).unwrap_or_default();
                let name = name.unwrap_or_else(|| Name { text: String::new(), span });
                ExprKind::Call { name, arguments }
            }
            Rule::residual => {
                let inner = self.children(pair).next();
                ExprKind::Residual(self.residual(inner, span))
            }
            Rule::frozen => {
                let inner = self.children(pair).next();
                ExprKind::Frozen(Box::new(self.required(inner, span)))
            }
            Rule::branch => {
                let body = self.children(pair).next();
                ExprKind::Branch(self.body_or_empty(body, span))
            }
            Rule::conditional => {
                let mut children = self.children(pair);
                let (mut arms, mut otherwise) = (Vec::new(), None);
                while let Some(child) = children.next() {
                    match child.as_rule() {
                        Rule::body => otherwise = Some(self.body(child)),
                        _ => {
                            let condition = self.expr(child);
                            arms.push((condition, self.body_or_empty(children.next(), span)));
                        }
                    }
                }
                ExprKind::If { arms, otherwise }
            }
            Rule::repeat => {
                let (mut count, mut repeated, mut index) = (None, None, None);
                for child in self.children(pair) {
                    match child.as_rule() {
                        Rule::count => count = Some(child),
                        Rule::index => index = self.children(child).next().map(|name| self.name(&name)),
                        _ => repeated = Some(child),
                    }
                }
                let count = Box::new(self.required(count, span));
                let repeated = Box::new(self.required(repeated, span));
                ExprKind::Repeat { repeated, count, index }
            }
            // `expression` and `count` are wrappers of one child.
            _ => return self.only(pair),
        };
        Expr { kind, span }
    }

    fn arguments(&mut self, pair: Pair<'a, Rule>) -> Vec<Argument> {
        let mut arguments = Vec::new();
        for child in self.children(pair) {
            let span = self.span(&child);
            let mut name = None;
            for part in self.children(child) {
                match part.as_rule() {
                    Rule::name | Rule::frozen_name => name = Some(self.name(&part)),
                    Rule::colon => {
                        let named = name.clone().unwrap_or_else(|| Name { text: String::new(), span });
                        self.colon(&part, "an argument is written", &named);
                    }
                    _ => arguments.push(Argument { name: name.take(), value: self.expr(part), span }),
                }
            }
        }
        arguments
    }

    fn only(&mut self, pair: Pair<'a, Rule>) -> Expr {
        let span = self.span(&pair);
        let child = self.children(pair).next();
        self.required(child, span)
    }

    /// The grammar always gives the child; a tree without it is still a tree.
    fn required(&mut self, child: Option<Pair<'a, Rule>>, span: Span) -> Expr {
        match child {
            Some(child) => self.expr(child),
            None => Expr { kind: ExprKind::Invalid, span },
        }
    }

    fn body_or_empty(&mut self, child: Option<Pair<'a, Rule>>, span: Span) -> Body {
        match child {
            Some(child) => self.body(child),
            None => Body { statements: Vec::new(), span },
        }
    }

    /// What stands beside its input: a body, or a layer or bracketed flow as a body of its own.
    fn residual(&mut self, inner: Option<Pair<'a, Rule>>, span: Span) -> Body {
        match inner {
            Some(inner) if inner.as_rule() != Rule::body => {
                let span = self.span(&inner);
                let value = match self.expr(inner) {
                    Expr { kind: ExprKind::Group(inner), .. } => *inner,
                    value => value,
                };
                let kind = StatementKind::Apply { label: None, value };
                Body { statements: vec![Statement { kind, span }], span }
            }
            inner => self.body_or_empty(inner, span),
        }
    }
}

/// Where a pair ends: the grammar also gives it the blanks and comments that it looked for more behind.
fn end(mut pair: Pair<'_, Rule>) -> usize {
    loop {
        let whole = pair.as_span().end();
        match pair.into_inner().rfind(|child| child.as_rule() != Rule::COMMENT) {
            Some(last) => pair = last,
            None => return whole,
        }
    }
}
