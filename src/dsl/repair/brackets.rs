//! Brackets and strings that are not closed, before the grammar sees the text.
//!
//! The depth of nesting is bounded here, and so the parser's stack. Behind the wrong bracket
//! nothing is certain until the next `model` or `block`: of each definition only the first fault is
//! said, and the definition is left out.

use super::{Kind, Token, first_on_line, indent};
use crate::dsl::{Problem, syntax::Span};

/// The deepest nesting of brackets.
const MAX_DEPTH: usize = 48;

/// A piece of the text, from one definition to the next, that is left out.
pub struct Region {
    pub start: usize,
    pub end: usize,
    /// What the block in it is called.
    pub name: Option<String>,
}

/// Reports brackets that do not fit; `None` where they are nested too deep to go on.
pub fn repair(text: &str, tokens: &[Token], problems: &mut Vec<Problem>) -> Option<Vec<Region>> {
    let mut left_out = Vec::new();
    let mut first = 0;
    while first < tokens.len() {
        let next = (first + 1..tokens.len()).find(|&at| begins_definition(text, tokens, at)).unwrap_or(tokens.len());
        let piece = &tokens[first..next];
        let fault = scan(text, piece, next < tokens.len());
        if let Some((problem, deep)) = fault {
            problems.push(problem);
            if deep {
                return None;
            }
            let named = piece.get(1).filter(|name| piece[0].is(text, "block") && name.kind == Kind::Word);
            left_out.push(Region {
                start: piece[0].start,
                end: tokens.get(next).map_or(text.len(), |token| token.start),
                name: named.map(|name| name.text(text).to_owned()),
            });
        }
        first = next;
    }
    Some(left_out)
}

/// Both words are reserved: at the beginning of a line and before a name they begin a definition,
/// whatever brackets are open.
fn begins_definition(text: &str, tokens: &[Token], at: usize) -> bool {
    let (token, next) = (&tokens[at], tokens.get(at + 1));
    token.kind == Kind::Word
        && (token.is(text, "model") || token.is(text, "block"))
        && next.is_some_and(|next| next.kind == Kind::Word)
        && first_on_line(text, token)
}

/// The first fault of a definition, and whether brackets are nested too deep.
fn scan(text: &str, tokens: &[Token], followed: bool) -> Option<(Problem, bool)> {
    let mut open: Vec<&Token> = Vec::new();
    // Braces whose ends stand less deep, or deeper, than they do: where one is missing, or one too many.
    let (mut shallow, mut deeper): (Option<&Token>, Option<&Token>) = (None, None);
    for (index, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Open {
            let problem = Problem::new("vitx::syntax::string", "this string is never closed");
            return Some((problem.label(span(token), "a `\"` is missing on this line"), false));
        }
        if token.kind != Kind::Symbol {
            continue;
        }
        let piece = token.text(text);
        match piece {
            "(" | "[" | "{" => {
                if open.len() == MAX_DEPTH {
                    let message = format!("brackets are nested more than {MAX_DEPTH} deep");
                    let problem =
                        Problem::new("vitx::syntax::depth", message).label(span(token), "one bracket too many");
                    return Some((problem.help("name the inner parts with `let`, or make them blocks"), true));
                }
                open.push(token);
            }
            ")" | "]" | "}" => match open.last() {
                Some(top) if closing(top.text(text)) == piece => {
                    if piece == "}" && first_on_line(text, token) {
                        let (end, start) = (indent(text, token), indent(text, top));
                        if end < start && shallow.is_none() {
                            shallow = Some(top);
                        }
                        if end > start && deeper.is_none() {
                            deeper = Some(token);
                        }
                    }
                    open.pop();
                }
                Some(top) if piece == "}" && top.text(text) != "{" => {
                    return Some((unclosed(text, tokens, top), false));
                }
                Some(top) if top.text(text) != "{" => {
                    let (begin, wanted) = (top.text(text), closing(top.text(text)));
                    // Whether this one belongs to a bracket further out, as in `([1, 2)`.
                    let outer = open.iter().rev().take_while(|open| open.text(text) != "{");
                    let skipped = outer.skip(1).any(|open| closing(open.text(text)) == piece);
                    let rest = tokens[index + 1..].iter().take_while(|token| !token.is(text, "}"));
                    let more = skipped && !rest.clone().any(|token| token.is(text, piece));
                    let problem = Problem::new("vitx::syntax::bracket", format!("this `{begin}` ends in `{piece}`"));
                    let label = match more {
                        true => format!("a `{wanted}` is missing before this"),
                        false => format!("expected `{wanted}`"),
                    };
                    return Some((problem.label(span(token), label).label(span(top), "begins here"), false));
                }
                _ => {
                    let problem = Problem::new("vitx::syntax::bracket", format!("this `{piece}` closes nothing"));
                    let early = deeper.filter(|_| piece == "}");
                    let problem = match early {
                        Some(early) => problem
                            .label(
                                span(early),
                                "this one ends what begins less deep: one too many, or a `{` is missing",
                            )
                            .label(span(token), "left over"),
                        None => problem.label(span(token), "no bracket is open here that it could close"),
                    };
                    return Some((problem, false));
                }
            },
            _ => {}
        }
    }
    let bracket = *open.iter().rev().find(|open| open.text(text) != "{").or(open.last())?;
    if bracket.text(text) != "{" {
        return Some((unclosed(text, tokens, bracket), false));
    }
    // What ends too early took the bracket of what is around it.
    let bracket = shallow.unwrap_or(bracket);
    let problem = Problem::new("vitx::syntax::bracket", "this `{` is never closed");
    let problem = problem.label(span(bracket), "a `}` is missing");
    let last = tokens.last().filter(|last| followed && last.start > bracket.start);
    let problem = match last {
        Some(last) => problem.label(Span::new(last.start, last.end), "before the next definition"),
        None => problem,
    };
    Some((problem, false))
}

fn span(token: &Token) -> Span {
    Span::new(token.start, token.end)
}

fn closing(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}

/// A `(` or `[` without its end, and where that should probably be.
fn unclosed(text: &str, tokens: &[Token], bracket: &Token) -> Problem {
    let (open, close) = (bracket.text(text), closing(bracket.text(text)));
    let problem = Problem::new("vitx::syntax::bracket", format!("this `{open}` is never closed"));
    let problem = problem.label(span(bracket), format!("a `{close}` is missing"));
    let inside = tokens.iter().skip_while(|token| token.start <= bracket.start);
    let inside: Vec<&Token> = inside.filter(|token| token.kind != Kind::Comment).collect();
    // A list ends at a brace, or at the end of a line that asks for no more.
    let end = inside.windows(2).find_map(|pair| {
        let breaks = text[pair[0].end..pair[1].start].contains(['\n', '\r']);
        let asks = ["(", "[", ",", "=", "+", "-", "*", "/", "%", "{", ">"].contains(&pair[0].text(text));
        let goes_on = [",", ")", "]", "+", "-", "*", "/", "%"].contains(&pair[1].text(text));
        let ends = pair[1].is(text, "{") && !asks || pair[1].is(text, "}") || breaks && !asks && !goes_on;
        ends.then_some(pair[0].end)
    });
    match end.or_else(|| inside.last().map(|last| last.end)) {
        Some(end) => problem.label(Span::new(end, end), "here, or before"),
        None => problem,
    }
}
