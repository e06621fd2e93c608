//! What moves from one training step to the next: the counters, and the optimizer's numbers.

use bytemuck::{Pod, Zeroable};

use super::{int, source};
use crate::backend::cuda::launch::{Arg, Launch, Source};

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

/// Moves the state on by a step that took `batch` of the epoch's `images`; an epoch ends when all are taken. `ahead` moves
/// on by `usual` images, to the epoch's end at most. `table` `[rows, scalars]` float32 are the optimizer's numbers by
/// iteration, of which the last row holds on. While the u32 `stop` is not 0 nothing moves.
pub fn advance<P>(
    [state, ahead, stop]: [P; 3],
    [batch, usual, images]: [usize; 3],
    table: P,
    [rows, scalars]: [usize; 2],
) -> Launch<P> {
    let u32 = |value: usize| Arg::U32(int(value) as u32);
    let mut args = vec![Arg::Pointer(state), Arg::Pointer(ahead), Arg::Pointer(stop)];
    args.extend([batch, usual, images].map(u32));
    args.extend([Arg::Pointer(table), u32(rows), u32(scalars)]);
    let defines = Vec::new();
    Launch { source: SOURCE, defines, entry: "advance", grid: [1; 3], block: [1; 3], shared_bytes: 0, args }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::emulator::{Memory, run_all};

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn steps_through_two_epochs() {
        let rows = [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0], [0.4, 4.0_f32]];
        let (table, stop) = (Memory::of(rows.as_flattened()), Memory::of(&[0_u32]));
        let state = Memory::of(&[State::new(0, 0, 0, 0, &rows[0])]);
        let ahead = Memory::of(&[State::new(1, 0, 1, 4, &rows[0])]);
        let place_of =
            |ahead: &Memory| ahead.read::<State>().iter().map(|ahead| (ahead.step, ahead.position)).collect::<Vec<_>>();
        let places = [(0, 1, 4), (0, 2, 8), (1, 0, 0), (1, 1, 4), (1, 2, 8), (2, 0, 0)];
        for (index, (epoch, step, position)) in places.into_iter().enumerate() {
            let batch = if step == 0 { 2 } else { 4 };
            run_all([advance([&state, &ahead, &stop].map(Memory::at), [batch, 4, 10], table.at(), [4, 2])]);
            let iteration = index + 1;
            let expected = State::new(iteration as u32, epoch, step, position, &rows[iteration.min(3)]);
            assert_eq!(state.read::<State>(), [expected]);
            // Of this epoch alone.
            assert_eq!(place_of(&ahead), [(index as u32 + 2, [8, 10][index.min(1)])]);
        }
        let stopped = Memory::of(&[1_u32]);
        let before: Vec<State> = state.read();
        run_all([advance([&state, &ahead, &stopped].map(Memory::at), [4, 4, 10], table.at(), [4, 2])]);
        assert_eq!(state.read::<State>(), before);
        assert_eq!(place_of(&ahead), [(7, 10)]);
    }
}
