//! A column of micro-tiles: at most [`NR`] columns of C over one block of `k`, [`MR`] rows at a time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::{MR, NR};
use crate::backend::cpu::kernels::{ahead, isa::Isa, stream};

/// What the sums start from, besides the bias.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    Zero,
    /// What C holds.
    Output,
    /// Another matrix, and its row stride.
    From(&'a [f32], usize),
}

/// The operands of a column of micro-tiles.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    pub rows: usize,
    /// At most [`NR`].
    pub cols: usize,
    pub k: usize,
    /// Element `(i, p)` is `a[i / MR * a_tile + i % MR * a_row + p / NR * a_panel + p % NR * a_k]`.
    pub a: &'a [f32],
    pub a_tile: usize,
    pub a_row: usize,
    /// `NR * a_k`, unless A is a matrix in panels.
    pub a_panel: usize,
    pub a_k: usize,
    /// `[k, NR]`, with rows `b_row` apart. Unless those are packed, the column has [`NR`] columns.
    pub b: &'a [f32],
    pub b_row: usize,
    /// Row stride of C.
    pub ldc: usize,
    pub start: Start<'a>,
    /// `[cols]`.
    pub bias: Option<&'a [f32]>,
}

/// Runs along `k`: one `step!` after the other, of which each moves the pointers `a` on, while the processor is asked
/// for pairs of lines. A macro: a closure would be compiled for the baseline instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! along_k {
    ($column:ident, $step:ident, $a:ident, $pairs:ident) => {
        use $crate::backend::cpu::kernels::{ahead::LINE, gemm::NR};
        let (mut pair, stride) = $pairs;
        let jump = $column.a_panel - NR * $column.a_k;
        for first in (0..$column.k).step_by(NR) {
            let k = NR.min($column.k - first);
            for _ in 0..k / PAIR_EVERY {
                _mm_prefetch::<_MM_HINT_T1>(pair);
                _mm_prefetch::<_MM_HINT_T1>(pair.wrapping_add(LINE));
                pair = pair.wrapping_add(stride);
                for _ in 0..PAIR_EVERY {
                    $step!();
                }
            }
            for _ in 0..k % PAIR_EVERY {
                $step!();
            }
            for a in &mut $a {
                *a = a.wrapping_add(jump);
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
use along_k;

/// A pointer of which the compiler knows nothing: it would derive the rows of one step from those of
/// another by a chain of additions, as long as the step itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn opaque(mut pointer: *const f32) -> *const f32 {
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) pointer, options(readonly, nostack, preserves_flags)) };
    pointer
}

/// Steps along `k` for each pair of lines that is asked for ahead: memory delivers hardly more in that time.
const PAIR_EVERY: usize = 4;

impl Column<'_> {
    /// Where row `i` of A begins.
    fn a_offset(&self, i: usize) -> usize {
        i / MR * self.a_tile + i % MR * self.a_row
    }

    /// What to ask for while this column is computed.
    fn ahead(&self) -> Ahead {
        let idle = self.b.as_ptr().cast();
        Ahead { address: idle, stride: 0, count: 0, room: self.rows.div_ceil(MR) * (self.k / PAIR_EVERY), idle }
    }
}

/// Pairs of lines that are left to be asked for.
struct Ahead {
    address: *const i8,
    stride: usize,
    count: usize,
    /// How many more there is room for, besides.
    room: usize,
    /// Lines that are there anyway.
    idle: *const i8,
}

impl Ahead {
    /// The first of so many pairs of lines, and the bytes to the next.
    #[inline(always)]
    fn take(&mut self, count: usize) -> (*const i8, usize) {
        if self.count == 0 {
            if self.room == 0 {
                return (self.idle, 0);
            }
            let ahead::Pairs { address, stride, count } = ahead::pairs(self.room);
            (self.address, self.stride, self.count) =
                if count == 0 { (self.idle, 0, self.room) } else { (address, stride, count) };
            self.room -= self.count;
        }
        // The last lines may lie behind what was announced: asking for them does no harm.
        let first = self.address;
        self.address = first.wrapping_add(count * self.stride);
        self.count = self.count.saturating_sub(count);
        (first, self.stride)
    }
}

static ZEROS: [f32; NR] = [0.0; NR];

/// Computes a column into the `c` that begins at its first element.
#[inline]
pub fn run(column: &Column, c: &mut [f32]) {
    run_twice(column, c, &mut []);
}

/// As [`run`], also into a `copy` like `c`, unless that is empty. It is stored past the cache where that can be done:
/// nobody may read it on another thread before this one has called [`stream::finish`].
#[inline]
pub fn run_twice(column: &Column, c: &mut [f32], copy: &mut [f32]) {
    let Column { rows, cols, k, .. } = *column;
    assert!(rows > 0 && (1..=NR).contains(&cols) && k > 0);
    // The last row of the last tile, and of those before it.
    let last = column.a_offset(rows - 1).max(column.a_offset((rows / MR * MR).saturating_sub(1)));
    assert!(column.a.len() > last + (k - 1) / NR * column.a_panel + (k - 1) % NR * column.a_k);
    assert!(column.a_panel >= NR * column.a_k);
    assert!(column.b_row >= NR && column.b.len() >= (k - 1) * column.b_row + NR);
    assert!(c.len() >= (rows - 1) * column.ldc + cols);
    assert!(copy.is_empty() || copy.len() >= (rows - 1) * column.ldc + cols);
    assert!(column.bias.is_none_or(|bias| bias.len() >= cols));
    if let Start::From(start, ld) = column.start {
        assert!(start.len() >= (rows - 1) * ld + cols);
    }
    match Isa::current() {
        // SAFETY: the processor has AVX-512, and all operands were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::run(column, c, copy) },
        // SAFETY: the processor has AVX2 and FMA, and all operands were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::run(column, c, copy) },
        _ => portable::run(column, c, copy),
    }
}
