//! Attention of tokens among themselves with its projections in the kernel, a block for an image: where projections
//! have been multiplied with each other ([`crate::passes`]), queries and values, each as many numbers as there are
//! heads times the model's width, are never in memory, nor are the heads' outputs.

use super::{
    Dropout,
    attention::{Attention, Columns, RESERVED, Statistics, kept, parts, pitch, registers_of, row},
    source, vector,
};
use crate::backend::cuda::launch::{Arg, Launch, Precision, Source};

pub const SOURCE: Source = source!("attention_projected");

/// Blocks that a device does at the same time, about: not asked of the device, so that results have the same bits on
/// all.
const LANES: usize = 128;

/// Wider models have more sums than a warp has registers.
const WIDEST: usize = 128;

/// Extents of an attention whose heads have the tokens as keys, and whose outputs are added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projected {
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    /// Width of the tokens, of each head, and of the output.
    pub dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// The score of a token with itself is left out.
    pub diagonal: bool,
    pub precision: Precision,
    /// Bytes of shared memory that a block may have.
    pub block_memory: usize,
}

/// A dense layer `[dim, heads · dim]`, heads side by side.
#[derive(Debug, Clone, Copy)]
pub struct Projection<P> {
    /// As activations are stored.
    pub kernel: Columns<P>,
    /// `[heads · dim]` float32.
    pub bias: Option<P>,
}

/// What both directions read.
#[derive(Debug, Clone, Copy)]
pub struct ProjectedInputs<P> {
    /// `[batch, tokens, dim]`
    pub x: Columns<P>,
    /// Of queries.
    pub query: Projection<P>,
    /// Of values.
    pub value: Projection<P>,
    /// Of the weights, by their index in `[batch, heads, tokens, tokens]`.
    pub dropout: Option<Dropout<P>>,
}

/// Gradients of the two projections, `[batch, tokens, heads · dim]`, and of the tokens as keys, `[batch, tokens, dim]`.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<P> {
    pub query: Columns<P>,
    pub keys: Columns<P>,
    pub value: Columns<P>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// So many heads at a time.
    Forward {
        together: usize,
    },
    Backward,
}

impl Projected {
    /// The same attention, if it is of this form and if a block for an image takes less time than one for each head of
    /// an image: fewer of them may be at work.
    #[must_use]
    pub fn of(attention: &Attention) -> Option<Self> {
        let &Attention { batch, tokens, sources, heads, key_dim, value_dim, scale, diagonal, precision, .. } =
            attention;
        let form = attention.shared_keys && attention.summed && tokens == sources && key_dim == value_dim;
        let projected = Self {
            batch,
            tokens,
            heads,
            dim: key_dim,
            scale,
            diagonal,
            precision,
            block_memory: attention.block_memory,
        };
        let rounds = |blocks: usize| blocks.div_ceil(LANES);
        // A head in such a block takes less time, for neither the tokens nor the projections are loaded.
        let pays = 5 * heads * rounds(batch) <= 6 * rounds(batch * heads);
        (form && pays && projected.fits()).then_some(projected)
    }

    fn fits(&self) -> bool {
        let blocks = |pass| self.blocks(pass) > 0;
        self.dim <= WIDEST && blocks(Pass::Forward { together: 1 }) && blocks(Pass::Backward)
    }

    fn parts(&self) -> usize {
        parts(self.precision)
    }

    fn warps(&self) -> usize {
        self.tokens.div_ceil(16)
    }

    /// The forward pass does two heads at a time, which share what is read of the tokens, where there is room for them.
    fn forward_pass(&self) -> Pass {
        let two = Pass::Forward { together: 2 };
        if self.heads.is_multiple_of(2) && self.blocks(two) > 0 { two } else { Pass::Forward { together: 1 } }
    }

    /// Blocks that fit a multiprocessor.
    fn blocks(&self, pass: Pass) -> usize {
        let (width, parts) = (self.dim.next_multiple_of(16), self.parts());
        // What stays in registers over the longest loop, and what else is needed beside it.
        let registers = match pass {
            Pass::Forward { together } => together * (width * parts / 4 + width / 2 + 4 * parts + 8) + 4 * parts + 44,
            Pass::Backward => (8 * self.warps() + width * parts / 2 + 8 * parts + 56).max(width + 44),
        };
        let by_memory = self.block_memory / (self.shared_bytes(pass) + RESERVED);
        (0..=by_memory.min(8)).rfind(|blocks| registers_of(blocks * self.warps()) >= registers).unwrap_or(0)
    }

    /// Shared memory of a block.
    fn shared_bytes(&self, pass: Pass) -> usize {
        let (rows, width, pitch) = (16 * self.warps(), self.dim.next_multiple_of(16), pitch(self.dim));
        let (tiles, scores, kernels) = match pass {
            Pass::Forward { together } => (1, 0, 4 * together),
            Pass::Backward => (4, 2, 2),
        };
        let elements = tiles * rows * pitch + scores * rows * (rows + 8) + kernels * width * pitch;
        let sums = 32 * self.warps() * width / 2;
        2 * self.parts() * elements + size_of::<f32>() * sums
    }

    /// `out = bias + Σ_h dropout(softmax(scale q_h xᵀ)) v_h` with `q_h` and `v_h` the head's projections of x; `bias`
    /// is `[dim]` float32, `out` contiguous `[batch, tokens, dim]`. Writes the logarithms for [`Projected::backward`].
    pub fn forward<P: Copy>(
        &self,
        inputs: &ProjectedInputs<P>,
        bias: Option<P>,
        out: P,
        statistics: Statistics<P>,
    ) -> Launch<P> {
        let mut args = Self::args(inputs, statistics);
        args.extend([bias.map_or(Arg::Null, Arg::Pointer)]);
        args.extend([Arg::Pointer(out), row(self.dim), Arg::Pointer(statistics.logsum)]);
        self.launch("forward", self.forward_pass(), inputs, &[self.dim], args)
    }

    /// Gradients from that of the output. With D the factors of dropout and P the weights: `dV = (P·D)ᵀ·dO`,
    /// `dS = P·((dO·Vᵀ)·D - rows' sums of P·(dO·Vᵀ)·D)`, `dQ = scale dS·X`, and for keys `Σ_h scale dSᵀ·Q`.
    pub fn backward<P: Copy>(
        &self,
        inputs: &ProjectedInputs<P>,
        dout: Columns<P>,
        statistics: Statistics<P>,
        to: Gradients<P>,
    ) -> Launch<P> {
        let mut args = Self::args(inputs, statistics);
        args.extend([Arg::Pointer(dout.at), row(dout.row), Arg::Pointer(statistics.logsum)]);
        let gradients = [to.query, to.keys, to.value];
        args.extend(gradients.iter().flat_map(|to| [Arg::Pointer(to.at), row(to.row)]));
        let rows = [dout.row, to.query.row, to.keys.row, to.value.row];
        self.launch("backward", Pass::Backward, inputs, &rows, args)
    }

    fn args<P: Copy>(inputs: &ProjectedInputs<P>, statistics: Statistics<P>) -> Vec<Arg<P>> {
        let mut args = vec![Arg::Pointer(inputs.x.at), row(inputs.x.row)];
        for Projection { kernel, bias } in [inputs.query, inputs.value] {
            args.extend([Arg::Pointer(kernel.at), row(kernel.row), bias.map_or(Arg::Null, Arg::Pointer)]);
        }
        args.extend(kept(inputs.dropout.as_ref(), statistics));
        args
    }

    /// `rows` are the lengths of rows besides those of the inputs.
    fn launch<P>(
        &self,
        entry: &'static str,
        pass: Pass,
        inputs: &ProjectedInputs<P>,
        rows: &[usize],
        args: Vec<Arg<P>>,
    ) -> Launch<P> {
        let element = self.precision.element();
        let own = [self.dim, inputs.x.row, inputs.query.kernel.row, inputs.value.kernel.row];
        let vectors = rows.iter().chain(&own).map(|&len| vector(len, element.vector())).min();
        let number = |name, value: usize| (name, value.to_string());
        let together = match pass {
            Pass::Forward { together } => together,
            Pass::Backward => 1,
        };
        let mut defines = vec![
            ("ACT", element.name().to_owned()),
            number("KEY_DIM", self.dim),
            number("VALUE_DIM", self.dim),
            number("VECTOR", vectors.unwrap_or(1)),
            number("PARTS", self.parts()),
            number("TOKENS", self.tokens),
            number("SOURCES", self.tokens),
            number("HEADS", self.heads),
            ("SCALE", format!("{:e}f", self.scale)),
            number("WARPS", self.warps()),
            number("BLOCKS", self.blocks(pass)),
            number("TOGETHER", together),
        ];
        if inputs.dropout.is_some() {
            defines.push(number("DROPOUT", 1));
        }
        if self.diagonal {
            defines.push(number("DIAGONAL", 1));
        }
        Launch {
            source: SOURCE,
            defines,
            entry,
            grid: [self.batch as u32, 1, 1],
            block: [32 * self.warps() as u32, 1, 1],
            shared_bytes: self.shared_bytes(pass) as u32,
            args,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{self, Memory, run_all},
            kernels::{
                attention::{
                    self, kept_bytes,
                    tests::{expected, tolerance},
                },
                tests::{assert_near_floats, mask},
            },
            launch::Element,
        },
    };

    fn shape(batch: usize, tokens: usize, heads: usize, dim: usize) -> Attention {
        let own = attention::tests::shape(batch, [tokens; 2], heads, [dim; 2]);
        Attention { scale: 0.4, shared_keys: true, summed: true, ..own }
    }

    /// `x [rows, dim]` by a kernel `[dim, width]`.
    fn project(x: &[f32], kernel: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f32> {
        let dim = kernel.len() / width;
        let one = |row: &[f32], column: usize| -> f32 {
            let sum: f32 = row.iter().enumerate().map(|(k, x)| x * kernel[k * width + column]).sum();
            sum + bias.map_or(0.0, |bias| bias[column])
        };
        x.chunks(dim).flat_map(|row| (0..width).map(move |column| one(row, column))).collect()
    }

    fn check(attention: Attention, rate: Option<f32>, biases: bool) {
        let Attention { batch, tokens, heads, key_dim: dim, precision, .. } = attention;
        // As of more images, of which each has a block.
        let of_many = Projected::of(&Attention { batch: 8 * LANES, ..attention });
        let projected = Projected { batch, ..of_many.unwrap_or_else(|| panic!("{attention:?} has no such kernel")) };
        let (element, width) = (precision.element(), heads * dim);
        let tensor = |seed: u32, len: usize, scale: f32| {
            let values: Vec<f32> = noise(seed, len).iter().map(|x| scale * x).collect();
            Memory::of_floats(&values, element)
        };
        let (x, dout) = (tensor(1, batch * tokens * dim, 1.0), tensor(2, batch * tokens * dim, 1.0));
        let kernels = [3, 4].map(|seed| tensor(seed, dim * width, 3.0 / (dim as f32).sqrt()));
        let bias = [5, 6].map(|seed| noise(seed, width));
        let memory_of_bias = [0, 1].map(|side| Memory::of(&bias[side]));
        let (state, mask, layer) = mask(rate.unwrap_or(0.0));
        let layer = rate.map(|_| layer.map(|()| state.at()));
        let projection = |side: usize| Projection {
            kernel: Columns { at: kernels[side].at(), row: width },
            bias: biases.then(|| memory_of_bias[side].at()),
        };
        let columns = |memory: &Memory, row: usize| Columns { at: memory.at(), row };
        let inputs =
            ProjectedInputs { x: columns(&x, dim), query: projection(0), value: projection(1), dropout: layer };
        let empty = |row: usize| Memory::empty(batch * tokens * row, element);
        let (out, dx, dq, dv) = (empty(dim), empty(dim), empty(width), empty(width));
        let logsum = Memory::empty(attention.logsum_len(), Element::F32);
        let kept = Memory::of(&vec![0xFF_u8; kept_bytes(batch, heads, tokens, tokens)]);
        let statistics = Statistics { logsum: logsum.at(), kept: kept.at() };
        let of_output = noise(7, dim);
        let memory_of_output = Memory::of(&of_output);
        let to = Gradients { query: columns(&dq, width), keys: columns(&dx, dim), value: columns(&dv, width) };
        run_all(attention.masks(layer, kept.at()));
        run_all([projected.forward(&inputs, biases.then(|| memory_of_output.at()), out.at(), statistics)]);
        run_all([projected.backward(&inputs, columns(&dout, dim), statistics, to)]);

        let of_x = x.floats(element);
        let [q, v] = [0, 1].map(|side| {
            let bias = biases.then_some(&bias[side][..]);
            let projected = project(&of_x, &kernels[side].floats(element), bias, width);
            Memory::of_floats(&projected, element).floats(element)
        });
        let mut expected = expected(&attention, rate.map(|_| mask), [&q, &of_x, &v, &dout.floats(element)]);
        for (index, out) in expected[0].iter_mut().enumerate().filter(|_| biases) {
            *out += of_output[index % dim];
        }
        let tolerance = tolerance(precision);
        for ((name, ours), expected) in
            [("out", &out), ("dq", &dq), ("dx", &dx), ("dv", &dv)].into_iter().zip(&expected)
        {
            let what = format!("{name} of {attention:?} {rate:?} {biases}");
            assert_near_floats(&ours.floats(element), expected, tolerance, &what);
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_cpu() {
        emulator::matrices_read();
        for (shape, rate, biases) in [
            (shape(1, 16, 1, 16), None, false),
            (shape(2, 37, 2, 20), Some(0.2), true),
            (shape(2, 1, 1, 24), Some(0.2), true),
            (shape(1, 33, 2, 64), None, true),
            (shape(3, 17, 4, 17), Some(0.2), true),
            (shape(2, 18, 3, 8), Some(0.2), false),
        ] {
            for precision in [Precision::Bf16, Precision::Tf32, Precision::F32] {
                check(Attention { precision, ..shape }, rate, biases);
            }
        }
        assert_eq!(emulator::matrices_read().conflicts, 0);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn the_reference_models_heads_as_on_the_cpu() {
        let reference = Attention { precision: Precision::Bf16, ..shape(1, 144, 4, 64) };
        // One image is not worth it, but for a test.
        let whole = Projected::of(&Attention { batch: 256, ..reference }).unwrap();
        assert_eq!((whole.forward_pass(), whole.blocks(whole.forward_pass())), (Pass::Forward { together: 2 }, 1));
        assert_eq!(Projected::of(&reference), None);
        check(reference, Some(0.1), true);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn without_the_diagonal_as_on_the_cpu() {
        for precision in [Precision::Bf16, Precision::F32] {
            check(Attention { precision, diagonal: true, ..shape(2, 19, 1, 24) }, Some(0.2), true);
        }
    }

    #[test]
    fn other_attentions_stay() {
        let own = Attention { precision: Precision::Bf16, ..shape(256, 144, 4, 64) };
        assert!(Projected::of(&own).is_some());
        for other in [
            Attention { shared_keys: false, ..own },
            Attention { summed: false, ..own },
            Attention { sources: 16, ..own },
            Attention { value_dim: 32, ..own },
            // Blocks for heads are more, and all of them at work.
            Attention { batch: 64, ..own },
            // There is no room for two matrices of scores, nor for the operands' parts.
            Attention { tokens: 256, sources: 256, ..own },
            Attention { precision: Precision::F32, ..own },
            Attention { block_memory: 96 << 10, ..own },
        ] {
            assert_eq!(Projected::of(&other), None, "{other:?}");
        }
    }
}
