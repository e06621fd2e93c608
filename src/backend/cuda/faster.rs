//! Of a program with regions and one without the faster, and whether both compute the same where they run.

use super::{
    CudaEngine,
    device::Device,
    engine::{Key, decode, encode},
    program::{Call, Output, Program},
};
use crate::backend::{BackendError, Task};

/// How far results with regions may be from those without, relative to the norm of these: tensors that are rounded to bfloat16 in one
/// program and not in the other make some hundredths.
const DISTANCE: f64 = 0.1;

impl<D: Device> CudaEngine<D> {
    /// The faster of a program with regions and one without. They are run without what changes the state of the training. Regions are
    /// taken only if what they compute on this device is what the operations compute apart.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn faster(&mut self, key: Key, with: Program, without: Program) -> Result<Program, BackendError> {
        self.make_room(with.arena_bytes.max(without.arena_bytes))?;
        // Labels are not there yet.
        let timed = [&with, &without].map(|program| self.harmless(key, program, |call| !call.touches(program.labels)));
        let index = self.device.fastest(&timed)?;
        // The arena holds what they left; programs write it before they read it.
        self.last = None;
        if index > 0 {
            return Ok(without);
        }
        let [ours, theirs] = [self.tried(key, &with)?, self.tried(key, &without)?];
        match distance(&ours, &theirs) {
            Some(distance) if distance.is_nan() || distance > DISTANCE => Err(BackendError::Other(format!(
                "regions: on this device {} differ by {distance:.2} of their norm from those of the operations apart; use \
                 --regions off, and report this",
                if key.0 == Task::Evaluate { "logits" } else { "gradients" }
            ))),
            _ => Ok(with),
        }
    }

    /// The calls of a program that change no state, and that are wanted.
    fn harmless(
        &self,
        key: Key,
        program: &Program,
        wanted: impl Fn(&Call<super::program::Place>) -> bool,
    ) -> Vec<Call<u64>> {
        let states = self.layout.group_start(self.layout.states());
        let calls = program.calls.iter().filter(|call| call.leaves_state(states) && wanted(call));
        calls.map(|call| self.placed(call, key.0, key.2)).collect()
    }

    /// What a program makes of some images: the gradients, or the logits of an evaluation.
    fn tried(&mut self, key: Key, program: &Program) -> Result<Vec<f32>, BackendError> {
        let calls = self.harmless(key, program, |_| true);
        let Output { place, elements, element } = program.images;
        let images: Vec<f32> = (0..elements).map(|index| (index as f32 * 0.37).sin()).collect();
        self.device.write(&mut self.memory.arena, place.offset, &encode(&images, element))?;
        // Of one class, which is there; three numbers where labels are mixed. Not a byte more: images may lie behind them.
        let numbers = if self.mixes(key.0) { 3 } else { 1 };
        let labels = vec![0; numbers * size_of::<u32>() * program.batch];
        self.device.write(&mut self.memory.arena, program.labels.offset, &labels)?;
        let prepared = self.device.prepare(calls)?;
        self.device.launch(&prepared)?;
        self.device.synchronize()?;
        if key.0 == Task::Evaluate {
            let Output { place, elements, element } = program.logits;
            let mut bytes = vec![0; elements * element.size()];
            self.device.read(&self.memory.arena, place.offset, &mut bytes)?;
            return Ok(decode(&bytes, element));
        }
        let states = self.layout.states();
        self.read_store(states..states + 1)
    }
}

/// Of some numbers from others, relative to the norm of those; `None` where those say nothing.
fn distance(some: &[f32], others: &[f32]) -> Option<f64> {
    let norm: f64 = others.iter().map(|&value| f64::from(value).powi(2)).sum();
    let difference: f64 = some.iter().zip(others).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (norm.is_finite() && norm > 0.0).then(|| (difference / norm).sqrt())
}
