use std::any::Any;

use luminal::{
    op::{InputTensor, Operator},
    prelude::{ShapeTracker, Tensor},
};

use crate::{
    graph::{Builder, Gradients, Operation, Value},
    random::{Philox, Stream},
};

/// What addresses the random draws of one training step. It travels through the graph as a tensor
/// of six 16-bit numbers, which float32 holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomState {
    /// The generator of the training's seed for dropout.
    pub philox: Philox,
    /// Optimizer steps taken before, the low 32 bits.
    pub iteration: u32,
}

impl RandomState {
    /// Elements of the encoding.
    pub const LEN: usize = 6;

    /// The dropout stream of a seed at an iteration.
    pub fn new(seed: u64, iteration: u64) -> Self {
        Self { philox: Philox::new(seed, Stream::Dropout), iteration: iteration as u32 }
    }

    /// As the tensor: low and high halves of both words of the key, and of the iteration.
    pub fn encode(&self) -> [f32; Self::LEN] {
        let [k0, k1] = self.philox.key;
        [k0 & 0xffff, k0 >> 16, k1 & 0xffff, k1 >> 16, self.iteration & 0xffff, self.iteration >> 16].map(|v| v as f32)
    }

    /// Of the tensor; the inverse of [`RandomState::encode`].
    pub fn decode(encoded: &[f32]) -> Self {
        let word = |i: usize| encoded[i] as u32 | (encoded[i + 1] as u32) << 16;
        Self { philox: Philox { key: [word(0), word(2)] }, iteration: word(4) }
    }
}

/// Inverted dropout (Srivastava et al. 2014). An element is zero with probability `rate`, else it
/// is scaled by `1 / (1 - rate)`. The mask is a function of (seed, iteration, stream, element), so
/// the backward pass applies the same operator to the gradient and nothing is stored.
///
/// Inputs x and the encoded [`RandomState`]. The rate is held in 1/65536ths: 16 bits of a Philox
/// word decide one element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share of elements that are dropped, from 0 up to, but not including, 1.
    pub rate: f32,
    /// Addresses its draws: of the layer's path, see [`Builder::enter`].
    pub stream: u32,
}

impl Dropout {
    /// Dropout of a rate, with a stream that no other of the graph has.
    pub fn new(rate: f32, stream: u32) -> Self {
        Self { rate, stream }
    }

    /// Elements whose 16 random bits are below it are dropped.
    pub fn threshold(&self) -> u32 {
        ((f64::from(self.rate) * 65536.0).round() as u32).min(65535)
    }

    /// Factor of the elements that stay.
    pub fn scale(&self) -> f32 {
        65536.0 / (65536 - self.threshold()) as f32
    }

    /// The mask's value at one element: the definition which kernels must reproduce bit for bit.
    pub fn mask_at(&self, random: &RandomState, element: u64) -> f32 {
        let block = element / 8;
        let words = random.philox.block([block as u32, (block >> 32) as u32, self.stream, random.iteration]);
        let lane = (element % 8) as usize;
        let bits = words[lane / 2] >> (16 * (lane % 2)) & 0xffff;
        if bits < self.threshold() { 0.0 } else { self.scale() }
    }

    /// A node that gives the mask of a tensor.
    pub(crate) fn mask(&self, builder: &mut Builder, random: &Value, shape: &[usize]) -> Value {
        let operator = MaskOperator { dropout: *self, elements: shape.iter().product() };
        let node = builder.add_node(operator, &[random]);
        Value { node, output: 0, shape: shape.to_vec() }
    }
}

/// luminal has no random primitive, so the mask of a decomposed dropout is an operator of its own.
#[derive(Debug, PartialEq)]
struct MaskOperator {
    dropout: Dropout,
    elements: usize,
}

impl Operator for MaskOperator {
    fn process(&mut self, inputs: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        let encoded = inputs[0].0.borrowed().data.as_any().downcast_ref::<Vec<f32>>().map_or(&[][..], Vec::as_slice);
        let random = RandomState::decode(encoded);
        let mask: Vec<f32> = (0..self.elements as u64).map(|i| self.dropout.mask_at(&random, i)).collect();
        vec![Tensor::new(mask)]
    }
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("rate", self.rate.to_string()), ("stream", self.stream.to_string())]
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>> {
        vec![Some(builder.apply_one(*self, &[&site.grads[0], &site.inputs[1]])), None]
    }

    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value> {
        let mask = self.mask(builder, &inputs[1], &inputs[0].shape);
        vec![builder.prim_mul(&inputs[0], &mask)]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_its_encoding() {
        let state = RandomState { philox: Philox { key: [0xdead_beef, 0x0123_4567] }, iteration: 0xfedc_ba98 };
        assert_eq!(RandomState::decode(&state.encode()), state);
    }

    #[test]
    fn mask_keeps_the_mean() {
        let (dropout, random) = (Dropout::new(0.1, 3), RandomState::new(7, 11));
        let mean = (0..80_000).map(|i| f64::from(dropout.mask_at(&random, i))).sum::<f64>() / 80_000.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
