//! The input pipeline on the device: batches from the bytes of a whole data set, by the step's state.

use super::{int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    data::{Augmentation, Pipeline},
    random::{Philox, Stream},
};

pub const SOURCE: Source = source!("images");

const THREADS: usize = 256;
/// Pixels of a block, so that the image it stages serves many.
const PIXELS: usize = 8 * THREADS;
/// Bytes of shared memory that every device gives without being asked.
const SHARED: usize = 48 << 10;

/// A data set in device memory, and what is done to its images.
#[derive(Debug, Clone, Copy)]
pub struct Input<P> {
    /// `[count, height, width, channels]` bytes.
    pub images: P,
    /// `[count]` u32.
    pub labels: P,
    /// Indices of images in the order in which they are taken, u32.
    pub order: P,
    /// [`tables`].
    pub tables: P,
    pub channels: usize,
    /// Height and width, before and after.
    pub from: (usize, usize),
    pub to: (usize, usize),
    /// Of the augmentation's draws.
    pub seed: u64,
    pub augmentation: Option<Augmentation>,
}

/// What a pipeline computes once, as the kernels read it: the normal value of each channel's bytes,
/// then for rows and for columns the lower index, the upper index, and the share of the upper one.
#[must_use]
pub fn tables(pipeline: &Pipeline) -> Vec<u32> {
    let mut words: Vec<u32> = pipeline.normal().iter().map(|value| value.to_bits()).collect();
    for axis in pipeline.resize().axes() {
        words.extend(axis.low.iter().chain(&axis.high).map(|&index| index as u32));
        words.extend(axis.weight.iter().map(|weight| weight.to_bits()));
    }
    words
}

impl<P> Input<P> {
    fn zooms(&self) -> bool {
        self.augmentation.is_some_and(|augmentation| augmentation.zoom != 0.0)
    }

    /// Floats of workspace for [`batch`].
    #[must_use]
    pub fn workspace(&self, batch: usize) -> usize {
        if self.zooms() { batch * self.to.0 * self.to.1 * self.channels } else { 0 }
    }
}

/// The next batch: the images `order[position..position + batch]`, augmented by the draws of the
/// state's epoch, as [`Pipeline::batch`] makes them. images `[batch, height, width, channels]` of
/// `element`; labels `[batch]` u32. One launch, or two if there is a zoom.
pub fn batch<P: Copy>(
    input: &Input<P>,
    batch: usize,
    state: P,
    workspace: P,
    (element, images): (Element, P),
    labels: P,
) -> Vec<Launch<P>> {
    let Input { channels, from, to, .. } = *input;
    let augmentation = input.augmentation.unwrap_or_default();
    let [low, high] = Philox::new(input.seed, Stream::Augmentation).key;
    let bytes = 4 * from.0 * from.1 * channels;
    let staged = bytes <= SHARED;
    let defines = |element: Element| {
        let flag = |name, on: bool| (name, u32::from(on).to_string());
        vec![
            ("TO", element.name().to_owned()),
            ("CHANNELS", channels.to_string()),
            flag("AUGMENTED", input.augmentation.is_some()),
            flag("ROTATED", augmentation.rotation != 0.0),
            flag("STAGED", staged),
        ]
    };
    let size = |(height, width): (usize, usize)| [height, width].map(|size| Arg::I32(int(size)));
    let launch = |entry, element, shared: usize, args| Launch {
        source: SOURCE,
        defines: defines(element),
        entry,
        grid: [(to.0 * to.1).div_ceil(PIXELS) as u32, batch as u32, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: shared as u32,
        args,
    };
    let (first, first_to) = if input.zooms() { (Element::F32, workspace) } else { (element, images) };
    let mut args: Vec<Arg<P>> = [input.images, input.labels, input.order, input.tables].map(Arg::Pointer).into();
    args.extend(size(from).into_iter().chain(size(to)));
    args.extend([Arg::Pointer(state), Arg::U32(low), Arg::U32(high), Arg::U32(augmentation.flip.into())]);
    args.extend([
        Arg::F32(std::f32::consts::TAU * augmentation.rotation),
        Arg::Pointer(first_to),
        Arg::Pointer(labels),
    ]);
    let mut launches = vec![launch("prepare", first, if staged { bytes } else { 0 }, args)];
    if input.zooms() {
        let mut args = vec![Arg::Pointer(workspace), Arg::Pointer(input.order)];
        args.extend(size(to));
        args.extend([Arg::Pointer(state), Arg::U32(low), Arg::U32(high), Arg::F32(augmentation.zoom)]);
        args.push(Arg::Pointer(images));
        launches.push(launch("zoom", element, 0, args));
    }
    launches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::cuda::{
            emulator::{Memory, run_all},
            kernels::{
                State,
                tests::{ELEMENTS, assert_near_floats},
            },
        },
        data::{Draws, Split, Statistics, order::shuffled},
    };

    fn check(from: (usize, usize), channels: usize, to: (usize, usize), augmentation: Option<Augmentation>) {
        let (count, position, taken) = (11, 3, 5);
        let bytes = count * from.0 * from.1 * channels;
        let pixels: Vec<u8> = (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let split = Split::new(pixels.clone(), (0..count as u32).map(|i| i * 3 % 7).collect());
        let statistics = Statistics::of(&split, channels).unwrap();
        let pipeline = Pipeline::new(&statistics, from, channels, to);
        let order = shuffled(count, 7, 2);
        let memory = [
            Memory::of(&pixels),
            Memory::of(&split.labels[..]),
            Memory::of(&order),
            Memory::of(&tables(&pipeline)),
            Memory::of(&[State { epoch: 2, position: position as u32, ..State::default() }]),
        ];
        let [images, labels, order_at, table, state] = memory.each_ref().map(Memory::at);
        let input = Input { images, labels, order: order_at, tables: table, channels, from, to, seed: 9, augmentation };
        let draws = augmentation.map(|augmentation| (augmentation, Draws { seed: 9, epoch: 2 }));
        let (mut expected, mut expected_labels) = (Vec::new(), Vec::new());
        pipeline.batch(&split, &order[position..][..taken], draws, &mut expected, &mut expected_labels);
        for element in ELEMENTS {
            let out = Memory::empty(expected.len(), element);
            let workspace = Memory::empty(input.workspace(taken), Element::F32);
            let labels = Memory::empty(taken, Element::F32);
            run_all(batch(&input, taken, state, workspace.at(), (element, out.at()), labels.at()));
            let what = format!("{from:?}x{channels} to {to:?} {augmentation:?} {element:?}");
            let tolerance = if element == Element::F32 { 1e-4 } else { 5e-3 };
            assert_near_floats(&out.floats(element), &expected, tolerance, &what);
            assert_eq!(labels.read::<u32>(), expected_labels, "{what}");
        }
    }

    #[test]
    fn as_on_the_host() {
        let seed = Augmentation { flip: true, rotation: 0.02, zoom: 0.2 };
        check((8, 6), 3, (17, 13), Some(seed));
        check((8, 6), 1, (8, 6), Some(Augmentation { rotation: 0.3, ..Augmentation::default() }));
        check((5, 9), 2, (4, 4), Some(Augmentation { zoom: 0.5, ..Augmentation::default() }));
        check((5, 9), 4, (5, 9), Some(Augmentation { flip: true, ..Augmentation::default() }));
        check((7, 7), 3, (12, 9), None);
        // Too large for shared memory.
        check((70, 64), 3, (12, 9), Some(seed));
    }

    #[test]
    fn bits_are_the_host_s_without_a_rotation() {
        let augmentation = Augmentation { flip: true, rotation: 0.0, zoom: 0.3 };
        let split = Split::new((0..4 * 48).map(|i| (i * 37 % 256) as u8).collect(), vec![0, 1, 2, 3]);
        let statistics = Statistics::of(&split, 3).unwrap();
        let pipeline = Pipeline::new(&statistics, (4, 4), 3, (11, 10));
        let order: Vec<u32> = vec![3, 1, 0, 2];
        let memory = [
            Memory::of(&split.pixels[..]),
            Memory::of(&split.labels[..]),
            Memory::of(&order),
            Memory::of(&tables(&pipeline)),
            Memory::of(&[State { epoch: 1, ..State::default() }]),
        ];
        let [images, labels, order_at, table, state] = memory.each_ref().map(Memory::at);
        let augmented = Some(augmentation);
        let input = Input {
            images,
            labels,
            order: order_at,
            tables: table,
            channels: 3,
            from: (4, 4),
            to: (11, 10),
            seed: 5,
            augmentation: augmented,
        };
        let (mut expected, mut expected_labels) = (Vec::new(), Vec::new());
        let draws = Some((augmentation, Draws { seed: 5, epoch: 1 }));
        pipeline.batch(&split, &order, draws, &mut expected, &mut expected_labels);
        let out = Memory::empty(expected.len(), Element::F32);
        let workspace = Memory::empty(input.workspace(4), Element::F32);
        let labels = Memory::empty(4, Element::F32);
        run_all(batch(&input, 4, state, workspace.at(), (Element::F32, out.at()), labels.at()));
        assert!(out.read::<f32>() == expected);
    }
}
