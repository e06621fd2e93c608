//! Scores of an attention that are left out.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::{flat, int},
        launch::{Arg, Element, Launch, Source},
    },
    graph::ops::{Lookup, MaskScores},
};

const SOURCE: Source = Source { name: "mask_scores", text: include_str!("../kernels/mask_scores.cu") };

/// y is x, of this shape, and the mask.
pub fn launch<P>(operator: MaskScores, shape: &[usize], (from, x): (Element, P), (to, y): (Element, P)) -> Launch<P> {
    let count: usize = shape.iter().product();
    let left_out = format!("{:e}f", Lookup::LEFT_OUT);
    let defines = vec![("FROM", from.name().to_owned()), ("TO", to.name().to_owned()), ("LEFT_OUT", left_out)];
    let (entry, lengths) = match operator {
        MaskScores::Diagonal => ("mask_diagonal", vec![count, shape[shape.len() - 1]]),
        MaskScores::Windows { window: [height, width], shift: [down, across] } => {
            ("mask_windows", vec![count, shape[1], shape[2], shape[3], height, width, down, across])
        }
    };
    let mut args: Vec<Arg<P>> = lengths.into_iter().map(|length| Arg::U32(int(length) as u32)).collect();
    args.extend([x, y].map(Arg::Pointer));
    flat(SOURCE, entry, (defines, 1), count, args)
}

impl Read for MaskScores {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, shape) = (*self, shapes[0].to_vec());
        Some(Reading::moving(move |x, y| launch(operator, &shape, x, y)))
    }
}
