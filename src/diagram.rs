//! Boxes and arrows, as Graphviz and Mermaid draw them.

use std::{collections::BTreeSet, fmt::Write};

/// More arrows Mermaid refuses to draw, and no directive in a picture lifts that.
pub const MERMAID_ARROWS: usize = 500;

/// A longer text Mermaid refuses.
pub const MERMAID_BYTES: usize = 50_000;

/// Most boxes that one box stands for: more say nothing.
const MOST_TOGETHER: usize = 64;

/// Most lines of a box where others had to be left out.
const MOST_LINES: usize = 8;

/// A directed graph to be drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    boxes: Vec<Drawn>,
    /// From box to box, in the order in which they are drawn.
    arrows: Vec<(usize, usize)>,
}

/// A box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Drawn {
    /// Where it belongs, e.g. `block0/mlp`; empty for what belongs nowhere.
    path: String,
    lines: Vec<String>,
}

impl Diagram {
    /// Adds a box behind those it depends on, and gives its number. It has an arrow for each use of a source.
    pub fn add(&mut self, lines: Vec<String>, sources: impl IntoIterator<Item = usize>) -> usize {
        self.add_in("", lines, sources)
    }

    /// Adds a box that belongs to what comes before the last `/` of its path.
    pub fn add_in(&mut self, path: &str, lines: Vec<String>, sources: impl IntoIterator<Item = usize>) -> usize {
        let number = self.boxes.len();
        self.boxes.push(Drawn { path: path.to_owned(), lines });
        self.arrows.extend(sources.into_iter().map(|source| (source, number)));
        number
    }

    /// Graphviz' language.
    pub fn dot(&self) -> String {
        let escape = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
        let label = |lines: &[String]| lines.iter().map(escape).collect::<Vec<_>>().join("\\n");
        self.drawn("digraph {\n  rankdir=TB; node [shape=box];\n", "}\n", " -> ", |lines| {
            format!("[label=\"{}\"]", label(lines))
        })
    }

    /// A Mermaid flowchart that Mermaid draws: blocks, or boxes that follow each other, are one box where there are too
    /// many. `None` where that would say nothing.
    pub fn mermaid(&self) -> Option<String> {
        let whole = self.flowchart("");
        if self.fits(&whole) {
            return Some(whole);
        }
        let (boxes, arrows) = (self.boxes.len(), self.arrows.len());
        let remark =
            format!("  %% {boxes} boxes and {arrows} arrows, too many for Mermaid, in fewer; --format dot draws all\n");
        let depth = self.boxes.iter().map(|drawn| drawn.path.split('/').count()).max().unwrap_or(1);
        let blocks = (1..depth).rev().map(|depth| self.merged(&self.blocks(depth)));
        let pieces = (1..=MOST_TOGETHER).map(|length| {
            let groups: Vec<usize> = (0..boxes).map(|index| index / length).collect();
            self.merged(&groups)
        });
        blocks.chain(pieces).find_map(|diagram| {
            let text = diagram.flowchart(&remark);
            diagram.fits(&text).then_some(text)
        })
    }

    fn fits(&self, text: &str) -> bool {
        self.arrows.len() <= MERMAID_ARROWS && text.len() <= MERMAID_BYTES
    }

    fn flowchart(&self, remark: &str) -> String {
        let escape = |line: &String| line.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;");
        let label = |lines: &[String]| lines.iter().map(escape).collect::<Vec<_>>().join("<br>");
        self.drawn(&format!("flowchart TB\n{remark}"), "", " --> ", |lines| format!("[\"{}\"]", label(lines)))
    }

    /// For each box its group, where those that follow each other in one block of this depth are together.
    fn blocks(&self, depth: usize) -> Vec<usize> {
        let block = |drawn: &Drawn| {
            let parts: Vec<&str> = drawn.path.split('/').collect();
            (parts.len() > depth).then(|| parts[..depth].join("/"))
        };
        let mut group = 0;
        let mut last = None;
        let of = |(index, drawn): (usize, &Drawn)| {
            let own = block(drawn);
            if index > 0 && (own.is_none() || own != last) {
                group += 1;
            }
            last = own;
            group
        };
        self.boxes.iter().enumerate().map(of).collect()
    }

    /// The diagram with one box for each group, and one arrow from group to group.
    fn merged(&self, groups: &[usize]) -> Self {
        let mut merged = Self::default();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (index, &group) in groups.iter().enumerate() {
            members.resize_with(members.len().max(group + 1), Vec::new);
            members[group].push(index);
        }
        let mut sources: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); members.len()];
        for &(from, to) in self.arrows.iter().filter(|(from, to)| groups[*from] != groups[*to]) {
            sources[groups[to]].insert(groups[from]);
        }
        for (members, sources) in members.iter().zip(sources) {
            merged.add(self.summarised(members), sources);
        }
        merged
    }

    /// What a box says that stands for some.
    fn summarised(&self, members: &[usize]) -> Vec<String> {
        let cut = |lines: &[String]| {
            let more = lines.len().saturating_sub(MOST_LINES);
            let mut shown: Vec<String> = lines.iter().take(MOST_LINES).map(|line| shortened(line)).collect();
            shown.extend((more > 0).then(|| format!("and {more} more")));
            shown
        };
        let [first, .., last] = members else {
            return members.first().map_or_else(Vec::new, |&only| cut(&self.boxes[only].lines));
        };
        let title = |index: usize| self.boxes[index].lines.first().map_or("", String::as_str);
        let parts = |index: usize| self.boxes[index].path.split('/').collect::<Vec<_>>();
        let common = parts(*first).into_iter().zip(parts(*last)).take_while(|(a, b)| a == b && !a.is_empty());
        let common: Vec<&str> = common.map(|(part, _)| part).collect();
        let mut lines = vec![match common.is_empty() {
            true => format!("{} .. {}", shortened(title(*first)), shortened(title(*last))),
            false => common.join("/"),
        }];
        lines.push(format!("{} boxes", members.len()));
        lines.extend(self.boxes[*last].lines.last().map(|line| shortened(line)));
        lines
    }

    fn drawn(&self, head: &str, tail: &str, arrow: &str, label: impl Fn(&[String]) -> String) -> String {
        let mut text = head.to_owned();
        let mut arrows = self.arrows.iter().peekable();
        for (number, Drawn { lines, .. }) in self.boxes.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  n{number}{}", label(lines));
            while let Some((source, _)) = arrows.next_if(|(_, target)| *target == number) {
                let _ = writeln!(text, "  n{source}{arrow}n{number}");
            }
        }
        text + tail
    }
}

/// A line of a box that stands for others.
fn shortened(line: &str) -> String {
    const MOST: usize = 60;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagram, MERMAID_ARROWS, MERMAID_BYTES};

    #[test]
    fn labels_are_escaped() {
        let mut diagram = Diagram::default();
        let first = diagram.add(vec!["a \"b\"".into(), "c\\d #1 <".into()], []);
        diagram.add(vec!["e".into()], [first]);
        let dot = "digraph {\n  rankdir=TB; node [shape=box];\n  n0[label=\"a \\\"b\\\"\\nc\\\\d #1 <\"]\n  \
                   n1[label=\"e\"]\n  n0 -> n1\n}\n";
        assert_eq!(diagram.dot(), dot);
        let mermaid = "flowchart TB\n  n0[\"a #quot;b#quot;<br>c\\d #35;1 #lt;\"]\n  n1[\"e\"]\n  n0 --> n1\n";
        assert_eq!(diagram.mermaid().unwrap(), mermaid);
    }

    /// Blocks of ten layers each, and a layer without a block.
    fn blocks(count: usize) -> Diagram {
        let mut diagram = Diagram::default();
        let mut last = diagram.add(vec!["images".into()], []);
        for block in 0..count {
            for layer in 0..10 {
                let path = format!("block{block}/layer{layer}");
                last = diagram.add_in(&path, vec![path.clone(), "[3]".into()], [last]);
            }
        }
        diagram.add_in("head", vec!["head".into()], [last, last]);
        diagram
    }

    #[test]
    fn what_mermaid_cannot_draw_is_merged() {
        let fits = |text: &str| text.matches(" --> ").count() <= MERMAID_ARROWS && text.len() <= MERMAID_BYTES;
        // Once for each use.
        let small = blocks(4).mermaid().unwrap();
        assert_eq!((small.matches(" --> ").count(), small.matches("n40 --> n41").count()), (42, 2));
        // Blocks are boxes.
        let blocky = blocks(100).mermaid().unwrap();
        assert!(fits(&blocky) && blocky.contains("[\"block99<br>10 boxes<br>[3]\"]"), "{blocky}");
        assert_eq!(blocky.matches("[\"").count(), 102);
        assert!(blocky.contains("%% 1002 boxes and 1002 arrows"), "{blocky}");
        // Or pieces of the list.
        let long = blocks(2000).mermaid().unwrap();
        assert!(fits(&long) && long.contains("block3/layer9 .. block7/layer8<br>40 boxes"), "{}", &long[..300]);
        assert_eq!(blocks(10_000).mermaid(), None);
        // Long texts, too.
        let mut wide = Diagram::default();
        wide.add(vec!["x".repeat(1000); 100], []);
        let text = wide.mermaid().unwrap();
        assert!(fits(&text) && text.contains("and 92 more"), "{text}");
    }
}
