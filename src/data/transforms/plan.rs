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
mod tests;
