//! The table of transforms, as documentation has it.

use super::TRANSFORMS;

/// Every transform with its options, a section each, in Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for kind in TRANSFORMS {
        text += &format!("### `{}`\n\n{}, as {}.\n", kind.name, kind.meaning, kind.source);
        if !kind.options.is_empty() {
            text += "\n| option | default | | may be |\n|---|---|---|---|\n";
        }
        for option in kind.options {
            let default = option.default.to_string();
            text += &format!("| `{}` | {default} | {} | {} |\n", option.name, cell(option.meaning), option.range);
        }
        text.push('\n');
    }
    text
}

/// Without what would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// `INSTA_UPDATE=always` writes it, as it writes snapshots.
    #[test]
    fn the_documentation_has_every_transform() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/AUGMENTATION.md");
        let text = fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- transforms: from src/data/transforms -->\n\n", "<!-- end of transforms -->");
        let (head, rest) = text.split_once(begin).unwrap();
        let (table, tail) = rest.split_once(end).unwrap();
        if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
            fs::write(&path, format!("{head}{begin}{}{end}{tail}", markdown())).unwrap();
        } else {
            assert_eq!(table, markdown(), "docs/AUGMENTATION.md is written by INSTA_UPDATE=always");
        }
    }

    #[test]
    fn names_and_meanings_read_as_they_should() {
        for kind in TRANSFORMS {
            let lower = |text: &str| !text.ends_with('.') && !text.contains('\n');
            assert!(kind.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{kind:?}");
            assert!(lower(kind.meaning) && kind.options.iter().all(|option| lower(option.meaning)), "{kind:?}");
        }
    }
}
