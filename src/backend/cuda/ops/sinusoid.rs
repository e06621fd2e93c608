//! Sines and cosines of positions.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::{AddSinusoid, Layout},
};

const SOURCE: Source = Source { name: "sinusoid", text: include_str!("../kernels/sinusoid.cu") };

/// y `[batch, positions, dim]` is x and the sines and cosines of its positions.
pub fn launch<P>(
    operator: AddSinusoid,
    [batch, positions, dim]: [usize; 3],
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let (entry, columns) = match operator.layout {
        Layout::Line => ("add_line", positions),
        Layout::Grid { columns } => ("add_grid", columns),
    };
    let count = batch * positions * dim;
    let lengths = [positions, dim, columns].map(|length| Arg::U32(int(length) as u32));
    let mut args = vec![Arg::U32(int(count) as u32)];
    args.extend(lengths);
    args.extend([x, y].map(Arg::Pointer));
    let defines = vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned())];
    flat(SOURCE, entry, (defines, 1), count, args)
}

impl Read for AddSinusoid {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (*self, <[usize; 3]>::try_from(shapes[0]).ok()?);
        Some(Reading::moving(move |x, y| launch(operator, shape, x, y)))
    }
}
