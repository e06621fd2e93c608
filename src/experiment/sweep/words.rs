//! How the values of a key are written in a text: `4,6,8`, `4..=8:2`, `"a,b",c`, `[8, 4],[4]`, `../a,/data/b`.

use super::numbers::{logarithmic, range};
use crate::dsl::Value;

/// Splits at the commas that are in no bracket and no string. A quote begins a string only where a value begins: the
/// name of a file may have one.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        // Nothing, or `key=` in a text of several assignments.
        let before = text[start..at].trim();
        let begins = before.is_empty() || before.ends_with('=');
        // `log(`, but not the brackets in the name of a file.
        let called = !before.is_empty() && before.chars().all(|c| c.is_ascii_alphabetic());
        match c {
            '"' if depth > 0 || begins => {
                let mut escaped = false;
                let end = characters.find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                // One that never ends is for the reader of the value to refuse.
                let Some(_) = end else { break };
            }
            '[' | '(' if depth > 0 || begins || c == '(' && called => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Reads what stands between two commas.
pub fn part_values(part: &str) -> Result<Vec<Value>, String> {
    if part.is_empty() {
        return Err("a value is missing between commas".into());
    }
    if let Some((name, rest)) = call(part) {
        let Some(arguments) = rest.strip_suffix(')') else { return Err(format!("`{part}` has no `)`")) };
        return match name {
            "log" => logarithmic(arguments),
            "uniform" | "loguniform" | "int" => Err(format!("`{name}(..)` stands alone, without other values")),
            _ => Err(format!(
                "`{name}(..)` is not known; there are log, uniform, loguniform and int, and a layer with \
                 arguments stands in quotes"
            )),
        };
    }
    if let Some((from, to)) = ends(part) {
        return range(from, to);
    }
    one(part).map(|value| vec![value])
}

/// Reads a single value.
pub fn one(part: &str) -> Result<Value, String> {
    part.parse().map_err(|error: crate::dsl::Diagnostics| {
        let first = error.problems().first().map_or_else(String::new, |problem| format!(": {}", problem.message()));
        let quoted = Value::Str(part.trim_matches('"').to_owned());
        format!("`{part}` is no value{first}; a text is put in quotes: '{quoted}'")
    })
}

/// `name(` and what follows.
fn call(part: &str) -> Option<(&str, &str)> {
    let (name, rest) = part.split_once('(')?;
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic())).then_some((name, rest))
}

/// Both ends of a range, the second with its step: `..` between what are numbers, or were meant to be.
fn ends(part: &str) -> Option<(&str, &str)> {
    let (from, to) = part.split_once("..")?;
    let number = |text: &str| text.trim().parse::<f64>().is_ok();
    let last = to.trim_start_matches('=').split(':').next().unwrap_or_default();
    let word = from.is_empty() || part.starts_with(['"', '[', '/', '.', '~']);
    (!word && (number(from) || number(last))).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let parts: Result<Vec<_>, _> = split(text).into_iter().map(|part| part_values(part.trim())).collect();
        parts.map_or_else(|error| error, |values| Value::List(values.concat()).to_string())
    }

    #[test]
    fn strings_are_one_piece_and_paths_are_values() {
        let cases = [
            (r#""a,b",c"#, r#"["a,b", "c"]"#),
            (r#""../x/a..b.vitx", "4..8""#, r#"["../x/a..b.vitx", "4..8"]"#),
            (r#""say \"a,b\"",c"#, r#"["say \"a,b\"", "c"]"#),
            (r#"["a,]b", 4],[]"#, r#"[["a,]b", 4], []]"#),
            (r#""log(1,2,3)""#, r#"["log(1,2,3)"]"#),
            ("../a,../b", r#"["../a", "../b"]"#),
            ("/data/a(1,/data/my b", r#"["/data/a(1", "/data/my b"]"#),
            ("~/a,./x-1,.hidden/y", r#"["~/a", "./x-1", ".hidden/y"]"#),
            ("größe,日本", r#"["größe", "日本"]"#),
            ("v1..2/x,a..b", r#"["v1..2/x", "a..b"]"#),
            ("user@host:/x,p50%,a=b", r#"["user@host:/x", "p50%", "a=b"]"#),
            ("4..6,1e-3..=2e-3:1e-3,-2..0", "[4, 5, 0.001, 0.002, -2, -1]"),
            ("log(1, 4, 3),8", "[1.0, 2.0, 4.0, 8]"),
            (r#""",x"#, r#"["", "x"]"#),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_says_which_and_how_a_text_is_written() {
        let texts =
            ["a b,c", "\"a,b", "[1", "4,,5", "choice(1,2)", "uniform(0,1),2", "2layer", "few..8", "4..x", "'a,b'"];
        insta::assert_snapshot!(texts.map(|text| format!("{text}\n  {}", read(text))).join("\n"));
    }
}
