//! Batch normalisation (Ioffe & Szegedy 2015).

use super::{conv2d::parts, flat, int, reduce, source};
use crate::backend::cuda::launch::{Arg, Element, Launch, Source};

pub const SOURCE: Source = source!("batch_norm");

const LANES: usize = 32;

fn types(types: &[(&'static str, Element)]) -> Vec<(&'static str, String)> {
    types.iter().map(|(name, element)| (*name, element.name().to_owned())).collect()
}

/// Floats of workspace for [`moments`] and [`gradient_sums`].
pub fn workspace(rows: usize, channels: usize) -> usize {
    parts(rows)[0] * 2 * channels
}

fn sums<P: Clone>(
    entry: &'static str,
    defines: Vec<(&'static str, String)>,
    [rows, channels]: [usize; 2],
    args: Vec<Arg<P>>,
    workspace: P,
    out: P,
) -> [Launch<P>; 2] {
    let [parts, part] = parts(rows);
    let numbers = [rows, channels, part].map(|number| Arg::I32(int(number)));
    let args = numbers.into_iter().chain(args).chain([Arg::Pointer(workspace.clone())]).collect();
    let grid = [channels.div_ceil(LANES) as u32, parts as u32, 1];
    let by_parts = Launch { source: SOURCE, defines, entry, grid, block: [256, 1, 1], shared_bytes: 0, args };
    [by_parts, reduce::sum_parts(parts, 2 * channels, workspace, out)]
}

/// The sums of `x - shift` and of its square, float32 `[2, channels]`.
pub fn moments<P: Clone>(
    rows: usize,
    channels: usize,
    (from, x): (Element, P),
    shift: P,
    workspace: P,
    out: P,
) -> [Launch<P>; 2] {
    let args = vec![Arg::Pointer(x), Arg::Pointer(shift)];
    sums("moments", types(&[("FROM", from)]), [rows, channels], args, workspace, out)
}

/// Mean and variance of so many numbers, from their moments.
pub fn statistics<P>(count: usize, channels: usize, moments: P, shift: P, mean: P, variance: P) -> Launch<P> {
    let mut args = vec![Arg::I32(int(channels)), Arg::F32(count as f32)];
    args.extend([moments, shift, mean, variance].map(Arg::Pointer));
    let mut launch = flat(SOURCE, "statistics", (types(&[("FROM", Element::F32)]), 1), channels, args);
    // A thread for each channel.
    launch.grid[0] = channels.div_ceil(256) as u32;
    launch
}

/// `y = (x - mean) rstd gamma + beta`; `parameters` are gamma, beta, mean and variance.
pub fn normalise<P>(
    count: usize,
    channels: usize,
    epsilon: f32,
    (from, x): (Element, P),
    parameters: [P; 4],
    (to, y): (Element, P),
) -> Launch<P> {
    let mut args = vec![Arg::U32(int(count) as u32), Arg::I32(int(channels)), Arg::F32(epsilon), Arg::Pointer(x)];
    args.extend(parameters.map(Arg::Pointer));
    args.push(Arg::Pointer(y));
    flat(SOURCE, "normalise", (types(&[("FROM", from), ("TO", to)]), 1), count, args)
}

/// The gradients of gamma and of beta, float32 `[2, channels]`; `statistics` are mean and variance.
pub fn gradient_sums<P: Clone>(
    rows: usize,
    channels: usize,
    epsilon: f32,
    (gradient, dy): (Element, P),
    (from, x): (Element, P),
    statistics: [P; 2],
    workspace: P,
    out: P,
) -> [Launch<P>; 2] {
    let mut args = vec![Arg::F32(epsilon), Arg::Pointer(dy), Arg::Pointer(x)];
    args.extend(statistics.map(Arg::Pointer));
    let defines = types(&[("GRADIENT", gradient), ("FROM", from)]);
    sums("gradient_sums", defines, [rows, channels], args, workspace, out)
}

/// The gradient of x; `parameters` are gamma, mean, variance, and the gradients of gamma and of beta. `share` is one by
/// how many numbers of a channel there are, or 0 for statistics that are not the batch's.
pub fn gradient<P>(
    count: usize,
    channels: usize,
    [epsilon, share]: [f32; 2],
    (gradient, dy): (Element, P),
    (from, x): (Element, P),
    parameters: [P; 5],
    (to, dx): (Element, P),
) -> Launch<P> {
    let mut args = vec![Arg::U32(int(count) as u32), Arg::I32(int(channels)), Arg::F32(epsilon), Arg::F32(share)];
    args.extend([dy, x].map(Arg::Pointer));
    args.extend(parameters.map(Arg::Pointer));
    args.push(Arg::Pointer(dx));
    let defines = types(&[("GRADIENT", gradient), ("FROM", from), ("TO", to)]);
    flat(SOURCE, "gradient", (defines, 1), count, args)
}

/// One step of a moving average, in place, and a copy of it. While the u32 `stop` is not 0 nothing changes.
pub fn moving_average<P>(count: usize, momentum: f32, stop: P, statistic: P, average: P, copy: Option<P>) -> Launch<P> {
    let mut args = vec![Arg::U32(int(count) as u32), Arg::F32(momentum)];
    args.extend([stop, statistic, average].map(Arg::Pointer));
    args.push(copy.map_or(Arg::Null, Arg::Pointer));
    flat(SOURCE, "moving_average", (types(&[("FROM", Element::F32)]), 1), count, args)
}
