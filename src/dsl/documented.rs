//! What comments say of parameters: behind one on its line, or on the lines right before it.

use std::collections::BTreeMap;

use super::syntax::{Comment, Definition, File};

/// The notes of a definition's parameters, by name, those that have one.
pub fn notes(file: &File, text: &str, definition: &Definition) -> BTreeMap<String, String> {
    let between = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let lines = |from: usize, to: usize| between(from, to).matches('\n').count();
    let inside = |comment: &&Comment| definition.parameters_span.contains(comment.span.start);
    let comments: Vec<&Comment> = file.comments.iter().filter(inside).collect();
    let mut notes = BTreeMap::new();
    for (index, parameter) in definition.parameters.iter().enumerate() {
        let next = definition.parameters.get(index + 1).map_or(definition.parameters_span.end, |next| next.span.start);
        let mut of_it: Vec<&str> = Vec::new();
        let mut start = parameter.span.start;
        for comment in comments.iter().rev().filter(|comment| comment.span.end <= parameter.span.start) {
            // One that stands behind something else says something of that.
            let line = between(0, comment.span.start).rsplit('\n').next().unwrap_or_default();
            if lines(comment.span.end, start) != 1 || !line.trim().is_empty() {
                break;
            }
            start = comment.span.start;
            of_it.insert(0, &comment.text);
        }
        let behind = comments.iter().find(|comment| (parameter.span.end..next).contains(&comment.span.start));
        of_it.extend(
            behind
                .filter(|comment| lines(parameter.span.end, comment.span.start) == 0)
                .map(|comment| comment.text.as_str()),
        );
        let words: Vec<&str> = of_it.iter().map(|text| text.trim_start_matches('/').trim()).collect();
        let note = words.join(" ").trim().to_owned();
        if !note.is_empty() {
            notes.insert(parameter.name.text.clone(), note);
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsl::{Source, parse};

    #[test]
    fn comments_belong_to_the_parameter_beside_them() {
        let text = "model m(
    // Not of the first, for a line is empty.

    a = 1, // of a
    // Of b,
    // in two lines.
    b = [
        2, // within
    ],
    c = 3, d = 4, // of d
    e = 5,
    // of f
    f = 6 // and again
    // of nothing
) { flatten }";
        let file = parse(&Source::new("m", text)).unwrap();
        let notes = notes(&file, text, &file.definitions[0]);
        let shown: Vec<String> = notes.iter().map(|(name, note)| format!("{name}: {note}")).collect();
        assert_eq!(shown, ["a: of a", "b: Of b, in two lines.", "d: of d", "f: of f and again"]);
    }
}
