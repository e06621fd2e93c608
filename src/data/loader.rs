//! Batches made ahead of the training step, by threads of their own.

use std::{
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
    time::{Duration, Instant},
};

use super::{
    BatchPlace, DataError, Pipeline, Split,
    transforms::{Draws, Mixed, Plan},
};
use crate::threads;

/// Finished batches that one worker keeps waiting.
const AHEAD: usize = 2;

/// One batch, ready for the network.
#[derive(Debug, Default)]
pub struct Loaded {
    /// `[batch, height, width, channels]`
    pub images: Vec<f32>,
    /// `[batch]`
    pub labels: Vec<u32>,
    /// `[batch]` where the experiment mixes images, otherwise none.
    pub mixed: Vec<Mixed>,
}

impl Loaded {
    /// The other labels, where the experiment mixes images.
    pub fn mixed(&self) -> Option<&[Mixed]> {
        (!self.mixed.is_empty()).then_some(&self.mixed)
    }
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    /// What makes normalised batches of the bytes.
    pub pipeline: &'a Pipeline,
    /// The images, with their labels.
    pub split: &'a Split,
    /// With what the images are augmented, if they are.
    pub augmentation: Option<(&'a Plan, Draws)>,
    /// Threads that make batches. The batches do not depend on it.
    pub workers: usize,
}

/// The batches of one pass, in order.
pub struct Batches<'a> {
    source: Source<'a>,
    next: usize,
    count: usize,
    waited: Duration,
}

/// Fills a numbered batch.
type Make<'a> = Box<dyn Fn(usize, &mut Loaded) -> Result<(), DataError> + 'a>;

/// What a thread sends, ready batches, and what it takes, used ones.
type Worker = (Receiver<Result<Loaded, DataError>>, Sender<Loaded>);

/// Who makes batches.
enum Source<'a> {
    /// Threads, each of which makes one in so many, and gets its buffers back.
    Workers(Vec<Worker>),
    /// Whoever takes them, where no thread can be started: the maker of a numbered batch, and its buffers.
    Taker(Make<'a>, Loaded),
}

impl Iterator for Batches<'_> {
    /// An error where a picture cannot be read any more, see [`Pipeline::batch`].
    type Item = Result<Loaded, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let start = Instant::now();
        let loaded = match &mut self.source {
            Source::Workers(workers) => workers[self.next % workers.len()].0.recv().ok()?,
            Source::Taker(make, buffers) => {
                let mut loaded = std::mem::take(buffers);
                make(self.next, &mut loaded).map(|()| loaded)
            }
        };
        self.waited += start.elapsed();
        self.next += 1;
        Some(loaded)
    }
}

impl Batches<'_> {
    /// Gives the buffers of a batch back to the worker that made it.
    pub fn recycle(&mut self, loaded: Loaded) {
        match &mut self.source {
            Source::Workers(workers) => {
                // A worker that has made its last batch is gone, and needs no buffers.
                let _ = workers[(self.next + workers.len() - 1) % workers.len()].1.send(loaded);
            }
            Source::Taker(_, buffers) => *buffers = loaded,
        }
    }

    /// How long [`Batches::next`] has waited so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Loader<'_> {
    /// Makes a batch of each chunk of `batch_size` of `order` (the last may be smaller) while `body`
    /// takes them. When `body` returns early, the rest is not made.
    pub fn run<R>(&self, order: &[u32], batch_size: usize, body: impl FnOnce(&mut Batches) -> R) -> R {
        self.run_from(0, order, batch_size, body)
    }

    /// [`Loader::run`] of the rest of an epoch, whose next batch has the number `first`.
    pub fn run_from<R>(&self, first: u32, order: &[u32], batch_size: usize, body: impl FnOnce(&mut Batches) -> R) -> R {
        let count = order.len().div_ceil(batch_size);
        let wanted = self.workers.clamp(1, count.max(1));
        let make = |number: usize, loaded: &mut Loaded| {
            let indices = &order[number * batch_size..order.len().min((number + 1) * batch_size)];
            let number = first + number as u32;
            let place = BatchPlace { number, first: number * batch_size as u32 };
            self.pipeline.batch(self.split, indices, place, self.augmentation, loaded)
        };
        thread::scope(|scope| {
            let mut workers = Vec::new();
            let mut begins = Vec::new();
            while workers.len() < wanted {
                let (finished, finished_here): (SyncSender<Result<Loaded, DataError>>, _) = sync_channel(AHEAD);
                let (used, used_there) = channel::<Loaded>();
                let (begin, begin_there) = channel::<(usize, usize)>();
                let work = move || {
                    // How many share the work is known once the last one has started.
                    let Ok((worker, workers)) = begin_there.recv() else { return };
                    for number in (worker..count).step_by(workers) {
                        let mut loaded = used_there.try_recv().unwrap_or_default();
                        let made = make(number, &mut loaded);
                        if finished.send(made.map(|()| loaded)).is_err() {
                            break;
                        }
                    }
                };
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                    threads::fewer(workers.len().max(1), wanted, &error);
                    break;
                }
                workers.push((finished_here, used));
                begins.push(begin);
            }
            for (worker, begin) in begins.iter().enumerate() {
                // A worker waits for nothing else, and does not go away.
                let _ = begin.send((worker, workers.len()));
            }
            let source = match workers.is_empty() {
                true => Source::Taker(Box::new(make), Loaded::default()),
                false => Source::Workers(workers),
            };
            let mut batches = Batches { source, next: 0, count, waited: Duration::ZERO };
            let result = body(&mut batches);
            // Hanging up ends the workers that still wait to hand over a batch.
            drop(batches);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Augmentation, Keys, Statistics};

    #[test]
    fn the_same_batches_for_any_number_of_workers() {
        let pixels = (0..50 * 12).map(|value| (value * 7 % 256) as u8).collect();
        let split = Split::new(pixels, (0..50).collect());
        let statistics = Statistics::of(&split, 1).unwrap();
        let pipeline = Pipeline::new(&statistics, (4, 3), 1, (8, 6));
        let plan = Augmentation::Keys(Keys { flip: true, rotation: 0.1, zoom: 0.2 }).plan(pipeline.size());
        let order: Vec<u32> = (0..50).rev().collect();
        let all = |workers: usize, batch_size: usize| {
            let loader = Loader {
                pipeline: &pipeline,
                split: &split,
                augmentation: Some((&plan, Draws { seed: 1, epoch: 4, repeats: 3 })),
                workers,
            };
            loader.run(&order, batch_size, |batches| {
                let (mut images, mut labels) = (Vec::new(), Vec::new());
                while let Some(loaded) = batches.next().map(Result::unwrap) {
                    images.extend_from_slice(&loaded.images);
                    labels.extend_from_slice(&loaded.labels);
                    batches.recycle(loaded);
                }
                (images, labels)
            })
        };
        let expected = all(1, 50);
        assert_eq!(expected.1, order);
        assert_eq!(expected.0.len(), 50 * 48);
        for (workers, batch_size) in [(2, 7), (3, 16), (9, 1), (4, 64)] {
            assert!(all(workers, batch_size) == expected, "{workers} workers, batches of {batch_size}");
        }
        let loader = Loader { pipeline: &pipeline, split: &split, augmentation: None, workers: 3 };
        assert_eq!(loader.run(&order, 5, |batches| batches.next().unwrap().unwrap().labels), [49, 48, 47, 46, 45]);
        assert!(loader.run(&[], 5, |batches| batches.next().is_none()));
    }

    #[test]
    fn the_rest_of_an_epoch_is_drawn_as_in_the_whole() {
        let pixels = (0..23 * 12).map(|value| (value * 7 % 256) as u8).collect();
        let split = Split::new(pixels, (0..23).collect());
        let pipeline = Pipeline::new(&Statistics::of(&split, 1).unwrap(), (4, 3), 1, (8, 6));
        let list = "[random_flip, random_crop, mixup: { probability: 0.4 }, cutmix]";
        let plan = serde_yaml::from_str::<Augmentation>(list).unwrap().plan(pipeline.size());
        let augmentation = Some((&*plan, Draws { seed: 1, epoch: 4, repeats: 3 }));
        let loader = Loader { pipeline: &pipeline, split: &split, augmentation, workers: 2 };
        let order: Vec<u32> = (0..23).rev().collect();
        let from = |first: usize| {
            loader.run_from(first as u32, &order[first * 4..], 4, |batches| {
                batches
                    .map(Result::unwrap)
                    .map(|loaded| (loaded.images, loaded.labels, loaded.mixed))
                    .collect::<Vec<_>>()
            })
        };
        let whole = from(0);
        assert!(whole.iter().all(|(_, labels, mixed)| labels.len() == mixed.len()));
        let shares: std::collections::HashSet<u32> =
            whole.iter().map(|(.., mixed)| mixed[0].weight.to_bits()).collect();
        assert!(shares.len() > 4, "{shares:?}");
        for first in 1..6 {
            assert!(from(first) == whole[first..], "{first}");
        }
    }
}
