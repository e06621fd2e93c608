//! Plain Rust, in 4 × 8 pieces, which the compiler turns into the vectors of its baseline.

use super::{Block, NR, Start, ZEROS};

const ROWS: usize = 4;
const COLS: usize = 8;

/// Computes at most [`NR`] columns.
pub fn run(column: &Block, c: &mut [f32], copy: &mut [f32]) {
    for i in (0..column.rows).step_by(ROWS) {
        for j in (0..column.cols).step_by(COLS) {
            piece(column, i, ROWS.min(column.rows - i), j, COLS.min(column.cols - j), c, copy);
        }
    }
}

fn piece(column: &Block, i0: usize, rows: usize, j0: usize, cols: usize, c: &mut [f32], copy: &mut [f32]) {
    let mut sums = [[0.0; COLS]; ROWS];
    for (r, sums) in sums[..rows].iter_mut().enumerate() {
        let i = i0 + r;
        let start = match column.start {
            Start::Zero => &ZEROS[j0..],
            Start::Output => &c[i * column.ldc + j0..],
            Start::From(start, ld) => &start[i * ld + j0..],
        };
        sums[..cols].copy_from_slice(&start[..cols]);
        if let Some(bias) = column.bias {
            for (sum, bias) in sums[..cols].iter_mut().zip(&bias[j0..]) {
                *sum += bias;
            }
        }
    }
    // Rows beyond the column repeat its last: the loop below then has a fixed shape.
    let offsets: [usize; ROWS] = std::array::from_fn(|r| column.a_offset(i0 + r.min(rows - 1)));
    for p in 0..column.k {
        let b: &[f32; COLS] = column.b.data[p * column.b.row + j0..][..COLS].try_into().expect("eight columns");
        for (sums, offset) in sums.iter_mut().zip(offsets) {
            let a = column.a[offset + p / NR * column.a_panel + p % NR * column.a_k];
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (r, sums) in sums[..rows].iter().enumerate() {
        let at = (i0 + r) * column.ldc + j0;
        c[at..][..cols].copy_from_slice(&sums[..cols]);
        if !copy.is_empty() {
            copy[at..][..cols].copy_from_slice(&sums[..cols]);
        }
    }
}
