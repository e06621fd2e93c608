//! What people write who come from Python, Keras, PyTorch or Rust, and how it is done here.

use super::Rule;
use crate::dsl::syntax::Span;

/// Words for a mistake that is known. Without a message it is a help for a plain syntax error.
pub struct Hint {
    pub message: Option<String>,
    pub label: String,
    pub help: String,
    /// Where it is, if not at the token.
    pub span: Option<Span>,
}

impl Hint {
    fn new(message: impl Into<String>, label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: Some(message.into()), label: label.into(), help: help.into(), span: None }
    }

    fn help(help: impl Into<String>) -> Self {
        Self { message: None, label: String::new(), help: help.into(), span: None }
    }
}

const CONDITIONS: &str = "conditions are made with `==`, `!=`, `<`, `<=`, `>`, `>=`, `and`, `or` and `not`: `if n > 1 and \
                          not small { .. } else { .. }`";

/// What is known about a token that fits nowhere.
pub fn hint(text: &str, at: usize, rules: &[Rule], meant: Rule) -> Option<Hint> {
    let rest = text.get(at..).unwrap_or_default();
    let token = token(rest);
    let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t']);
    let word = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if word && let Some(hint) = reserved(token, &rest[token.len()..], before) {
        return Some(hint);
    }
    symbol(text, rest, at, before, meant).or_else(|| {
        if before.ends_with("shared") {
            Some(Hint::help(
                "`let encode = shared layer` shares the weights of a layer, which `repeat encode ×8` then calls",
            ))
        } else if rules.contains(&Rule::times) {
            Some(Hint::help(
                "a repeat reads `repeat layer ×8` or `repeat ×8 { .. }`, and with the number of its round `×8 as i`",
            ))
        } else if rules.contains(&Rule::definition) || rules.contains(&Rule::keyword) {
            Some(Hint::help("a file holds `model name(parameters) { layers }` and `block`s of the same form"))
        } else if token.starts_with(|c: char| c.is_ascii_digit()) && token.bytes().any(|c| c.is_ascii_alphabetic()) {
            Some(Hint::help("names begin with a letter, and numbers end before one"))
        } else {
            None
        }
    })
}

/// The token that a text begins with: a word, or a character.
pub fn token(rest: &str) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let Some(first) = rest.chars().next() else { return rest };
    for operator in ["==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", ":=", "**", "&&", "||", "::", "..", "++", "->"] {
        if rest.starts_with(operator) {
            return operator;
        }
    }
    let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
    &rest[..end]
}

/// Reserved words that have a place in the language.
const OWN: &[&str] = &["as", "use", "if", "else", "and", "or", "not"];

/// Words with a meaning here, and those that have one elsewhere.
fn reserved(word: &str, after: &str, before: &str) -> Option<Hint> {
    let help = match word {
        "for" | "while" => "layers are repeated by `repeat layer ×count` or `repeat ×count { .. }`",
        "if" => "it reads `if condition { .. } else { .. }`",
        "elif" => "write `else if condition { .. }`",
        "else" => "it stands behind the braces of an `if`: `if condition { .. } else { .. }`",
        "and" | "or" | "not" => CONDITIONS,
        "return" => "leave it out: what the last statement gives is the result",
        "use" => "it names a file of blocks, outside of models and blocks: `use \"blocks.vitx\"`",
        "import" => {
            "all layers are known (`vitx layers` lists them); blocks of another file come by `use \"blocks.vitx\"`"
        }
        "as" => "a name follows it, that of the number of a repeat's round: `repeat layer ×8 as i`",
        "in" => "layers are repeated by `repeat layer ×count`; `let name = ..` names a value or a branch",
        "def" | "class" => "a layer of your own is a `block name(parameters) { layers }`",
        "lambda" => "a layer of your own is a `block name(parameters) { layers }`",
        "model" | "block" | "let" | "repeat" | "residual" | "frozen" | "true" | "false" => {
            return Some(Hint::help("this word has a meaning of its own in the language"));
        }
        _ => return None,
    };
    let after = after.trim_start_matches([' ', '\t']);
    let named = ["let", "model", "block"].iter().any(|keyword| before.ends_with(keyword))
        || after.starts_with('=') && !after.starts_with("==")
        || after.starts_with(':') && !matches!(word, "else" | "if" | "elif");
    Some(match named {
        true => Hint::new(format!("`{word}` is reserved"), "cannot be a name", "choose another name"),
        false if OWN.contains(&word) => {
            Hint::new(format!("`{word}` does not stand here"), "does not belong here", help)
        }
        false => Hint::new(format!("there is no `{word}` in this language"), "not known", help),
    })
}

fn symbol(text: &str, rest: &str, at: usize, before: &str, meant: Rule) -> Option<Hint> {
    let token = token(rest);
    let follows_word = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let last: &str = match follows_word {
        true => {
            tail(before).rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').next().unwrap_or_default()
        }
        false => "",
    };
    let belongs = || format!("`{token}` does not belong here");
    let power = "there are no powers: write the product, `dim * dim`, or the number itself";
    Some(match token {
        "==" | "!=" | "<=" | ">=" | "<" | ">" | "&&" | "||" | "!" | "?" | "&" | "|" => {
            Hint::new(format!("there is no operator `{token}` here"), "not an operator", CONDITIONS)
        }
        "+=" | "-=" | "*=" | "/=" | "++" | ":=" => Hint::new(
            belongs(),
            "nothing is changed once it has a value",
            "`let name = ..` names a value; `residual { .. }` adds a branch to its input",
        ),
        "^" | "**" => Hint::new(format!("there is no operator `{token}`"), "not an operator", power),
        "*" if before.ends_with('*') => {
            let span = Some(Span::new(at - 1, at + 1));
            Hint { span, ..Hint::new("there is no operator `**`", "not an operator", power) }
        }
        "//" => Hint::help("`//` begins a comment; write `/`"),
        "×" => Hint::new("`×` stands before the count of a repeat", "not an operator", "a product is written `a * b`"),
        "=" if meant == Rule::only_parameter
            && tail(before).rsplit([',', '(']).next().is_some_and(|parameter| parameter.contains(':')) =>
        {
            Hint::new("a parameter has no type", "does not belong here", "a default is written `dim = 64`")
        }
        "=" if meant == Rule::only_statement && in_condition(before) => {
            Hint::new("a comparison is written with `==`", "write `==`", "`=` gives a value to an argument or a name")
        }
        "=" if meant == Rule::only_statement && follows_word => Hint::new(
            format!("`{last} = ..` is no statement"),
            "does not belong here",
            "a layer takes the current tensor: write `dense(64)`, not `x = dense(64)(x)`; `let name = ..` names a value or \
             a branch",
        ),
        "(" if meant == Rule::only_statement && (before.ends_with(')') || follows_word) => Hint::new(
            "a layer is not applied to a tensor by hand",
            "leave this out",
            "each statement takes the current tensor, as in `dense(64)`; a bracketed flow begins on a line of its own",
        ),
        "[" if meant == Rule::only_statement && (before.ends_with([')', ']']) || follows_word) => Hint::new(
            "there is no indexing",
            "does not belong here",
            "`take(index)` takes one token; values are taken one by one, by parameters of their own",
        ),
        ":" => return colon(text, before, follows_word, meant),
        "." => Hint::new(
            belongs(),
            "names have no dots",
            "layers stand under their own names (`vitx layers` lists them); a number reads `0.5`",
        ),
        "@" => Hint::new(
            belongs(),
            "there are no decorators",
            "a layer of your own is a `block name(parameters) { layers }`",
        ),
        "{" if meant == Rule::only_definition && before.is_empty() => {
            Hint::help("a file holds `model name(parameters) { layers }`; it is no JSON")
        }
        "-" if meant == Rule::only_definition => {
            Hint::help("a file holds `model name(parameters) { layers }`; it is no YAML")
        }
        _ => return None,
    })
}

/// As much of what stands before a token as is looked at.
fn tail(before: &str) -> &str {
    let start = (before.len().saturating_sub(200)..=before.len()).find(|at| before.is_char_boundary(*at));
    start.map_or("", |start| &before[start..])
}

/// Whether an `if` or a `require` begins before a token on its line.
fn in_condition(before: &str) -> bool {
    let piece = tail(before).rsplit(['\n', '\r', ';', '{', '}']).next().unwrap_or_default();
    piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| matches!(word, "if" | "require"))
}

/// A `:` that ends no label.
fn colon(text: &str, before: &str, follows_word: bool, meant: Rule) -> Option<Hint> {
    let line = tail(before).rsplit(['\n', '\r', ';']).next().unwrap_or_default();
    if before.ends_with('"') && meant == Rule::only_statement {
        let start =
            line[..line.len() - 1].rfind('"').map_or(before.len() - 1, |found| before.len() - line.len() + found);
        let label = text.get(start..before.len()).unwrap_or_default().trim_matches('"');
        let span = Some(Span::new(start, before.len()));
        let hint = Hint::new(
            "a label has no quotes",
            format!("write `{label}:`"),
            "a label is a name, as in `head: dense(64)`",
        );
        return Some(Hint { span, ..hint });
    }
    if meant == Rule::only_definition && (before.ends_with(')') || follows_word) {
        return Some(Hint::new(
            "a body stands in `{` `}`",
            "expected `{`",
            "write `model name(parameters) { layers }`",
        ));
    }
    if line.trim_start().starts_with("let ") {
        let hint = Hint::new("a `let` has no type", "does not belong here", "write `let name = value`");
        return Some(hint);
    }
    Some(Hint::help(
        "`label: layer` names a layer; an argument is written `name = value`, and a body stands in `{` `}`",
    ))
}
