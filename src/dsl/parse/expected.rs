//! Syntax errors in words.

use super::{Rule, hints};
use crate::dsl::{Problem, syntax::Span};

/// "expected this or that, found the token at `at`", or what the token is in other languages.
pub fn problem(text: &str, at: usize, rules: &[Rule], meant: Rule) -> Problem {
    let at = skip_blanks(text, at);
    let (found, end) = found(text, at);
    let span = Span::new(at, end);
    let hint = hints::hint(text, at, rules, meant);
    if let Some(hints::Hint { message: Some(message), label, help, span: place }) = hint {
        let problem = Problem::new("vitx::syntax", message).label(place.unwrap_or(span), label);
        return if help.is_empty() { problem } else { problem.help(help) };
    }
    let mut words: Vec<&str> = rules.iter().flat_map(|rule| describe(*rule, meant)).copied().collect();
    words.sort_unstable();
    words.dedup();
    // "a value" covers operators' operands; what may follow a value is noise beside a bracket.
    if words.iter().any(|word| word.starts_with('`')) {
        words.retain(|word| *word != "an operator");
    }
    if words.contains(&"a layer") {
        words.retain(|word| *word != "a value" && *word != "a name");
    }
    let message = match words.as_slice() {
        [] => format!("{found} does not belong here"),
        words => format!("expected {}, found {found}", list(words)),
    };
    let label = if words.is_empty() { "does not belong here".to_owned() } else { format!("expected {}", list(&words)) };
    let problem = Problem::new("vitx::syntax", message).label(span, label);
    match hint {
        Some(hint) => problem.help(hint.help),
        None => problem,
    }
}

fn list(words: &[&str]) -> String {
    match words {
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
        [] => String::new(),
    }
}

/// A rule in words. `meant` is what the piece was to be.
fn describe(rule: Rule, meant: Rule) -> &'static [&'static str] {
    match rule {
        Rule::inclusion | Rule::use_word => &["`use`"],
        Rule::file | Rule::definition | Rule::only_definition | Rule::keyword | Rule::stray => &["`model`", "`block`"],
        Rule::shared_word => &["`shared`"],
        Rule::if_word => &["`if`"],
        Rule::else_word => &["`else`"],
        Rule::index | Rule::as_word => &["`as`"],
        Rule::name | Rule::frozen_name | Rule::label_name | Rule::reference | Rule::dotted => &["a name"],
        Rule::parameter | Rule::only_parameter | Rule::bad_parameter => &["a parameter"],
        Rule::parameters => &["`(`"],
        Rule::arguments | Rule::open_paren => &["`(`"],
        Rule::body | Rule::open_brace => &["`{`"],
        Rule::statement
        | Rule::only_statement
        | Rule::application
        | Rule::binding
        | Rule::requirement
        | Rule::label => &["a layer"],
        Rule::expression
        | Rule::flow
        | Rule::condition
        | Rule::not_word
        | Rule::unary
        | Rule::number
        | Rule::float
        | Rule::loose
        | Rule::integer
        | Rule::string
        | Rule::boolean
        | Rule::list
        | Rule::group
        | Rule::unary_value
        | Rule::value_list
        | Rule::held
        | Rule::only_layer
        | Rule::only_value => &["a value"],
        Rule::argument => &["an argument"],
        Rule::count => &["a count"],
        Rule::times => &["`×` and a count"],
        Rule::repeat | Rule::residual | Rule::frozen | Rule::conditional | Rule::branch | Rule::call => &["a layer"],
        Rule::sum_operator
        | Rule::product_operator
        | Rule::minus
        | Rule::arrow
        | Rule::comparator
        | Rule::and_word
        | Rule::or_word => &["an operator"],
        Rule::equals => &["`=`"],
        Rule::comma => &["`,`"],
        Rule::close_paren => &["`)`"],
        Rule::open_bracket => &["`[`"],
        Rule::close_bracket => &["`]`"],
        Rule::close_brace => &["`}`"],
        Rule::EOI if meant == Rule::only_parameter => &["`,`", "`)`"],
        Rule::EOI if meant == Rule::only_value => &["the end of the value"],
        Rule::EOI => &["the end of the statement"],
        _ => &[],
    }
}

/// What stands at `at`, in words, and where it ends.
fn found(text: &str, at: usize) -> (String, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let Some(first) = rest.chars().next() else {
        return ("the end of the file".to_owned(), at);
    };
    if matches!(first, '\n' | '\r') {
        return ("the end of the line".to_owned(), at);
    }
    let token = hints::token(rest);
    let shown: String = token.chars().take(40).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    (format!("`{shown}`"), at + token.len())
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start_matches([' ', '\t']).len())
}
