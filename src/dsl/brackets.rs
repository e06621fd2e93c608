//! A scan of the brackets, before the grammar sees the text.
//!
//! It bounds the depth of nesting, and so the parser's stack, and it knows better than a grammar
//! which bracket is the wrong one. What it objects to is blanked out, byte for byte, so that the
//! rest of the text parses and all spans stay true.

use super::{Problem, syntax::Span};

/// The deepest nesting of brackets.
pub const MAX_DEPTH: usize = 48;

/// The text with every bracket closed, or `None` where that would say nothing more.
pub fn balance(text: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let faults = scan(text);
    if faults.is_empty() {
        return Some(text.to_owned());
    }
    let mut bytes = text.as_bytes().to_vec();
    let mut closers = 0;
    for fault in faults {
        match fault {
            Fault::Deep(at) => {
                problems.push(
                    Problem::new("vitx::syntax::depth", format!("brackets are nested more than {MAX_DEPTH} deep"))
                        .label(Span::new(at, at + 1), "one bracket too many")
                        .help("name the inner parts with `let`, or make them blocks"),
                );
                return None;
            }
            Fault::Unclosed(open, at) => {
                problems.push(
                    Problem::new("vitx::syntax::bracket", format!("this `{open}` is never closed"))
                        .label(Span::new(at, at + 1), format!("a `{}` is missing", closing(open))),
                );
                if open == '{' { closers += 1 } else { blank_line(&mut bytes, at) }
            }
            Fault::Stray(close, at) => {
                problems.push(
                    Problem::new("vitx::syntax::bracket", format!("this `{close}` closes nothing"))
                        .label(Span::new(at, at + 1), "no bracket is open here that it could close"),
                );
                bytes[at] = b' ';
            }
            Fault::String(at, end) => {
                problems.push(
                    Problem::new("vitx::syntax::string", "this string is never closed")
                        .label(Span::new(at, end), "a `\"` is missing on this line"),
                );
                blank_line(&mut bytes, at);
            }
        }
    }
    bytes.extend(std::iter::repeat_n(b'}', closers));
    // Whole lines and single ASCII bytes are blanked, so this stays UTF-8.
    String::from_utf8(bytes).ok().filter(|repaired| scan(repaired).is_empty())
}

enum Fault {
    Deep(usize),
    Unclosed(char, usize),
    Stray(char, usize),
    String(usize, usize),
}

fn scan(text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                while chars.next_if(|(_, c)| !matches!(c, '\n' | '\r')).is_some() {}
            }
            '"' => {
                let mut closed = false;
                let mut end = at + 1;
                while let Some((position, c)) = chars.next_if(|(_, c)| !matches!(c, '\n' | '\r')) {
                    end = position + c.len_utf8();
                    if c == '\\' {
                        chars.next_if(|(_, c)| !matches!(c, '\n' | '\r'));
                    } else if c == '"' {
                        closed = true;
                        break;
                    }
                }
                if !closed {
                    faults.push(Fault::String(at, end));
                }
            }
            '(' | '[' | '{' => {
                if open.len() == MAX_DEPTH {
                    faults.push(Fault::Deep(at));
                    return faults;
                }
                open.push((c, at));
            }
            ')' | ']' | '}' => {
                // A brace ends every list still open in it; a list's bracket ends no brace.
                let matching = open
                    .iter()
                    .rposition(|(open, _)| closing(*open) == c)
                    .filter(|&found| c == '}' || open[found..].iter().all(|(open, _)| *open != '{'));
                match matching {
                    Some(found) => {
                        faults.extend(open.drain(found + 1..).map(|(open, at)| Fault::Unclosed(open, at)));
                        open.pop();
                    }
                    None => faults.push(Fault::Stray(c, at)),
                }
            }
            _ => {}
        }
    }
    faults.extend(open.into_iter().map(|(open, at)| Fault::Unclosed(open, at)));
    faults
}

fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn blank_line(bytes: &mut [u8], at: usize) {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let start = bytes[..at].iter().rposition(is_break).map_or(0, |found| found + 1);
    let end = bytes[at..].iter().position(is_break).map_or(bytes.len(), |found| at + found);
    bytes[start..end].fill(b' ');
}
