//! Copies of A and B in the order in which the micro-kernel reads them.

use super::{MR, Mat, NR, width};
use crate::backend::cpu::kernels::transpose::transpose_2d;

/// Rows that are cut into runs together: the source is read along its rows, while the places of their runs, which may
/// share a set of the cache, are written for some lines each.
const TOGETHER: usize = 8;

/// Cuts rows of `n` elements, a multiple of `WIDTH`, that lie `stride` apart, into runs of `WIDTH`: `[n / WIDTH][k][WIDTH]`.
/// Runs are arrays, or the compiler would call `memmove` for each.
fn runs<const WIDTH: usize>(k: usize, n: usize, rows: &[f32], stride: usize, out: &mut [f32]) {
    for p0 in (0..k).step_by(TOGETHER) {
        let count = TOGETHER.min(k - p0);
        for j in (0..n).step_by(WIDTH) {
            let (runs, _) = out[j * k + p0 * WIDTH..][..count * WIDTH].as_chunks_mut::<WIDTH>();
            for (p, to) in runs.iter_mut().enumerate() {
                if let Some(from) = rows[(p0 + p) * stride + j..].first_chunk() {
                    *to = *from;
                }
            }
        }
    }
}

/// The rows of `a`, `[m, k]`, which are contiguous, to rows `ld` apart.
pub fn pad_a(m: usize, k: usize, a: Mat, out: &mut [f32], ld: usize) {
    for i in 0..m {
        out[i * ld..][..k].copy_from_slice(&a.data[i * a.row_stride..][..k]);
    }
}

/// `a`, `[m, k]`, into strips `[m / MR][k][MR]`. What pads the last strip is left as it was.
pub fn pack_a(m: usize, k: usize, a: Mat, out: &mut [f32]) {
    let full = if a.row_stride == 1 { m / MR * MR } else { 0 };
    runs::<MR>(k, full, a.data, a.col_stride, out);
    for i in (full..m).step_by(MR) {
        let (rows, strip) = (MR.min(m - i), &mut out[i * k..(i + MR) * k]);
        if a.col_stride == 1 {
            transpose_2d(rows, k, &a.data[i * a.row_stride..], a.row_stride, strip, MR);
        } else {
            for (p, to) in strip.chunks_exact_mut(MR).enumerate() {
                for (r, to) in to[..rows].iter_mut().enumerate() {
                    *to = a.data[(i + r) * a.row_stride + p * a.col_stride];
                }
            }
        }
    }
}

/// `b`, `[k, n]`, into panels `[n / width][k][width]`, zeros after the last column.
pub fn pack_b(k: usize, n: usize, b: Mat, out: &mut [f32]) {
    match width() {
        NR => panels::<NR>(k, n, b, out),
        _ => panels::<{ NR / 2 }>(k, n, b, out),
    }
}

fn panels<const WIDTH: usize>(k: usize, n: usize, b: Mat, out: &mut [f32]) {
    let full = n / WIDTH * WIDTH;
    if b.col_stride == 1 {
        runs::<WIDTH>(k, full, b.data, b.row_stride, out);
    } else if b.row_stride == 1 {
        for j in (0..full).step_by(WIDTH) {
            transpose_2d(WIDTH, k, &b.data[j * b.col_stride..], b.col_stride, &mut out[j * k..], WIDTH);
        }
    }
    let general = b.col_stride != 1 && b.row_stride != 1;
    let edge = if general { 0 } else { full };
    for j in (edge..n).step_by(WIDTH) {
        let (cols, panel) = (WIDTH.min(n - j), &mut out[j * k..(j + WIDTH) * k]);
        if b.row_stride == 1 {
            transpose_2d(cols, k, &b.data[j * b.col_stride..], b.col_stride, panel, WIDTH);
            for to in panel.chunks_exact_mut(WIDTH) {
                to[cols..].fill(0.0);
            }
            continue;
        }
        for (p, to) in panel.chunks_exact_mut(WIDTH).enumerate() {
            for (c, to) in to[..cols].iter_mut().enumerate() {
                *to = b.data[p * b.row_stride + (j + c) * b.col_stride];
            }
            to[cols..].fill(0.0);
        }
    }
}
