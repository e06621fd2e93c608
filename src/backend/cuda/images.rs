//! Data that stays on the device: the images of a part as bytes, their order, and the steps that make batches of
//! them there.

use super::{
    device::Device,
    engine::CudaEngine,
    kernels::{images, step},
    program::{Base, Call, Place, Program},
    state,
};
use crate::{
    backend::{BackendError, ImageSet, Part, Resident, StateTensor, Step, Task},
    data::{Draws, order, resize::Resize, transforms::Mix},
    graph::optimizers::Plan,
    metrics::Totals,
};

/// A part of the data on the device.
pub(super) struct Kept<D: Device> {
    pub memory: D::Memory,
    pub bytes: usize,
    /// What the kernels make batches of.
    input: images::Input<Place>,
    /// Sizes of images in some epochs, from which on, with what makes whole batches so small.
    sizes: Vec<(u32, (usize, usize), Place)>,
    /// The optimizer's numbers by iteration.
    scalars: Place,
    scalars_shape: [usize; 2],
    count: usize,
    batch_size: usize,
    /// Of the order and the draws, and how often an epoch has an image; `None` where images come in order and as they are.
    drawn_by: Option<(u64, u32)>,
    /// The epoch whose order and draws are on the device.
    order_of: Option<u32>,
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
}

impl<D: Device> Kept<D> {
    /// Puts a part of the data on the device.
    fn new(device: &mut D, set: &ImageSet, optimizer: &Plan) -> Result<Self, BackendError> {
        let ImageSet { split, pipeline, batch_size, drawing } = *set;
        let count = split.len();
        let order: Vec<u32> = (0..count as u32).collect();
        let tables = images::tables(pipeline);
        let rates = drawing.map_or(&[0.0][..], |drawing| drawing.rates);
        let scalars: Vec<f32> =
            (0..).zip(rates).flat_map(|(iteration, rate)| optimizer.step_scalars(*rate, iteration)).collect();
        let [from, to] = pipeline.sizes();
        let plan = drawing.map(|drawing| drawing.augmentation).filter(|plan| plan.changes());
        let rows = vec![0_u32; plan.map_or(0, |plan| count * plan.words())];
        let mixes = match plan {
            Some(plan) if plan.mixes() => Some(vec![0_u32; Mix::WORDS * count.div_ceil(batch_size)]),
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
        };
        let sizes = sizes.iter().zip(&blends);
        let sizes =
            sizes.map(|(&(epoch, size), blends)| (epoch, size, parts.push(bytemuck::cast_slice(blends)))).collect();
        let scalars_shape = [rates.len(), optimizer.scalars()];
        let scalars = parts.push(bytemuck::cast_slice(&scalars));
        let mut memory = device.allocate(parts.len, "images")?;
        for (offset, bytes) in &parts.parts {
            device.write(&mut memory, *offset, bytes)?;
        }
        let (bytes, drawn_by) = (parts.len, drawing.map(|drawing| (drawing.seed, drawing.repeats)));
        Ok(Self { memory, bytes, input, sizes, scalars, scalars_shape, count, batch_size, drawn_by, order_of: None })
    }

    /// Batch sizes of a pass: how many of the usual size, and what is left.
    fn batches(&self) -> (usize, usize) {
        (self.count / self.batch_size, self.count % self.batch_size)
    }

    /// The size of images in an epoch.
    fn size_in(&self, epoch: u32) -> (usize, usize) {
        self.sizes.iter().rfind(|(from, ..)| *from <= epoch).map_or(self.input.to, |(_, size, _)| *size)
    }

    /// Puts what makes the batch before a program, and what moves the state on after it. Images are made as small as the
    /// program takes them.
    pub fn surround(&self, program: &mut Program) {
        let batch = program.batch;
        let pixels = |size: (usize, usize)| size.0 * size.1 * self.input.channels;
        let elements = program.images.elements / batch;
        let smaller = self.sizes.iter().find(|(_, size, _)| *size != self.input.to && pixels(*size) == elements);
        let shrink = smaller.map(|(_, size, blends)| (*blends, *size));
        let input = &images::Input { shrink, ..self.input.clone() };
        // Scratch behind the plan: it is done with before anything else begins, but so few bytes are no matter.
        let scratch = Place { base: Base::Arena, offset: program.arena_bytes.next_multiple_of(256) };
        let [first, second] = input.workspace(batch).map(|floats| size_of::<f32>() * floats);
        program.arena_bytes = scratch.offset + first + second;
        let scratch = [scratch, Place { offset: scratch.offset + first, ..scratch }];
        let to = (program.images.element, program.images.place);
        let make = images::batch(input, batch, state::STEP, scratch, to, program.labels);
        let advance = step::advance(state::STEP, state::STOP, batch, self.count, self.scalars, self.scalars_shape);
        let mut made: Vec<Call<Place>> = make.into_iter().map(|launch| Call::alone("images", launch)).collect();
        if let Some(last) = made.last_mut() {
            last.outputs.push(program.images);
        }
        program.loss_known += made.len();
        program.calls.splice(0..0, made);
        program.calls.push(Call::alone("advance", advance));
    }
}

impl<D: Device> Resident for CudaEngine<D> {
    fn keep_images(&mut self, part: Part, set: &ImageSet) -> Result<bool, BackendError> {
        self.forget(part);
        self.kept.remove(&part);
        if set.split.in_memory().is_none() {
            return Ok(false);
        }
        Ok(match Kept::new(&mut self.device, set, &self.plan) {
            Ok(kept) => self.kept.insert(part, kept).is_none(),
            // Then batches come from the host: slower, but they come.
            Err(_) => false,
        })
    }

    fn ready_for(&mut self, from: &Step, steps: u32) -> Result<(), BackendError> {
        let part = Part::Training;
        let kept = self.kept_part(part)?;
        let (batch, (full, rest)) = (kept.batch_size, kept.batches());
        let (height, width) = kept.size_in(from.epoch);
        let pixels = height * width * kept.input.channels;
        let lowering = self.lowerings.of(pixels);
        let steps = from.step as usize..(from.step + steps) as usize;
        let task = |step: usize| Task::of_step(&self.plan, from.iteration + (step as u64 - u64::from(from.step)));
        let mut tasks: Vec<Task> = steps.clone().map(task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        for step in [0..full, full..full + usize::from(rest > 0)].into_iter().filter(|range| !range.is_empty()) {
            if step.start < steps.end && steps.start < step.end {
                let size = if step.start == full { rest } else { batch };
                for &task in &tasks {
                    self.prepare((task, size, Some(part), lowering))?;
                }
            }
        }
        Ok(())
    }

    fn train_kept(&mut self, from: &Step, steps: u32) -> Result<Totals, BackendError> {
        let part = Part::Training;
        let kept = self.kept_part(part)?;
        let (count, batch, (full, rest)) = (kept.count, kept.batch_size, kept.batches());
        let order = kept.input.order;
        let (height, width) = kept.size_in(from.epoch);
        let pixels = height * width * kept.input.channels;
        if let Some((seed, repeats)) = kept.drawn_by.filter(|_| kept.order_of != Some(from.epoch)) {
            self.write_position(from, batch)?;
            self.run_once("shuffle", step::shuffle(state::STEP, 0, count, seed, order), Some(part))?;
            self.write_draws(part, Draws { seed, epoch: from.epoch, repeats })?;
            self.kept_part(part)?.order_of = Some(from.epoch);
        }
        let lowering = self.lowerings.of(pixels);
        self.ready_for(from, steps)?;
        let task = |step: usize| Task::of_step(&self.plan, from.iteration + (step as u64 - u64::from(from.step)));
        let steps = from.step as usize..(from.step + steps) as usize;
        let by_step: Vec<Task> = steps.clone().map(task).collect();
        // Getting ready may have run some calls on the state.
        self.write_position(from, batch)?;
        self.clear_metrics()?;
        self.shadow_for(Task::Train)?;
        for (step, task) in steps.zip(by_step) {
            let size = if step < full { batch } else { rest };
            self.launch((task, size, Some(part), lowering))?;
        }
        let (epoch, first) = (from.epoch, from.iteration as u32 - from.step);
        self.metrics(&|iteration| (epoch, iteration - first))
    }

    fn evaluate_kept(&mut self, part: Part) -> Result<Totals, BackendError> {
        let kept = self.kept_part(part)?;
        let (batch, (full, rest)) = (kept.batch_size, kept.batches());
        let sizes = || std::iter::repeat_n(batch, full).chain((rest > 0).then_some(rest));
        for size in sizes() {
            self.prepare((Task::Evaluate, size, Some(part), 0))?;
        }
        self.write_position(&Step::STILL, batch)?;
        self.clear_metrics()?;
        self.shadow_for(Task::Evaluate)?;
        for size in sizes() {
            self.launch((Task::Evaluate, size, Some(part), 0))?;
        }
        self.metrics(&|iteration| (0, iteration))
    }

    fn keep_weights(&mut self) -> Result<bool, BackendError> {
        let bytes = size_of::<f32>() * self.layout.len();
        if self.kept_weights.is_none() {
            self.kept_weights = self.device.allocate(bytes, "the best weights").ok();
        }
        let Some(weights) = &mut self.kept_weights else { return Ok(false) };
        let start = self.layout.group_start(self.plan.evaluated_group());
        self.device.copy(&self.memory.store, start, weights, bytes)?;
        Ok(true)
    }

    fn kept_weights(&self) -> Result<Vec<StateTensor>, BackendError> {
        let Some(weights) = &self.kept_weights else {
            return Err(BackendError::Other("no weights are kept".into()));
        };
        let mut values = vec![0.0_f32; self.layout.len()];
        self.device.read(weights, 0, bytemuck::cast_slice_mut(&mut values))?;
        Ok(self.layout.parameters(&values, &self.store))
    }
}

impl<D: Device> CudaEngine<D> {
    fn kept_part(&mut self, part: Part) -> Result<&mut Kept<D>, BackendError> {
        self.kept.get_mut(&part).ok_or_else(|| BackendError::Other(format!("the {part:?} images are not kept")))
    }

    /// Draws for all images and batches of a part, on the host: the same numbers as of the loader, to the bit.
    fn write_draws(&mut self, part: Part, draws: Draws) -> Result<(), BackendError> {
        let threads = self.options.threads;
        let Some(kept) = self.kept.get_mut(&part) else { return Ok(()) };
        let Some((rows, plan)) = &kept.input.augmentation else { return Ok(()) };
        let drawn = match draws.repeats {
            1 => plan.draw_all(draws, kept.count, threads),
            repeats => {
                let order = order::shuffled(kept.count, draws.seed, draws.epoch);
                plan.draw_repeated(draws, &order::repeated(order, repeats), threads)
            }
        };
        self.device.write(&mut kept.memory, rows.offset, bytemuck::cast_slice(&drawn))?;
        let Some(mixes) = &kept.input.mixing else { return Ok(()) };
        let drawn = plan.mix_all(draws, kept.count.div_ceil(kept.batch_size));
        self.device.write(&mut kept.memory, mixes.offset, bytemuck::cast_slice(&drawn))
    }

    /// Puts the state where a step begins.
    fn write_position(&mut self, at: &Step, batch: usize) -> Result<(), BackendError> {
        let position = at.step * batch as u32;
        let scalars = self.plan.step_scalars(at.learning_rate, at.iteration);
        let state = step::State::new(at.iteration as u32, at.epoch, at.step, position, &scalars);
        self.write_state(state::STEP, bytemuck::bytes_of(&state))
    }
}
