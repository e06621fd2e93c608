//! Layer normalisation over the last axis (Ba, Kiros & Hinton 2016), forward with the residual sum
//! before it, backward with the residual's gradient after it.

use super::{BLOCKS, Dropout, int, reduce, source, vector};
use crate::backend::cuda::launch::{Arg, Element, Launch, Precision, Source};

pub const SOURCE: Source = source!("layer_norm");

const THREADS: usize = 256;
/// Rows up to this width are done by one warp each.
const WARP_WIDTH: usize = 1024;

/// What is added to a row before it is normalised: `sum = x + dropout(b + bias)`.
#[derive(Debug, Clone)]
pub struct Residual<P> {
    /// `[rows, width]` activations.
    pub b: P,
    /// `[width]` float32.
    pub bias: Option<P>,
    pub dropout: Option<Dropout<P>>,
    /// `[rows, width]` activations: receives the sum.
    pub sum: P,
}

/// Threads that share a row: a power of two, so that narrow rows lie side by side in a warp.
fn group(width: usize, element: Element) -> usize {
    if width > WARP_WIDTH {
        return THREADS;
    }
    width.div_ceil(vector(width, element.vector())).next_power_of_two().min(32)
}

fn defines(width: usize, element: Element) -> Vec<(&'static str, String)> {
    vec![
        ("ACT", element.name().to_owned()),
        ("WIDTH", width.to_string()),
        ("VECTOR", vector(width, element.vector()).to_string()),
        ("GROUP", group(width, element).to_string()),
    ]
}

/// `y = (x - mean) · rstd · gamma + beta` by rows, `rstd = 1 / sqrt(var + epsilon)` of the biased
/// variance; of the residual's `sum` in place of x if there is one.
///
/// x, y `[rows, width]` activations; gamma, beta `[width]`; mean, rstd `[rows]`, kept for
/// [`backward`].
pub fn forward<P: Copy>(
    rows: usize,
    width: usize,
    epsilon: f32,
    precision: Precision,
    x: P,
    residual: Option<Residual<P>>,
    gamma: P,
    beta: P,
    y: P,
    mean: P,
    rstd: P,
) -> Launch<P> {
    let mut defines = defines(width, precision.element());
    let (mut b, mut bias, mut sum, mut dropout) = (Arg::Null, Arg::Null, Arg::Null, None);
    if let Some(residual) = residual {
        defines.push(("RESIDUAL", "1".to_owned()));
        if let Some(at) = residual.bias {
            defines.push(("BIAS", "1".to_owned()));
            bias = Arg::Pointer(at);
        }
        defines.extend(residual.dropout.as_ref().map(Dropout::define));
        (b, sum, dropout) = (Arg::Pointer(residual.b), Arg::Pointer(residual.sum), residual.dropout);
    }
    let mut args = vec![Arg::I32(int(rows)), Arg::F32(epsilon), Arg::Pointer(x), b, bias];
    args.extend(Dropout::args_and_bits(dropout));
    args.push(sum);
    args.extend([gamma, beta, y, mean, rstd].map(Arg::Pointer));
    Launch {
        source: SOURCE,
        defines,
        entry: "forward",
        grid: [rows.div_ceil(THREADS / group(width, precision.element())) as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args,
    }
}

/// Blocks of [`backward`], each of which leaves a partial sum.
fn parts(rows: usize, width: usize, element: Element) -> usize {
    rows.div_ceil(THREADS / group(width, element)).clamp(1, 2 * BLOCKS)
}

/// Floats of workspace for [`backward`].
#[must_use]
pub fn backward_workspace(rows: usize, width: usize, precision: Precision) -> usize {
    parts(rows, width, precision.element()) * 2 * width
}

/// With `g = dy · gamma` and `n = (x - mean) · rstd`: `dx = rstd · (g - mean(g) - n · mean(g·n))` by
/// rows, plus `added` if given (the gradient that reaches x past the normalisation; it may be dx
/// itself); `dgamma = Σ dy·n` and `dbeta = Σ dy` over rows.
///
/// dy, x, added, dx `[rows, width]` activations; gamma `[width]`; mean, rstd `[rows]`;
/// `dgamma_dbeta` `[2, width]` float32, both in one tensor. The workspace has
/// [`backward_workspace`] floats. Two launches.
pub fn backward<P: Clone>(
    rows: usize,
    width: usize,
    precision: Precision,
    dy: P,
    x: P,
    gamma: P,
    mean: P,
    rstd: P,
    added: Option<P>,
    dx: P,
    workspace: P,
    dgamma_dbeta: P,
) -> [Launch<P>; 2] {
    let parts = parts(rows, width, precision.element());
    let mut args = vec![Arg::I32(int(rows))];
    args.extend([dy, x, gamma, mean, rstd].map(Arg::Pointer));
    args.extend([added.map_or(Arg::Null, Arg::Pointer), Arg::Pointer(dx), Arg::Pointer(workspace.clone())]);
    let by_rows = Launch {
        source: SOURCE,
        defines: defines(width, precision.element()),
        entry: "backward",
        grid: [parts as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args,
    };
    [by_rows, reduce::sum_parts(parts, 2 * width, workspace, dgamma_dbeta)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{isa::tests::noise, layer_norm as cpu},
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{PRECISIONS, assert_near_floats, mask, tolerance},
        },
    };

    const SHAPES: [(usize, usize); 6] = [(1, 1), (9, 7), (11, 33), (30, 64), (5, 1000), (3, 1040)];

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn forward_as_on_the_cpu() {
        for precision in PRECISIONS {
            let element = precision.element();
            for (rows, width) in SHAPES {
                let x = Memory::of_floats(&noise(1, rows * width), element);
                let [gamma, beta] = [2, 3].map(|seed| Memory::of(&noise(seed, width)));
                let y = Memory::empty(rows * width, element);
                let [mean, rstd] = [0, 1].map(|_| Memory::empty(rows, Element::F32));
                run_all([forward(
                    rows,
                    width,
                    1e-3,
                    precision,
                    x.at(),
                    None,
                    gamma.at(),
                    beta.at(),
                    y.at(),
                    mean.at(),
                    rstd.at(),
                )]);
                let (mut e, mut em, mut er) = (vec![0.0; rows * width], vec![0.0; rows], vec![0.0; rows]);
                cpu::forward(
                    rows,
                    width,
                    &x.floats(element),
                    &gamma.read(),
                    &beta.read(),
                    1e-3,
                    &mut e,
                    &mut em,
                    &mut er,
                );
                let what = format!("{precision:?} {rows}x{width}");
                assert_near_floats(&y.floats(element), &e, tolerance(precision), &what);
                assert_near_floats(&mean.read::<f32>(), &em, 1e-5, &what);
                assert_near_floats(&rstd.read::<f32>(), &er, 1e-4, &what);
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn the_sum_before_it() {
        for precision in PRECISIONS {
            let element = precision.element();
            for (rows, width) in SHAPES {
                let [x, b] = [1, 2].map(|seed| Memory::of_floats(&noise(seed, rows * width), element));
                let [gamma, beta, bias] = [3, 4, 5].map(|seed| Memory::of(&noise(seed, width)));
                let [y, sum] = [0, 1].map(|_| Memory::empty(rows * width, element));
                let [mean, rstd] = [0, 1].map(|_| Memory::empty(rows, Element::F32));
                let (state, mask, dropout) = mask(0.3);
                let dropout = dropout.map(|_| state.at());
                let residual = Residual { b: b.at(), bias: Some(bias.at()), dropout: Some(dropout), sum: sum.at() };
                run_all([forward(
                    rows,
                    width,
                    1e-3,
                    precision,
                    x.at(),
                    Some(residual),
                    gamma.at(),
                    beta.at(),
                    y.at(),
                    mean.at(),
                    rstd.at(),
                )]);
                let bias: Vec<f32> = bias.read();
                let added = b.floats(element).into_iter().enumerate();
                let added = added.map(|(i, b)| (b + bias[i % width]) * mask.factor(i as u64));
                let expected: Vec<f32> = x.floats(element).iter().zip(added).map(|(x, b)| x + b).collect();
                let what = format!("{precision:?} {rows}x{width}");
                let sum = sum.floats(element);
                assert_near_floats(&sum, &expected, tolerance(precision), &what);
                let (mut e, mut em, mut er) = (vec![0.0; rows * width], vec![0.0; rows], vec![0.0; rows]);
                cpu::forward(rows, width, &sum, &gamma.read(), &beta.read(), 1e-3, &mut e, &mut em, &mut er);
                assert_near_floats(&y.floats(element), &e, tolerance(precision), &what);
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn backward_as_on_the_cpu() {
        for precision in PRECISIONS {
            let element = precision.element();
            for (rows, width) in SHAPES.into_iter().chain([(2500, 7)]) {
                let [x, dy, added] = [1, 2, 3].map(|seed| Memory::of_floats(&noise(seed, rows * width), element));
                let gamma = Memory::of(&noise(4, width));
                let (xs, dys) = (x.floats(element), dy.floats(element));
                let (mut y, mut mean, mut rstd) = (vec![0.0; rows * width], vec![0.0; rows], vec![0.0; rows]);
                let gammas: Vec<f32> = gamma.read();
                cpu::forward(rows, width, &xs, &gammas, &gammas, 1e-3, &mut y, &mut mean, &mut rstd);
                let (mut edx, mut edgamma, mut edbeta) = (vec![0.0; rows * width], vec![0.0; width], vec![0.0; width]);
                cpu::backward(rows, width, &xs, &gammas, &mean, &rstd, &dys, &mut edx, &mut edgamma, &mut edbeta);
                let (mean, rstd) = (Memory::of(&mean), Memory::of(&rstd));
                for other in [None, Some(&added)] {
                    let dx = Memory::empty(rows * width, element);
                    let workspace = Memory::empty(backward_workspace(rows, width, precision), Element::F32);
                    let grads = Memory::empty(2 * width, Element::F32);
                    run_all(backward(
                        rows,
                        width,
                        precision,
                        dy.at(),
                        x.at(),
                        gamma.at(),
                        mean.at(),
                        rstd.at(),
                        other.map(Memory::at),
                        dx.at(),
                        workspace.at(),
                        grads.at(),
                    ));
                    let what = format!("{precision:?} {rows}x{width} {}", other.is_some());
                    let mut expected = edx.clone();
                    if let Some(other) = other {
                        expected.iter_mut().zip(other.floats(element)).for_each(|(dx, other)| *dx += other);
                    }
                    assert_near_floats(&dx.floats(element), &expected, tolerance(precision), &what);
                    let grads: Vec<f32> = grads.read();
                    assert_near_floats(&grads[..width], &edgamma, 1e-4, &what);
                    assert_near_floats(&grads[width..], &edbeta, 1e-4, &what);
                }
            }
        }
    }
}
