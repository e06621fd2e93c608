//! A model as a drawing: its layers as boxes from top to bottom, joined by their tensors. Blocks that
//! repeat are drawn once.

use std::collections::BTreeMap;

use maud::{Markup, html};

/// A layer, as `model.txt` has it.
#[derive(Debug, Clone, PartialEq)]
struct Layer {
    kind: String,
    arguments: String,
    shape: String,
    path: String,
    /// Tensors by number: 0 is the images, `i + 1` the output of layer `i`.
    inputs: Vec<usize>,
}

/// A box of the drawing.
#[derive(Debug, PartialEq)]
struct Node {
    text: String,
    shape: String,
    /// How often the block that it begins is repeated, and how many boxes the block has.
    repeats: Option<(usize, usize)>,
    /// Boxes by number.
    inputs: Vec<usize>,
}

const WIDTH: usize = 620;
const ROW: usize = 34;
const BOX: usize = 24;
const LEFT: usize = 90;
const RIGHT: usize = 430;

/// Draws the text of an architecture; `None` for what is no such text.
pub fn diagram(text: &str) -> Option<Markup> {
    let nodes = folded(&layers(text)?);
    let y = |at: usize| 8 + at * ROW;
    let edges = nodes.iter().enumerate().flat_map(|(to, node)| node.inputs.iter().map(move |from| (*from, to)));
    let path = |(from, to): (usize, usize)| match to - from {
        1 => format!("M {LEFT_MIDDLE} {} V {}", y(from) + BOX, y(to), LEFT_MIDDLE = (LEFT + RIGHT) / 2),
        span => {
            // Around what lies between, the further the longer.
            let out = RIGHT + 14 + 12 * span.min(12);
            let (from, to) = (y(from) + BOX / 2, y(to) + BOX / 2);
            format!("M {RIGHT} {from} C {out} {from}, {out} {to}, {RIGHT} {to}")
        }
    };
    Some(html! {
        svg class="model" viewBox=(format!("0 0 {WIDTH} {}", y(nodes.len()))) style=(format!("max-width: {WIDTH}px")) {
            @for edge in edges { path class="edge" d=(path(edge)) {} }
            @for (at, node) in nodes.iter().enumerate() {
                rect class="layer" x=(LEFT) y=(y(at)) width=(RIGHT - LEFT) height=(BOX) rx="4" {}
                text x=(LEFT + 8) y=(y(at) + 16) { (node.text) }
                text class="tick" x=(RIGHT - 8) y=(y(at) + 16) text-anchor="end" { (node.shape) }
                @if let Some((times, boxes)) = node.repeats {
                    path class="repeat" d=(format!("M {} {} h -8 V {} h 8", LEFT - 6, y(at), y(at + boxes - 1) + BOX)) {}
                    text x=(LEFT - 22) y=((y(at) + y(at + boxes - 1) + BOX) / 2 + 4) text-anchor="end" { "×" (times) }
                }
            }
        }
    })
}

/// Reads `%1: [16, 32] = dense(%0) {units: 32}  // path` and so on.
fn layers(text: &str) -> Option<Vec<Layer>> {
    let layer = |line: &str| {
        let (layer, path) = line.rsplit_once("  // ")?;
        let (shape, call) = layer.split_once(": ")?.1.split_once(" = ")?;
        let (kind, rest) = call.split_once('(')?;
        let (inputs, arguments) = rest.split_once(") {")?;
        let inputs = inputs.split(", ").filter(|input| !input.is_empty());
        Some(Layer {
            kind: kind.to_owned(),
            arguments: arguments.strip_suffix('}')?.to_owned(),
            shape: shape.to_owned(),
            path: path.to_owned(),
            inputs: inputs.map(|input| input.strip_prefix('%')?.parse().ok()).collect::<Option<_>>()?,
        })
    };
    let mut lines = text.lines();
    lines.next()?.strip_prefix("model ")?;
    lines.map(layer).collect()
}

/// The boxes: the images, then the layers, of blocks that repeat only the first.
fn folded(layers: &[Layer]) -> Vec<Node> {
    // Runs of layers of one block: where each begins, and how long it is.
    let block = |layer: &Layer| layer.path.split_once('/').map(|(block, _)| block.to_owned());
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        match runs.last_mut() {
            Some((begin, count)) if block(layer).is_some() && block(layer) == block(&layers[*begin]) => *count += 1,
            _ => runs.push((at, 1)),
        }
    }
    let same = |a: &(usize, usize), b: &(usize, usize)| {
        let relative = |begin: usize, input: usize| input as isize - begin as isize;
        a.1 == b.1
            && block(&layers[a.0]).is_some()
            && (0..a.1).all(|at| {
                let (one, other) = (&layers[a.0 + at], &layers[b.0 + at]);
                let inputs =
                    |layer: &Layer, begin| layer.inputs.iter().map(|i| relative(begin, *i)).collect::<Vec<_>>();
                (&one.kind, &one.arguments, &one.shape) == (&other.kind, &other.arguments, &other.shape)
                    && inputs(one, a.0) == inputs(other, b.0)
            })
    };
    let mut nodes = vec![Node { text: "images".into(), shape: String::new(), repeats: None, inputs: Vec::new() }];
    // From tensors to boxes.
    let mut boxes: BTreeMap<usize, usize> = BTreeMap::from([(0, 0)]);
    let mut at = 0;
    while at < runs.len() {
        let times = runs[at..].iter().take_while(|run| same(&runs[at], run)).count().max(1);
        let (begin, count) = runs[at];
        for (place, layer) in layers[begin..begin + count].iter().enumerate() {
            let arguments = if layer.arguments.is_empty() { String::new() } else { format!(" {}", layer.arguments) };
            let mut inputs: Vec<usize> = layer.inputs.iter().filter_map(|input| boxes.get(input).copied()).collect();
            inputs.dedup();
            let repeats = (times > 1 && place == 0).then_some((times, count));
            let text = shortened(&format!("{}{arguments}", layer.kind));
            // The outputs of all repetitions are that of the one which is drawn.
            for repetition in 0..times {
                boxes.insert(begin + repetition * count + place + 1, nodes.len());
            }
            nodes.push(Node { text, shape: layer.shape.clone(), repeats, inputs });
        }
        at += times;
    }
    nodes
}

/// What fits into a box beside a shape.
fn shortened(text: &str) -> String {
    const MOST: usize = 38;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dsl::Value, experiment::Definition, experiment::Overrides, model::ImageSpec};

    #[test]
    fn blocks_that_repeat_are_drawn_once() {
        let params = [("depth".to_owned(), Value::Int(3))].into();
        let overrides = Overrides { params, ..Overrides::default() };
        let definition = Definition::read("experiments/digits_vit.yaml".as_ref(), &overrides).unwrap();
        let image = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };
        let text = definition.architecture(&image).unwrap().text();
        let layers = layers(&text).unwrap();
        assert_eq!(layers.len(), text.lines().count() - 1);
        let nodes = folded(&layers);
        let (times, boxes) = nodes.iter().find_map(|node| node.repeats).unwrap();
        assert_eq!(times, 3);
        assert_eq!(nodes.len() - 1, layers.len() - 2 * boxes);
        // Each box but the first has what comes into it, and that stands above it.
        assert!(
            nodes
                .iter()
                .enumerate()
                .skip(1)
                .all(|(at, node)| !node.inputs.is_empty() && node.inputs.iter().all(|i| *i < at))
        );
        // A block's residual branches leave the line of boxes.
        assert!(nodes.iter().enumerate().any(|(at, node)| node.inputs.iter().any(|input| at - input > 1)));
        let drawn = diagram(&text).unwrap().into_string();
        assert_eq!(drawn.matches("<rect").count(), nodes.len());
        assert!(drawn.contains("×3"));
        assert!(diagram("no model").is_none() && diagram("").is_none());
    }
}
