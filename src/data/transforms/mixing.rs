//! Which batches are mixed, and by which transform.

use super::{Draw, Draws, Mix, Mixing, Options, TransformOption, augmentation::in_epoch, draw::stream};

/// What all transforms that mix batches may be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixingOptions {
    /// Of a batch to be mixed by it; without it, what the others leave, in equal parts.
    pub probability: Option<f32>,
    /// How many epochs it mixes; without it, all.
    pub until: Option<u32>,
}

impl MixingOptions {
    pub(super) const PROBABILITY: TransformOption = TransformOption::number(
        "probability",
        [0.0, 1.0],
        1.0,
        "the share of batches that it mixes; without it, all, or what `mixup` or `cutmix` beside it leaves; with neither, \
         half each",
    )
    .optional();

    pub(super) const UNTIL: TransformOption = TransformOption::whole(
        "until",
        [1, 1_000_000],
        1,
        "the number of epochs after which it mixes no more; without it, it mixes to the end",
    )
    .optional();

    pub(super) fn of(options: &Options) -> Self {
        Self { probability: options.number_if_any("probability"), until: options.whole_if_any("until") }
    }
}

/// The transforms that mix batches. Each batch is mixed by one of them at most.
#[derive(Debug, Default)]
pub(super) struct Mixings(Vec<Staged>);

/// One of them, and what it is from which epochs on.
#[derive(Debug)]
struct Staged {
    first: OneMixing,
    later: Vec<(u32, Option<OneMixing>)>,
    stream: u32,
}

type OneMixing = (MixingOptions, Box<dyn Mixing>);

impl Mixings {
    pub fn push(&mut self, first: OneMixing, later: Vec<(u32, Option<OneMixing>)>, stream: u32) {
        self.0.push(Staged { first, later, stream });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How the batch number `batch` of an epoch is mixed, of images `[height, width]`.
    pub fn draw(&self, draws: Draws, batch: u32, size: [usize; 2]) -> Mix {
        let random = |stream| Draw::new(draws, [batch, 0], stream, 0);
        let all: Vec<(&OneMixing, u32)> = self
            .0
            .iter()
            .filter_map(|staged| Some((in_epoch(&staged.first, &staged.later, draws.epoch)?, staged.stream)))
            .collect();
        let probabilities = probabilities(all.iter().map(|((options, _), _)| *options));
        let mut at = random(stream("mixing", 0)).unit();
        for (((options, mixing), stream), probability) in all.iter().zip(probabilities) {
            if at < probability {
                // An epoch in which it mixes no more is mixed by no other.
                let mixes = options.until.is_none_or(|until| draws.epoch < until);
                return if mixes { mixing.draw(&mut random(*stream), size) } else { Mix::NONE };
            }
            at -= probability;
        }
        Mix::NONE
    }
}

/// The share of batches that each mixes.
fn probabilities(all: impl Iterator<Item = MixingOptions> + Clone) -> impl Iterator<Item = f32> {
    let given: f32 = all.clone().filter_map(|options| options.probability).sum();
    let others = all.clone().filter(|options| options.probability.is_none()).count();
    let rest = (1.0 - given).max(0.0) / others.max(1) as f32;
    all.map(move |options| options.probability.unwrap_or(rest))
}

/// What is wrong with several of them together.
pub(super) fn fault(all: impl Iterator<Item = MixingOptions>) -> Option<String> {
    let given: f32 = all.filter_map(|options| options.probability).sum();
    // Shares as 0.7 and 0.3 are no exact numbers.
    (given > 1.0 + 1e-6).then(|| format!("the probabilities of what mixes batches sum to {given}, must be at most 1"))
}

#[cfg(test)]
mod tests {
    use super::super::{Mix, tests::mixes_by};

    /// How many of 4000 batches are blended, and of how many a rectangle is exchanged.
    fn counts(list: &str, epoch: u32) -> [i32; 2] {
        let mixes: Vec<Mix> = mixes_by(list, [32, 32], epoch).take(4000).collect();
        let blended = mixes.iter().filter(|mix| mix.share < 1.0).count();
        let cut = mixes.iter().filter(|mix| mix.weight < 1.0 && mix.share == 1.0).count();
        [blended as i32, cut as i32]
    }

    #[test]
    fn each_mixes_its_share_of_the_batches() {
        for (list, expected) in [
            ("[mixup]", [4000, 0]),
            ("[mixup, cutmix]", [2000, 2000]),
            ("[mixup: { probability: 0.25 }, cutmix]", [1000, 3000]),
            ("[mixup, cutmix: { probability: 1 }]", [0, 4000]),
            ("[mixup: { probability: 0.1 }, cutmix: { probability: 0.2 }]", [400, 800]),
            ("[mixup: { probability: 0.7 }, cutmix: { probability: 0.3 }]", [2800, 1200]),
            ("[cutmix: { probability: 0 }]", [0, 0]),
        ] {
            for (found, expected) in counts(list, 3).into_iter().zip(expected) {
                // Some rectangles are empty.
                assert!((expected - 120..=expected + 100).contains(&found), "{list}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn they_stop() {
        let list = "[mixup: { probability: 0.5, until: 7 }, cutmix: { until: 9 }]";
        let all = |epoch| mixes_by(list, [8, 8], epoch).take(50).collect::<Vec<_>>();
        assert!(all(6).iter().any(|mix| mix.share < 1.0) && all(6).iter().any(|mix| mix.rectangle[2] > 0));
        assert!(all(8).iter().all(|mix| mix.share == 1.0) && all(8).iter().any(|mix| mix.rectangle[2] > 0));
        // What was another's is left alone.
        assert!(all(8).iter().filter(|mix| **mix == Mix::NONE).count() > 10);
        assert!(all(9).iter().all(|mix| *mix == Mix::NONE));
    }

    #[test]
    fn what_stands_beside_a_transform_leaves_its_draws_alone() {
        let alone: Vec<Mix> = mixes_by("[mixup: 1]", [8, 8], 2).take(40).collect();
        let both: Vec<Mix> = mixes_by("[random_flip, mixup: 1, cutmix]", [8, 8], 2).take(40).collect();
        let kept = alone.iter().zip(&both).filter(|(alone, both)| alone == both).count();
        assert!((10..30).contains(&kept), "{kept}");
        assert!(both.iter().zip(&alone).all(|(both, alone)| both == alone || both.share == 1.0));
    }
}
