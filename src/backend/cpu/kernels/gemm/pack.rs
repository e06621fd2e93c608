//! Copies of A and B in the order in which the micro-kernel reads them.

use super::{MR, Mat, NR, width};
use crate::backend::cpu::kernels::transpose::transpose_2d;

/// The rows of `a`, `[m, k]`, which are contiguous, to rows `ld` apart.
pub fn pad_a(m: usize, k: usize, a: Mat, out: &mut [f32], ld: usize) {
    for i in 0..m {
        out[i * ld..][..k].copy_from_slice(&a.data[i * a.row_stride..][..k]);
    }
}

/// `a`, `[m, k]`, into strips `[m / MR][k][MR]`. What pads the last strip is left as it was.
pub fn pack_a(m: usize, k: usize, a: Mat, out: &mut [f32]) {
    for i in (0..m).step_by(MR) {
        let (rows, strip) = (MR.min(m - i), &mut out[i * k..(i + MR) * k]);
        if a.col_stride == 1 {
            transpose_2d(rows, k, &a.data[i * a.row_stride..], a.row_stride, strip, MR);
        } else if a.row_stride == 1 && rows == MR {
            for (p, to) in strip.chunks_exact_mut(MR).enumerate() {
                to.copy_from_slice(&a.data[i + p * a.col_stride..][..MR]);
            }
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
        // A few rows at a time over all panels: B is read along its rows, and the panels, whose
        // starts may share a set of the cache, are written in runs.
        for p0 in (0..k).step_by(8) {
            for j in (0..full).step_by(WIDTH) {
                for p in p0..k.min(p0 + 8) {
                    let to = &mut out[j * k + p * WIDTH..][..WIDTH];
                    to.copy_from_slice(&b.data[p * b.row_stride + j..][..WIDTH]);
                }
            }
        }
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
