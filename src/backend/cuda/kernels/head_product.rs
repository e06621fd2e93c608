//! Products of the kernels of projections, head by head: what an attention takes whose products are done in another order
//! (`passes::reassociate`).

use super::{int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::{HeadProduct, Roles, flops, position},
};

pub const SOURCE: Source = source!("head_product");

/// Rows and columns of the result that a block makes.
const TILE: usize = 16;

/// A tensor of three axes: where it begins, and elements from one index of each axis to the next.
#[derive(Debug, Clone, Copy)]
pub struct Strided<P> {
    pub at: P,
    pub strides: [usize; 3],
}

impl<P: Copy> Strided<P> {
    /// Its address, and the strides of these of its axes.
    fn args(&self, axes: [char; 3], wanted: [char; 3]) -> impl Iterator<Item = Arg<P>> {
        let stride = |name| Arg::U32(int(position(axes, name).map_or(0, |axis| self.strides[axis])) as u32);
        std::iter::once(Arg::Pointer(self.at)).chain(wanted.map(stride))
    }
}

/// A product, and the shapes of its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shaped {
    pub product: HeadProduct,
    pub shapes: [[usize; 3]; 2],
}

impl Shaped {
    /// Of heads, rows, the inner axis and columns.
    fn lengths(&self) -> [usize; 4] {
        self.product.lengths(&self.shapes.each_ref().map(|shape| &shape[..]))
    }

    /// Of heads, rows and columns of the result.
    pub fn extents(&self) -> [usize; 3] {
        let [heads, rows, _, columns] = self.lengths();
        [heads, rows, columns]
    }

    /// Where the result has its heads, rows and columns.
    pub fn axes_of_result(&self) -> [Option<usize>; 3] {
        let Roles { head, row, column, .. } = self.product.roles();
        [head, row, column].map(|axis| position(self.product.c, axis))
    }

    /// The shape of the result.
    pub fn result(&self) -> [usize; 3] {
        let shapes = self.shapes.each_ref().map(|shape| &shape[..]);
        self.product.c.map(|axis| self.product.length(axis, &shapes))
    }

    pub fn flops(&self) -> u64 {
        flops(self.lengths())
    }
}

/// A product of two tensors.
#[derive(Debug, Clone, Copy)]
pub struct Term<P> {
    pub of: Shaped,
    pub a: Strided<P>,
    pub b: Strided<P>,
}

/// The sum of one product of float32 matrices, or of two of one size.
pub fn product<P: Copy>(terms: &[Term<P>], to: Element, c: Strided<P>) -> Option<Launch<P>> {
    let first = terms.first().filter(|_| terms.len() <= 2)?;
    let (Shaped { product, .. }, [heads, rows, columns]) = (first.of, first.of.extents());
    let Roles { head, row, column, .. } = product.roles();
    let mut args = vec![Arg::I32(int(rows)), Arg::I32(int(columns))];
    args.extend(c.args(product.c, [head, row, column]));
    for Term { of, a, b } in terms {
        let (HeadProduct { a: of_a, b: of_b, .. }, Roles { head, row, inner, column }) =
            (of.product, of.product.roles());
        args.push(Arg::I32(int(of.lengths()[2])));
        args.extend(a.args(of_a, [head, row, inner]));
        args.extend(b.args(of_b, [head, inner, column]));
    }
    Some(Launch {
        source: SOURCE,
        defines: vec![("TO", to.name().to_owned()), ("TERMS", terms.len().to_string())],
        entry: "product",
        grid: [int(rows.div_ceil(TILE) * columns.div_ceil(TILE)) as u32, int(heads) as u32, 1],
        block: [(TILE * TILE) as u32, 1, 1],
        shared_bytes: 0,
        args,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near_floats},
        },
    };

    fn contiguous(at: *mut u8, shape: [usize; 3]) -> Strided<*mut u8> {
        Strided { at, strides: [shape[1] * shape[2], shape[2], 1] }
    }

    /// The same by a loop over all indices: of one term `[i, h, k] [j, h, k]`, and of one whose result has other axes.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn products_of_two_terms() {
        let [i, j, heads, inner, other] = [19, 33, 3, 20, 1];
        let (shape_a, shape_b, shape_c) = ([i, heads, inner], [j, heads, inner], [i, heads, j]);
        let (shape_d, shape_e) = ([i, heads, other], [heads, j, other]);
        let values = |seed, shape: [usize; 3]| noise(seed, shape.iter().product());
        let [a, b, d, e] =
            [(1, shape_a), (2, shape_b), (3, shape_d), (4, shape_e)].map(|(seed, shape)| values(seed, shape));
        let memory = |values: &[f32]| Memory::of(values);
        let [ma, mb, md, me] = [&a, &b, &d, &e].map(|values| memory(values));
        let term = |a, b, shapes: [[usize; 3]; 2], ma: &Memory, mb: &Memory| Term {
            of: Shaped { product: HeadProduct { a, b, c: ['i', 'h', 'j'] }, shapes },
            a: contiguous(ma.at(), shapes[0]),
            b: contiguous(mb.at(), shapes[1]),
        };
        let terms = [
            term(['i', 'h', 'k'], ['j', 'h', 'k'], [shape_a, shape_b], &ma, &mb),
            term(['i', 'h', 'k'], ['h', 'j', 'k'], [shape_d, shape_e], &md, &me),
        ];
        let expected = |terms: usize| -> Vec<f32> {
            let mut all = Vec::new();
            for at in 0..i * heads * j {
                let (row, head, column) = (at / j / heads, at / j % heads, at % j);
                let one = |k: usize| a[(row * heads + head) * inner + k] * b[(column * heads + head) * inner + k];
                let two = |k: usize| d[(row * heads + head) * other + k] * e[(head * j + column) * other + k];
                let second: f32 = if terms == 2 { (0..other).map(two).sum() } else { 0.0 };
                all.push((0..inner).map(one).sum::<f32>() + second);
            }
            all
        };
        for element in ELEMENTS {
            for count in [1, 2] {
                let c = Memory::empty(i * heads * j, element);
                run_all(product(&terms[..count], element, contiguous(c.at(), shape_c)));
                let near = if element == Element::F32 { 1e-5 } else { 1e-2 };
                assert_near_floats(&c.floats(element), &expected(count), near, &format!("{element:?} {count}"));
            }
        }
    }
}
