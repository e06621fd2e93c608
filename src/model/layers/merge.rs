//! Tensors merged element by element: `add(x, y)`, and arithmetic as it is written, `x * y + 1`.

use super::{Arguments, Inputs, Layer, LayerKind, Misfit, show};
use crate::graph::{
    Builder, Value,
    expression::{Expression, Step, Term},
    ops::Operand,
};

macro_rules! kind {
    ($name:literal, $meaning:literal, $source:literal) => {
        LayerKind {
            name: $name,
            meaning: $meaning,
            shape: "`[.., n]`, each of the others that, its last axes, or with axes of 1, to the largest",
            source: $source,
            inputs: Inputs::Listed,
            arguments: &[],
            build,
        }
    };
}

/// The layers that merge tensors, as Keras calls them.
pub static KINDS: &[LayerKind] = &[
    kind!("add", "the sum of two or more tensors", "`keras.layers.Add`"),
    kind!("subtract", "the first of two tensors less the second", "`keras.layers.Subtract`"),
    kind!("multiply", "the product of two or more tensors", "`keras.layers.Multiply`"),
    kind!("average", "the mean of two or more tensors", "`keras.layers.Average`"),
    kind!("maximum", "the largest of two or more tensors", "`keras.layers.Maximum`"),
    kind!("minimum", "the smallest of two or more tensors", "`keras.layers.Minimum`"),
];

fn build(kind: &LayerKind, shapes: &[Vec<usize>], _: &Arguments) -> Result<Box<dyn Layer>, Misfit> {
    if kind.name == "subtract" && shapes.len() > 2 {
        return Err(Misfit::new(format!("`subtract` takes two tensors, not {}", shapes.len()), "one too many"));
    }
    let Some(shape) = together(shapes) else {
        // Of many tensors the first two shapes that differ.
        let first = shapes.first().cloned().unwrap_or_default();
        let other = shapes.iter().find(|other| stretched(&first, other).is_none()).cloned();
        let shown = [Some(first), other].into_iter().flatten().collect::<Vec<_>>();
        let message = format!("`{}` cannot merge shapes {}", kind.name, show(&shown));
        return Err(Misfit::new(message, "needs tensors of one shape, of its last axes, or with axes of 1"));
    };
    let operator: fn(&Term, &Term) -> Term = match kind.name {
        "subtract" => |a, b| a - b,
        "multiply" => |a, b| a * b,
        "maximum" => Term::max,
        "minimum" => Term::min,
        _ => |a, b| a + b,
    };
    let keeps_last_axis = shapes.iter().all(|of| of.last() == shape.last());
    Ok(Box::new(Merge { name: kind.name, operator, shape, count: shapes.len(), keeps_last_axis }))
}

/// Two or more tensors, one after the other.
#[derive(Debug)]
struct Merge {
    name: &'static str,
    operator: fn(&Term, &Term) -> Term,
    shape: Vec<usize>,
    count: usize,
    /// Of all tensors.
    keeps_last_axis: bool,
}

impl Merge {
    fn adds(&self) -> bool {
        matches!(self.name, "add" | "average")
    }
}

impl Layer for Merge {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        self.keeps_last_axis && self.adds()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let merged = inputs[1..].iter().fold(inputs[0].clone(), |a, b| {
            // Backends know sums: they are the epilogues of products.
            if a.shape == b.shape && self.adds() {
                return builder.add(&a, b);
            }
            let shape = stretched(&a.shape[1..], &b.shape[1..])
                .unwrap_or_else(|| panic!("`{}` of {:?} and {:?}", self.name, a.shape, b.shape));
            let expression = Expression::new(2, |x| (self.operator)(&x[0], &x[1]));
            pointwise(builder, self.name, expression, &[&a, b], &shape)
        });
        if self.name == "average" { builder.scale(&merged, 1.0 / self.count as f32) } else { merged }
    }
}

/// The shape of what is made of two tensors element by element: the larger one, where the other has its last axes, or as many
/// axes, of which those of one entry are stretched. (A tensor of fewer axes is held to the last ones, so that `[n, 1]` and
/// `[n]`, which are one to people, do not become `[n, n]`.)
pub fn stretched(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    match (a.ends_with(b), b.ends_with(a)) {
        (true, _) => Some(a.to_vec()),
        (_, true) => Some(b.to_vec()),
        _ if a.len() == b.len() => {
            let longer = |(a, b): (&usize, &usize)| match (*a, *b) {
                (a, b) if a == b || b == 1 => Some(a),
                (1, b) => Some(b),
                _ => None,
            };
            a.iter().zip(b).map(longer).collect()
        }
        _ => None,
    }
}

/// A scalar function of tensors that are stretched to a shape, that of one image.
fn pointwise(
    builder: &mut Builder,
    name: &'static str,
    expression: Expression,
    inputs: &[&Value],
    shape: &[usize],
) -> Value {
    let fitted: Vec<(Value, Operand)> = inputs.iter().map(|input| fitted(builder, input, shape)).collect();
    let operands: Vec<(&Value, Operand)> = fitted.iter().map(|(value, operand)| (value, *operand)).collect();
    builder.pointwise(name, expression, &operands)
}

/// A tensor as an operand of what has this shape for one image.
fn fitted(builder: &mut Builder, x: &Value, shape: &[usize]) -> (Value, Operand) {
    let (batch, own) = (x.shape[0], &x.shape[1..]);
    if own == shape {
        return (x.clone(), Operand::Whole);
    }
    // Axes of one entry in front of all others, which the last axes of the shape go on with.
    let ones = own.iter().take_while(|length| **length == 1).count();
    let last = &own[ones..];
    if shape.ends_with(own) {
        return (x.clone(), Operand::PerImage);
    }
    if !last.is_empty() && shape.ends_with(last) {
        return (builder.reshape(x, &[&[batch], last].concat()), Operand::PerImage);
    }
    let mut x = x.clone();
    for axis in (0..shape.len()).filter(|axis| own[*axis] != shape[*axis]) {
        let mut without = x.shape.clone();
        without.remove(axis + 1);
        let flat = builder.reshape(&x, &without);
        let spread = builder.spread(&flat, axis + 1, shape[axis]);
        x = builder.scale(&spread, shape[axis] as f32);
    }
    (x, Operand::Whole)
}

/// The shape of what is made of several tensors element by element.
fn together(shapes: &[Vec<usize>]) -> Option<Vec<usize>> {
    let (first, others) = shapes.split_first()?;
    others.iter().try_fold(first.clone(), |shape, other| stretched(&shape, other))
}

/// A scalar function of tensors, element by element, as it is written.
#[derive(Debug)]
pub struct Arithmetic {
    name: &'static str,
    expression: Expression,
    shape: Vec<usize>,
    /// Of all tensors.
    keeps_last_axis: bool,
}

impl Arithmetic {
    /// Of tensors of these shapes; `None` where they cannot be stretched to one.
    pub fn new(name: &'static str, expression: Expression, shapes: &[Vec<usize>]) -> Option<Self> {
        let shape = together(shapes)?;
        let keeps_last_axis = shapes.iter().all(|of| of.last() == shape.last());
        Some(Self { name, expression, shape, keeps_last_axis })
    }

    /// What is computed, with inputs as `x0`, `x1`, ..
    pub fn formula(&self) -> String {
        self.expression.to_string()
    }

    /// Whether it is no more than a sum of two.
    fn adds(&self) -> bool {
        self.expression.steps() == [Step::Input(0), Step::Input(1), Step::Add(0, 1)]
    }
}

impl Layer for Arithmetic {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        self.keeps_last_axis && self.adds()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        // Backends know sums: they are the epilogues of products.
        match inputs {
            [a, b] if a.shape == b.shape && self.adds() => builder.add(a, b),
            _ => {
                let inputs: Vec<&Value> = inputs.iter().collect();
                pointwise(builder, self.name, self.expression.clone(), &inputs, &self.shape)
            }
        }
    }
}
