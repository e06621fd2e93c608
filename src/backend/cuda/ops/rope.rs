//! Rotary position embeddings.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::Rope,
};

const SOURCE: Source = Source { name: "rope", text: include_str!("../kernels/rope.cu") };

/// A launch of a thread for each pair of channels of a tensor of this shape.
pub fn launch<P>(rope: Rope, shape: &[usize], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let (dim, [rows, columns]) = (rope.dim(shape), rope.grid);
    let number = |name, value: usize| (name, value.to_string());
    let defines = vec![
        ("FROM", from.name().to_owned()),
        ("TO", to.name().to_owned()),
        number("TOKENS", rope.skipped + rows * columns),
        number("SKIPPED", rope.skipped),
        number("COLUMNS", columns),
        number("WIDTH", rope.heads * dim),
        number("DIM", dim),
        ("EXPONENT", format!("{:e}f", -4.0 / dim as f32 * rope.base.log2())),
        ("SIGN", if rope.inverse { "-1.0f" } else { "1.0f" }.to_owned()),
    ];
    let count = shape.iter().product::<usize>() / 2;
    flat(SOURCE, "rope", (defines, 1), count, vec![Arg::U32(int(count) as u32), Arg::Pointer(x), Arg::Pointer(y)])
}

impl Read for Rope {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (rope, shape) = (*self, shapes[0].to_vec());
        Some(Reading::moving(move |x, y| launch(rope, &shape, x, y)))
    }
}
