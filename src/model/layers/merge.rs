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
            shape: "`[.., n]`, each of the others that or its last axes, to the largest",
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
        return Err(Misfit::new(message, "needs tensors of one shape, or of its last axes"));
    };
    let operator: fn(&Term, &Term) -> Term = match kind.name {
        "subtract" => |a, b| a - b,
        "multiply" => |a, b| a * b,
        "maximum" => Term::max,
        "minimum" => Term::min,
        _ => |a, b| a + b,
    };
    Ok(Box::new(Merge { name: kind.name, operator, shape: shape.to_vec(), count: shapes.len() }))
}

/// Two or more tensors, one after the other.
#[derive(Debug)]
struct Merge {
    name: &'static str,
    operator: fn(&Term, &Term) -> Term,
    shape: Vec<usize>,
    count: usize,
}

impl Merge {
    /// The operands of a step: the larger tensor has all of the result.
    fn operand(value: &Value, shape: &[usize]) -> Operand {
        if value.shape == shape { Operand::Whole } else { Operand::PerImage }
    }
}

impl Layer for Merge {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn keeps_last_axis(&self) -> bool {
        matches!(self.name, "add" | "average")
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let merged = inputs[1..].iter().fold(inputs[0].clone(), |a, b| {
            // Backends know sums: they are the epilogues of products.
            if a.shape == b.shape && self.keeps_last_axis() {
                return builder.add(&a, b);
            }
            let shape = if a.shape.len() < b.shape.len() { &b.shape } else { &a.shape };
            let operands = [(&a, Self::operand(&a, shape)), (b, Self::operand(b, shape))];
            builder.pointwise(self.name, Expression::new(2, |x| (self.operator)(&x[0], &x[1])), &operands)
        });
        if self.name == "average" { builder.scale(&merged, 1.0 / self.count as f32) } else { merged }
    }
}

/// The shape of what is made of two tensors element by element: the larger one, where the other has its last axes.
pub fn stretched<'s>(a: &'s [usize], b: &'s [usize]) -> Option<&'s [usize]> {
    match (a.ends_with(b), b.ends_with(a)) {
        (true, _) => Some(a),
        (_, true) => Some(b),
        _ => None,
    }
}

/// The shape of what is made of several tensors element by element.
fn together(shapes: &[Vec<usize>]) -> Option<&[usize]> {
    let (first, others) = shapes.split_first()?;
    others.iter().try_fold(first.as_slice(), |shape, other| stretched(shape, other))
}

/// A scalar function of tensors, element by element, as it is written.
#[derive(Debug)]
pub struct Arithmetic {
    name: &'static str,
    expression: Expression,
    operands: Vec<Operand>,
    shape: Vec<usize>,
}

impl Arithmetic {
    /// Of tensors of these shapes; `None` where they cannot be stretched to one.
    pub fn new(name: &'static str, expression: Expression, shapes: &[Vec<usize>]) -> Option<Self> {
        let shape = together(shapes)?.to_vec();
        let operand = |of: &Vec<usize>| if *of == shape { Operand::Whole } else { Operand::PerImage };
        let operands = shapes.iter().map(operand).collect();
        Some(Self { name, expression, operands, shape })
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
        self.adds()
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let whole = self.operands.iter().all(|operand| *operand == Operand::Whole);
        // Backends know sums: they are the epilogues of products.
        match inputs {
            [a, b] if whole && self.adds() => builder.add(a, b),
            _ => {
                let inputs: Vec<(&Value, Operand)> = inputs.iter().zip(self.operands.iter().copied()).collect();
                builder.pointwise(self.name, self.expression.clone(), &inputs)
            }
        }
    }
}
