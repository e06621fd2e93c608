/// What a piece of a text is, as far as its characters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Letters, digits and `_`, of any script, and the invisible characters among them.
    Word,
    Number,
    /// `"..."`
    Text,
    /// A `"` with no other on its line.
    Open,
    /// `'...'`
    Quoted,
    /// From `//` to the end of the line.
    Comment,
    /// `# ..`, `/* .. */`, `""" .. """`: what other languages have for comments.
    Foreign,
    /// Any other character, alone.
    Symbol,
}

/// A piece of a text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        &text[self.start..self.end]
    }

    pub fn is(&self, text: &str, expected: &str) -> bool {
        self.text(text) == expected
    }
}

/// Characters that show as nothing, but part words.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FE0E}' | '\u{FE0F}')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric() || is_invisible(c)
}

/// Cuts a text into tokens; blanks and line ends are left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let line = || rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (kind, length) = match first {
            ' ' | '\t' | '\n' | '\r' | '\u{FEFF}' => {
                at += first.len_utf8();
                continue;
            }
            '/' if rest.starts_with("//") => (Kind::Comment, line()),
            '/' if rest.starts_with("/*") => (Kind::Foreign, rest.find("*/").map_or_else(line, |end| end + 2)),
            '#' => (Kind::Foreign, line()),
            '"' if rest.starts_with("\"\"\"") => {
                (Kind::Foreign, rest[3..].find("\"\"\"").map_or_else(line, |end| end + 6))
            }
            '"' => string(&rest[..line()], '"').map_or_else(|| (Kind::Open, line()), |end| (Kind::Text, end)),
            '\'' => string(&rest[..line()], '\'').map_or((Kind::Symbol, 1), |end| (Kind::Quoted, end)),
            '0'..='9' => (Kind::Number, number(rest)),
            c if is_word(c) => (Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
            c => (Kind::Symbol, c.len_utf8()),
        };
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    tokens
}

/// Where a string ends that begins a line's rest.
fn string(line: &str, quote: char) -> Option<usize> {
    let mut chars = line.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// How long a number is: `1_000`, `0.5`, `1e-6`, and what was meant as one.
fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = 0;
    for (at, c) in rest.char_indices() {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let part = match c {
            '.' => digit(at + 1),
            '+' | '-' => matches!(before, Some(b'e' | b'E')) && digit(at + 1),
            c => is_word(c),
        };
        if !part {
            return at;
        }
        end = at + c.len_utf8();
    }
    end
}
