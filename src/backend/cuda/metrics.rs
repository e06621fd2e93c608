//! Sums of metrics, and what is said when a loss is not finite.

use super::{
    device::Device,
    engine::CudaEngine,
    kernels::{cross_entropy::Metrics, reduce},
    program::Call,
    state,
};
use crate::{backend::BackendError, metrics::Totals};

impl<D: Device> CudaEngine<D> {
    /// Sets metrics and the stop to zero.
    pub(super) fn clear_metrics(&mut self) -> Result<(), BackendError> {
        self.write_state(state::METRICS, bytemuck::bytes_of(&Metrics::default()))?;
        self.write_state(state::STOP, &[0; 4])
    }

    /// What was summed since [`CudaEngine::clear_metrics`].
    ///
    /// # Errors
    /// [`BackendError::NonFinite`] when a loss was not finite, at a step that `at` tells from its iteration.
    pub(super) fn metrics(&mut self, at: &dyn Fn(u32) -> (u32, u32)) -> Result<Totals, BackendError> {
        let mut metrics = Metrics::default();
        self.device.read(&self.memory.state, state::METRICS.offset, bytemuck::bytes_of_mut(&mut metrics))?;
        if metrics.bad == 0 {
            let Metrics { loss_sum, images, correct, among_first, .. } = metrics;
            let [images, correct, correct_top_5] = [images, correct, among_first].map(u64::from);
            return Ok(Totals { images, loss: loss_sum, correct, correct_top_5 });
        }
        let mut loss = [0.0_f32];
        self.device.read(&self.memory.state, state::LOSS.offset, bytemuck::cast_slice_mut(&mut loss))?;
        let (epoch, step) = at(metrics.bad - 1);
        let operator = self.first_bad()?;
        Err(BackendError::NonFinite { loss: loss[0], epoch, step, operator })
    }

    /// Runs the forward part of the last program again, whose memory no step has changed since the loss was bad,
    /// looking at every value.
    fn first_bad(&mut self) -> Result<String, BackendError> {
        let Some(key) = self.last else { return Ok("the images".to_owned()) };
        let program = &self.programs[&key];
        let forward = &program.calls[..=program.loss_known];
        let mut found = self.device.allocate(size_of::<u32>() * forward.len(), "a search for bad values")?;
        let address = self.device.address(&found);
        let mut calls = Vec::new();
        for (index, call) in forward.iter().enumerate() {
            let call = self.placed(call, key.0, key.2);
            let flag = address + (size_of::<u32>() * index) as u64;
            let looks: Vec<Call<u64>> = call
                .outputs
                .iter()
                .map(|output| {
                    Call::alone("find_bad", reduce::find_bad(output.elements, output.element, output.place, flag))
                })
                .collect();
            calls.push(call);
            calls.extend(looks);
        }
        let prepared = self.device.prepare(calls)?;
        // Getting ready may have run some of the calls.
        self.device.write(&mut found, 0, &vec![0; size_of::<u32>() * forward.len()])?;
        self.device.launch(&prepared)?;
        let mut flags = vec![0_u32; forward.len()];
        self.device.read(&found, 0, bytemuck::cast_slice_mut(&mut flags))?;
        let first = flags.iter().position(|&flag| flag != 0).map(|index| &self.programs[&key].calls[index]);
        Ok(match first {
            None => "the images".to_owned(),
            Some(call) if call.parameters.is_empty() => call.name.clone(),
            Some(call) => format!("{} of {}", call.name, call.parameters.join(", ")),
        })
    }
}
