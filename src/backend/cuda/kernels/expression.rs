//! Any function of scalars, element by element: the kernel's text is made of the expression and of what it reads.

use std::fmt::Write;

use super::{Dropout, flat, int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::expression::Expression,
};

pub const SOURCE: Source = source!("expression");

/// Elements that a thread moves at once, and that share a block of a mask.
const VECTOR: usize = 8;

/// What an element of the result reads of an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand<P> {
    /// The element of the same place.
    Whole { element: Element, at: P },
    /// `[images, suffix]`: the element of the image and of the place in the suffix.
    PerImage { element: Element, at: P, suffix: usize },
    /// `[suffix]`: the element of the place in the suffix.
    Shared { element: Element, at: P, suffix: usize },
    /// Its factor.
    Mask(Dropout<P>),
    /// The factor of its image.
    ImageMask(Dropout<P>),
}

/// `y[i] = f(x0[i], x1[i], ..)` for `count` elements, of which `image` are an image's.
///
/// y: `count` of `element`; it may be an operand that is whole.
pub fn evaluate<P>(
    expression: &Expression,
    [count, image]: [usize; 2],
    operands: Vec<Operand<P>>,
    element: Element,
    y: P,
) -> Launch<P> {
    let vector = if count.is_multiple_of(VECTOR) { VECTOR } else { 1 };
    let whole_vectors = |length: usize| length.is_multiple_of(vector);
    let [mut parameters, mut masks, mut loads, mut formals, mut actuals] = <[String; 5]>::default();
    let mut args = vec![Arg::U32(int(count) as u32), Arg::U32(int(image) as u32)];
    let pointer = |n: usize, element: Element| format!("const {}* p{n}", element.name());
    for (n, operand) in operands.into_iter().enumerate() {
        let (parameter, load) = match operand {
            Operand::Whole { element, at } => {
                args.push(Arg::Pointer(at));
                (pointer(n, element), format!("load_vector<VECTOR>(p{n} + i, v{n});"))
            }
            Operand::Shared { element, at, suffix } => {
                args.extend([Arg::Pointer(at), Arg::U32(int(suffix) as u32)]);
                let load = if whole_vectors(suffix) {
                    format!("load_vector<VECTOR>(p{n} + i % suffix{n}, v{n});")
                } else {
                    format!("repeated(p{n}, i, suffix{n}, v{n});")
                };
                (format!("{}, u32 suffix{n}", pointer(n, element)), load)
            }
            Operand::PerImage { element, at, suffix } => {
                args.extend([Arg::Pointer(at), Arg::U32(int(suffix) as u32)]);
                let load = if whole_vectors(suffix) {
                    format!("load_vector<VECTOR>(p{n} + i / image * suffix{n} + i % suffix{n}, v{n});")
                } else {
                    format!("by_image(p{n}, i, image, suffix{n}, v{n});")
                };
                (format!("{}, u32 suffix{n}", pointer(n, element)), load)
            }
            Operand::Mask(dropout) => {
                (mask(n, dropout, &mut masks, &mut args), format!("drawn(m{n}, scale{n}, i, v{n});"))
            }
            Operand::ImageMask(dropout) => {
                (mask(n, dropout, &mut masks, &mut args), format!("drawn_by_image(m{n}, scale{n}, i, image, v{n});"))
            }
        };
        push(&mut parameters, ", ", &parameter);
        push(&mut loads, " ", &format!("float v{n}[VECTOR]; {load}"));
        push(&mut formals, ", ", &format!("float x{n}"));
        push(&mut actuals, ", ", &format!("v{n}[j]"));
    }
    args.push(Arg::Pointer(y));
    let defines = vec![
        ("RESULT", element.name().to_owned()),
        ("VECTOR", vector.to_string()),
        ("PARAMETERS", parameters),
        ("MASKS", masks),
        ("LOADS", loads),
        ("FORMALS", formals),
        ("ACTUALS", actuals),
        ("BODY", expression.cuda()),
    ];
    flat(SOURCE, "evaluate", (defines, vector), count, args)
}

/// The parameters of a mask, which is made of them before all elements.
fn mask<P>(n: usize, dropout: Dropout<P>, masks: &mut String, args: &mut Vec<Arg<P>>) -> String {
    args.extend(Dropout::args(Some(dropout)));
    push(masks, " ", &format!("Mask m{n} = {{low{n}, high{n}, stream{n}, state{n}->iteration, threshold{n}}};"));
    format!("const StepState* state{n}, u32 low{n}, u32 high{n}, u32 stream{n}, u32 threshold{n}, float scale{n}")
}

fn push(text: &mut String, between: &str, part: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}{part}", if text.is_empty() { "" } else { between });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near_floats, mask},
        },
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_way_to_repeat_on_whole_vectors_and_not() {
        let (state, masked, dropout) = mask(0.25);
        let dropout = dropout.map(|()| state.at());
        let f = Expression::new(5, |x| &x[0] * &x[1] * &x[3] + &x[2].exp() * &x[4]);
        for element in ELEMENTS {
            for other in ELEMENTS {
                // Images, times that the suffix repeats in one, and the suffix.
                for [images, times, suffix] in [[3, 5, 7], [3, 2, 8], [1, 1, 1], [19, 1, 5], [2, 4, 4], [5, 1, 16]] {
                    let (image, count) = (times * suffix, images * times * suffix);
                    let tensor = |seed, len, element| Memory::of_floats(&noise(seed, len), element);
                    let (whole, per_image) = (tensor(1, count, element), tensor(2, images * suffix, element));
                    let (shared, y) = (tensor(3, suffix, other), Memory::empty(count, element));
                    let operands = vec![
                        Operand::Whole { element, at: whole.at() },
                        Operand::PerImage { element, at: per_image.at(), suffix },
                        Operand::Shared { element: other, at: shared.at(), suffix },
                        Operand::Mask(dropout),
                        Operand::ImageMask(dropout),
                    ];
                    run_all([evaluate(&f, [count, image], operands, element, y.at())]);
                    let (whole, per_image, shared) =
                        (whole.floats(element), per_image.floats(element), shared.floats(other));
                    let expected: Vec<f32> = (0..count)
                        .map(|i| {
                            let (at, place) = (i / image, i % suffix);
                            let [of_element, of_image] = [i, at].map(|index| masked.factor(index as u64));
                            whole[i] * per_image[at * suffix + place] * of_element + shared[place].exp() * of_image
                        })
                        .collect();
                    let what = format!("{element:?} {other:?} {images}x{times}x{suffix}");
                    let tolerance = if element == Element::F32 { 1e-5 } else { 5e-3 };
                    assert_near_floats(&y.floats(element), &expected, tolerance, &what);
                }
            }
        }
    }
}
