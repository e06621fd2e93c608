//! A list of transforms made ready: what is drawn for an image, and how that is applied.
//!
//! What is drawn is a row of words, which the loader applies on the host and kernels on a device: a word of mirrors where
//! the list begins with a flip (bit 0: left and right, bit 1: top and bottom), then the words of each pass: a matrix of six
//! float32, an [`Erasure`], or operations on bytes ([`Applied`]).
//! How batches are mixed is a row of its own for each batch, [`Mix::words`].

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use crate::data::Levels;

use super::{
    Draws, Erasure, Fill, Mix, Transform,
    affine::{Affine, IDENTITY, compose, mirrored, resample},
    augmentation::in_epoch,
    bytes::{Applied, Image},
    draw::Draw,
    mixing::Mixings,
};

/// Words of a matrix.
const MATRIX: usize = 6;

/// Images that a thread draws for at a time.
const PART: usize = 1024;

/// A transform, and where its random words come from.
#[derive(Debug)]
pub(super) struct Drawing {
    pub transform: Transform,
    /// From which epochs on it is another one of the same kind, or none.
    pub later: Vec<(u32, Option<Transform>)>,
    pub stream: u32,
    /// Words of the stream that are others'.
    pub skipped: u32,
    /// Samples the image by itself, whatever stands before it.
    pub apart: bool,
}

/// Transforms in order, for images of one size.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<(Drawing, Step)>,
    /// `[height, width]`
    size: [usize; 2],
    /// Whether the list begins with a flip, which is done where the image is read.
    mirrors: bool,
    passes: Vec<Pass>,
    words: usize,
    mixings: Mixings,
}

/// What a drawn transform becomes part of.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The mirrors in front.
    Mirror,
    /// A matrix at a place in the row.
    Matrix(usize),
    /// A rectangle at a place in the row.
    Rectangle(usize),
    /// Operations from a place in the row on, so many at most.
    Operations(usize, usize),
}

/// What is done to images at a time. What has been drawn for it stands in an image's row, from word `at` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Images are sampled by a matrix; `fill` stands outside of them.
    Sample {
        /// What stands outside of the image.
        fill: Fill,
        /// Where the six numbers of the matrix begin.
        at: usize,
    },
    /// A rectangle of each is painted over.
    Erase {
        /// Where the [`Erasure`] begins.
        at: usize,
    },
    /// So many operations are applied to the bytes of each.
    Operate {
        /// Where the first [`Applied`] begins.
        at: usize,
        /// How many operations there are.
        count: usize,
    },
}

/// Leaves an image as it is, where nothing else of its row says so.
fn leave(step: Step, row: &mut [u32]) {
    match step {
        Step::Mirror | Step::Matrix(_) => {}
        Step::Rectangle(at) => row[at..][..Erasure::WORDS].copy_from_slice(&Erasure::NONE.words()),
        Step::Operations(at, most) => {
            let words = row[at..].chunks_exact_mut(Applied::WORDS).take(most);
            words.for_each(|words| words.copy_from_slice(&Applied::identity().words()));
        }
    }
}

/// What [`Plan::apply`] needs besides the image.
#[derive(Debug, Default)]
pub struct Scratch {
    floats: Vec<f32>,
    bytes: [Vec<u8>; 2],
}

impl Plan {
    pub(super) fn new(drawings: Vec<Drawing>, size: [usize; 2]) -> Self {
        let mut plan =
            Self { steps: Vec::new(), size, mirrors: false, passes: Vec::new(), words: 0, mixings: Mixings::default() };
        for mut drawing in drawings {
            drawing.transform = match drawing.transform {
                Transform::Mixing(options, mixing) => {
                    let later = drawing.later.into_iter().map(|(epoch, later)| match later {
                        Some(Transform::Mixing(options, mixing)) => (epoch, Some((options, mixing))),
                        _ => (epoch, None),
                    });
                    plan.mixings.push((options, mixing), later.collect(), drawing.stream);
                    continue;
                }
                of_an_image => of_an_image,
            };
            let step = match &drawing.transform {
                Transform::Mirror(_) if plan.passes.is_empty() => {
                    plan.words = 1;
                    plan.mirrors = true;
                    Step::Mirror
                }
                // Whatever the last pass fills with: no pixel of a mirrored image comes from outside.
                Transform::Mirror(_) => Step::Matrix(plan.sampling(|_| true, Fill::Nearest)),
                Transform::Geometric(geometric) => {
                    let fill = geometric.fill();
                    Step::Matrix(plan.sampling(|last| !drawing.apart && last == fill, fill))
                }
                Transform::Erasing(_) => {
                    let at = plan.place(Erasure::WORDS);
                    plan.passes.push(Pass::Erase { at });
                    Step::Rectangle(at)
                }
                Transform::Operating(operating) => {
                    let later = drawing.later.iter().map(|(_, later)| match later {
                        Some(Transform::Operating(operating)) => operating.most(),
                        _ => 0,
                    });
                    let most = later.fold(operating.most(), usize::max);
                    let at = plan.place(most * Applied::WORDS);
                    match plan.passes.last_mut() {
                        Some(Pass::Operate { count, .. }) => *count += most,
                        _ => plan.passes.push(Pass::Operate { at, count: most }),
                    }
                    Step::Operations(at, most)
                }
                Transform::Mixing(..) => unreachable!("is no step of an image"),
            };
            plan.steps.push((drawing, step));
        }
        plan
    }

    /// So many words more of a row: the place of the first.
    fn place(&mut self, words: usize) -> usize {
        self.words += words;
        self.words - words
    }

    /// The place of a matrix: of the last pass, if that samples and has a filling that will do, otherwise of a new one.
    fn sampling(&mut self, will_do: impl Fn(Fill) -> bool, fill: Fill) -> usize {
        match self.passes.last() {
            Some(&Pass::Sample { fill, at }) if will_do(fill) => at,
            _ => {
                let at = self.place(MATRIX);
                self.passes.push(Pass::Sample { fill, at });
                at
            }
        }
    }

    /// Whether anything is done to images or batches.
    pub fn changes(&self) -> bool {
        self.words > 0 || self.mixes()
    }

    /// Whether images are mixed with others of their batch.
    pub fn mixes(&self) -> bool {
        !self.mixings.is_empty()
    }

    /// How the batch number `batch` of an epoch is mixed; `None` where no batch ever is.
    pub fn mix(&self, draws: Draws, batch: u32) -> Option<Mix> {
        self.mixes().then(|| self.mixings.draw(draws, batch, self.size))
    }

    /// How the first `count` batches of an epoch are mixed, `[count, Mix::WORDS]`; empty where no batch ever is.
    pub fn mix_all(&self, draws: Draws, count: usize) -> Vec<u32> {
        (0..count as u32).filter_map(|batch| self.mix(draws, batch)).flat_map(Mix::words).collect()
    }

    /// Words that are drawn for an image; 0 where nothing is done to an image alone.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Whether the first word has mirrors.
    pub fn mirrors(&self) -> bool {
        self.mirrors
    }

    /// What is done to an image that has been resized, in order.
    pub fn passes(&self) -> &[Pass] {
        &self.passes
    }

    /// `[height, width]` of the images.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Draws for a repetition, from 0, of the image of that index in the data.
    pub fn draw(&self, draws: Draws, [index, repetition]: [u32; 2], row: &mut [u32]) {
        if self.mirrors {
            row[0] = 0;
        }
        for pass in &self.passes {
            if let Pass::Sample { at, .. } = *pass {
                put(row, at, &IDENTITY);
            }
        }
        for (Drawing { transform, later, stream, skipped, .. }, step) in &self.steps {
            let Some(transform) = in_epoch(transform, later, draws.epoch) else {
                leave(*step, row);
                continue;
            };
            let mut random = Draw::new(draws, [index, repetition], *stream, *skipped);
            match (transform, step) {
                (Transform::Mirror(mirror), Step::Mirror) => {
                    let [vertical, horizontal] = mirror.draw(&mut random);
                    row[0] ^= u32::from(horizontal) | u32::from(vertical) << 1;
                }
                (Transform::Mirror(mirror), Step::Matrix(at)) => {
                    let matrix = mirrored(mirror.draw(&mut random), self.size);
                    put(row, *at, &compose(&get(row, *at), &matrix));
                }
                (Transform::Geometric(geometric), Step::Matrix(at)) => {
                    let matrix = geometric.draw(&mut random, self.size);
                    put(row, *at, &compose(&get(row, *at), &matrix));
                }
                (Transform::Erasing(erasing), Step::Rectangle(at)) => {
                    let erasure = erasing.draw(&mut random, self.size).unwrap_or(Erasure::NONE);
                    row[*at..][..Erasure::WORDS].copy_from_slice(&erasure.words());
                }
                (Transform::Operating(operating), Step::Operations(at, most)) => {
                    let drawn = operating.draw(&mut random, self.size);
                    let all = drawn.into_iter().chain(std::iter::repeat(Applied::identity()));
                    for (words, operation) in row[*at..].chunks_exact_mut(Applied::WORDS).zip(all).take(*most) {
                        words.copy_from_slice(&operation.words());
                    }
                }
                _ => unreachable!("no step of this kind is planned"),
            }
        }
    }

    /// Draws for the first `count` images of the data, `[count, words]`, on so many threads.
    pub fn draw_all(&self, draws: Draws, count: usize, threads: usize) -> Vec<u32> {
        self.draw_rows(draws, count, |at| [at as u32, 0], threads)
    }

    /// Draws for an epoch in the order of its images, each of which stands there [`Draws::repeats`] times in a row:
    /// `[order.len(), words]`.
    pub fn draw_repeated(&self, draws: Draws, order: &[u32], threads: usize) -> Vec<u32> {
        self.draw_rows(draws, order.len(), |at| [order[at], at as u32 % draws.repeats], threads)
    }

    fn draw_rows(
        &self,
        draws: Draws,
        count: usize,
        image: impl Fn(usize) -> [u32; 2] + Sync,
        threads: usize,
    ) -> Vec<u32> {
        let mut rows = vec![0; count * self.words];
        if self.words == 0 {
            return rows;
        }
        let parts = Mutex::new(rows.chunks_mut(PART * self.words).enumerate());
        let work = || {
            // A guard in the condition of a loop would live as long as its body.
            let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((number, rows)) = next() {
                for (at, row) in rows.chunks_mut(self.words).enumerate() {
                    self.draw(draws, image(number * PART + at), row);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(count.div_ceil(PART)) {
                // What no thread can be started for, this one does.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        rows
    }

    /// Whether top and bottom of an image change places, and left and right.
    pub fn mirrored(&self, row: &[u32]) -> [bool; 2] {
        if self.mirrors { [row[0] & 2 != 0, row[0] & 1 != 0] } else { [false; 2] }
    }

    /// Applies the passes to a resized and mirrored image `[height, width, channels]`, whose bytes have these values.
    pub fn apply(&self, row: &[u32], levels: &Levels, image: &mut [f32], scratch: &mut Scratch) {
        let [height, width] = self.size;
        let shape = [height, width, levels.channels()];
        for pass in &self.passes {
            match *pass {
                Pass::Sample { fill, at } => {
                    let matrix = get(row, at);
                    if matrix != IDENTITY {
                        scratch.floats.clear();
                        scratch.floats.extend_from_slice(image);
                        resample(&scratch.floats, image, shape, matrix, fill, &levels.black());
                    }
                }
                Pass::Erase { at } => Erasure::get(&row[at..]).apply(image, shape),
                Pass::Operate { at, count } => {
                    let words = row[at..].chunks_exact(Applied::WORDS).take(count);
                    let all: Vec<Applied> = words.map(Applied::get).filter(|one| *one != Applied::identity()).collect();
                    if !all.is_empty() {
                        let mut bytes = Image::of(image, levels, self.size, scratch.bytes.each_mut());
                        all.iter().for_each(|operation| operation.apply(&mut bytes));
                        bytes.values(levels, image);
                    }
                }
            }
        }
    }
}

pub(super) fn get(row: &[u32], at: usize) -> Affine {
    let at = |word: usize| f32::from_bits(row[at + word]);
    [[at(0), at(1), at(2)], [at(3), at(4), at(5)]]
}

fn put(row: &mut [u32], at: usize, matrix: &Affine) {
    for (word, value) in row[at..].iter_mut().zip(matrix.as_flattened()) {
        *word = value.to_bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Augmentation, transforms::tests::levels};

    const DRAWS: Draws = Draws { seed: 11, epoch: 4, repeats: 1 };

    fn plan(text: &str) -> std::sync::Arc<Plan> {
        serde_yaml::from_str::<Augmentation>(text).unwrap().plan([6, 9])
    }

    fn row(plan: &Plan, index: u32) -> Vec<u32> {
        let mut row = vec![7; plan.words()];
        plan.draw(DRAWS, [index, 0], &mut row);
        row
    }

    #[test]
    fn neighbours_with_one_filling_are_sampled_once() {
        for (text, mirrors, fills) in [
            ("{}", false, vec![]),
            ("{ flip: true }", true, vec![]),
            ("{ flip: true, zoom: 0.2 }", true, vec![Fill::Reflect]),
            // As in Keras, and as the first version did.
            ("{ flip: true, rotation: 0.1, zoom: 0.2 }", true, vec![Fill::Reflect; 2]),
            ("[random_flip, random_rotation, random_zoom]", true, vec![Fill::Reflect]),
            ("[random_rotation, random_flip, random_zoom]", false, vec![Fill::Reflect]),
            (
                "[random_rotation: { fill_mode: constant }, random_flip, random_zoom]",
                false,
                vec![Fill::Mean, Fill::Reflect],
            ),
        ] {
            let plan = plan(text);
            assert_eq!(plan.mirrors(), mirrors, "{text}");
            let found: Vec<Fill> = plan
                .passes()
                .iter()
                .map(|pass| match pass {
                    Pass::Sample { fill, .. } => *fill,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(found, fills, "{text}");
            assert_eq!(plan.words(), usize::from(mirrors) + MATRIX * fills.len(), "{text}");
        }
    }

    #[test]
    fn what_stands_around_a_transform_leaves_its_draws_alone() {
        let alone = plan("[random_rotation]");
        let after = plan("[random_flip, random_rotation]");
        let before = plan("[random_rotation, random_zoom: { fill_mode: wrap }]");
        for index in 0..5 {
            let expected = row(&alone, index);
            assert_eq!(row(&after, index)[1..], expected);
            assert_eq!(row(&before, index)[..MATRIX], expected);
            assert_ne!(row(&alone, index + 1), expected);
        }
    }

    #[test]
    fn a_composed_list_is_near_one_transform_after_the_other() {
        // A smooth image, in the middle of which neither the edges nor the second interpolation matter.
        let size = [24, 24];
        let smooth = |y: f32, x: f32| (0.2 * x).sin() + (0.15 * y).cos();
        let image: Vec<f32> = (0..576).map(|at| smooth((at / 24) as f32, (at % 24) as f32)).collect();
        let applied = |text: &str| {
            let plan = serde_yaml::from_str::<Augmentation>(text).unwrap().plan(size);
            let mut image = image.clone();
            plan.apply(&row(&plan, 2), &levels(1), &mut image, &mut Scratch::default());
            image
        };
        let once = applied("[random_rotation, random_zoom: [-0.5, -0.1]]");
        let twice = applied("[random_rotation: { fill_mode: nearest }, random_zoom: [-0.5, -0.1]]");
        assert_ne!(once, twice);
        for y in 4..20 {
            for x in 4..20 {
                let (once, twice) = (once[y * 24 + x], twice[y * 24 + x]);
                assert!((once - twice).abs() < 0.02, "{y} {x}: {once} {twice}");
            }
        }
    }

    #[test]
    fn transforms_are_others_from_an_epoch_on() {
        let all = |text: &str, epoch: u32| {
            let plan = plan(text);
            let draws = Draws { epoch, ..DRAWS };
            let image: Vec<f32> = (0..54).map(|value| value as f32 / 27.0 - 1.0).collect();
            let images = (0..9).map(|index| {
                let (mut row, mut image) = (vec![7; plan.words()], image.clone());
                plan.draw(draws, [index, 0], &mut row);
                let [vertical, horizontal] = plan.mirrored(&row);
                image
                    .iter_mut()
                    .for_each(|value| *value += 10.0 * f32::from(u8::from(vertical)) + f32::from(u8::from(horizontal)));
                plan.apply(&row, &levels(1), &mut image, &mut Scratch::default());
                image
            });
            (images.collect::<Vec<_>>(), (0..9).map(|batch| plan.mix(draws, batch)).collect::<Vec<_>>())
        };
        // From 3 on stronger, from 5 on left out, from 7 on as it was last.
        for (first, second, stages) in [
            ("random_flip", "random_flip: vertical", "random_flip: { from_epoch: { 3: vertical"),
            ("random_rotation: 0.1", "random_rotation: 0.4", "random_rotation: { factor: 0.1, from_epoch: { 3: 0.4"),
            (
                "random_erasing: { probability: 1 }",
                "random_erasing: { probability: 0.5, area: [0.3, 0.4] }",
                "random_erasing: { probability: 1, from_epoch: { 3: { probability: 0.5, area: [0.3, 0.4] }",
            ),
            (
                "rand_augment: { layers: 1 }",
                "rand_augment: { layers: 3, magnitude: 5 }",
                "rand_augment: { layers: 1, from_epoch: { 3: { magnitude: 5, layers: 3 }",
            ),
        ] {
            let staged = format!("[random_crop: 1, {stages}, 5: false, 7: true }} }}, cutout: 2, mixup]");
            let of = |transform: &str| format!("[random_crop: 1, {transform}, cutout: 2, mixup]");
            for (epoch, same) in [
                (0, of(first)),
                (2, of(first)),
                (3, of(second)),
                (4, of(second)),
                (5, "[random_crop: 1, cutout: 2, mixup]".into()),
                (6, "[random_crop: 1, cutout: 2, mixup]".into()),
                (9, of(second)),
            ] {
                assert_eq!(all(&staged, epoch), all(&same, epoch), "{staged} in epoch {epoch}");
            }
        }
        let staged = "[mixup: { alpha: 0.2, probability: 0.5, from_epoch: { 3: { probability: 0.1, alpha: 1 }, 5: false } }, cutmix]";
        for (epoch, same) in [
            (2, "[mixup: { alpha: 0.2, probability: 0.5 }, cutmix]"),
            (3, "[mixup: { alpha: 1, probability: 0.1 }, cutmix]"),
            (6, "[cutmix]"),
        ] {
            assert_eq!(all(staged, epoch), all(same, epoch), "{epoch}");
        }
    }

    #[test]
    fn any_number_of_threads_draws_the_same() {
        let plan = plan("[random_flip, random_rotation]");
        let count = 2 * PART + 3;
        let expected: Vec<u32> = (0..count as u32).flat_map(|index| row(&plan, index)).collect();
        for threads in [0, 1, 3, 9] {
            assert!(plan.draw_all(DRAWS, count, threads) == expected, "{threads}");
        }
        assert!(super::tests::plan("{}").draw_all(DRAWS, 5, 2).is_empty());
        let order = [4, 4, 4, 0, 0, 0, 7];
        let repeated = plan.draw_repeated(Draws { repeats: 3, ..DRAWS }, &order, 2);
        let drawn: Vec<&[u32]> = repeated.chunks(plan.words()).collect();
        assert!(drawn[0] == row(&plan, 4) && drawn[3] == row(&plan, 0) && drawn[6] == row(&plan, 7));
        assert!(drawn[1] != drawn[0] && drawn[1] != drawn[2] && drawn[4] != drawn[1]);
    }
}
