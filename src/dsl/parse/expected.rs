//! Syntax errors in words.

use super::Rule;
use crate::dsl::{Problem, syntax::Span};

/// "expected this or that, found the token at `at`".
pub fn problem(text: &str, at: usize, limit: usize, rules: &[Rule]) -> Problem {
    let at = skip_blanks(text, at).min(limit);
    let (found, end) = found(text, at, limit);
    let mut words: Vec<&str> = rules.iter().filter_map(|rule| describe(*rule)).collect();
    words.sort_unstable();
    words.dedup();
    // "a value" covers operators' operands; what may follow a value is noise beside a bracket.
    if words.iter().any(|word| word.starts_with('`')) {
        words.retain(|word| *word != "an operator");
    }
    let message = match words.as_slice() {
        [] => format!("{found} does not belong here"),
        [only] => format!("expected {only}, found {found}"),
        [most @ .., last] => format!("expected {} or {last}, found {found}", most.join(", ")),
    };
    let label = if words.is_empty() { "does not belong here".to_owned() } else { format!("expected {}", list(&words)) };
    let problem = Problem::new("vitx::syntax", message).label(Span::new(at, end), label);
    match help(&text[at.min(text.len())..], rules) {
        Some(help) => problem.help(help),
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

fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::file | Rule::definition | Rule::only_definition | Rule::keyword | Rule::stray => "`model` or `block`",
        Rule::name | Rule::reference => "a name",
        Rule::parameter | Rule::only_parameter | Rule::bad_parameter => "a parameter",
        Rule::parameters => "`(`",
        Rule::arguments | Rule::open_paren => "`(`",
        Rule::body | Rule::open_brace => "`{`",
        Rule::statement | Rule::only_statement | Rule::application | Rule::binding | Rule::label => "a layer",
        Rule::expression
        | Rule::flow
        | Rule::sum
        | Rule::product
        | Rule::unary
        | Rule::number
        | Rule::float
        | Rule::integer
        | Rule::string
        | Rule::boolean
        | Rule::list
        | Rule::group
        | Rule::unary_value
        | Rule::value_list
        | Rule::only_value => "a value",
        Rule::argument => "an argument",
        Rule::count => "a count",
        Rule::times => "`×` and a count",
        Rule::repeat | Rule::residual | Rule::branch | Rule::call => "a layer",
        Rule::sum_operator | Rule::product_operator | Rule::minus | Rule::arrow => "an operator",
        Rule::equals => "`=`",
        Rule::colon => "`:`",
        Rule::comma => "`,`",
        Rule::close_paren => "`)`",
        Rule::open_bracket => "`[`",
        Rule::close_bracket => "`]`",
        Rule::close_brace => "`}`",
        Rule::EOI => "the end of the statement",
        _ => return None,
    })
}

fn help(rest: &str, rules: &[Rule]) -> Option<&'static str> {
    let word = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if rest.starts_with('#') || rest.starts_with("/*") {
        return Some("comments begin with `//`");
    }
    if rest.starts_with('\'') {
        return Some("strings stand in double quotes");
    }
    match word {
        "model" | "block" | "let" | "repeat" | "residual" => Some("this word has a meaning of its own in the language"),
        "for" | "while" => Some("use `repeat layer ×count`"),
        _ if rules.contains(&Rule::times) => Some("a repeat reads `repeat layer ×8` or `repeat ×8 { .. }`"),
        _ if rules.contains(&Rule::definition) || rules.contains(&Rule::keyword) => {
            Some("a file holds `model name(parameters) { layers }` and `block`s of the same form")
        }
        _ => None,
    }
}

/// What stands at `at`, in words, and where it ends.
fn found(text: &str, at: usize, limit: usize) -> (String, usize) {
    let rest = text.get(at..limit).unwrap_or_default();
    let Some(first) = rest.chars().next() else {
        return ("the end of the file".to_owned(), at);
    };
    if matches!(first, '\n' | '\r') {
        return ("the end of the line".to_owned(), at);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let token = if is_word(first) {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        &rest[..end]
    } else {
        &rest[..first.len_utf8()]
    };
    let shown: String = token.chars().take(40).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    (format!("`{shown}`"), at + token.len())
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start_matches([' ', '\t']).len())
}
