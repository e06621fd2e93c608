use crate::{
    backend::cuda::launch::Arg,
    graph::ops,
    random::{Philox, Stream},
};

/// A dropout layer as kernels take it. Its mask is that of the CPU backend, a function of the
/// element's index in its tensor, of the layer, and of the iteration that the state tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout<P> {
    philox: Philox,
    stream: u32,
    threshold: u32,
    scale: f32,
    /// The step's state.
    state: P,
}

impl<P> Dropout<P> {
    /// The layer's masks in a training with this seed.
    pub fn new(layer: &ops::Dropout, seed: u64, state: P) -> Self {
        let philox = Philox::new(seed, Stream::Dropout);
        Self { philox, stream: layer.stream, threshold: layer.threshold(), scale: layer.scale(), state }
    }

    /// The same with the state named otherwise.
    #[cfg(test)]
    pub fn map<Q>(self, place: impl FnOnce(P) -> Q) -> Dropout<Q> {
        let Self { philox, stream, threshold, scale, state } = self;
        Dropout { philox, stream, threshold, scale, state: place(state) }
    }

    /// The factor of what stays.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// `DROPOUT_PARAMETERS` of `common.cuh`.
    pub(super) fn args(layer: Option<Self>) -> [Arg<P>; 6] {
        let (state, [low, high], stream, threshold, scale) = match layer {
            Some(layer) => (Arg::Pointer(layer.state), layer.philox.key, layer.stream, layer.threshold, layer.scale),
            None => (Arg::Null, [0, 0], 0, 0, 1.0),
        };
        [state, Arg::U32(low), Arg::U32(high), Arg::U32(stream), Arg::U32(threshold), Arg::F32(scale)]
    }
}
