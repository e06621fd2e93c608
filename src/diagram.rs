//! Boxes and arrows, as Graphviz and Mermaid draw them.

use std::fmt::Write;

/// A directed graph to be drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    /// The lines of each box.
    boxes: Vec<Vec<String>>,
    /// From box to box, in the order in which they are drawn.
    arrows: Vec<(usize, usize)>,
}

impl Diagram {
    /// Adds a box behind those it depends on, and gives its number.
    pub fn add(&mut self, lines: Vec<String>, sources: impl IntoIterator<Item = usize>) -> usize {
        let number = self.boxes.len();
        self.boxes.push(lines);
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

    /// A Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        let escape = |line: &String| line.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;");
        let label = |lines: &[String]| lines.iter().map(escape).collect::<Vec<_>>().join("<br>");
        self.drawn("flowchart TB\n", "", " --> ", |lines| format!("[\"{}\"]", label(lines)))
    }

    fn drawn(&self, head: &str, tail: &str, arrow: &str, label: impl Fn(&[String]) -> String) -> String {
        let mut text = head.to_owned();
        let mut arrows = self.arrows.iter().peekable();
        for (number, lines) in self.boxes.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  n{number}{}", label(lines));
            while let Some((source, _)) = arrows.next_if(|(_, target)| *target == number) {
                let _ = writeln!(text, "  n{source}{arrow}n{number}");
            }
        }
        text + tail
    }
}

#[cfg(test)]
mod tests {
    use super::Diagram;

    #[test]
    fn labels_are_escaped() {
        let mut diagram = Diagram::default();
        let first = diagram.add(vec!["a \"b\"".into(), "c\\d #1 <".into()], []);
        diagram.add(vec!["e".into()], [first]);
        let dot = "digraph {\n  rankdir=TB; node [shape=box];\n  n0[label=\"a \\\"b\\\"\\nc\\\\d #1 <\"]\n  \
                   n1[label=\"e\"]\n  n0 -> n1\n}\n";
        assert_eq!(diagram.dot(), dot);
        let mermaid = "flowchart TB\n  n0[\"a #quot;b#quot;<br>c\\d #35;1 #lt;\"]\n  n1[\"e\"]\n  n0 --> n1\n";
        assert_eq!(diagram.mermaid(), mermaid);
    }
}
