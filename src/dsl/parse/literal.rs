//! Literals: of a text, and of the command line.

use pest::iterators::Pair;

use super::{Rule, TreeBuilder};
use crate::dsl::{Problem, Value};

impl<'a> TreeBuilder<'a> {
    /// The value of a literal, `None` where it has none, which is reported.
    pub(super) fn literal(&mut self, pair: &Pair<'a, Rule>) -> Option<Value> {
        let text = pair.as_str();
        match pair.as_rule() {
            Rule::boolean => Some(Value::Bool(text == "true")),
            Rule::string => Some(Value::Str(unescape(text))),
            _ => self.number(text, pair),
        }
    }

    fn number(&mut self, text: &str, pair: &Pair<'a, Rule>) -> Option<Value> {
        let digits = text.replace('_', "");
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = match whole {
            true => digits.parse().ok().map(Value::Int),
            false => digits.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float),
        };
        if value.is_none() {
            let problem = Problem::new("vitx::syntax::number", "this number is too large");
            let label = "whole numbers go up to 9223372036854775807, others to about 1.8e308";
            self.problems.push(problem.label(self.span(pair), label));
        } else if let Some(complete) = complete(text) {
            let problem = Problem::new("vitx::syntax::number", "a number has digits on both sides of its point");
            self.problems.push(problem.label(self.span(pair), format!("write `{complete}`")));
        }
        value
    }

    /// A literal of the command line: `unary_value` or `value_list`.
    pub(super) fn value(&mut self, pair: Pair<'a, Rule>) -> Value {
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
            // Where there is no value there is a problem, and the value is not used.
            _ => self.literal(&pair).unwrap_or(Value::List(Vec::new())),
        }
    }
}

/// `.5` and `2.` with the digit that is missing.
fn complete(text: &str) -> Option<String> {
    if text.starts_with('.') {
        return Some(format!("0{text}"));
    }
    let point = text.find('.')?;
    let (before, after) = text.split_at(point + 1);
    (!after.starts_with(|c: char| c.is_ascii_digit())).then(|| format!("{before}0{after}"))
}

pub(super) fn unescape(literal: &str) -> String {
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
