//! Steps that are too large for any machine, or for what kernels count with.

use std::fmt;

use super::BackendError;
use crate::{
    graph::operation,
    passes::{StepGraph, inputs, ordered},
};

/// Most elements of all tensors of a step: 256 TiB of float32. Below, sizes in bytes and sums of them are numbers of
/// 64 bits.
const MOST_ELEMENTS: u128 = 1 << 46;

/// What is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// What needs it, e.g. `dense` of `classify/kernel`.
    pub what: String,
    /// What it needs so many of, more than there may be.
    pub unit: &'static str,
    pub size: u128,
    pub most: u128,
    /// The backend that takes no more.
    pub backend: &'static str,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, size, most, backend } = self;
        write!(f, "{what} needs {size} {unit}; the {backend} backend takes at most {most}")
    }
}

impl TooLarge {
    /// The error of a batch size, and the largest that fits: `attempt` compiles for a batch size.
    pub fn of_batch(self, batch: usize, attempt: impl Fn(usize) -> Result<(), Self>) -> BackendError {
        // Most sizes are in proportion to the batch.
        let proportion = |error: &Self, batch: usize| {
            usize::try_from(batch as u128 * error.most / error.size.max(1)).unwrap_or(batch).min(batch - 1)
        };
        let message = format!("with a batch of {batch}, {self}");
        let (mut fits, mut fails, mut next) = (0, batch, proportion(&self, batch));
        while fails - fits > 1 {
            let middle = next.clamp(fits + 1, fails - 1);
            match attempt(middle) {
                Ok(()) => (fits, next) = (middle, middle + 1),
                Err(error) => (fails, next) = (middle, proportion(&error, middle)),
            }
            if next > fits + 1 && next >= fails {
                next = fits.midpoint(fails);
            }
        }
        BackendError::Memory(match fits {
            0 => format!("{message}; not even a batch of 1 fits"),
            _ => format!("{message}; the largest batch that fits is {fits}"),
        })
    }
}

/// Checks that the tensors of a step are not more than any machine has room for.
///
/// # Errors
/// The largest tensor, with the size of all.
pub fn check(graph: &StepGraph, backend: &'static str) -> Result<(), TooLarge> {
    let luminal = &graph.builder.graph;
    let (mut total, mut largest) = (0_u128, (0_u128, String::new()));
    for node in ordered(luminal) {
        let Some(operation) = operation(luminal, node) else { continue };
        let sources = inputs(luminal, node);
        let shapes: Vec<&[usize]> = sources.iter().map(|source| source.shape.as_slice()).collect();
        for shape in operation.output_shapes(&shapes) {
            let elements = shape.iter().fold(1_u128, |product, &length| product.saturating_mul(length as u128));
            total = total.saturating_add(elements);
            if elements > largest.0 {
                largest = (elements, format!("a step, whose largest tensor is {shape:?} of `{}`,", operation.name()));
            }
        }
    }
    if total <= MOST_ELEMENTS {
        return Ok(());
    }
    Err(TooLarge { what: largest.1, unit: "elements in all", size: total, most: MOST_ELEMENTS, backend })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_that_fits_is_found() {
        // A size that grows with the batch, in steps and from something on.
        for (offset, each, most) in [(0, 7, 1000), (3, 7, 1000), (900, 1, 1000), (0, 1001, 1000), (0, 250, 1000)] {
            let size = |batch: usize| offset + (batch as u128 * each).next_multiple_of(4);
            let attempt = |batch: usize| match size(batch) {
                size if size <= most => Ok(()),
                size => Err(TooLarge { what: "x".into(), unit: "elements", size, most, backend: "cuda" }),
            };
            let fits = (1..5000).take_while(|&batch| attempt(batch).is_ok()).last();
            let said = attempt(5000).unwrap_err().of_batch(5000, attempt).to_string();
            let expected =
                fits.map_or("not even a batch of 1 fits".to_owned(), |fits| format!("batch that fits is {fits}"));
            assert!(said.ends_with(&expected), "{said}, {expected}");
        }
    }
}
