//! A model as a drawing: its layers as boxes from top to bottom, joined by their tensors. Blocks that
//! repeat are drawn once.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::trial::{Network, NetworkLayer};

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

/// Draws a network.
pub fn diagram(network: &Network) -> Markup {
    let nodes = folded(network);
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
    html! {
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
    }
}

/// The boxes: the images, then the layers, of blocks that repeat only the first.
fn folded(network: &Network) -> Vec<Node> {
    let layers = &network.layers[..];
    // One that was read back has been checked.
    let tensors = network.inputs().unwrap_or_else(|_| vec![Vec::new(); layers.len()]);
    // Runs of layers of one block: where each begins, and how long it is.
    let block = |layer: &NetworkLayer| layer.path.split_once('/').map(|(block, _)| block.to_owned());
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
                let inputs = |begin: usize| tensors[begin + at].iter().map(|i| relative(begin, *i)).collect::<Vec<_>>();
                (&one.kind, &one.arguments, &one.output_shape) == (&other.kind, &other.arguments, &other.output_shape)
                    && inputs(a.0) == inputs(b.0)
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
            let arguments = match layer.arguments_text() {
                text if text.is_empty() => text,
                text => format!(" {text}"),
            };
            let mut inputs: Vec<usize> =
                tensors[begin + place].iter().filter_map(|input| boxes.get(input).copied()).collect();
            inputs.dedup();
            let repeats = (times > 1 && place == 0).then_some((times, count));
            let text = shortened(&format!("{}{arguments}", layer.kind));
            // The outputs of all repetitions are that of the one which is drawn.
            for repetition in 0..times {
                boxes.insert(begin + repetition * count + place + 1, nodes.len());
            }
            nodes.push(Node { text, shape: format!("{:?}", layer.output_shape), repeats, inputs });
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
        let network = Network::from(&definition.architecture(&image).unwrap());
        let nodes = folded(&network);
        let (times, boxes) = nodes.iter().find_map(|node| node.repeats).unwrap();
        assert_eq!(times, 3);
        assert_eq!(nodes.len() - 1, network.layers.len() - 2 * boxes);
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
        let drawn = diagram(&network).into_string();
        assert_eq!(drawn.matches("<rect").count(), nodes.len());
        assert!(drawn.contains("×3"));
    }
}
