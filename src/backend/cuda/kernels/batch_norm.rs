//! Batch normalisation (Ioffe & Szegedy 2015), and the activation after it.

use super::{channels::Channels, flat, int, reduce, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::Activation,
};

pub const SOURCE: Source = source!("batch_norm");

/// Most channels of a thread.
const MOST: usize = 8;

/// How often over the blocks of passes that only map fill a large device.
const WAVES: usize = 8;

/// The same of passes that add up: few enough that the second stage has little to do, and so many that the last blocks
/// do not run alone for long.
const SUM_WAVES: usize = 6;

/// What a thread has to know of its channels: `[channels]` each.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<P> {
    pub gamma: P,
    pub beta: P,
    pub mean: P,
    pub variance: P,
}

/// Rows of channels, and what is added to the variance.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    pub rows: usize,
    pub channels: usize,
    pub epsilon: f32,
}

/// A tensor that is added to the normalised numbers.
#[derive(Debug, Clone, Copy)]
pub struct Addend<P> {
    pub at: P,
    /// To what the activation takes, or else to what it makes.
    pub before_activation: bool,
}

fn types(types: &[(&'static str, Element)]) -> Vec<(&'static str, String)> {
    types.iter().map(|(name, element)| (*name, element.name().to_owned())).collect()
}

fn slope(activation: Option<Activation>) -> Option<(&'static str, String)> {
    activation.map(|activation| ("SLOPE", activation.expression().derivative(0).cuda()))
}

impl BatchNorm {
    fn cut(&self) -> Channels {
        Channels::new(self.channels, MOST)
    }

    /// Floats of workspace for [`Self::moments`] and [`Self::gradient_sums`].
    pub fn workspace(&self) -> usize {
        self.cut().parts(self.rows, SUM_WAVES)[0] * 2 * self.channels
    }

    /// A launch whose parts are for so many waves, with its arguments from the rows on.
    fn launch<P>(
        &self,
        entry: &'static str,
        mut defines: Vec<(&'static str, String)>,
        waves: usize,
        args: impl IntoIterator<Item = Arg<P>>,
    ) -> Launch<P> {
        let cut = self.cut();
        let [parts, part] = cut.parts(self.rows, waves);
        defines.extend(cut.defines());
        let numbers = [self.rows, self.channels, part].map(|number| Arg::I32(int(number)));
        let args = numbers.into_iter().chain(args).collect();
        Launch { source: SOURCE, defines, entry, grid: cut.grid(parts), block: [256, 1, 1], shared_bytes: 0, args }
    }

    /// Two sums of each channel by parts, and then over all.
    fn sums<P: Clone>(
        &self,
        entry: &'static str,
        defines: Vec<(&'static str, String)>,
        args: impl IntoIterator<Item = Arg<P>>,
        workspace: P,
        out: P,
    ) -> [Launch<P>; 2] {
        let args = args.into_iter().chain([Arg::Pointer(workspace.clone())]);
        let parts = self.cut().parts(self.rows, SUM_WAVES)[0];
        [self.launch(entry, defines, SUM_WAVES, args), reduce::sum_parts(parts, 2 * self.channels, workspace, out)]
    }

    /// The sums of `x - shift` and of its square, float32 `[2, channels]`.
    pub fn moments<P: Clone>(&self, (from, x): (Element, P), shift: P, workspace: P, out: P) -> [Launch<P>; 2] {
        self.sums("moments", types(&[("FROM", from)]), [x, shift].map(Arg::Pointer), workspace, out)
    }

    /// `y = f((x - mean) rstd gamma + beta)`, to or in which a residual is added.
    ///
    /// x, y and the residual `[rows, channels]`, the residual of y's type.
    pub fn normalise<P>(
        &self,
        (from, x): (Element, P),
        parameters: Parameters<P>,
        activation: Option<Activation>,
        residual: Option<Addend<P>>,
        (to, y): (Element, P),
    ) -> Launch<P> {
        let mut defines = types(&[("FROM", from), ("TO", to)]);
        defines.extend(activation.map(|activation| ("ACTIVATION", activation.expression().cuda())));
        defines.extend(
            residual
                .as_ref()
                .map(|residual| ("RESIDUAL", if residual.before_activation { "2" } else { "1" }.to_owned())),
        );
        let Parameters { gamma, beta, mean, variance } = parameters;
        let mut args = vec![Arg::F32(self.epsilon)];
        args.extend([x, gamma, beta, mean, variance].map(Arg::Pointer));
        args.extend([residual.map_or(Arg::Null, |residual| Arg::Pointer(residual.at)), Arg::Pointer(y)]);
        self.launch("normalise", defines, WAVES, args)
    }

    /// The gradients of gamma and of beta, float32 `[2, channels]`. Without an activation gamma and beta are not read.
    pub fn gradient_sums<P: Clone>(
        &self,
        (gradient, dy): (Element, P),
        (from, x): (Element, P),
        parameters: Parameters<P>,
        activation: Option<Activation>,
        workspace: P,
        out: P,
    ) -> [Launch<P>; 2] {
        let mut defines = types(&[("GRADIENT", gradient), ("FROM", from)]);
        defines.extend(slope(activation));
        let Parameters { gamma, beta, mean, variance } = parameters;
        let args = [Arg::F32(self.epsilon)].into_iter().chain([dy, x, gamma, beta, mean, variance].map(Arg::Pointer));
        self.sums("gradient_sums", defines, args, workspace, out)
    }

    /// The gradient of x; `sums` are the gradients of gamma and of beta. `share` is one by how many numbers of a channel
    /// there are, or 0 for statistics that are not the batch's. Without an activation beta is not read.
    pub fn gradient<P>(
        &self,
        share: f32,
        (gradient, dy): (Element, P),
        (from, x): (Element, P),
        parameters: Parameters<P>,
        [dgamma, dbeta]: [P; 2],
        activation: Option<Activation>,
        (to, dx): (Element, P),
    ) -> Launch<P> {
        let mut defines = types(&[("GRADIENT", gradient), ("FROM", from), ("TO", to)]);
        defines.extend(slope(activation));
        let Parameters { gamma, beta, mean, variance } = parameters;
        let numbers = [self.epsilon, share].map(Arg::F32);
        let tensors = [dy, x, gamma, beta, mean, variance, dgamma, dbeta, dx].map(Arg::Pointer);
        self.launch("gradient", defines, WAVES, numbers.into_iter().chain(tensors))
    }
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

/// One step of a moving average, in place, and a copy of it. While the u32 `stop` is not 0 nothing changes.
pub fn moving_average<P>(count: usize, momentum: f32, stop: P, statistic: P, average: P, copy: Option<P>) -> Launch<P> {
    let mut args = vec![Arg::U32(int(count) as u32), Arg::F32(momentum)];
    args.extend([stop, statistic, average].map(Arg::Pointer));
    args.push(copy.map_or(Arg::Null, Arg::Pointer));
    flat(SOURCE, "moving_average", (types(&[("FROM", Element::F32)]), 1), count, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near},
        },
    };

    /// `tanh`, its slope, or nothing.
    fn f(active: bool, x: f64) -> [f64; 2] {
        if active { [x.tanh(), 1.0 - x.tanh().powi(2)] } else { [x, 1.0] }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn both_directions_with_and_without_activation_and_sum() {
        const EPSILON: f32 = 1e-3;
        for (rows, channels) in [(1, 1), (37, 3), (150, 8), (70, 20), (2100, 16), (9, 300)] {
            for (element, active) in ELEMENTS.into_iter().flat_map(|element| [(element, false), (element, true)]) {
                let norm = BatchNorm { rows, channels, epsilon: EPSILON };
                let activation = active.then(|| Activation::named("tanh").unwrap());
                let tensor = |seed| Memory::of_floats(&noise(seed, rows * channels), element);
                let row = |seed| Memory::of_floats(&noise(seed, channels), Element::F32);
                let [x, dy, other] = [1, 2, 3].map(tensor);
                let [gamma, beta, mean] = [4, 5, 6].map(row);
                let positive: Vec<f32> = noise(7, channels).into_iter().map(|v| v * v + 0.1).collect();
                let variance = Memory::of_floats(&positive, Element::F32);
                let at = Parameters { gamma: gamma.at(), beta: beta.at(), mean: mean.at(), variance: variance.at() };
                let [y, after, before, dx] = [0; 4].map(|_| Memory::empty(rows * channels, element));
                let [moments, sums] = [0; 2].map(|_| Memory::empty(2 * channels, Element::F32));
                let workspace = Memory::empty(norm.workspace(), Element::F32);
                let of = |memory: &Memory| (element, memory.at());
                let share = 1.0 / rows as f32;
                let [dgamma, dbeta] = [0, 4 * channels].map(|bytes| sums.at().wrapping_add(bytes));
                run_all(norm.moments(of(&x), mean.at(), workspace.at(), moments.at()));
                run_all([norm.normalise(of(&x), at, activation, None, of(&y))]);
                for (to, before_activation) in [(&after, false), (&before, true)] {
                    let residual = Some(Addend { at: other.at(), before_activation });
                    run_all([norm.normalise(of(&x), at, activation, residual, of(to))]);
                }
                run_all(norm.gradient_sums(of(&dy), of(&x), at, activation, workspace.at(), sums.at()));
                run_all([norm.gradient(share, of(&dy), of(&x), at, [dgamma, dbeta], activation, of(&dx))]);

                let wide = |memory: &Memory, element| -> Vec<f64> {
                    memory.floats(element).into_iter().map(f64::from).collect()
                };
                let [x, dy, other] = [&x, &dy, &other].map(|memory| wide(memory, element));
                let [gamma, beta, mean, variance] =
                    [&gamma, &beta, &mean, &variance].map(|memory| wide(memory, Element::F32));
                let rstd = |c: usize| 1.0 / (variance[c] + f64::from(EPSILON)).sqrt();
                let normal = |i: usize| (x[i] - mean[i % channels]) * rstd(i % channels);
                let z = |i: usize| normal(i) * gamma[i % channels] + beta[i % channels];
                let (mut of_x, mut of_sums) = (vec![0.0; 2 * channels], vec![0.0; 2 * channels]);
                for i in 0..rows * channels {
                    let (c, moved, dz) = (i % channels, x[i] - mean[i % channels], dy[i] * f(active, z(i))[1]);
                    of_x[c] += moved;
                    of_x[channels + c] += moved * moved;
                    of_sums[c] += dz * normal(i);
                    of_sums[channels + c] += dz;
                }
                let all = |g: &dyn Fn(usize) -> f64| (0..rows * channels).map(g).collect::<Vec<f64>>();
                let share = f64::from(share);
                let gradient = |i: usize| {
                    let (c, dz) = (i % channels, dy[i] * f(active, z(i))[1]);
                    gamma[c] * rstd(c) * (dz - of_sums[channels + c] * share - normal(i) * of_sums[c] * share)
                };
                let tolerance = if element == Element::F32 { 2e-5 } else { 1e-2 };
                for (name, result, expected) in [
                    ("y", y.floats(element), all(&|i| f(active, z(i))[0])),
                    ("after", after.floats(element), all(&|i| f(active, z(i))[0] + other[i])),
                    ("before", before.floats(element), all(&|i| f(active, z(i) + other[i])[0])),
                    ("moments", moments.floats(Element::F32), of_x.clone()),
                    ("sums", sums.floats(Element::F32), of_sums.clone()),
                    ("dx", dx.floats(element), all(&gradient)),
                ] {
                    let what = format!("{name} {element:?} {active} {rows}x{channels}");
                    assert_near(&result, &expected, tolerance, &what);
                }
            }
        }
    }
}
