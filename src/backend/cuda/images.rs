//! Data that stays on the device: the images of a part as bytes, their order, and the steps that make batches of
//! them there.

mod kept;

use self::kept::EpochDraws;
pub use self::kept::Kept;
use super::{
    device::Device,
    engine::{CudaEngine, Key},
    kernels::step,
    program::{Output, Place, Program},
    state,
};
use crate::{
    backend::{BackendError, ImageSet, Part, Resident, StateTensor, Step, Task},
    data::Draws,
    metrics::Totals,
};

impl<D: Device> Resident for CudaEngine<D> {
    fn keep_images(&mut self, part: Part, set: &ImageSet) -> Result<bool, BackendError> {
        self.forget(part);
        self.kept.remove(&part);
        if set.split.in_memory().is_none() {
            return Ok(false);
        }
        Ok(match Kept::new(&mut self.device, set, &self.plan, self.options.precision.element()) {
            Ok(kept) => self.kept.insert(part, kept).is_none(),
            // Alone it may have room, and sum up its losses as trials on the device do.
            Err(error @ BackendError::Shared(_)) => return Err(error),
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
        self.write_draws(part, from.epoch)?;
        let kept = self.kept_part(part)?;
        let (batch, (full, rest)) = (kept.batch_size, kept.batches());
        let (height, width) = kept.size_in(from.epoch);
        let pixels = height * width * kept.input.channels;
        let lowering = self.lowerings.of(pixels);
        self.ready_for(from, steps)?;
        let task = |step: usize| Task::of_step(&self.plan, from.iteration + (step as u64 - u64::from(from.step)));
        let steps = from.step as usize..(from.step + steps) as usize;
        let key = |step: usize| (task(step), if step < full { batch } else { rest }, Some(part), lowering);
        let keys: Vec<Key> = steps.clone().map(key).collect();
        // Getting ready may have run some calls on the state.
        self.write_position(from, batch)?;
        self.clear_metrics()?;
        self.shadow_for(Task::Train)?;
        self.launch_all(part, from, &keys)?;
        self.draw_ahead(part, from.epoch + 1)?;
        let (epoch, first) = (from.epoch, from.iteration as u32 - from.step);
        let totals = self.metrics(&|iteration| (epoch, iteration - first))?;
        self.kept_part(part)?.made = Some((epoch, steps.end as u32));
        Ok(totals)
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
        let keys: Vec<Key> = sizes().map(|size| (Task::Evaluate, size, Some(part), 0)).collect();
        self.launch_all(part, &Step::STILL, &keys)?;
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

    /// Starts the programs of consecutive steps on the images of a part. The first batch is made before them unless the step
    /// before has made it, each other beside the step before it.
    fn launch_all(&mut self, part: Part, from: &Step, keys: &[Key]) -> Result<(), BackendError> {
        let Some(&first) = keys.first() else { return Ok(()) };
        let made = self.kept_part(part)?.made.take() == Some((from.epoch, from.step));
        if !made {
            self.write_ahead(part, from.step)?;
            self.make_first(part, first)?;
        }
        self.write_ahead(part, from.step + 1)?;
        keys.iter().try_for_each(|&key| self.launch(key))
    }

    /// Makes the batch of the state ahead for a program.
    fn make_first(&mut self, part: Part, key: Key) -> Result<(), BackendError> {
        let Program { batch, images: Output { elements, element, .. }, .. } = self.programs[&key];
        let size = (batch, elements / batch);
        let kept = self.kept_part(part)?;
        let first = match kept.firsts.remove(&size) {
            Some(first) => first,
            None => {
                let calls = kept.make(size.0, size.1, element);
                let calls = calls.iter().map(|call| self.placed(call, key.0, Some(part))).collect();
                self.device.prepare(calls)?
            }
        };
        self.device.launch(&first)?;
        self.kept_part(part)?.firsts.insert(size, first);
        Ok(())
    }

    /// Puts the order and the draws of an epoch on the device, if they are not there: what a thread has drawn, or what is drawn
    /// now.
    fn write_draws(&mut self, part: Part, epoch: u32) -> Result<(), BackendError> {
        let kept = self.kept_part(part)?;
        if kept.drawn_by.is_none() || kept.order_of == Some(epoch) {
            return Ok(());
        }
        self.draw_ahead(part, epoch)?;
        let Some(kept) = self.kept.get_mut(&part) else { return Ok(()) };
        let Some((_, drawing)) = kept.drawing.take() else { return Ok(()) };
        let Ok(drawn) = drawing.join() else {
            return Err(BackendError::Other(format!("the draws of epoch {} failed", epoch + 1)));
        };
        (kept.made, kept.order_of) = (None, None);
        let mut write = |place: Place, words: &[u32]| {
            self.device.write(&mut kept.memory, place.offset, bytemuck::cast_slice(words))
        };
        write(kept.input.order, &drawn.order)?;
        if let Some((rows, _)) = &kept.input.augmentation {
            write(*rows, &drawn.rows)?;
        }
        if let Some(mixes) = kept.input.mixing {
            write(mixes, &drawn.mixes)?;
        }
        kept.order_of = Some(epoch);
        Ok(())
    }

    /// Has a thread draw an epoch, unless one does: it may be done before the epoch begins.
    fn draw_ahead(&mut self, part: Part, epoch: u32) -> Result<(), BackendError> {
        let threads = self.options.threads;
        let kept = self.kept_part(part)?;
        let Some((seed, repeats)) = kept.drawn_by else { return Ok(()) };
        if kept.drawing.as_ref().is_some_and(|(of, _)| *of == epoch) {
            return Ok(());
        }
        let plan = kept.input.augmentation.as_ref().map(|(_, plan)| plan.clone());
        let (count, batches) = (kept.input.count, kept.input.count.div_ceil(kept.batch_size));
        let draws = Draws { seed, epoch, repeats };
        let draw = move || EpochDraws::new(plan.as_deref(), draws, count, batches, threads);
        kept.drawing = Some((epoch, std::thread::spawn(draw)));
        Ok(())
    }

    /// Puts the state ahead where a step's images begin.
    fn write_ahead(&mut self, part: Part, step: u32) -> Result<(), BackendError> {
        let kept = self.kept_part(part)?;
        let position = (step as usize * kept.batch_size).min(kept.input.count);
        let ahead = step::State::new(0, 0, step, position as u32, &[]);
        self.write_state(state::AHEAD, bytemuck::bytes_of(&ahead))
    }

    /// Puts the state where a step begins.
    fn write_position(&mut self, at: &Step, batch: usize) -> Result<(), BackendError> {
        let position = at.step * batch as u32;
        let scalars = self.plan.step_scalars(at.learning_rate, at.iteration);
        let state = step::State::new(at.iteration as u32, at.epoch, at.step, position, &scalars);
        self.write_state(state::STEP, bytemuck::bytes_of(&state))
    }
}
