use std::collections::{HashMap, HashSet};

/// How an instance comes by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Exactly as written before the colon.
    Label,
    /// After its kind (or the `let`), numbered where there are several in one scope.
    Kind,
    /// As `Kind`, but always numbered: one of a repeat.
    Numbered,
}

/// The tree of instance names. Names are settled when all instances are known, because whether a
/// `dense` is `dense` or `dense0` depends on those after it.
#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
    labels: HashSet<(Option<usize>, String)>,
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
    /// Adds an instance within `parent`; `None` where a label is taken already.
    pub fn add(&mut self, parent: Option<usize>, base: &str, style: Style) -> Option<usize> {
        if style == Style::Label && !self.labels.insert((parent, base.to_owned())) {
            return None;
        }
        let length =
            parent.and_then(|parent| self.entries.get(parent)).map_or(0, |parent| parent.length + 1) + base.len();
        self.entries.push(Entry { parent, base: base.to_owned(), style, length });
        Some(self.entries.len() - 1)
    }

    /// How long the path of an entry is, in bytes, but for its numbers.
    pub fn length(&self, entry: usize) -> usize {
        self.entries.get(entry).map_or(0, |entry| entry.length)
    }

    /// The path of every entry, e.g. `transformer_block0/mlp`.
    pub fn paths(&self) -> Vec<String> {
        let mut counts: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        for entry in &self.entries {
            *counts.entry((entry.parent, &entry.base)).or_default() += 1;
        }
        let mut taken = self.labels.clone();
        let mut next: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        let mut paths: Vec<String> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let key = (entry.parent, entry.base.as_str());
            let alone = entry.style == Style::Kind && counts.get(&key) == Some(&1);
            let free = entry.style == Style::Label || alone && taken.insert((entry.parent, entry.base.clone()));
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
        names.add(block, "dense", Style::Kind);
        names.add(None, "dense1", Style::Label);
        names.add(None, "dense", Style::Kind);
        names.add(None, "norm", Style::Kind);
        assert_eq!(names.paths(), ["norm", "dense0", "block0", "block0/dense", "dense1", "dense2", "norm0"]);
        assert_eq!(names.add(None, "norm", Style::Label), None);
    }
}
