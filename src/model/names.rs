use std::collections::{HashMap, HashSet};

/// How an instance, or a level of the tree, comes by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As written before the colon; numbered where braces side by side use the same label.
    Label,
    /// After its kind (or the `let`), numbered where there are several on one level.
    Kind,
    /// As `Kind`, but always numbered: one of a repeat.
    Numbered,
}

/// The tree of names: instances of layers and blocks, and labelled braces, which are levels without
/// a layer of their own. Names are settled when all are known, because whether a `dense` is `dense`
/// or `dense0` depends on those after it.
#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    parent: Option<usize>,
    base: String,
    style: Style,
    /// Bytes of the path, but for numbers.
    length: usize,
}

impl Names {
    /// Adds an instance, or a level, within `parent`.
    pub fn add(&mut self, parent: Option<usize>, base: &str, style: Style) -> usize {
        let length =
            parent.and_then(|parent| self.entries.get(parent)).map_or(0, |parent| parent.length + 1) + base.len();
        self.entries.push(Entry { parent, base: base.to_owned(), style, length });
        self.entries.len() - 1
    }

    /// How long the path of an entry is, in bytes, but for its numbers.
    pub fn length(&self, entry: usize) -> usize {
        self.entries.get(entry).map_or(0, |entry| entry.length)
    }

    /// The path of every entry, e.g. `transformer_block0/mlp`.
    pub fn paths(&self) -> Vec<String> {
        let mut counts: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        let mut labels: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        for entry in &self.entries {
            let key = (entry.parent, entry.base.as_str());
            *counts.entry(key).or_default() += 1;
            if entry.style == Style::Label {
                *labels.entry(key).or_default() += 1;
            }
        }
        // A label that is alone among labels is what it says; all else makes way for it.
        let alone = labels.iter().filter(|(_, count)| **count == 1);
        let mut taken: HashSet<(Option<usize>, String)> =
            alone.map(|((parent, base), _)| (*parent, (*base).to_owned())).collect();
        let mut next: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        let mut paths: Vec<String> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let key = (entry.parent, entry.base.as_str());
            let free = match entry.style {
                Style::Label => labels.get(&key) == Some(&1),
                Style::Kind => counts.get(&key) == Some(&1) && taken.insert((entry.parent, entry.base.clone())),
                Style::Numbered => false,
            };
            let name = if free {
                entry.base.clone()
            } else {
                let number = next.entry(key).or_default();
                loop {
                    let name = format!("{}{number}", entry.base);
                    *number += 1;
                    if taken.insert((entry.parent, name.clone())) {
                        break name;
                    }
                }
            };
            // Parents are added before their children.
            paths.push(match entry.parent.and_then(|parent| paths.get(parent)) {
                Some(parent) => format!("{parent}/{name}"),
                None => name,
            });
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, Style};

    #[test]
    fn names_are_unique_and_as_short_as_can_be() {
        let mut names = Names::default();
        names.add(None, "norm", Style::Label);
        names.add(None, "dense", Style::Kind);
        let block = names.add(None, "block", Style::Numbered);
        names.add(Some(block), "dense", Style::Kind);
        names.add(None, "dense1", Style::Label);
        names.add(None, "dense", Style::Kind);
        names.add(None, "norm", Style::Kind);
        assert_eq!(names.paths(), ["norm", "dense0", "block0", "block0/dense", "dense1", "dense2", "norm0"]);
    }

    #[test]
    fn a_label_of_several_braces_is_numbered() {
        let mut names = Names::default();
        names.add(None, "gate", Style::Label);
        let level = names.add(None, "att", Style::Label);
        names.add(Some(level), "gate", Style::Label);
        names.add(None, "gate", Style::Label);
        names.add(None, "gate0", Style::Label);
        assert_eq!(names.paths(), ["gate1", "att", "att/gate", "gate2", "gate0"]);
    }
}
