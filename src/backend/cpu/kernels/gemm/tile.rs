//! One micro-tile: at most [`MR`] × [`NR`] elements of C over one block of `k`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::{MR, NR};
use crate::backend::cpu::kernels::{ahead, isa::Isa};

/// What the sums start from, besides the bias.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    Zero,
    /// What C holds.
    Output,
    /// Another matrix, and its row stride.
    From(&'a [f32], usize),
}

/// The operands of a micro-tile.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// At most [`MR`].
    pub rows: usize,
    /// At most [`NR`].
    pub cols: usize,
    pub k: usize,
    /// Element `(i, p)` is `a[i * a_row + p * a_k]`.
    pub a: &'a [f32],
    pub a_row: usize,
    pub a_k: usize,
    /// `[k, NR]`, with rows `b_row` apart. Unless those are packed, the tile has [`NR`] columns.
    pub b: &'a [f32],
    pub b_row: usize,
    /// Row stride of C.
    pub ldc: usize,
    pub start: Start<'a>,
    /// `[cols]`.
    pub bias: Option<&'a [f32]>,
}

/// Steps along `k` for each line that is asked for ahead: memory delivers about one in that time.
const LINE_EVERY: usize = 4;

impl Tile<'_> {
    /// The first line to ask for while this tile is computed, and the bytes to the next. When nothing is
    /// announced, a line that is there anyway.
    #[inline]
    fn ahead(&self) -> (*const i8, usize) {
        let ahead::Lines { address, stride } = ahead::lines(self.k / LINE_EVERY);
        if stride == 0 { (self.b.as_ptr().cast(), 0) } else { (address, stride) }
    }
}

static ZEROS: [f32; NR] = [0.0; NR];

/// Computes a tile into the `c` that begins at its first element.
#[inline]
pub fn run(tile: &Tile, c: &mut [f32]) {
    let Tile { rows, cols, k, .. } = *tile;
    assert!((1..=MR).contains(&rows) && (1..=NR).contains(&cols) && k > 0);
    assert!(tile.a.len() > (rows - 1) * tile.a_row + (k - 1) * tile.a_k);
    assert!(tile.b_row >= NR && tile.b.len() >= (k - 1) * tile.b_row + NR);
    assert!(c.len() >= (rows - 1) * tile.ldc + cols);
    assert!(tile.bias.is_none_or(|bias| bias.len() >= cols));
    if let Start::From(start, ld) = tile.start {
        assert!(start.len() >= (rows - 1) * ld + cols);
    }
    match Isa::current() {
        // SAFETY: the processor has AVX-512, and all operands were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::run(tile, c) },
        // SAFETY: the processor has AVX2 and FMA, and all operands were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::run(tile, c) },
        _ => portable::run(tile, c),
    }
}
