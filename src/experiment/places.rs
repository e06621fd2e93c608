//! Where each key of an experiment file and its value stand, which a deserialised value no longer
//! tells.

use std::{collections::BTreeMap, ops::Range};

use saphyr_parser::{Event, Parser, Span};

/// Byte ranges by dotted key, e.g. `train.optimizer.learning_rate`.
#[derive(Debug, Default)]
pub struct Places {
    keys: BTreeMap<String, Place>,
    /// A key that a mapping has twice: its name, where it stands first and again.
    pub repeated: Option<(String, Range<usize>, Range<usize>)>,
    /// The first tag that is none of YAML's own, such as `!include`, with the place of what it stands before.
    pub tag: Option<(String, Range<usize>)>,
    /// Where a second document begins: nothing behind it was read.
    pub second: Option<Range<usize>>,
}

/// Where a key and its value stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// A mapping or sequence that is being read.
struct Open {
    /// Of a mapping: the dotted key that it is the value of, with a dot behind it.
    prefix: Option<String>,
    /// The key whose value is to come.
    key: Option<(String, Range<usize>)>,
}

impl Places {
    /// Reads a text as far as it is YAML.
    pub fn of(text: &str) -> Self {
        let offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect();
        let bytes = |span: Span| {
            let at = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
            at(span.start.index())..at(span.end.index())
        };
        let mut places = Self::default();
        let mut open: Vec<Open> = Vec::new();
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let range = bytes(span);
            if let Event::Scalar(.., Some(tag)) | Event::SequenceStart(_, Some(tag)) | Event::MappingStart(_, Some(tag)) =
                &event
                && !tag.is_yaml_core_schema()
            {
                places.tag.get_or_insert_with(|| (tag.to_string(), range.clone()));
            }
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents == 2 {
                        places.second = Some(range);
                        break;
                    }
                }
                Event::Scalar(word, ..) => {
                    if let Some(Open { prefix: Some(prefix), key: key @ None }) = open.last_mut() {
                        *key = Some((format!("{prefix}{word}"), range));
                    } else {
                        places.value(&mut open, range);
                    }
                }
                Event::Alias(_) => places.value(&mut open, range),
                Event::MappingStart(..) => {
                    let prefix = match open.last() {
                        None => Some(String::new()),
                        Some(Open { key: Some((key, _)), .. }) => Some(format!("{key}.")),
                        // In a list, or a key itself: nothing in it has a name.
                        _ => None,
                    };
                    open.push(Open { prefix, key: None });
                }
                Event::SequenceStart(..) => open.push(Open { prefix: None, key: None }),
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                    places.value(&mut open, range);
                }
                _ => {}
            }
        }
        places
    }

    /// Ends the value of the innermost mapping's key.
    fn value(&mut self, open: &mut [Open], range: Range<usize>) {
        let Some((name, key)) = open.last_mut().and_then(|open| open.key.take()) else { return };
        if let Some(first) = self.keys.get(&name) {
            self.repeated.get_or_insert((name, first.key.clone(), key));
        } else {
            let value = if range.is_empty() { key.clone() } else { range };
            self.keys.insert(name, Place { key, value });
        }
    }

    pub fn get(&self, key: &str) -> Option<&Place> {
        self.keys.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_found_wherever_their_words_stand() {
        let text = "# params: é\nmodel: params\nsweep: { params: { depth: [1, 2] } }\nparams:\n  'depth': 3\n  - x";
        let places = Places::of(text);
        let place = |key: &str| places.get(key).map(|place| (&text[place.key.clone()], &text[place.value.clone()]));
        assert_eq!(place("model"), Some(("model", "params")));
        assert_eq!(place("params.depth"), Some(("'depth'", "3")));
        assert_eq!(places.get("sweep.params.depth").unwrap().key.start, text.find("depth").unwrap());
        assert_eq!(place("depth"), None);
    }

    #[test]
    fn a_second_document_is_found() {
        let second = |text: &str| Places::of(text).second;
        assert_eq!(second("a: 1\n---\na: 2\n"), Some(5..8));
        assert_eq!([second("---\na: 1\n"), second("a: 1\n...\n"), second("--- # a\na: '---'\n")], [None, None, None]);
    }

    #[test]
    fn a_repeated_key_is_found() {
        let text = "a: { b: 1, c: 2 }\nd: [{ b: 1 }, { b: 1 }]\na: 3\n";
        let (name, first, again) = Places::of(text).repeated.unwrap();
        assert_eq!((name.as_str(), first, again), ("a", 0..1, text.rfind('a').unwrap()..text.rfind('a').unwrap() + 1));
        for odd in ["", "[", "a: *b", "? [x, y]\n: 1", "a: {b", "\u{FEFF}a: 1", "- a\n- b"] {
            assert!(Places::of(odd).repeated.is_none(), "{odd}");
        }
    }
}
