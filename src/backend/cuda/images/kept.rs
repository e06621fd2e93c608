//! A part of the data in device memory, and the calls that make its batches.

use std::{cell::Cell, thread::JoinHandle};

use rustc_hash::FxHashMap;

use crate::{
    backend::{
        BackendError, ImageSet,
        cuda::{
            device::Device,
            kernels::{images, step},
            launch::Element,
            program::{Base, Call, Extent, Line, Output, Place, Program},
            state,
        },
    },
    data::{
        Draws, order,
        resize::Resize,
        transforms::{self as augment, Mix},
    },
    graph::optimizers::Plan,
};

/// Words of a label where images are mixed: the label, the other one, and the share of the first.
const LABEL_OF_MIXED: usize = 3;
/// A program that is done with its images before this share of its calls reads them where they are made: what is left of it
/// is enough to make the next ones beside.
const EARLY: (usize, usize) = (3, 4);

/// A part of the data on the device.
pub struct Kept<D: Device> {
    pub memory: D::Memory,
    pub bytes: usize,
    /// What the kernels make batches of.
    pub input: images::Input<Place>,
    /// Sizes of images in some epochs, from which on, with what makes whole batches so small.
    sizes: Vec<(u32, (usize, usize), Place)>,
    /// The optimizer's numbers by iteration.
    scalars: Place,
    scalars_shape: [usize; 2],
    pub batch_size: usize,
    /// Of the order and the draws, and how often an epoch has an image; `None` where images come in order and as they are.
    pub drawn_by: Option<(u64, u32)>,
    /// The epoch whose order and draws are on the device.
    pub order_of: Option<u32>,
    /// The order and the draws of another epoch, which a thread is at.
    pub drawing: Option<(u32, JoinHandle<EpochDraws>)>,
    /// Images and labels of the next batch, made while a step runs, and memory to make them with.
    next: [Place; 2],
    scratch: [Place; 2],
    /// The epoch and the step whose batch lies there.
    pub made: Option<(u32, u32)>,
    /// What makes a batch of that many images of so many elements before the first step.
    pub firsts: FxHashMap<(usize, usize), D::Prepared>,
}

/// What an epoch is drawn by: the order of its images, what is drawn for each, and for each batch.
pub struct EpochDraws {
    pub order: Vec<u32>,
    pub rows: Vec<u32>,
    pub mixes: Vec<u32>,
}

impl EpochDraws {
    /// The same numbers as of the loader, to the bit.
    pub fn new(plan: Option<&augment::Plan>, draws: Draws, count: usize, batches: usize, threads: usize) -> Self {
        let order = order::shuffled(count, draws.seed, draws.epoch);
        let Some(plan) = plan else { return Self { order, rows: Vec::new(), mixes: Vec::new() } };
        let rows = match draws.repeats {
            1 => plan.draw_all(draws, count, threads),
            repeats => plan.draw_repeated(draws, &order::repeated(order.clone(), repeats), threads),
        };
        let mixes = if plan.mixes() { plan.mix_all(draws, batches) } else { Vec::new() };
        Self { order, rows, mixes }
    }
}

/// Bytes that go to one block of memory, each part aligned as the kernels want it.
#[derive(Default)]
struct Parts<'a> {
    parts: Vec<(usize, &'a [u8])>,
    len: usize,
}

impl<'a> Parts<'a> {
    fn push(&mut self, bytes: &'a [u8]) -> Place {
        let offset = self.len;
        self.parts.push((offset, bytes));
        self.len = (offset + bytes.len()).next_multiple_of(256);
        Place { base: Base::Data, offset }
    }

    /// Memory that is not written to yet.
    fn room(&mut self, bytes: usize) -> Place {
        let place = self.push(&[]);
        self.len = (place.offset + bytes).next_multiple_of(256);
        place
    }
}

/// How images are made smaller in some epoch, if they ever are.
fn sizes_shrink(sizes: &[(u32, (usize, usize), Place)]) -> Option<(Place, (usize, usize))> {
    sizes.first().map(|&(_, size, blends)| (blends, size))
}

impl<D: Device> Kept<D> {
    /// Puts a part of the data on the device.
    pub fn new(device: &mut D, set: &ImageSet, optimizer: &Plan, element: Element) -> Result<Self, BackendError> {
        let ImageSet { split, pipeline, batch_size, drawing } = *set;
        let count = split.len();
        // A batch that is made ahead may begin where the epoch ends.
        let room = count + batch_size;
        let order: Vec<u32> = (0..room).map(|at| if at < count { at as u32 } else { 0 }).collect();
        let tables = images::tables(pipeline);
        let rates = drawing.map_or(&[0.0][..], |drawing| drawing.rates);
        let scalars: Vec<f32> =
            (0..).zip(rates).flat_map(|(iteration, rate)| optimizer.step_scalars(*rate, iteration)).collect();
        let [from, to] = pipeline.sizes();
        let plan = drawing.map(|drawing| drawing.augmentation).filter(|plan| plan.changes());
        let rows = vec![0_u32; plan.map_or(0, |plan| room * plan.words())];
        let mixes = match plan {
            Some(plan) if plan.mixes() => Some(vec![0_u32; Mix::WORDS * (count.div_ceil(batch_size) + 1)]),
            _ => None,
        };
        let sizes = drawing.map_or(&[][..], |drawing| drawing.sizes);
        let blends: Vec<Vec<u32>> = sizes.iter().map(|(_, size)| images::blends(&Resize::new(to, *size))).collect();
        let mut parts = Parts::default();
        let input = images::Input {
            images: parts.push(split.in_memory().unwrap_or_default()),
            labels: parts.push(bytemuck::cast_slice(&split.labels)),
            order: parts.push(bytemuck::cast_slice(&order)),
            tables: parts.push(bytemuck::cast_slice(&tables)),
            channels: pipeline.channels(),
            from,
            to,
            augmentation: plan.map(|plan| (parts.push(bytemuck::cast_slice(&rows)), plan.clone())),
            mixing: mixes.as_ref().map(|mixes| parts.push(bytemuck::cast_slice(mixes))),
            shrink: None,
            repeats: drawing.map_or(1, |drawing| drawing.repeats),
            count,
        };
        let sizes = sizes.iter().zip(&blends);
        let sizes: Vec<_> =
            sizes.map(|(&(epoch, size), blends)| (epoch, size, parts.push(bytemuck::cast_slice(blends)))).collect();
        let scalars_shape = [rates.len(), optimizer.scalars()];
        let scalars = parts.push(bytemuck::cast_slice(&scalars));
        // As many as are made where no batch is made smaller, which takes one stage less than where it is.
        let largest = batch_size * to.0 * to.1 * pipeline.channels();
        let label = if input.mixing.is_some() { LABEL_OF_MIXED } else { 1 };
        let next = [element.size() * largest, size_of::<u32>() * label * batch_size].map(|bytes| parts.room(bytes));
        let stages = images::Input { shrink: sizes_shrink(&sizes), ..input.clone() }.workspace(batch_size);
        let scratch = stages.map(|floats| parts.room(size_of::<f32>() * floats));
        let mut memory = device.allocate(parts.len, "images")?;
        for (offset, bytes) in &parts.parts {
            device.write(&mut memory, *offset, bytes)?;
        }
        let (bytes, drawn_by) = (parts.len, drawing.map(|drawing| (drawing.seed, drawing.repeats)));
        Ok(Self {
            memory,
            bytes,
            input,
            sizes,
            scalars,
            scalars_shape,
            batch_size,
            drawn_by,
            order_of: None,
            drawing: None,
            next,
            scratch,
            made: None,
            firsts: FxHashMap::default(),
        })
    }

    /// Batch sizes of a pass: how many of the usual size, and what is left.
    pub fn batches(&self) -> (usize, usize) {
        (self.input.count / self.batch_size, self.input.count % self.batch_size)
    }

    /// The size of images in an epoch.
    pub fn size_in(&self, epoch: u32) -> (usize, usize) {
        self.sizes.iter().rfind(|(from, ..)| *from <= epoch).map_or(self.input.to, |(_, size, _)| *size)
    }

    /// What makes a batch of the images from the state ahead on, `elements` numbers each, where the next batch is made.
    pub fn make(&self, batch: usize, elements: usize, element: Element) -> Vec<Call<Place>> {
        let pixels = |size: (usize, usize)| size.0 * size.1 * self.input.channels;
        let smaller = self.sizes.iter().find(|(_, size, _)| *size != self.input.to && pixels(*size) == elements);
        let shrink = smaller.map(|(_, size, blends)| (*blends, *size));
        let input = &images::Input { shrink, ..self.input.clone() };
        let [to, labels] = self.next;
        let extent = |place: Place, bytes: usize, written: bool| Extent { place, bytes, written };
        let [images, label_bytes] = self.bytes_of(batch, elements, element);
        // What comes before the next batch is the host's alone to write.
        let data = extent(Place { base: Base::Data, offset: 0 }, to.offset, false);
        let mut touched = vec![extent(to, images, true), extent(labels, label_bytes, true), data];
        let workspaces = input.workspace(batch).map(|floats| size_of::<f32>() * floats);
        touched.extend(self.scratch.into_iter().zip(workspaces).map(|(place, bytes)| extent(place, bytes, true)));
        touched.extend(state::bytes(state::AHEAD).map(|bytes| extent(state::AHEAD, bytes, false)));
        let launches = images::batch(input, batch, state::AHEAD, self.scratch, (element, to), labels);
        let call = |launch| Call { line: Line::Fill, touched: Some(touched.clone()), ..Call::alone("images", launch) };
        let mut made: Vec<Call<Place>> = launches.into_iter().map(call).collect();
        if let Some(last) = made.last_mut() {
            last.outputs.push(Output { place: to, elements: batch * elements, element });
        }
        made
    }

    /// Of the images and the labels of a batch.
    fn bytes_of(&self, batch: usize, elements: usize, element: Element) -> [usize; 2] {
        let label = if self.input.mixing.is_some() { LABEL_OF_MIXED } else { 1 };
        [batch * elements * element.size(), size_of::<u32>() * label * batch]
    }

    /// Makes a program take the batch that was made while the step before it ran, and make the next one; it moves the state
    /// on at the end. Where the program is done with its images early, it reads them where they are made; else it takes
    /// a copy first, for the next ones take their place.
    pub fn surround(&self, program: &mut Program) {
        let (batch, element) = (program.batch, program.images.element);
        let elements = program.images.elements / batch;
        let bytes = self.bytes_of(batch, elements, element);
        let own = [program.images.place, program.labels];
        // They are there from the start to the end, so nothing else lies there.
        let moved = |place: Place| {
            let inside = |at: usize| {
                let within = own[at].offset..own[at].offset + bytes[at];
                place.base == own[at].base && within.contains(&place.offset)
            };
            let found = (0..own.len()).find(|&at| inside(at))?;
            Some(self.next[found].plus(place.offset - own[found].offset))
        };
        let names = |call: &Call<Place>| {
            let named = Cell::new(false);
            call.map(&|place: Place| named.set(named.get() || moved(place).is_some()));
            named.get()
        };
        let calls = &mut program.calls;
        let mut after = calls.iter().rposition(names).map_or(0, |last| last + 1);
        if after * EARLY.1 <= calls.len() * EARLY.0 {
            calls.iter_mut().for_each(|call| *call = call.map(&|place: Place| moved(place).unwrap_or(place)));
        } else {
            let [images, labels] = [0, 1].map(|at| (bytes[at], self.next[at], own[at]));
            let extents = [images, labels].map(|(bytes, from, to)| {
                [(from, false), (to, true)].map(|(place, written)| Extent { place, bytes, written })
            });
            let take = Call {
                touched: Some(extents.concat()),
                outputs: vec![program.images],
                ..Call::alone("images", images::take(images, labels))
            };
            calls.insert(0, take);
            program.loss_known += 1;
            after = 1;
        }
        // The last batch of an epoch has none after it: what comes then begins another.
        if batch == self.batch_size {
            let made = self.make(batch, elements, element);
            if after <= program.loss_known {
                program.loss_known += made.len();
            }
            program.calls.splice(after..after, made);
        }
        let places = [state::STEP, state::AHEAD, state::STOP];
        let counts = [batch, self.batch_size, self.input.count];
        let advance = step::advance(places, counts, self.scalars, self.scalars_shape);
        program.calls.push(Call::alone("advance", advance));
    }
}
