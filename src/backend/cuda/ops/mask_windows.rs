//! The mask of shifted windows.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::MaskWindows,
};

const SOURCE: Source = Source { name: "mask_windows", text: include_str!("../kernels/mask_windows.cu") };

/// y is x `[batch, rows, columns, heads, tokens, tokens]` and the mask.
pub fn launch<P>(operator: MaskWindows, shape: &[usize], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let count: usize = shape.iter().product();
    let lengths = [count, shape[1], shape[2], shape[3], operator.window[0], operator.window[1]];
    let lengths = lengths.into_iter().chain(operator.shift);
    let mut args: Vec<Arg<P>> = lengths.map(|length| Arg::U32(int(length) as u32)).collect();
    args.extend([x, y].map(Arg::Pointer));
    let defines = vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned())];
    flat(SOURCE, "mask_windows", (defines, 1), count, args)
}

impl Read for MaskWindows {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (*self, shapes[0].to_vec());
        Some(Reading::moving(move |x, y| launch(operator, &shape, x, y)))
    }
}
