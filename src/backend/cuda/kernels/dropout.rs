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
    bits: Bits<P>,
}

/// Where a kernel has it from which elements stay: a bit for each, in their order.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bits<P> {
    /// It draws them.
    Drawn,
    /// It draws them, and writes them down.
    Written(P),
    /// They have been written down.
    Read(P),
}

impl<P> Dropout<P> {
    /// The layer's masks in a training with this seed.
    pub fn new(layer: &ops::Dropout, seed: u64, state: P) -> Self {
        let philox = Philox::new(seed, Stream::Dropout);
        Self {
            philox,
            stream: layer.stream,
            threshold: layer.threshold(),
            scale: layer.scale(),
            state,
            bits: Bits::Drawn,
        }
    }

    /// Bytes of the bits of so many elements.
    pub fn bytes(count: usize) -> usize {
        count.div_ceil(8)
    }

    /// The same, whose bits are written down.
    pub fn written(self, to: P) -> Self {
        Self { bits: Bits::Written(to), ..self }
    }

    /// The same, whose bits have been written down.
    pub fn read(self, from: P) -> Self {
        Self { bits: Bits::Read(from), ..self }
    }

    /// `DROPOUT` of a kernel.
    pub fn define(&self) -> (&'static str, String) {
        let value = match self.bits {
            Bits::Drawn => 1,
            Bits::Written(_) => 2,
            Bits::Read(_) => 3,
        };
        ("DROPOUT", i32::to_string(&value))
    }

    /// The same with the state named otherwise.
    #[cfg(test)]
    pub fn map<Q>(self, place: impl Fn(P) -> Q) -> Dropout<Q> {
        let Self { philox, stream, threshold, scale, state, bits } = self;
        let bits = match bits {
            Bits::Drawn => Bits::Drawn,
            Bits::Written(to) => Bits::Written(place(to)),
            Bits::Read(from) => Bits::Read(place(from)),
        };
        Dropout { philox, stream, threshold, scale, state: place(state), bits }
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

    /// `DROPOUT_PARAMETERS_AND_BITS` of `common.cuh`.
    pub fn args_and_bits(layer: Option<Self>) -> Vec<Arg<P>>
    where
        P: Copy,
    {
        let bits = match layer.as_ref().map(|layer| layer.bits) {
            Some(Bits::Written(at) | Bits::Read(at)) => Arg::Pointer(at),
            Some(Bits::Drawn) | None => Arg::Null,
        };
        Self::args(layer).into_iter().chain([bits]).collect()
    }
}
