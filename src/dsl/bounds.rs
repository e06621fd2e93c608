//! Bounds on a text, before the grammar sees it: what it takes to read is in proportion to them.

use super::{Problem, syntax::Span};

/// Most words, numbers, strings and signs. A hand-written model has a few hundred; ten thousand layers, each
/// written out, have as many as this.
pub const MAX_TOKENS: usize = 100_000;

/// The longest name, in bytes. Names make paths of parameters, and paths are copied.
pub const MAX_NAME: usize = 255;

/// What is too large in a text, if anything is. Comments and blanks cost nothing.
pub fn check(text: &str) -> Option<Problem> {
    let bytes = text.as_bytes();
    let (mut at, mut tokens) = (0, 0);
    while at < bytes.len() {
        let (end, counts) = piece(bytes, at);
        let name = bytes[at].is_ascii_alphabetic() || bytes[at] == b'_';
        if name && end - at > MAX_NAME {
            let message = format!("a name has at most {MAX_NAME} letters, this one {}", end - at);
            let problem = Problem::new("vitx::syntax::size", message);
            return Some(problem.label(Span::new(at, at + MAX_NAME), "too long a name"));
        }
        tokens += usize::from(counts);
        if tokens > MAX_TOKENS {
            let message = format!("the file has more than {MAX_TOKENS} words, numbers and signs");
            let problem = Problem::new("vitx::syntax::size", message).label(Span::new(at, at), "no more from here on");
            return Some(problem.help("`repeat` and blocks say the same with fewer"));
        }
        at = end;
    }
    None
}

/// Where the piece of text that begins at a byte ends, and whether it counts.
fn piece(bytes: &[u8], at: usize) -> (usize, bool) {
    let until = |from: usize, ends: fn(u8) -> bool| {
        bytes[from..].iter().position(|&byte| ends(byte)).map_or(bytes.len(), |length| from + length)
    };
    let line_end = |byte| matches!(byte, b'\n' | b'\r');
    match bytes[at] {
        b' ' | b'\t' | b'\n' | b'\r' => (at + 1, false),
        b'/' if bytes.get(at + 1) == Some(&b'/') => (until(at, line_end), false),
        b'"' => {
            let mut end = until(at + 1, |byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r'));
            while bytes.get(end) == Some(&b'\\') {
                end = until((end + 2).min(bytes.len()), |byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r'));
            }
            (if bytes.get(end) == Some(&b'"') { end + 1 } else { end }, true)
        }
        byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
            (until(at, |byte| !(byte.is_ascii_alphanumeric() || byte == b'_')), true)
        }
        // A character of several bytes counts once.
        byte => (at + 1, !(0x80..0xc0).contains(&byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> usize {
        let (mut at, mut tokens) = (0, 0);
        while at < text.len() {
            let (end, counts) = piece(text.as_bytes(), at);
            assert!(end > at && end <= text.len(), "{text:?}");
            (at, tokens) = (end, tokens + usize::from(counts));
        }
        tokens
    }

    #[test]
    fn words_numbers_strings_and_signs_count() {
        assert_eq!(tokens("dense(4) // dense(4)\n\t relu"), 5);
        assert_eq!(tokens("a \"b (c) \\\" d\" ×12 \"open\nb"), 6);
        assert_eq!(tokens("é_é \"\\"), 4);
    }

    #[test]
    fn only_what_is_too_large_is_refused() {
        let named = |length: usize| check(&format!("model {} {{ }}", "x".repeat(length)));
        assert!(named(MAX_NAME).is_none());
        assert_eq!(named(300).unwrap().message(), "a name has at most 255 letters, this one 300");
        assert!(check(&"1".repeat(100_000)).is_none() && check(&"// a b c\n".repeat(100_000)).is_none());
        assert!(check(&"a ".repeat(MAX_TOKENS)).is_none());
        let problem = check(&"a ".repeat(MAX_TOKENS + 1)).unwrap();
        assert_eq!(problem.message(), "the file has more than 100000 words, numbers and signs");
        assert_eq!(problem.start(), 2 * MAX_TOKENS);
    }
}
