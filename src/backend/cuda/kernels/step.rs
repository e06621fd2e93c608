//! What moves from one training step to the next: the counters, the optimizer's numbers, the order of the
//! images.

use bytemuck::{Pod, Zeroable};

use super::{int, source};
use crate::{
    backend::cuda::launch::{Arg, Launch, Source},
    random::{Philox, Stream},
};

pub const SOURCE: Source = source!("step");

/// `StepState` of `common.cuh`: where a training stands, in device memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// Optimizer steps taken.
    pub iteration: u32,
    pub epoch: u32,
    /// Within the epoch.
    pub step: u32,
    /// Of the step's first image, in the epoch's order.
    pub position: u32,
    /// See [`Plan::write_scalars`](crate::graph::optimizers::Plan::write_scalars).
    pub scalars: [f32; MOST_SCALARS],
}

/// Most numbers of an optimizer's step.
pub const MOST_SCALARS: usize = 32;

impl State {
    /// Before the step of this iteration.
    #[must_use]
    ///
    /// # Panics
    /// When there are more scalars than [`MOST_SCALARS`].
    pub fn new(iteration: u32, epoch: u32, step: u32, position: u32, scalars: &[f32]) -> Self {
        let mut state = Self { iteration, epoch, step, position, ..Self::default() };
        state.scalars[..scalars.len()].copy_from_slice(scalars);
        state
    }
}

/// Moves the state on by a step that took `batch` of the epoch's `images`; an epoch ends when all are
/// taken. `table` `[rows, scalars]` float32 are the optimizer's numbers by iteration, of which the last row holds
/// on. While the u32 `stop` is not 0 nothing moves.
pub fn advance<P>(state: P, stop: P, batch: usize, images: usize, table: P, [rows, scalars]: [usize; 2]) -> Launch<P> {
    let u32 = |value: usize| Arg::U32(int(value) as u32);
    let args = vec![
        Arg::Pointer(state),
        Arg::Pointer(stop),
        u32(batch),
        u32(images),
        Arg::Pointer(table),
        u32(rows),
        u32(scalars),
    ];
    launch("advance", 1, 0, args)
}

/// Images whose order fits shared memory, as 16-bit numbers.
const IN_SHARED: usize = 48 << 10;

/// Writes the order of the images of the state's epoch, or of one `ahead` of it: that of
/// [`crate::data::order::shuffled`]. order `[count]` u32.
pub fn shuffle<P>(state: P, ahead: u32, count: usize, seed: u64, order: P) -> Launch<P> {
    let [low, high] = Philox::new(seed, Stream::Shuffle).key;
    let args = vec![
        Arg::Pointer(state),
        Arg::U32(ahead),
        Arg::U32(int(count) as u32),
        Arg::U32(low),
        Arg::U32(high),
        Arg::Pointer(order),
    ];
    launch("shuffle", 256, if count <= IN_SHARED { 2 * count } else { 0 }, args)
}

fn launch<P>(entry: &'static str, threads: u32, shared_bytes: usize, args: Vec<Arg<P>>) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: vec![("IN_SHARED", u32::from(shared_bytes > 0).to_string())],
        entry,
        grid: [1; 3],
        block: [threads, 1, 1],
        shared_bytes: shared_bytes as u32,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::cuda::{
            emulator::{Memory, run_all},
            launch::Element,
        },
        data::order::shuffled,
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn steps_through_two_epochs() {
        let rows = [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0], [0.4, 4.0_f32]];
        let (table, stop) = (Memory::of(rows.as_flattened()), Memory::of(&[0_u32]));
        let state = Memory::of(&[State::new(0, 0, 0, 0, &rows[0])]);
        let places = [(0, 1, 4), (0, 2, 8), (1, 0, 0), (1, 1, 4), (1, 2, 8), (2, 0, 0)];
        for (index, (epoch, step, position)) in places.into_iter().enumerate() {
            let batch = if step == 0 { 2 } else { 4 };
            run_all([advance(state.at(), stop.at(), batch, 10, table.at(), [4, 2])]);
            let iteration = index + 1;
            let expected = State::new(iteration as u32, epoch, step, position, &rows[iteration.min(3)]);
            assert_eq!(state.read::<State>(), [expected]);
        }
        let stopped = Memory::of(&[1_u32]);
        let before: Vec<State> = state.read();
        run_all([advance(state.at(), stopped.at(), 4, 10, table.at(), [4, 2])]);
        assert_eq!(state.read::<State>(), before);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn the_order_of_an_epoch() {
        for count in [1, 2, 5, 1000, 3000, IN_SHARED + 7] {
            let state = Memory::of(&[State { epoch: 4, ..State::default() }]);
            let order = Memory::empty(count, Element::F32);
            run_all([shuffle(state.at(), 1, count, 7, order.at())]);
            assert!(order.read::<u32>() == shuffled(count, 7, 5), "{count} images");
        }
    }
}
