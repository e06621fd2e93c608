//! Comments that hide a value: `dim // 2` is a whole division elsewhere, and a `dim` here.

use std::collections::HashSet;

use super::{Kind, Token, tokens};
use crate::dsl::{Problem, syntax::Span};

/// Where comments begin that follow an expression on its line and hold only values, with the problem.
pub fn hidden(text: &str, all: &[Token]) -> Vec<(usize, Problem)> {
    let mut values = None;
    let mut found = Vec::new();
    for pair in all.windows(2) {
        let [before, comment] = pair else { continue };
        if comment.kind != Kind::Comment || !ends_value(text, before) {
            continue;
        }
        if text[before.end..comment.start].contains(['\n', '\r']) {
            continue;
        }
        let hidden = &text[comment.start + 2..comment.end];
        if !is_value(hidden, values.get_or_insert_with(|| values_of(text, all))) {
            continue;
        }
        let first = operand(hidden);
        let left =
            if before.is(text, ")") || before.is(text, "]") { "..".to_owned() } else { shown(before.text(text)) };
        let problem = Problem::new("vitx::syntax::comment", "`//` begins a comment, which hides what follows")
            .label(Span::new(comment.start, comment.start + 2), "not a division")
            .help(format!(
                "write `{left} / {first}`, which is whole where it divides; a note begins with a word: `// of {first}`"
            ));
        found.push((comment.start, problem));
    }
    found
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Whether a token may end an expression.
fn ends_value(text: &str, token: &Token) -> bool {
    match token.kind {
        Kind::Number | Kind::Text => true,
        Kind::Word => !matches!(token.text(text), "let" | "repeat" | "residual" | "frozen" | "model" | "block" | "x"),
        Kind::Symbol => token.is(text, ")") || token.is(text, "]"),
        _ => false,
    }
}

/// The first operand of what a comment hides.
fn operand(hidden: &str) -> String {
    let first = tokens(hidden).into_iter().find(|token| token.kind != Kind::Symbol);
    first.map_or_else(|| "..".to_owned(), |token| shown(token.text(hidden)))
}

/// The names of numbers: the file's parameters and `let`s, and those of the data set.
fn values_of<'t>(text: &'t str, all: &[Token]) -> HashSet<&'t str> {
    let mut names = HashSet::from(["image_size", "channels", "num_classes"]);
    let code: Vec<&Token> = all.iter().filter(|token| token.kind != Kind::Comment).collect();
    // Inside a definition's parameters, how many brackets are open.
    let mut depth = None;
    for (index, token) in code.iter().enumerate() {
        let piece = token.text(text);
        let before = |back: usize| index.checked_sub(back).and_then(|at| code.get(at)).map_or("", |t| t.text(text));
        match piece {
            "(" if matches!(before(2), "model" | "block") => depth = Some(1_usize),
            "(" | "[" | "{" => depth = depth.map(|depth| depth + 1),
            ")" | "]" | "}" => depth = depth.and_then(|depth| depth.checked_sub(1)).filter(|depth| *depth > 0),
            _ if token.kind != Kind::Word => {}
            _ if depth == Some(1) && matches!(before(1), "(" | ",") => {
                names.insert(piece);
            }
            // What begins like a value; other names are those of tensors.
            _ if before(1) == "let" => {
                let is_value = code.get(index + 2).is_some_and(|value| {
                    let first = value.text(text);
                    value.kind == Kind::Number || matches!(first, "[" | "(" | "-") || names.contains(first)
                });
                if is_value {
                    names.insert(piece);
                }
            }
            _ => {}
        }
    }
    names
}

/// Whether a comment holds values and what joins them, and no words: `2`, `heads`, `2, dropout = 0.1)`.
fn is_value(comment: &str, values: &HashSet<&str>) -> bool {
    let pieces = tokens(comment);
    // Another comment may follow in it.
    let end = pieces.iter().position(|token| token.kind == Kind::Comment).unwrap_or(pieces.len());
    let pieces = &pieces[..end];
    let text = |index: usize| pieces.get(index).map_or("", |token| token.text(comment));
    let is_operand = |index: usize| match pieces.get(index) {
        Some(token) if token.kind == Kind::Number => token.text(comment).bytes().all(|c| !c.is_ascii_alphabetic()),
        Some(token) if token.kind == Kind::Word => {
            values.contains(token.text(comment)) && !matches!(text(index + 1), "=" | ":")
        }
        _ => false,
    };
    let first = pieces.iter().position(|token| !token.is(comment, "(") && !token.is(comment, "-"));
    let Some(first) = first.filter(|first| is_operand(*first)) else { return false };
    (first + 1..pieces.len()).all(|index| {
        let joined = !matches!(pieces[index - 1].kind, Kind::Number | Kind::Word | Kind::Text);
        match pieces[index].kind {
            Kind::Number | Kind::Text => joined,
            // The name of an argument, a layer's word, or a value.
            Kind::Word => {
                joined
                    && (text(index + 1) == "=" || text(index - 1) == "=" || text(index + 1) == "(" || is_operand(index))
            }
            Kind::Symbol => "()[]{},;=+-*/%>×".contains(text(index)),
            _ => false,
        }
    })
}
