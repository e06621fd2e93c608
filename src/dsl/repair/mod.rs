//! What is wrong with the characters of a text, found before the grammar sees it.
//!
//! The grammar knows what may follow what; it does not know that `а` is no `a`, that `#` was meant
//! to begin a comment, or which of many brackets is the wrong one. What is objected to here is
//! replaced, byte for byte, by what was meant or by blanks: the rest of the text parses, and all
//! spans stay true.

mod brackets;
mod characters;
mod comments;
mod lookalikes;
mod tokens;

use tokens::{Kind, Token, tokens};

use super::Problem;

/// A text that the grammar may be asked about.
#[derive(Debug, Default)]
pub struct Repaired {
    pub text: String,
    /// Names that stand for something that could not be read: of blocks left out, and of words
    /// with letters that names do not have.
    pub unknown: Vec<String>,
}

/// Most rounds of comments that turn out to be divisions: one in another is rare.
const ROUNDS: usize = 4;

/// Repairs a text, or gives `None` where that would say nothing more.
pub fn repair(text: &str, problems: &mut Vec<Problem>) -> Option<Repaired> {
    let mut edit = Edit { bytes: text.as_bytes().to_vec() };
    let mut unknown = Vec::new();
    characters::repair(text, &tokens(text), &mut edit, &mut unknown, problems);
    let mut text = edit.text()?;
    for _ in 0..ROUNDS {
        let found = comments::hidden(&text, &tokens(&text));
        if found.is_empty() {
            break;
        }
        let mut edit = Edit { bytes: text.into_bytes() };
        for (at, problem) in found {
            edit.put(at, at + 2, "/");
            problems.push(problem);
        }
        text = edit.text()?;
    }
    let left_out = brackets::repair(&text, &tokens(&text), problems)?;
    let mut edit = Edit { bytes: text.into_bytes() };
    for region in left_out {
        unknown.extend(region.name);
        edit.blank(region.start, region.end);
    }
    Some(Repaired { text: edit.text()?, unknown })
}

/// A text that is changed in place.
struct Edit {
    bytes: Vec<u8>,
}

impl Edit {
    /// Replaces a piece by a text that is no longer, and blanks.
    fn put(&mut self, start: usize, end: usize, text: &str) {
        self.bytes[start..end].fill(b' ');
        let fits = text.len().min(end - start);
        self.bytes[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
    }

    /// As `put`, with the blanks in front.
    fn put_last(&mut self, start: usize, end: usize, text: &str) {
        self.bytes[start..end].fill(b' ');
        let fits = text.len().min(end - start);
        self.bytes[end - fits..end].copy_from_slice(&text.as_bytes()[..fits]);
    }

    /// Replaces a piece by blanks; lines stay lines.
    fn blank(&mut self, start: usize, end: usize) {
        let letters = self.bytes[start..end].iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r'));
        letters.for_each(|byte| *byte = b' ');
    }

    /// Whole characters are replaced by ASCII, so this is UTF-8.
    fn text(self) -> Option<String> {
        String::from_utf8(self.bytes).ok()
    }
}

/// Whether a token is the first of its line. Only the blanks before it are looked at: a line may be the whole text.
fn first_on_line(text: &str, token: &Token) -> bool {
    let before = text[..token.start].trim_end_matches(is_blank);
    before.is_empty() || before.ends_with(['\n', '\r'])
}

/// Characters before a token on its line.
fn indent(text: &str, token: &Token) -> usize {
    let before = &text[..token.start];
    let line = before.rsplit(['\n', '\r']).next().unwrap_or(before);
    line.chars().take_while(|c| is_blank(*c)).count()
}

/// What the grammar skips within a line.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{FEFF}')
}
