//! Whether a training is long enough for the moving averages of its network.

use crate::{dsl::Problem, model::Architecture};

use super::Train;

/// What a moving average may have left of its start before evaluation suffers from it.
const MOST: f64 = 0.1;

/// A warning, if a training on so many images is too short for the network's moving averages, by which it is evaluated:
/// after n steps `momentum^n` of an average is still its start.
pub fn young(architecture: &Architecture, images: usize, train: &Train) -> Option<Problem> {
    let parameters = architecture.layers().iter().flat_map(|node| node.layer.parameters());
    let momentum = parameters.filter_map(|parameter| parameter.averaged).reduce(f32::max)?;
    let steps = images.div_ceil(train.batch_size) as f64 * f64::from(train.epochs);
    let left = f64::from(momentum).powf(steps);
    // Such that a hundredth is left.
    let enough = 0.01_f64.powf(1.0 / steps.max(1.0));
    (left > MOST).then(|| {
        Problem::warning(
            "vitx::averages",
            format!(
                "after {steps} steps, {:.0}% of a moving average of `batch_norm` is still where it started",
                100.0 * left
            ),
        )
        .help(format!(
            "validation and test are by these averages: a momentum of {momentum} needs {:.0} steps; for {steps}, \
             `momentum = {:.2}` is small enough",
            (0.01_f64.ln() / f64::from(momentum).ln()).ceil(),
            (enough * 100.0).floor() / 100.0
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        dsl::Source,
        model::{ImageSpec, elaborate},
    };

    #[test]
    fn short_trainings_are_warned_of() {
        let data = ImageSpec { height: 8, width: 8, channels: 3, num_classes: 10 };
        let network = |layers: &str| {
            let text = format!("model m {{ {layers} global_average_pool dense(num_classes) }}");
            elaborate(&Source::new("m.vitx", text), &BTreeMap::new(), &data).unwrap()
        };
        let warned = |layers: &str, images: usize, epochs: u32| {
            let train = Train { epochs, batch_size: 10, ..Train::default() };
            young(&network(layers), images, &train).map(|problem| format!("{:?}", miette::Report::new(problem)))
        };
        let norms = "batch_norm(momentum = 0.9) relu batch_norm(momentum = 0.999)";
        insta::assert_snapshot!(warned(norms, 995, 2).unwrap());
        assert_eq!(warned(norms, 995, 30), None);
        assert_eq!(warned("batch_norm(momentum = 0.9)", 995, 2), None);
        assert_eq!(warned("layer_norm", 5, 1), None);
    }
}
