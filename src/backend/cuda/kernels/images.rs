//! The input pipeline on the device: batches from the bytes of a whole data set, by the step's state.

use std::sync::Arc;

use super::{bytes, int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    data::{
        Pipeline,
        resize::Resize,
        transforms::{Pass, Plan, quantiles},
    },
};

pub const SOURCE: Source = source!("images");

const THREADS: usize = 256;
/// Pixels of a block, so that the image it stages serves many.
const PIXELS: usize = 8 * THREADS;
/// Bytes of shared memory that every device gives without being asked.
const SHARED: usize = 48 << 10;

/// A data set in device memory, and what is done to its images.
#[derive(Debug, Clone)]
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
    /// What has been drawn in this epoch, `[count, words]` u32, and how it is applied: for each image of the data or, with
    /// `repeats`, for each place of the epoch.
    pub augmentation: Option<(P, Arc<Plan>)>,
    /// What has been drawn for each batch of this epoch, `[batches, Mix::WORDS]` u32, where images are mixed.
    pub mixing: Option<P>,
    /// Where whole batches are made smaller at the end: [`blends`], and height and width.
    pub shrink: Option<(P, (usize, usize))>,
    /// How many times in a row an epoch has an image.
    pub repeats: u32,
    /// Images of an epoch. Behind their order, their draws and the batches' there is room for those of one more batch, so
    /// that a launch for a whole batch can begin before the end.
    pub count: usize,
}

/// What a resizing computes once: for rows and for columns the lower index, the upper index, and the share of the upper one.
#[must_use]
pub fn blends(resize: &Resize) -> Vec<u32> {
    let mut words = Vec::new();
    for axis in resize.axes() {
        words.extend(axis.low.iter().chain(&axis.high).map(|&index| index as u32));
        words.extend(axis.weight.iter().map(|weight| weight.to_bits()));
    }
    words
}

/// What a pipeline computes once, as the kernels read it: the normal value of each channel's bytes,
/// then for rows and for columns the lower index, the upper index, and the share of the upper one, then mean and deviation of
/// each channel, and numbers of the normal distribution.
#[must_use]
pub fn tables(pipeline: &Pipeline) -> Vec<u32> {
    let mut words: Vec<u32> = pipeline.levels().values().iter().map(|value| value.to_bits()).collect();
    words.extend(blends(pipeline.resize()));
    words.extend(pipeline.levels().scales().chain(quantiles().iter().copied()).map(f32::to_bits));
    words
}

/// What the kernels are told of repetitions, where there are any.
#[must_use]
pub fn repeated(repeats: u32) -> Option<(&'static str, String)> {
    (repeats > 1).then(|| ("REPEATS", repeats.to_string()))
}

impl<P> Input<P> {
    fn passes(&self) -> &[Pass] {
        self.augmentation.as_ref().map_or(&[], |(_, plan)| plan.passes())
    }

    /// The pass that is done where images are read, and those after it.
    fn split_passes(&self) -> (Option<&Pass>, &[Pass]) {
        match self.passes() {
            [first @ Pass::Sample { .. }, rest @ ..] => (Some(first), rest),
            all => (None, all),
        }
    }

    /// How often a batch is written.
    fn stages(&self) -> usize {
        1 + self.split_passes().1.len() + usize::from(self.mixing.is_some()) + usize::from(self.shrink.is_some())
    }

    /// Floats of both workspaces for [`batch`]: of all but the last stage, by turns.
    #[must_use]
    pub fn workspace(&self, batch: usize) -> [usize; 2] {
        let images = batch * self.to.0 * self.to.1 * self.channels;
        [2, 3].map(|stages| if self.stages() >= stages { images } else { 0 })
    }
}

/// The next batch: the images `order[position / repeats..]`, each so many times, augmented by what has been drawn, as
/// [`Pipeline::batch`] makes them, to the bit. images `[batch, height, width, channels]` of `element`; labels
/// `[batch]` u32, or, where images are mixed, `[batch, 3]`: the label, the other one, and the share of the first as
/// float32. One launch for each pass of the plan, and at least one; one more where images are mixed, and one where they are
/// made smaller.
pub fn batch<P: Clone>(
    input: &Input<P>,
    batch: usize,
    state: P,
    workspaces: [P; 2],
    (element, images): (Element, P),
    labels: P,
) -> Vec<Launch<P>> {
    let Input { channels, from, to, .. } = *input;
    let image_bytes = 4 * from.0 * from.1 * channels;
    let staged = image_bytes <= SHARED;
    let (drawn, words, mirrored) = match &input.augmentation {
        Some((drawn, plan)) => (Arg::Pointer(drawn.clone()), plan.words(), plan.mirrors()),
        None => (Arg::Null, 0, false),
    };
    let size = |(height, width): (usize, usize)| [height, width].map(|size| Arg::I32(int(size)));
    let launch = |entry, pass: Option<&Pass>, element: Element, shared: usize, args| {
        let (fill, at) = match pass {
            Some(Pass::Sample { fill, at }) => (*fill as u32, *at),
            Some(Pass::Erase { at } | Pass::Operate { at, .. }) => (0, *at),
            None => (0, 0),
        };
        let defines = repeated(input.repeats).into_iter().chain([
            ("TO", element.name().to_owned()),
            ("CHANNELS", channels.to_string()),
            ("WORDS", words.to_string()),
            ("MIRRORED", u32::from(mirrored).to_string()),
            ("FILL", fill.to_string()),
            ("AT", at.to_string()),
            ("STAGED", u32::from(staged).to_string()),
            ("MIXED", u32::from(input.mixing.is_some()).to_string()),
        ]);
        Launch {
            source: SOURCE,
            defines: defines.collect(),
            entry,
            grid: [(to.0 * to.1).div_ceil(PIXELS) as u32, batch as u32, 1],
            block: [THREADS as u32, 1, 1],
            shared_bytes: shared as u32,
            args,
        }
    };
    let (first_pass, passes) = input.split_passes();
    // Where a stage writes to, and what.
    let written = |stage: usize| match stage + 1 < input.stages() {
        true => (Element::F32, workspaces[stage % 2].clone()),
        false => (element, images.clone()),
    };
    let data = [&input.images, &input.labels, &input.order, &input.tables].map(|place| Arg::Pointer(place.clone()));
    let (first, first_to) = written(0);
    let mut args: Vec<Arg<P>> = data.into();
    args.extend(size(from).into_iter().chain(size(to)));
    args.extend([Arg::Pointer(state.clone()), drawn.clone(), Arg::Pointer(first_to), Arg::Pointer(labels.clone())]);
    let mut launches = vec![launch("prepare", first_pass, first, if staged { image_bytes } else { 0 }, args)];
    for (number, pass) in passes.iter().enumerate() {
        let (element, to_place) = written(number + 1);
        let mut args =
            [&workspaces[number % 2], &input.order, &input.tables].map(|place| Arg::Pointer(place.clone())).to_vec();
        args.extend(size(to));
        args.extend([Arg::Pointer(state.clone()), drawn.clone(), Arg::Pointer(to_place.clone())]);
        launches.push(match *pass {
            Pass::Sample { .. } => launch("again", Some(pass), element, 0, args),
            Pass::Erase { .. } => launch("erase", Some(pass), element, 0, args),
            Pass::Operate { at, count } => {
                let Some((rows, plan)) = &input.augmentation else { continue };
                let drawn = bytes::Drawn {
                    rows: rows.clone(),
                    words: plan.words(),
                    at,
                    operations: count,
                    order: input.order.clone(),
                    repeats: input.repeats,
                    state: state.clone(),
                    tables: input.tables.clone(),
                    scales: 256 * channels + 3 * (to.0 + to.1),
                };
                let images = workspaces[number % 2].clone();
                bytes::operate(drawn, [batch, to.0, to.1, channels], images, (element, to_place))
            }
        });
    }
    if let Some(mixes) = &input.mixing {
        let stage = passes.len() + 1;
        let (element, to_place) = written(stage);
        let mut args = [&workspaces[(stage + 1) % 2], &input.labels, &input.order]
            .map(|place| Arg::Pointer(place.clone()))
            .to_vec();
        args.extend(size(to));
        args.push(Arg::U32(int(input.count) as u32));
        args.extend([state, mixes.clone(), to_place, labels].map(Arg::Pointer));
        launches.push(launch("mix", None, element, 0, args));
    }
    if let Some((blends, smaller)) = &input.shrink {
        let stage = input.stages() - 1;
        let (element, to_place) = written(stage);
        let mut args: Vec<Arg<P>> =
            [&workspaces[(stage + 1) % 2], blends].map(|place| Arg::Pointer(place.clone())).into();
        args.extend(size(to).into_iter().chain(size(*smaller)));
        args.push(Arg::Pointer(to_place));
        launches.push(launch("shrink", None, element, 0, args));
    }
    launches
}

/// Copies so many bytes of images, and of labels, from one place to another: all rounded up to words of 32 bits.
pub fn take<P>(images: (usize, P, P), labels: (usize, P, P)) -> Launch<P> {
    let words = |bytes: usize| Arg::U32(int(bytes.div_ceil(4)) as u32);
    let [(bytes, from, to), (label_bytes, labels, to_labels)] = [images, labels];
    let args = vec![
        words(bytes),
        Arg::Pointer(from),
        Arg::Pointer(to),
        words(label_bytes),
        Arg::Pointer(labels),
        Arg::Pointer(to_labels),
    ];
    // What the other kernels of the file need to be told.
    let defines = [("TO", "float"), ("CHANNELS", "1"), ("WORDS", "0"), ("MIRRORED", "0"), ("FILL", "0"), ("AT", "0")];
    let defines = defines.into_iter().chain([("STAGED", "0"), ("MIXED", "0")]);
    let defines = defines.map(|(name, value)| (name, value.to_owned())).collect();
    super::flat(SOURCE, "take", (defines, 4), bytes.div_ceil(4), args)
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
        data::{
            Augmentation, BatchPlace, Draws, Loaded, Split, Statistics,
            order::{repeated as repeated_order, shuffled},
            transforms::{Range, TRANSFORMS},
        },
    };

    /// In float32 every bit is the loader's.
    fn check(from: (usize, usize), channels: usize, to: (usize, usize), augmentation: Option<&str>) {
        for number in [0, 2] {
            check_batch(from, channels, to, augmentation, [number, 1], to);
        }
    }

    /// The batch of that number, where each image is repeated so often.
    fn check_batch(
        from: (usize, usize),
        channels: usize,
        to: (usize, usize),
        augmentation: Option<&str>,
        [number, repeats]: [u32; 2],
        smaller: (usize, usize),
    ) {
        let (count, position, taken) = (11, 3, 5);
        let bytes = count * from.0 * from.1 * channels;
        let pixels: Vec<u8> = (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let split = Split::new(pixels.clone(), (0..count as u32).map(|i| i * 3 % 7).collect());
        let statistics = Statistics::of(&split, channels).unwrap();
        let pipeline = Pipeline::new(&statistics, from, channels, to);
        let order = shuffled(count, 7, 2);
        let draws = Draws { seed: 9, epoch: 2, repeats };
        let whole = repeated_order(order.clone(), repeats);
        let plan = augmentation.map(|text| serde_yaml::from_str::<Augmentation>(text).unwrap().plan(pipeline.size()));
        let rows = plan.as_ref().map_or(vec![0], |plan| match repeats {
            1 => plan.draw_all(draws, count, 2),
            _ => plan.draw_repeated(draws, &whole, 2),
        });
        let memory = [
            Memory::of(&pixels),
            Memory::of(&split.labels[..]),
            Memory::of(&order),
            Memory::of(&tables(&pipeline)),
            Memory::of(&[State { epoch: 2, step: number, position: position as u32, ..State::default() }]),
            Memory::of(&rows),
            Memory::of(&plan.as_ref().map_or(vec![], |plan| plan.mix_all(draws, 3))),
            Memory::of(&blends(&Resize::new(to, smaller))),
        ];
        let [images, labels, order_at, table, state, drawn, mixes, blends] = memory.each_ref().map(Memory::at);
        let augmented = plan.clone().map(|plan| (drawn, plan));
        let mixing = plan.as_ref().is_some_and(|plan| plan.mixes()).then_some(mixes);
        let input = Input {
            images,
            labels,
            order: order_at,
            tables: table,
            channels,
            from,
            to,
            augmentation: augmented,
            mixing,
            shrink: (smaller != to).then_some((blends, smaller)),
            repeats,
            count,
        };
        let mut expected = Loaded::default();
        let augmented = plan.as_deref().map(|plan| (plan, draws));
        let shrunk = pipeline.shrunk(smaller);
        let place = BatchPlace { number, first: position as u32 };
        shrunk.batch(&split, &whole[position..][..taken], place, augmented, &mut expected).unwrap();
        let targets: Vec<u32> = match expected.mixed() {
            None => expected.labels.clone(),
            Some(others) => {
                let pairs = expected.labels.iter().zip(others);
                pairs.flat_map(|(label, other)| [*label, other.label, other.weight.to_bits()]).collect()
            }
        };
        for element in ELEMENTS {
            let out = Memory::empty(expected.images.len(), element);
            let workspaces = input.workspace(taken).map(|floats| Memory::empty(floats, Element::F32));
            let labels = Memory::empty(targets.len(), Element::F32);
            let between = workspaces.each_ref().map(Memory::at);
            run_all(batch(&input, taken, state, between, (element, out.at()), labels.at()));
            let what = format!("{from:?}x{channels} to {to:?} {augmentation:?} {element:?} {number} {repeats}");
            let tolerance = if element == Element::F32 { 0.0 } else { 5e-3 };
            assert_near_floats(&out.floats(element), &expected.images, tolerance, &what);
            assert_eq!(labels.read::<u32>(), targets, "{what}");
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_host() {
        let all = Some("{ flip: true, rotation: 0.02, zoom: 0.2 }");
        check((8, 6), 3, (17, 13), all);
        check((8, 6), 1, (8, 6), Some("{ rotation: 0.3 }"));
        check((5, 9), 2, (4, 4), Some("{ zoom: 0.5 }"));
        check((5, 9), 4, (5, 9), Some("{ flip: true }"));
        check((7, 7), 3, (12, 9), Some("{}"));
        check((7, 7), 3, (12, 9), None);
        // Too large for shared memory.
        check((70, 64), 3, (12, 9), all);
    }

    /// Rows are those of places then, for each kernel that reads them.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn repeated_images_as_on_the_host() {
        let list = "[random_flip, random_rotation: { factor: 0.3, fill_mode: constant }, trivial_augment, random_zoom, \
                    random_erasing: { probability: 1 }, mixup]";
        for number in [0, 1] {
            check_batch((8, 6), 3, (9, 7), Some(list), [number, 3], (9, 7));
            check_batch((5, 9), 1, (5, 9), Some("[random_flip]"), [number, 2], (5, 9));
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn made_smaller_as_on_the_host() {
        for augmentation in
            [None, Some("[random_crop: 2]"), Some("[mixup]"), Some("[random_flip, cutout: 3, mixup, cutmix]")]
        {
            check_batch((9, 7), 3, (8, 6), augmentation, [2, 1], (5, 4));
            check_batch((9, 7), 1, (9, 7), augmentation, [0, 2], (3, 6));
            // To more of one side.
            check_batch((5, 5), 2, (5, 5), augmentation, [1, 1], (4, 9));
        }
    }

    /// Operations on bytes, of images that fit shared memory and of larger ones, on any grid of levels.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn operations_on_bytes_as_on_the_host() {
        for list in [
            "[rand_augment: { probability: 1, layers: 8 }]",
            "[rand_augment: { probability: 1, layers: 8, interpolation: nearest }]",
            "[random_flip, random_crop, auto_augment: { interpolation: bilinear }, random_zoom, cutout]",
            "[trivial_augment, random_erasing, three_augment, random_rotation, mixup]",
            "[color_jitter: 1, grayscale: 0.5, blur: { probability: 1, radius: [2, 9] }, solarize: 1]",
        ] {
            check((8, 6), 3, (8, 6), Some(list));
            check((8, 6), 1, (9, 7), Some(&list.replace("grayscale: 0.5, ", "")));
        }
        check((9, 8), 3, (90, 70), Some("[rand_augment: { probability: 1, layers: 4 }, trivial_augment]"));
    }

    /// With its defaults, and with each word that one of its options may be.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_transform_as_on_the_host() {
        for kind in TRANSFORMS {
            check((8, 6), 3, (9, 7), Some(&format!("[{}]", kind.name)));
            for option in kind.options {
                let Range::Word(words) = option.range else { continue };
                for word in words {
                    let list = format!("[{}: {{ {}: {word} }}]", kind.name, option.name);
                    check((8, 6), 3, (8, 6), Some(&list));
                    check((8, 6), 1, (9, 7), Some(&list));
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn lists_as_on_the_host() {
        for list in [
            "[random_flip]",
            "[{ random_flip: horizontal_and_vertical }]",
            "[{ random_rotation: 0.3 }, { random_flip: vertical }, { random_zoom: 0.5 }]",
            "[{ random_rotation: { factor: 0.3, fill_mode: constant } }, { random_zoom: { height_factor: [0, 2], fill_mode: nearest } }]",
            "[random_flip, { random_zoom: { height_factor: [0, 3], fill_mode: wrap } }, { random_rotation: 1 }]",
            "[mixup, cutmix]",
            "[random_erasing: { probability: 1 }, random_flip, cutout: 3, mixup]",
            "[random_erasing: { probability: 1, area: [0.5, 0.9] }]",
            "[random_flip, random_crop, random_erasing: { probability: 0.5, fill: color, area: [0.3, 0.5] }]",
            "[random_rotation: 0.3, mixup: { alpha: 2 }, cutmix: { probability: 0 }]",
            "[random_rotation: { factor: 0.3, fill_mode: constant }, random_zoom, mixup: { until: 2 }, cutmix]",
        ] {
            check((8, 6), 3, (9, 7), Some(list));
            check((8, 6), 1, (8, 6), Some(list));
        }
    }
}
