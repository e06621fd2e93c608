//! What lies in [`Base::State`]: the position in the training, the sums of metrics, and the table of the update.

use super::program::{Base, Place};

const fn at(offset: usize) -> Place {
    Place { base: Base::State, offset }
}

/// [`step::State`](super::kernels::step::State).
pub const STEP: Place = at(0);
/// [`cross_entropy::Metrics`](super::kernels::cross_entropy::Metrics).
pub const METRICS: Place = at(256);
/// u32: not zero once a loss was not finite, after which no step changes anything.
pub const STOP: Place = at(512);
/// float32: the mean loss of the last batch.
pub const LOSS: Place = at(1024);
/// float32: what the gradients of the last step were multiplied by, and their norm, where gradients are clipped.
pub const CLIP: Place = at(1152);
/// [`step::State`](super::kernels::step::State) of the step after this one, as far as its images need it: position and
/// step.
pub const AHEAD: Place = at(1280);
/// The chunks of [`update`](super::kernels::update), to the end.
pub const TABLE: Place = at(1536);

/// Bytes of what begins at a place but for the table: as far as to the next.
pub fn bytes(place: Place) -> Option<usize> {
    let ends = [(STEP, METRICS), (METRICS, STOP), (STOP, LOSS), (LOSS, CLIP), (CLIP, AHEAD), (AHEAD, TABLE)];
    ends.iter().find(|(start, _)| *start == place).map(|(start, end)| end.offset - start.offset)
}
