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
    backend::{BackendError, ImageSet, Part, Resident, Step, Task},
    graph::ops::AdamWUpdate,
    metrics::Totals,
};

/// A part of the data on the device.
pub(super) struct Kept<D: Device> {
    pub memory: D::Memory,
    pub bytes: usize,
    /// What the kernels make batches of.
    input: images::Input<Place>,
    rates: Place,
    rates_len: usize,
    count: usize,
    batch_size: usize,
    shuffled: bool,
    /// The epoch whose order is on the device.
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
    fn new(device: &mut D, set: &ImageSet) -> Result<Self, BackendError> {
        let ImageSet { split, pipeline, batch_size, drawing } = *set;
        let count = split.len();
        let order: Vec<u32> = (0..count as u32).collect();
        let tables = images::tables(pipeline);
        let rates = drawing.map_or(&[0.0][..], |drawing| drawing.rates);
        let [from, to] = pipeline.sizes();
        let mut parts = Parts::default();
        let input = images::Input {
            images: parts.push(&split.pixels),
            labels: parts.push(bytemuck::cast_slice(&split.labels)),
            order: parts.push(bytemuck::cast_slice(&order)),
            tables: parts.push(bytemuck::cast_slice(&tables)),
            channels: pipeline.channels(),
            from,
            to,
            seed: drawing.map_or(0, |drawing| drawing.seed),
            augmentation: drawing.map(|drawing| drawing.augmentation),
        };
        let rates_len = rates.len();
        let rates = parts.push(bytemuck::cast_slice(rates));
        let mut memory = device.allocate(parts.len, "images")?;
        for (offset, bytes) in &parts.parts {
            device.write(&mut memory, *offset, bytes)?;
        }
        let (bytes, shuffled) = (parts.len, drawing.is_some());
        Ok(Self { memory, bytes, input, rates, rates_len, count, batch_size, shuffled, order_of: None })
    }

    /// Batch sizes of a pass: how many of the usual size, and what is left.
    fn batches(&self) -> (usize, usize) {
        (self.count / self.batch_size, self.count % self.batch_size)
    }

    /// Puts what makes the batch before a program, and what moves the state on after it.
    pub fn surround(&self, program: &mut Program, rule: &AdamWUpdate) {
        let batch = program.batch;
        // Scratch behind the plan: it is done with before anything else begins, but so few bytes are no matter.
        let scratch = Place { base: Base::Arena, offset: program.arena_bytes.next_multiple_of(256) };
        program.arena_bytes = scratch.offset + size_of::<f32>() * self.input.workspace(batch);
        let to = (program.images.element, program.images.place);
        let make = images::batch(&self.input, batch, state::STEP, scratch, to, program.labels);
        let advance = step::advance(state::STEP, state::STOP, batch, self.count, self.rates, self.rates_len, rule);
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
        Ok(match Kept::new(&mut self.device, set) {
            Ok(kept) => self.kept.insert(part, kept).is_none(),
            // Then batches come from the host: slower, but they come.
            Err(_) => false,
        })
    }

    fn train_kept(&mut self, from: &Step, steps: u32) -> Result<Totals, BackendError> {
        let part = Part::Training;
        let kept = self.kept_part(part)?;
        let (count, batch, (full, rest)) = (kept.count, kept.batch_size, kept.batches());
        let (input, stale) = (kept.input, kept.order_of != Some(from.epoch));
        if kept.shuffled && stale {
            self.write_position(from, batch)?;
            self.run_once("shuffle", step::shuffle(state::STEP, 0, count, input.seed, input.order), Some(part))?;
            self.kept_part(part)?.order_of = Some(from.epoch);
        }
        let steps = from.step as usize..(from.step + steps) as usize;
        for step in [0..full, full..full + usize::from(rest > 0)].into_iter().filter(|range| !range.is_empty()) {
            if step.start < steps.end && steps.start < step.end {
                let size = if step.start == full { rest } else { batch };
                self.prepare((Task::Train, size, Some(part)))?;
            }
        }
        // Getting ready may have run some calls on the state.
        self.write_position(from, batch)?;
        self.clear_metrics()?;
        for step in steps {
            let size = if step < full { batch } else { rest };
            self.launch((Task::Train, size, Some(part)))?;
        }
        let (epoch, first) = (from.epoch, from.iteration as u32 - from.step);
        self.metrics(&|iteration| (epoch, iteration - first))
    }

    fn evaluate_kept(&mut self, part: Part) -> Result<Totals, BackendError> {
        let kept = self.kept_part(part)?;
        let (batch, (full, rest)) = (kept.batch_size, kept.batches());
        let sizes = || std::iter::repeat_n(batch, full).chain((rest > 0).then_some(rest));
        for size in sizes() {
            self.prepare((Task::Evaluate, size, Some(part)))?;
        }
        self.write_position(&Step::STILL, batch)?;
        self.clear_metrics()?;
        for size in sizes() {
            self.launch((Task::Evaluate, size, Some(part)))?;
        }
        self.metrics(&|iteration| (0, iteration))
    }
}

impl<D: Device> CudaEngine<D> {
    fn kept_part(&mut self, part: Part) -> Result<&mut Kept<D>, BackendError> {
        self.kept.get_mut(&part).ok_or_else(|| BackendError::Other(format!("the {part:?} images are not kept")))
    }

    /// Puts the state where a step begins.
    fn write_position(&mut self, at: &Step, batch: usize) -> Result<(), BackendError> {
        let position = at.step * batch as u32;
        let state = step::State::new(at.iteration as u32, at.epoch, at.step, position, at.learning_rate, &self.rule);
        self.write_state(state::STEP, bytemuck::bytes_of(&state))
    }
}
