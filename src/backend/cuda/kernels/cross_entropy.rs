//! Softmax cross-entropy, its gradient, and the sums of an epoch, on the device.

use bytemuck::{Pod, Zeroable};

use super::{int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    graph::ops::CrossEntropy,
};

pub const SOURCE: Source = source!("cross_entropy");

/// `Metrics` of `cross_entropy.cu`: sums over the images of an epoch so far, in device memory. The
/// host sets it to zeros where an epoch begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Metrics {
    pub loss_sum: f64,
    pub images: u32,
    /// Images whose label has the largest logit, the first of equal ones.
    pub correct: u32,
    /// Images with fewer than k logits larger than the label's.
    pub among_first: u32,
    /// 1 + the iteration whose loss was not finite; 0 if all were.
    pub bad: u32,
}

/// Where the tensors of [`rows`] and [`finish`] lie.
#[derive(Debug, Clone)]
pub struct Rows<P> {
    /// `[rows]` float32.
    pub losses: P,
    /// `[rows]` u32: where the label's logit stands among the row's.
    pub places: P,
}

/// `losses[r] = log Σ exp(logits[r, :]) - Σ target[r, :] logits[r, :]` and, if asked for,
/// `gradient = (softmax(logits) - target) · scale`, where the scale is `1 / rows` for a mean, and the target
/// `(1 - smoothing) one_hot(labels) + smoothing / classes`.
///
/// logits, gradient `[rows, classes]`; labels `[rows]` u32, below `classes`; where they are `mixed`, `[rows, 3]`, of which
/// a row (a, b, w) has `w one_hot(a) + (1 - w) one_hot(b)` for its `one_hot`, w a float32.
///
/// Per class, `losses[r] = Σ (softplus(logits[r, :]) - target[r, :] logits[r, :]) / classes`, and the gradient is
/// `(sigmoid(logits) - target) · scale / classes`.
///
/// Class weights multiply the loss of a label, and its gradient: of a mixed row, those of both labels.
pub fn rows<P>(
    rows: usize,
    classes: usize,
    element: Element,
    logits: P,
    (labels, mixed): (P, bool),
    loss: &CrossEntropy,
    scale: f32,
    gradient: Option<(Element, P)>,
    to: Rows<P>,
) -> Launch<P> {
    let smoothing = loss.label_smoothing;
    let smoothed = smoothing != 0.0;
    let (kind, gradient) = gradient.map_or((element, Arg::Null), |(kind, at)| (kind, Arg::Pointer(at)));
    Launch {
        source: SOURCE,
        defines: [("LOGITS", element.name().to_owned()), ("GRADIENT", kind.name().to_owned())]
            .into_iter()
            .chain(smoothed.then(|| ("SMOOTHED", "1".to_owned())))
            .chain(mixed.then(|| ("MIXED", "1".to_owned())))
            .chain(loss.per_class.then(|| ("PER_CLASS", "1".to_owned())))
            .chain(loss.class_weights.as_deref().map(|weights| ("CLASS_WEIGHTS", words(weights))))
            .collect(),
        entry: "rows",
        grid: [rows.div_ceil(4) as u32, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 0,
        args: [
            Arg::I32(int(rows)),
            Arg::I32(int(classes)),
            Arg::Pointer(logits),
            Arg::Pointer(labels),
            Arg::F32(scale),
            gradient,
            Arg::Pointer(to.losses),
            Arg::Pointer(to.places),
        ]
        .into_iter()
        .chain(smoothed.then_some(Arg::F32(smoothing)))
        .collect(),
    }
}

/// The bits of numbers, between commas: an array of constants.
fn words(numbers: &[f32]) -> String {
    numbers.iter().map(|number| format!("{:#x}u", number.to_bits())).collect::<Vec<_>>().join(",")
}

/// After [`rows`]: the mean loss `[1]` float32, and the rows added to the [`Metrics`], with the label
/// among the `k` first or not. A mean that is not finite is not added: it sets the u32 `stop` to 1,
/// after which nothing is added any more.
pub fn finish<P>(rows: usize, k: u32, from: Rows<P>, state: P, loss: P, metrics: P, stop: P) -> Launch<P> {
    let mut args = vec![Arg::I32(int(rows)), Arg::U32(k)];
    args.extend([from.losses, from.places, state, loss, metrics, stop].map(Arg::Pointer));
    Launch {
        source: SOURCE,
        defines: vec![("LOGITS", "float".to_owned()), ("GRADIENT", "float".to_owned())],
        entry: "finish",
        grid: [1; 3],
        block: [256, 1, 1],
        shared_bytes: 0,
        args,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        backend::{
            cpu::kernels::{binary_cross_entropy, cross_entropy as cpu, isa::tests::noise},
            cuda::{
                emulator::{Memory, run_all},
                kernels::{
                    State,
                    tests::{ELEMENTS, assert_near_floats},
                },
            },
        },
        metrics::{accuracy, top_k},
    };

    fn plain(label_smoothing: f32) -> CrossEntropy {
        CrossEntropy { label_smoothing, ..CrossEntropy::default() }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_cpu() {
        for element in ELEMENTS {
            let shapes = [(1, 1), (3, 2), (9, 7), (5, 100), (300, 33)];
            let smoothed = [(9, 7), (5, 100)].map(|shape| (shape, 0.1));
            for ((count, classes), smoothing) in shapes.map(|shape| (shape, 0.0)).into_iter().chain(smoothed) {
                let values: Vec<f32> = noise(1, count * classes).iter().map(|x| (10.0 * x).round()).collect();
                let logits = Memory::of_floats(&values, element);
                let labels: Vec<u32> = (0..count).map(|row| (row * 7 % classes) as u32).collect();
                let labels_at = Memory::of(&labels);
                let gradient = Memory::empty(count * classes, element);
                let [losses, places] = [0, 1].map(|_| Memory::empty(count, Element::F32));
                let at = Rows { losses: losses.at(), places: places.at() };
                let (loss, metrics) = (Memory::of(&[0.0_f32]), Memory::of(&[Metrics::default()]));
                let (state, stop) = (Memory::of(&[State::default()]), Memory::of(&[0_u32]));
                let scale = 1.0 / count as f32;
                let add = || finish(count, 3, at.clone(), state.at(), loss.at(), metrics.at(), stop.at());
                let to = Some((element, gradient.at()));
                let by_rows = rows(
                    count,
                    classes,
                    element,
                    logits.at(),
                    (labels_at.at(), false),
                    &plain(smoothing),
                    scale,
                    to,
                    at.clone(),
                );
                run_all([by_rows, add(), add()]);

                let floats: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
                let (mut expected, mut grad) = (vec![0.0; count], vec![0.0; count * classes]);
                cpu::forward(count, classes, &values, &floats, smoothing, &[], &mut expected);
                cpu::backward(count, classes, &values, &floats, smoothing, &[], scale, &mut grad);
                let what = format!("{element:?} {count}x{classes} {smoothing}");
                assert_near_floats(&losses.read::<f32>(), &expected, 1e-5, &what);
                let grad: Vec<f32> = grad.iter().map(|g| g / scale).collect();
                let ours: Vec<f32> = gradient.floats(element).iter().map(|g| g / scale).collect();
                assert_near_floats(&ours, &grad, 5e-3, &what);
                let sum: f64 = expected.iter().map(|&loss| f64::from(loss)).sum();
                assert_near_floats(&loss.read::<f32>(), &[(sum / count as f64) as f32], 1e-5, &what);
                let [found] = metrics.read::<Metrics>()[..] else { panic!() };
                assert!((found.loss_sum - 2.0 * sum).abs() <= 1e-5 * sum.abs().max(1.0), "{what}");
                let counts = [count as u64, accuracy(&values, &labels), top_k(3, &values, &labels)];
                assert_eq!(
                    [found.images, found.correct, found.among_first].map(|n| u64::from(n) / 2),
                    counts,
                    "{what}"
                );
                assert_eq!((found.bad, stop.read::<u32>()[0]), (0, 0));
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn mixed_targets_as_on_the_cpu() {
        for element in ELEMENTS {
            let plain = [(0.0, false, false), (0.1, false, false), (0.0, true, false), (0.1, true, false)];
            let weighted = [(0.0, false, true), (0.1, true, true), (0.2, false, true)];
            for (smoothing, per_class, weighted) in plain.into_iter().chain(weighted) {
                let (count, classes) = (9, 37);
                // Of one class no image counts.
                let weights = |class: usize| if class == 3 { 0.0 } else { 0.1 + class as f32 / 7.0 };
                let weights: Arc<[f32]> = if weighted { (0..classes).map(weights).collect() } else { Arc::new([]) };
                let values: Vec<f32> = noise(1, count * classes).iter().map(|x| (10.0 * x).round()).collect();
                let logits = Memory::of_floats(&values, element);
                // Of the first image both labels are the same.
                let target = |row: usize| (row * 7 % classes, row * 3 % classes, row as f32 / 9.0);
                let words: Vec<u32> = (0..count)
                    .map(target)
                    .flat_map(|(label, other, weight)| [label as u32, other as u32, weight.to_bits()])
                    .collect();
                let labels = Memory::of(&words);
                let gradient = Memory::empty(count * classes, element);
                let [losses, places] = [0, 1].map(|_| Memory::empty(count, Element::F32));
                let to = Rows { losses: losses.at(), places: places.at() };
                let gradient_at = Some((element, gradient.at()));
                let targets = (labels.at(), true);
                run_all([rows(
                    count,
                    classes,
                    element,
                    logits.at(),
                    targets,
                    &CrossEntropy {
                        label_smoothing: smoothing,
                        per_class,
                        class_weights: weighted.then(|| weights.clone()),
                    },
                    0.5,
                    gradient_at,
                    to,
                )]);
                let floats: Vec<f32> = (0..count)
                    .map(target)
                    .flat_map(|(label, other, weight)| [label as f32, other as f32, weight])
                    .collect();
                let (mut expected, mut grad) = (vec![0.0; count], vec![0.0; count * classes]);
                let forward = if per_class { binary_cross_entropy::forward } else { cpu::forward };
                let backward = if per_class { binary_cross_entropy::backward } else { cpu::backward };
                forward(count, classes, &values, &floats, smoothing, &weights, &mut expected);
                backward(count, classes, &values, &floats, smoothing, &weights, 0.5, &mut grad);
                let what = format!("{element:?} {smoothing} {per_class} {weighted}");
                assert_near_floats(&losses.read::<f32>(), &expected, 1e-5, &what);
                assert_near_floats(&gradient.floats(element), &grad, 5e-3, &what);
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn a_loss_that_is_not_finite_stops_the_sums() {
        let (logits, labels) = (Memory::of(&[0.0, f32::NAN, 1.0, 2.0]), Memory::of(&[1_u32, 0]));
        let [losses, places] = [0, 1].map(|_| Memory::empty(2, Element::F32));
        let at = Rows { losses: losses.at(), places: places.at() };
        let (loss, metrics) = (Memory::of(&[0.0_f32]), Memory::of(&[Metrics::default()]));
        let (state, stop) = (Memory::of(&[State { iteration: 6, ..State::default() }]), Memory::of(&[0_u32]));
        let by_rows = rows(2, 2, Element::F32, logits.at(), (labels.at(), false), &plain(0.0), 0.5, None, at.clone());
        run_all([by_rows, finish(2, 5, at.clone(), state.at(), loss.at(), metrics.at(), stop.at())]);
        assert_eq!(metrics.read::<Metrics>(), [Metrics { bad: 7, ..Metrics::default() }]);
        assert_eq!(stop.read::<u32>(), [1]);
        assert!(!loss.read::<f32>()[0].is_finite());
    }
}
