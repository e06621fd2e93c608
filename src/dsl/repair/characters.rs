//! Characters that are not of the language: look-alikes, invisible ones, other languages' comments
//! and quotes. Each is named, and read as what it was meant to be.

use std::collections::HashSet;

use super::{
    Edit, Kind, Token,
    lookalikes::{Meant, meant, named},
    tokens::is_invisible,
};
use crate::dsl::{Problem, syntax::Span};

const CODE: &str = "vitx::syntax::character";

pub fn repair(text: &str, tokens: &[Token], edit: &mut Edit, unknown: &mut Vec<String>, problems: &mut Vec<Problem>) {
    let mut words = HashSet::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let piece = token.text(text);
        let next = tokens.get(index + 1);
        let mut used = 1;
        match token.kind {
            Kind::Foreign => foreign(token, piece, edit, problems),
            Kind::Quoted => {
                let problem = Problem::new("vitx::syntax::string", "strings stand in double quotes");
                let inner = piece.trim_matches('\'');
                problems.push(problem.label(span(token), format!("write `\"{inner}\"`")));
                if inner.contains('"') {
                    edit.blank(token.start, token.end);
                } else {
                    edit.put(token.start, token.start + 1, "\"");
                    edit.put(token.end - 1, token.end, "\"");
                }
            }
            Kind::Word if next.is_some_and(|next| is_prefix(piece, token, next)) => {
                let problem = Problem::new("vitx::syntax::string", format!("a string has no `{piece}` in front"));
                let problem = problem.label(span(token), "leave it out");
                problems.push(problem.help("a string stands as it is written, `\"gelu\"`; nothing is put into it"));
                edit.blank(token.start, token.end);
            }
            Kind::Word if matches!(piece, "True" | "False") && !next.is_some_and(|next| next.is(text, "(")) => {
                let small = piece.to_lowercase();
                let problem = Problem::new("vitx::syntax", format!("`{piece}` is written `{small}` here"));
                problems.push(problem.label(span(token), format!("write `{small}`")));
                edit.put(token.start, token.end, &small);
            }
            Kind::Word | Kind::Number if !piece.is_ascii() => {
                let first = words.insert(piece);
                word(token, piece, edit, unknown, first.then_some(&mut *problems));
            }
            Kind::Symbol => used = symbol(text, &tokens[index..], edit, problems),
            _ => {}
        }
        index += used.max(1);
    }
}

fn span(token: &Token) -> Span {
    Span::new(token.start, token.end)
}

/// Whether a word is what other languages put before a string: `f"..."`.
fn is_prefix(word: &str, token: &Token, next: &Token) -> bool {
    let prefix = matches!(word.to_ascii_lowercase().as_str(), "f" | "r" | "b" | "u" | "rb" | "br" | "fr" | "rf");
    prefix && matches!(next.kind, Kind::Text | Kind::Quoted) && next.start == token.end
}

fn foreign(token: &Token, piece: &str, edit: &mut Edit, problems: &mut Vec<Problem>) {
    let mark = match piece.as_bytes() {
        [b'#', b'!', ..] => "#!",
        [b'#', ..] => "#",
        [b'/', ..] => "/*",
        _ => "\"\"\"",
    };
    let message = format!("comments begin with `//`, not with `{mark}`");
    let problem = Problem::new("vitx::syntax::comment", message);
    problems.push(problem.label(Span::new(token.start, token.start + mark.len()), "write `//`"));
    edit.blank(token.start, token.end);
}

/// A word with letters that names do not have. All of one word are one mistake.
fn word(token: &Token, piece: &str, edit: &mut Edit, unknown: &mut Vec<String>, problems: Option<&mut Vec<Problem>>) {
    let odd: Vec<(usize, char)> = piece.char_indices().filter(|(_, c)| !c.is_ascii()).collect();
    let Some((at, first)) = odd.iter().find(|(_, c)| meant(*c).is_none()).or(odd.first()).copied() else { return };
    let place = Span::new(token.start + at, token.start + at + first.len_utf8());
    let replaced: Option<String> = piece
        .chars()
        .map(|c| match meant(c) {
            _ if c.is_ascii() => Some(c.to_string()),
            Some(Meant::Ascii(letter)) => Some(letter.to_owned()),
            Some(Meant::Nothing) => Some(String::new()),
            _ => None,
        })
        .collect();
    let code = named(first);
    let problem = match &replaced {
        Some(replaced) if replaced.is_empty() => Problem::new(CODE, format!("{code}, does not belong here"))
            .label(place, "cannot be seen here")
            .help("delete it"),
        Some(replaced) if is_invisible(first) => {
            Problem::new(CODE, format!("{code}, stands within the name `{replaced}`"))
                .label(place, "cannot be seen here")
                .help(format!("delete it; the name is `{replaced}`"))
        }
        Some(replaced) => {
            let letter = if let Some(Meant::Ascii(letter)) = meant(first) { letter } else { "" };
            Problem::new(CODE, format!("{code}, stands in place of `{letter}`"))
                .label(place, format!("looks like `{letter}`"))
                .help(format!("write `{replaced}` with letters of the keyboard, a-z"))
        }
        None => Problem::new(CODE, format!("{code}, cannot be part of a name"))
            .label(place, "not a letter of names")
            .help("names are of a-z, A-Z, 0-9 and `_`; any character may stand in a comment"),
    };
    if let Some(problems) = problems {
        problems.push(problem);
    }
    match replaced {
        Some(replaced) => edit.put(token.start, token.end, &replaced),
        None => {
            for (at, c) in odd {
                let start = token.start + at;
                edit.bytes[start..start + c.len_utf8()].fill(b'_');
            }
            let repaired = String::from_utf8_lossy(&edit.bytes[token.start..token.end]).into_owned();
            unknown.push(repaired);
        }
    }
}

/// Looks at a character that is no word; gives how many tokens were looked at.
fn symbol(text: &str, tokens: &[Token], edit: &mut Edit, problems: &mut Vec<Problem>) -> usize {
    let token = &tokens[0];
    let rest = &text[token.start..];
    let Some(first) = rest.chars().next() else { return 1 };
    if rest.starts_with("=>") || rest.starts_with("|>") || rest.starts_with(">>") {
        let arrow = &rest[..2];
        let problem = Problem::new("vitx::syntax", format!("`{arrow}` is written `->` here"));
        problems.push(problem.label(Span::new(token.start, token.start + 2), "write `->`"));
        edit.put(token.start, token.start + 2, "->");
        return 2;
    }
    if first == '\\' && rest[1..].trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) {
        let problem = Problem::new("vitx::syntax", "a line goes on without a `\\`").label(span(token), "leave it out");
        problems.push(problem.help("line breaks mean nothing here"));
        edit.blank(token.start, token.end);
        return 1;
    }
    if first == '\u{1B}' && rest[1..].starts_with('[') {
        // A terminal's colour or cursor sequence, pasted with the text.
        let end = rest[2..].find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |at| at + 3);
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = token.start + end.min(line);
        let problem = Problem::new(CODE, format!("{}, does not belong here", named(first)));
        problems.push(problem.label(Span::new(token.start, end), "a terminal's control sequence").help("delete it"));
        edit.blank(token.start, end);
        return tokens.iter().take_while(|token| token.start < end - 1).count();
    }
    if first == '×' || first.is_ascii() && !first.is_control() {
        return 1;
    }
    let code = named(first);
    let problem =
        |ending: &str, label: String| Problem::new(CODE, format!("{code}, {ending}")).label(span(token), label);
    match meant(first) {
        Some(Meant::Blank) => {
            problems.push(problem("is no blank of the language", "write a space".into()));
            edit.blank(token.start, token.end);
        }
        Some(Meant::Quote) => return quote(text, tokens, edit, problems),
        Some(Meant::Ascii(ascii)) => {
            // Where one key gave full-width characters, they all are.
            let full_width = ('\u{FF01}'..='\u{FF5E}').contains(&first);
            let before = problems.iter_mut().find(|problem| full_width && problem.message().starts_with("U+FF"));
            if let Some(before) = before {
                *before = before.clone().label(span(token), format!("write `{ascii}`"));
                edit.put_last(token.start, token.end, ascii);
                return 1;
            }
            problems.push(problem(&format!("stands in place of `{ascii}`"), format!("write `{ascii}`")));
            // A minus may be half of an arrow.
            edit.put_last(token.start, token.end, ascii);
        }
        Some(Meant::Nothing) => {
            problems.push(problem("does not belong here", "cannot be seen here".into()).help("delete it"));
            edit.blank(token.start, token.end);
        }
        None => {
            let shown = if first.is_control() { String::new() } else { format!("`{first}`, ") };
            let message = format!("{shown}{code}, does not belong here");
            let problem = Problem::new(CODE, message).label(span(token), "not part of the language");
            problems.push(problem.help("it may stand in a comment, behind `//`"));
            edit.blank(token.start, token.end);
        }
    }
    1
}

/// A string in typographic quotes: both are one mistake.
fn quote(text: &str, tokens: &[Token], edit: &mut Edit, problems: &mut Vec<Problem>) -> usize {
    let start = tokens[0].start;
    let rest = &text[start..];
    let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
    let mut chars = line.char_indices();
    let Some((_, first)) = chars.next() else { return 1 };
    let inner = first.len_utf8();
    let close = chars.find(|(_, c)| *c == '"' || meant(*c) == Some(Meant::Quote));
    let problem = Problem::new(CODE, format!("{}, stands in place of `\"`", named(first)));
    let end = match close {
        Some((at, close)) => {
            let end = start + at + close.len_utf8();
            let quoted = format!("\"{}\"", &line[inner..at]);
            problems.push(problem.label(Span::new(start, end), format!("write `{quoted}`")));
            edit.put(start, end, &quoted);
            end
        }
        None => {
            problems.push(problem.label(span(&tokens[0]), "write `\"`"));
            edit.blank(start, start + inner);
            start + inner
        }
    };
    tokens.iter().take_while(|token| token.start < end).count()
}
