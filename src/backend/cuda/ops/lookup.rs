//! Tensors of the elements of a parameter.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        kernels::{flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::{
        Operation as _,
        ops::{Lookup, LookupGradient},
    },
};

const SOURCE: Source = Source { name: "lookup", text: include_str!("../kernels/lookup.cu") };

/// A launch of a thread for each of `count` elements, with a table of this shape.
pub fn launch<P>(
    entry: &'static str,
    lookup: Lookup,
    table: &[usize],
    count: usize,
    (from, x): (Element, P),
    (to, y): (Element, P),
) -> Launch<P> {
    let mut defines = vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned())];
    match lookup {
        Lookup::RepeatEach { times } => defines.push(("TIMES", times.to_string())),
        Lookup::RelativePositions { grid: [rows, columns], skipped, diagonal } => defines.extend([
            ("GRID_ROWS", rows.to_string()),
            ("GRID_COLUMNS", columns.to_string()),
            ("SKIPPED", skipped.to_string()),
            ("HEADS", table[1].to_string()),
            ("DIAGONAL", u8::from(!diagonal).to_string()),
            ("LEFT_OUT", format!("{:e}f", Lookup::LEFT_OUT)),
        ]),
    }
    flat(SOURCE, entry, (defines, 1), count, vec![Arg::U32(int(count) as u32), Arg::Pointer(x), Arg::Pointer(y)])
}

impl Read for Lookup {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (lookup, table) = (*self, shapes[0].to_vec());
        let count = self.output_shapes(shapes)[0].iter().product();
        let reading = Reading::moving(move |from, to| launch("forward", lookup, &table, count, from, to));
        Some(reading.stored(&[Stored::Exact]))
    }
}

impl Read for LookupGradient {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        let (lookup, table) = (self.lookup, self.shape.clone());
        let count = table.iter().product();
        let reading = Reading::moving(move |from, to| launch("backward", lookup, &table, count, from, to));
        Some(reading.stored(&[Stored::Exact]))
    }
}
