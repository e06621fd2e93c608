//! A block of C over one block of `k`: micro-tiles of [`MR`] rows, down all rows before the next columns.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::{MR, NR, width};
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

/// A right-hand operand: element `(p, j)` is `data[j / width * panel + p * row + j % width]`. Rows go on to a multiple of
/// [`GROUP`].
#[derive(Debug, Clone, Copy)]
pub struct Panelled<'a> {
    data: &'a [f32],
    width: usize,
    panel: usize,
    row: usize,
}

impl<'a> Panelled<'a> {
    /// The rows from `first` on of a matrix of `k` rows that [`super::pack_b`] has packed.
    pub fn packed(data: &'a [f32], k: usize, first: usize) -> Self {
        Self::panels(data, width(), k, first)
    }

    /// The same of a matrix in panels of `width` columns, a multiple of [`GROUP`].
    pub fn panels(data: &'a [f32], width: usize, k: usize, first: usize) -> Self {
        Self { data: &data[first * width..], width, panel: width * k, row: width }
    }

    /// Row-major with rows `row` apart, of a multiple of [`NR`] elements.
    pub fn rows(data: &'a [f32], row: usize) -> Self {
        Self { data, width: NR, panel: NR, row }
    }

    /// The columns from `j` on, which begin a [`GROUP`].
    fn from(self, j: usize) -> Self {
        Self { data: &self.data[self.offset(j)..], ..self }
    }

    /// Where column `j` begins.
    fn offset(&self, j: usize) -> usize {
        j / self.width * self.panel + j % self.width
    }

    /// Panics unless the operand holds `k` rows of `cols` columns.
    fn check(&self, k: usize, cols: usize) {
        assert!(self.width.is_multiple_of(GROUP));
        // The last column of the last panel, and of those before it.
        let last = self.offset(cols.next_multiple_of(GROUP) - 1);
        let last = last.max(self.offset((cols / self.width * self.width).saturating_sub(1)));
        assert!(self.data.len() > last + (k - 1) * self.row);
    }
}

/// The operands of a block of micro-tiles.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub rows: usize,
    pub cols: usize,
    pub k: usize,
    /// Element `(i, p)` is `a[i / MR * a_tile + i % MR * a_row + p / NR * a_panel + p % NR * a_k]`.
    pub a: &'a [f32],
    pub a_tile: usize,
    pub a_row: usize,
    /// `NR * a_k`, unless A is a matrix in panels.
    pub a_panel: usize,
    pub a_k: usize,
    pub b: Panelled<'a>,
    /// Row stride of C.
    pub ldc: usize,
    pub start: Start<'a>,
    /// `[cols]`.
    pub bias: Option<&'a [f32]>,
}

/// Columns that are read together.
const GROUP: usize = 16;

/// `for $i in 0..$count`. A range is an iterator of the standard library: below `opt-level = 2` it may be the one that a
/// dependency has compiled without optimisation, and each of its steps a call or three.
#[cfg(target_arch = "x86_64")]
macro_rules! count {
    ($i:ident < $count:expr, $body:block) => {{
        let mut $i = 0;
        while $i < $count {
            $body
            $i += 1;
        }
    }};
}
#[cfg(target_arch = "x86_64")]
use count;

/// Runs along `k`: one `step!` after the other, of which each moves the pointers `a` on, while the processor is asked
/// for pairs of lines. A macro: a closure would be compiled for the baseline instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! along_k {
    ($block:ident, $step:ident, $a:ident, $pairs:ident) => {
        use $crate::backend::cpu::kernels::{ahead::LINE, gemm::NR};
        let (mut pair, stride) = $pairs;
        let jump = $block.a_panel - NR * $block.a_k;
        let mut left = $block.k;
        while left > 0 {
            let k = if left < NR { left } else { NR };
            left -= k;
            count!(_pair < k / PAIR_EVERY, {
                _mm_prefetch::<_MM_HINT_T1>(pair);
                _mm_prefetch::<_MM_HINT_T1>(pair.wrapping_add(LINE));
                pair = pair.wrapping_add(stride);
                count!(_step < PAIR_EVERY, { $step!() });
            });
            count!(_step < k % PAIR_EVERY, { $step!() });
            count!(r < $a.len(), { $a[r] = $a[r].wrapping_add(jump) });
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

impl Block<'_> {
    /// Where row `i` of A begins.
    fn a_offset(&self, i: usize) -> usize {
        i / MR * self.a_tile + i % MR * self.a_row
    }

    /// The columns from `j` on, at most [`NR`].
    fn column(&self, j: usize) -> Self {
        let start = match self.start {
            Start::From(start, ld) => Start::From(&start[j..], ld),
            start => start,
        };
        Self { cols: NR.min(self.cols - j), b: self.b.from(j), start, bias: self.bias.map(|bias| &bias[j..]), ..*self }
    }

    /// What to ask for while the block is computed, by tiles of so many columns.
    fn ahead(&self, cols: usize) -> Ahead {
        let idle = self.b.data.as_ptr().cast();
        let tiles = self.rows.div_ceil(MR) * self.cols.div_ceil(cols);
        Ahead { address: idle, stride: 0, count: 0, room: tiles * (self.k / PAIR_EVERY), idle }
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

/// Computes a block into the `c` that begins at its first element.
#[inline]
pub fn run(block: &Block, c: &mut [f32]) {
    run_twice(block, c, &mut []);
}

/// As [`run`], also into a `copy` like `c`, unless that is empty. It is stored past the cache where that can be done:
/// nobody may read it on another thread before this one has called [`stream::finish`].
#[inline]
pub fn run_twice(block: &Block, c: &mut [f32], copy: &mut [f32]) {
    let Block { rows, cols, k, .. } = *block;
    assert!(rows > 0 && cols > 0 && k > 0);
    // The last row of the last tile, and of those before it.
    let last = block.a_offset(rows - 1).max(block.a_offset((rows / MR * MR).saturating_sub(1)));
    assert!(block.a.len() > last + (k - 1) / NR * block.a_panel + (k - 1) % NR * block.a_k);
    assert!(block.a_panel >= NR * block.a_k);
    block.b.check(k, cols);
    assert!(c.len() >= (rows - 1) * block.ldc + cols);
    assert!(copy.is_empty() || copy.len() >= (rows - 1) * block.ldc + cols);
    assert!(block.bias.is_none_or(|bias| bias.len() >= cols));
    if let Start::From(start, ld) = block.start {
        assert!(start.len() >= (rows - 1) * ld + cols);
    }
    let isa = Isa::current();
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx2 {
        // SAFETY: the processor has AVX2 and FMA, and all operands were checked above.
        return unsafe { avx2::run(block, c, copy) };
    }
    assert!(block.b.width.is_multiple_of(NR));
    for j in (0..cols).step_by(NR) {
        let (column, c) = (block.column(j), &mut c[j..]);
        let copy = if copy.is_empty() { &mut [] } else { &mut copy[j..] };
        match isa {
            // SAFETY: the processor has AVX-512, and all operands were checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::run(&column, c, copy) },
            _ => portable::run(&column, c, copy),
        }
    }
}
