//! Names and values as a terminal may be shown them. A class, a file or a parameter can be called anything: an escape
//! sequence in it would move the cursor, hide what stands before it, or turn the order of letters around.

use std::{borrow::Cow, path::Path};

/// Whether a character does something to a terminal, instead of being shown by it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As JSON would have it: what is escaped within a text of JSON still says the same there.
fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match c {
        c if !acts(c) => c.to_string(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// A name or a value in one line: line breaks are shown, too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// A text of several lines, which stay lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// The first names of many, and how many more there are.
pub fn first(names: &[&str]) -> String {
    const MOST: usize = 6;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A path as an argument in a shell, for commands that are printed to be copied.
pub fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    // What begins with a dash would be taken for an option, quoted or not.
    let text = if text.starts_with('-') { Cow::Owned(format!("./{text}")) } else { text };
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else if text.chars().any(char::is_control) {
        let text = text.replace('\\', "\\\\").replace('\'', "\\'");
        let shown = |c: char| match c {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        format!("$'{}'", text.chars().map(shown).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown() {
        assert_eq!(line("a\u{1b}[31mb\n\tc\r\u{7f}\u{9b}\u{202e}"), "a\\u001b[31mb\\n\\tc\\r\\u007f\\u009b\\u202e");
        assert_eq!(lines("a\u{1b}]0;x\u{7}\n\tb"), "a\\u001b]0;x\\u0007\n\tb");
        for text in ["", "Äpfel", "日本", "👩\u{200d}🌾", "a|b"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
        // Within JSON it says the same.
        let text = "a\u{1b}\u{85}\u{2028}";
        assert_eq!(serde_json::from_str::<String>(&format!("\"{}\"", line(text))).unwrap(), text);
    }

    #[test]
    fn paths_are_quoted_for_a_shell_where_they_need_it() {
        let cases = [
            ("runs/a-1", "runs/a-1"),
            ("my dir", "'my dir'"),
            ("it's", "'it'\\''s'"),
            ("-dash/x", "./-dash/x"),
            ("-a b", "'./-a b'"),
            ("$HOME", "'$HOME'"),
            ("a\u{1b}\n'b", "$'a\\u001b\\n\\'b'"),
            ("", "''"),
            ("~x", "'~x'"),
            ("Größe", "Größe"),
        ];
        for (path, expected) in cases {
            assert_eq!(shell(Path::new(path)), expected);
        }
    }
}
