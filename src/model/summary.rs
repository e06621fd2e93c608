use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::{Architecture, architecture::FrozenParameters, fold};

/// One line of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of the instance: blocks, then the layer's own name.
    pub path: String,
    /// The layer's name in the language.
    pub kind: &'static str,
    /// All parameters that it has are frozen.
    pub frozen: bool,
    /// For one image.
    pub output_shape: Vec<usize>,
    /// Number of its values; 0 for a layer that uses another's.
    pub parameters: u64,
    /// Of matrix products in a forward pass over one image, a multiply-add counting two.
    pub flops: u64,
}

/// What Keras' `Model.summary()` shows, and the work per image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// One for each layer, in order.
    pub rows: Vec<Row>,
    /// Of all layers.
    pub parameters: u64,
    /// Those that are learned: all but moving averages, and what is frozen.
    pub learned: u64,
    /// Those that are frozen, moving averages among them.
    pub frozen: u64,
    /// Of all layers; see [`Row::flops`].
    pub flops: u64,
}

/// A line of a summary whose repeats are folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// A layer as it is.
    Row(&'a Row),
    /// What the rows before say, again: `transformer_block ×8: 7 more`, and what these have together.
    More {
        /// What stands in the column of the layers.
        text: String,
        /// Of all rows that it stands for.
        parameters: u64,
        /// Of all rows that it stands for; see [`Row::flops`].
        flops: u64,
    },
}

impl Architecture {
    /// Layers, shapes, parameters and work.
    pub fn summary(&self) -> Summary {
        let rows: Vec<Row> = self
            .layers()
            .iter()
            .map(|node| Row {
                path: node.path.clone(),
                kind: node.kind,
                frozen: self.frozen_of(node) == FrozenParameters::All,
                output_shape: node.layer.output_shape(),
                parameters: node.parameters().iter().map(|parameter| parameter.len() as u64).sum(),
                flops: node.layer.flops(),
            })
            .collect();
        let parameters = rows.iter().map(|row| row.parameters).sum();
        let flops = rows.iter().map(|row| row.flops).fold(0, u64::saturating_add);
        let all = self.layers().iter().flat_map(|node| node.parameters().into_iter().map(move |spec| (node, spec)));
        let (mut learned, mut frozen) = (0, 0);
        for (node, spec) in all {
            match self.is_frozen(&node.name_of(&spec)) {
                true => frozen += spec.len() as u64,
                false if spec.averaged.is_none() => learned += spec.len() as u64,
                false => {}
            }
        }
        Summary { rows, parameters, learned, frozen, flops }
    }
}

impl Summary {
    /// The rows, of what is repeated only the first.
    pub fn folded(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        fold_rows(&self.rows, 0, &mut lines);
        lines
    }
}

/// Folds rows that share the first `depth` parts of their paths.
fn fold_rows<'a>(rows: &'a [Row], depth: usize, lines: &mut Vec<Line<'a>>) {
    // Layers, and blocks of layers.
    let items: Vec<&[Row]> = rows.chunk_by(|a, b| part(a, depth) == part(b, depth)).collect();
    let stem = |item: &[Row]| part_stem(&item[0], depth);
    let key = |item: &&[Row]| {
        let mut hasher = FxHasher::default();
        stem(item).hash(&mut hasher);
        for row in *item {
            let Row { path, kind, frozen, output_shape, parameters, flops } = row;
            let rest = path.splitn(depth + 2, '/').nth(depth + 1);
            (rest, kind, frozen, output_shape, parameters, flops).hash(&mut hasher);
        }
        fold::Key { hash: hasher.finish(), lines: item.len() }
    };
    let keys: Vec<fold::Key> = items.iter().map(key).collect();
    for run in fold::runs(&keys) {
        for item in &items[run.first()] {
            match item {
                [row] => lines.push(Line::Row(row)),
                item => fold_rows(item, depth + 1, lines),
            }
        }
        let more: Vec<&Row> = items[run.rest()].iter().flat_map(|item| item.iter()).collect();
        if more.is_empty() {
            continue;
        }
        let mut names: Vec<String> = items[run.first()].iter().map(|item| stem(item)).collect();
        names.dedup();
        lines.push(Line::More {
            text: format!("{} ×{}: {} more", names.join(", "), run.times, run.times - 1),
            parameters: more.iter().map(|row| row.parameters).sum(),
            flops: more.iter().map(|row| row.flops).fold(0, u64::saturating_add),
        });
    }
}

/// One part of a row's path.
fn part(row: &Row, depth: usize) -> &str {
    row.path.split('/').nth(depth).unwrap_or_default()
}

/// A part of a path without the number that tells it from others.
fn part_stem(row: &Row, depth: usize) -> String {
    part(row, depth).trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, parameters: u64) -> Row {
        Row {
            path: path.into(),
            kind: "dense",
            frozen: false,
            output_shape: vec![3],
            parameters,
            flops: 2 * parameters,
        }
    }

    fn shown(rows: Vec<Row>) -> (String, u64) {
        let summary = Summary { rows, parameters: 0, learned: 0, frozen: 0, flops: 0 };
        let lines = summary.folded();
        let total = lines.iter().map(|line| match line {
            Line::Row(row) => row.parameters,
            Line::More { parameters, .. } => *parameters,
        });
        let text = lines.iter().map(|line| match line {
            Line::Row(row) => row.path.clone(),
            Line::More { text, .. } => text.clone(),
        });
        (text.collect::<Vec<_>>().join(" | "), total.sum())
    }

    #[test]
    fn repeats_are_folded_and_totals_stay() {
        let block = |i: usize| [row(&format!("block{i}/norm"), 3), row(&format!("block{i}/dense"), 7)];
        let rows = [row("patches", 1)].into_iter().chain((0..4).flat_map(block)).chain([row("head", 5)]).collect();
        assert_eq!(shown(rows), ("patches | block0/norm | block0/dense | block ×4: 3 more | head".into(), 46));
        // Without braces, what repeats is a pattern; another size ends it.
        let pair = |i: usize| [row(&format!("dense{i}"), 3), row(&format!("gelu{i}"), 0)];
        let rows = (0..3).flat_map(pair).chain([row("dense3", 4)]).collect();
        assert_eq!(shown(rows), ("dense0 | gelu0 | dense, gelu ×3: 2 more | dense3".into(), 13));
        // Repeats within a block.
        let rows = (0..3).map(|i| row(&format!("stage/dense{i}"), 2)).collect();
        assert_eq!(shown(rows), ("stage/dense0 | dense ×3: 2 more".into(), 6));
        // Nothing is won by folding one row.
        assert_eq!(shown(vec![row("dense0", 1), row("dense1", 1)]).0, "dense0 | dense1");
    }
}
