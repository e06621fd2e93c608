use pest::{
    Parser,
    error::{ErrorVariant, InputLocation},
    iterators::Pair,
};

use super::{Diagnostics, Problem, Source, Value, bounds, brackets, syntax::*};

mod expected;

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
    if let Some(text) = brackets::balance(&source.text, &mut problems) {
        let mut tree = TreeBuilder { text: &text, limit: source.text.len(), comments: Vec::new(), problems };
        match Grammar::parse(Rule::file, &text) {
            Ok(mut pairs) => {
                if let Some(pair) = pairs.next() {
                    file.definitions = tree.file(pair);
                }
            }
            Err(error) => tree.report(&error, 0),
        }
        file.comments = tree.comments;
        file.comments.sort_by_key(|comment| comment.span);
        file.comments.dedup();
        problems = tree.problems;
    }
    Ok((file, problems))
}

/// Parses a single literal.
pub(super) fn parse_value(source: &Source) -> Result<Value, Diagnostics> {
    source.check_length()?;
    if let Some(problem) = bounds::check(&source.text) {
        return Err(problem.in_source(source).into());
    }
    let mut problems = Vec::new();
    let mut value = None;
    if let Some(text) = brackets::balance(&source.text, &mut problems) {
        let mut tree = TreeBuilder { text: &text, limit: text.len(), comments: Vec::new(), problems };
        match Grammar::parse(Rule::only_value, &text) {
            Ok(pairs) => value = pairs.flat_map(Pair::into_inner).next().map(|pair| tree.value(pair)),
            Err(error) => tree.report(&error, 0),
        }
        problems = tree.problems;
    }
    match (Diagnostics::collect(problems, source), value) {
        (None, Some(value)) => Ok(value),
        (Some(diagnostics), _) => Err(diagnostics),
        (None, None) => Err(Problem::new("vitx::syntax", "expected a value").in_source(source).into()),
    }
}

struct TreeBuilder<'a> {
    text: &'a str,
    /// Length of the text as written: repairs may have added to it.
    limit: usize,
    comments: Vec<Comment>,
    problems: Vec<Problem>,
}

type Children<'a> = std::vec::IntoIter<Pair<'a, Rule>>;

impl<'a> TreeBuilder<'a> {
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let start = pair.as_span().start();
        Span::new(start.min(self.limit), end(pair.clone()).min(self.limit))
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
                | Rule::colon
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
                | Rule::residual_word
                | Rule::statement_end
                | Rule::EOI => {}
                _ => children.push(child),
            }
        }
        children.into_iter()
    }

    fn file(&mut self, pair: Pair<'a, Rule>) -> Vec<Definition> {
        let mut definitions = Vec::new();
        for child in self.children(pair) {
            match child.as_rule() {
                Rule::definition => definitions.extend(self.definition(child)),
                _ => self.explain(&child, Rule::only_definition),
            }
        }
        definitions
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
                    _ => self.explain(&child, Rule::only_parameter),
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
        let default = children.next().map(|child| self.expr(child));
        Some(Parameter { name, default, span })
    }

    fn name(&self, pair: &Pair<'_, Rule>) -> Name {
        Name { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    fn body(&mut self, pair: Pair<'a, Rule>) -> Body {
        let span = self.span(&pair);
        let statements = self.children(pair).map(|child| self.statement(child)).collect();
        Body { statements, span }
    }

    fn statement(&mut self, pair: Pair<'a, Rule>) -> Statement {
        let mut span = self.span(&pair);
        let mut kind = StatementKind::Invalid;
        if let Some(child) = self.children(pair).next() {
            span = self.span(&child);
            match child.as_rule() {
                Rule::binding => {
                    let mut children = self.children(child);
                    if let (Some(name), Some(value)) = (children.next(), children.next()) {
                        kind = StatementKind::Let { name: self.name(&name), value: self.expr(value) };
                    }
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
                _ => self.explain(&child, Rule::only_statement),
            }
        }
        Statement { kind, span }
    }

    /// An expression; levels of the grammar that add nothing leave no trace.
    fn expr(&mut self, pair: Pair<'a, Rule>) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number | Rule::string | Rule::boolean => ExprKind::Literal(self.literal(&pair)),
            Rule::list => ExprKind::List(self.children(pair).map(|child| self.expr(child)).collect()),
            Rule::group => ExprKind::Group(Box::new(self.only(pair))),
            Rule::flow => {
                let mut steps: Vec<Expr> = self.children(pair).map(|child| self.expr(child)).collect();
                match steps.len() {
                    1 => return steps.swap_remove(0),
                    _ => ExprKind::Flow(steps),
                }
            }
            Rule::sum | Rule::product => return self.chain(pair),
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
                let body = self.children(pair).next();
                ExprKind::Residual(self.body_or_empty(body, span))
            }
            Rule::branch => {
                let body = self.children(pair).next();
                ExprKind::Branch(self.body_or_empty(body, span))
            }
            Rule::repeat => {
                let (count, repeated): (Vec<_>, Vec<_>) =
                    self.children(pair).partition(|child| child.as_rule() == Rule::count);
                let count = Box::new(self.required(count.into_iter().next(), span));
                let repeated = Box::new(self.required(repeated.into_iter().next(), span));
                ExprKind::Repeat { repeated, count }
            }
            // `expression` and `count` are wrappers of one child.
            _ => return self.only(pair),
        };
        Expr { kind, span }
    }

    fn chain(&mut self, pair: Pair<'a, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut children = self.children(pair);
        let first = self.required(children.next(), span);
        let mut rest = Vec::new();
        while let (Some(operator), Some(operand)) = (children.next(), children.next()) {
            let operator = match operator.as_str() {
                "+" => Operator::Add,
                "-" => Operator::Subtract,
                "*" => Operator::Multiply,
                "/" => Operator::Divide,
                _ => Operator::Remainder,
            };
            rest.push((operator, self.expr(operand)));
        }
        if rest.is_empty() {
            return first;
        }
        Expr { kind: ExprKind::Chain { first: Box::new(first), rest }, span }
    }

    fn arguments(&mut self, pair: Pair<'a, Rule>) -> Vec<Argument> {
        let mut arguments = Vec::new();
        for child in self.children(pair) {
            let span = self.span(&child);
            let mut name = None;
            for part in self.children(child) {
                match part.as_rule() {
                    Rule::name => name = Some(self.name(&part)),
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
            None => Expr { kind: ExprKind::List(Vec::new()), span },
        }
    }

    fn body_or_empty(&mut self, child: Option<Pair<'a, Rule>>, span: Span) -> Body {
        match child {
            Some(child) => self.body(child),
            None => Body { statements: Vec::new(), span },
        }
    }

    fn literal(&mut self, pair: &Pair<'a, Rule>) -> Value {
        let text = pair.as_str();
        match pair.as_rule() {
            Rule::boolean => Value::Bool(text == "true"),
            Rule::string => Value::Str(unescape(text)),
            _ => {
                let digits = text.replace('_', "");
                if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    if let Ok(value) = digits.parse() {
                        return Value::Int(value);
                    }
                } else if let Some(value) = digits.parse().ok().filter(|value: &f64| value.is_finite()) {
                    return Value::Float(value);
                }
                let problem = Problem::new("vitx::syntax::number", "this number is too large")
                    .label(self.span(pair), "whole numbers go up to 9223372036854775807, others to about 1.8e308");
                self.problems.push(problem);
                Value::Int(1)
            }
        }
    }

    /// A literal of the command line: `unary_value` or `value_list`.
    fn value(&mut self, pair: Pair<'a, Rule>) -> Value {
        match pair.as_rule() {
            Rule::value_list => Value::List(self.children(pair).map(|child| self.value(child)).collect()),
            Rule::unary_value => {
                let mut negative = false;
                let mut value = Value::List(Vec::new());
                for child in self.children(pair) {
                    match child.as_rule() {
                        Rule::minus => negative = true,
                        _ => value = self.value(child),
                    }
                }
                match value {
                    Value::Int(number) if negative => Value::Int(-number),
                    Value::Float(number) if negative => Value::Float(-number),
                    value => value,
                }
            }
            _ => self.literal(&pair),
        }
    }

    /// Parses a piece that fits nowhere by the rule it was meant for, to say what is wrong in it.
    fn explain(&mut self, pair: &Pair<'a, Rule>, meant: Rule) {
        let start = pair.as_span().start();
        match Grammar::parse(meant, &self.text[start..pair.as_span().end()]) {
            Err(error) => self.report(&error, start),
            // Well formed in itself, but not where it stands: say so at what follows.
            Ok(_) => self.unexpected(pair.as_span().end(), &[]),
        }
    }

    fn report(&mut self, error: &pest::error::Error<Rule>, offset: usize) {
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
        let rules = match &error.variant {
            ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
            ErrorVariant::CustomError { .. } => &[],
        };
        self.unexpected(offset + at, rules);
    }

    fn unexpected(&mut self, at: usize, rules: &[Rule]) {
        self.problems.push(expected::problem(self.text, at, self.limit, rules));
    }
}

/// Where a pair ends: the grammar also gives it the blanks and comments that it looked for more behind.
fn end(mut pair: Pair<'_, Rule>) -> usize {
    loop {
        let whole = pair.as_span().end();
        match pair.into_inner().rfind(|child| !matches!(child.as_rule(), Rule::COMMENT | Rule::statement_end)) {
            Some(last) => pair = last,
            None => return whole,
        }
    }
}

fn unescape(literal: &str) -> String {
    let inner = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(literal);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}
