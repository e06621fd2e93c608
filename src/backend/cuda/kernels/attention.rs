//! Scaled dot-product attention (Vaswani et al. 2017), forward and backward, fused: the weights are
//! never in memory. Which of them dropout keeps has been drawn before, a bit each.
//!
//! Heads up to 128 wide go by tensor cores: a head that fits a multiprocessor as a whole by
//! `attention_whole.cu`, others by `attention_mma.cu`. Wider ones go by plain arithmetic
//! (`attention.cu`). All read and write the same tensors.

use super::{Dropout, int, masks, source, vector};
use crate::backend::cuda::launch::{Arg, Launch, Precision, Source};

pub const SOURCE: Source = source!("attention");
pub const MMA_SOURCE: Source = source!("attention_mma");
pub const WHOLE_SOURCE: Source = source!("attention_whole");

/// Widest head for tensor cores: the sums of a warp's rows are in registers.
const MMA_DIM: usize = 128;
/// Widest for a block that does a whole head, whose warps have more sums.
const WHOLE_DIM: usize = 64;

/// Wider heads than each of these go by a slower kernel.
pub const WIDTHS: &[usize] = &[WHOLE_DIM, MMA_DIM];

/// Extents of one attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    pub batch: usize,
    /// Rows of queries.
    pub tokens: usize,
    /// Rows of keys and values.
    pub sources: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// The score of a token and of the source of the same number is left out.
    pub diagonal: bool,
    /// All heads have the same keys: k is `[batch, sources, key_dim]`. The gradient by it is one for each head all the same.
    pub shared_keys: bool,
    /// The heads' outputs are added later. So the gradient is the same for all heads, `[batch, tokens, value_dim]`; the output is
    /// still one for each head.
    pub summed: bool,
    pub precision: Precision,
    /// Bytes of shared memory that a block may have.
    pub block_memory: usize,
}

/// A tensor of activations `[batch, tokens or sources, heads · dim]` that may be some columns of a
/// wider one, as when q, k and v come from one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns<P> {
    /// Its first element.
    pub at: P,
    /// Elements from one row to the next.
    pub row: usize,
}

/// Inputs of both directions.
#[derive(Debug, Clone)]
pub struct Inputs<P> {
    /// `[batch, tokens, heads · key_dim]`
    pub q: Columns<P>,
    /// `[batch, sources, heads · key_dim]`, or of one head that all share.
    pub k: Columns<P>,
    /// `[batch, sources, heads · value_dim]`
    pub v: Columns<P>,
    /// Of the weights, by their index in `[batch, heads, tokens, sources]`.
    pub dropout: Option<Dropout<P>>,
}

/// What the forward pass leaves for the backward one, and what both read.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<P> {
    /// The base-2 logarithm of the sum of each row's exponentials: float32 `[batch, heads, tokens]`.
    pub logsum: P,
    /// Which weights dropout keeps, a bit each: [`kept_bytes`], by [`Attention::masks`]. Not used without dropout, or by
    /// plain arithmetic, which draws them itself.
    pub kept: P,
}

/// What [`Attention::backward`] takes besides.
#[derive(Debug, Clone)]
pub struct Backward<P> {
    /// Contiguous `[batch, tokens, heads · value_dim]`.
    pub out: P,
    /// The gradient of the output, or of the heads' sum.
    pub dout: Columns<P>,
    pub statistics: Statistics<P>,
    /// Workspace as large as `logsum`.
    pub delta: P,
    /// As the inputs, dk for each head.
    pub dq: Columns<P>,
    pub dk: Columns<P>,
    pub dv: Columns<P>,
}

/// How the work is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// By tensor cores, a block for a head, of so many warps.
    Whole { warps: usize },
    /// By tensor cores: warps of a block, and rows of the other side that pass by at a time.
    Mma { warps: usize, tile: usize },
    /// Rows of a warp.
    Plain { rows: usize },
}

/// Which kernel: its rows are tokens, or sources, or first these and then those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    ByQuery,
    ByKey,
    Backward,
}

/// Warps of a block so that few of the 16-row tiles are empty; more warps share what passes by.
fn warps(rows: usize) -> usize {
    let tiles = rows.div_ceil(16);
    let cost = |warps: usize| tiles.div_ceil(warps) * (warps + 1);
    (1..=5).min_by_key(|&warps| cost(warps)).unwrap_or(1)
}

/// Rows in shared memory at a time, so that few are empty; each exchange costs about 12 more.
fn tile(rows: usize) -> usize {
    [80, 64, 48, 32, 16].into_iter().min_by_key(|tile| rows.div_ceil(*tile) * (tile + 12)).unwrap_or(16)
}

/// Elements of a row in shared memory: eight more than a multiple of 16, so that rows lie in different banks.
pub(super) fn pitch(width: usize) -> usize {
    width.next_multiple_of(16) + 8
}

impl Attention {
    fn widest(&self) -> usize {
        self.key_dim.max(self.value_dim)
    }

    fn parts(&self) -> usize {
        parts(self.precision)
    }

    fn path(&self, pass: Pass) -> Path {
        if self.widest() > MMA_DIM {
            return Path::Plain { rows: (512 / self.widest()).clamp(1, 4) };
        }
        match pass {
            // Operands of several parts leave room for one block, so no other would compute while it loads.
            Pass::Forward if self.parts() > 1 => {}
            Pass::Forward | Pass::Backward => {
                let rows = if pass == Pass::Forward { self.tokens } else { self.tokens.max(self.sources) };
                let whole = Path::Whole { warps: rows.div_ceil(16) };
                if self.widest() <= WHOLE_DIM && self.blocks(pass, whole) > 0 {
                    return whole;
                }
            }
            Pass::ByQuery | Pass::ByKey => {}
        }
        let [own, other] = if pass == Pass::ByKey { [self.sources, self.tokens] } else { [self.tokens, self.sources] };
        Path::Mma { warps: warps(own), tile: tile(other) }
    }

    /// Blocks that fit a multiprocessor, each with a whole head.
    fn blocks(&self, pass: Pass, path: Path) -> usize {
        let Path::Whole { warps } = path else { return 0 };
        let by_memory = self.block_memory / (self.shared_bytes(pass, path) + RESERVED);
        let narrow = self.parts() == 1 && pitch(self.key_dim) + pitch(self.value_dim) <= 2 * pitch(48);
        let registers = match pass {
            Pass::Forward => 96,
            _ if narrow => 128,
            _ => 160,
        };
        (0..=MOST_BLOCKS.min(by_memory)).rfind(|blocks| registers_of(blocks * warps) >= registers).unwrap_or(0)
    }

    /// Shared memory of a block.
    fn shared_bytes(&self, pass: Pass, path: Path) -> usize {
        let [key, value] = [self.key_dim, self.value_dim].map(pitch);
        let (elements, floats) = match (path, pass) {
            (Path::Whole { warps }, Pass::Forward) => {
                (16 * warps * key.max(value) + self.sources.next_multiple_of(16) * (key + value), 0)
            }
            (Path::Whole { warps }, _) => {
                (16 * warps * (2 * key + value + value.max(pitch(self.tokens))), 2 * self.tokens.next_multiple_of(16))
            }
            (Path::Mma { warps, tile }, _) => {
                let held = if pass == Pass::Forward { key.max(value) } else { key + value };
                (16 * warps * held + tile * (key + value), 2 * tile)
            }
            (Path::Plain { rows }, _) => (0, 4 * rows * (self.key_dim + self.value_dim)),
        };
        2 * self.parts() * elements + 4 * floats
    }

    /// Floats of `logsum`: `[batch, heads, tokens]`.
    #[must_use]
    pub fn logsum_len(&self) -> usize {
        self.batch * self.heads * self.tokens
    }

    fn out_row(&self) -> usize {
        self.heads * self.value_dim
    }

    /// Draws which weights dropout keeps, for both directions, if they do not draw them themselves.
    pub fn masks<P>(&self, dropout: Option<Dropout<P>>, kept: P) -> Option<Launch<P>> {
        let Self { batch, heads, tokens, sources, .. } = *self;
        let plain = matches!(self.path(Pass::Forward), Path::Plain { .. });
        let dropout = dropout.filter(|_| !plain)?;
        Some(masks::of_attention([batch, heads, tokens, sources], dropout, kept))
    }

    /// `out = dropout(softmax(scale q·kᵀ))·v`, head by head; `out` is contiguous `[batch,
    /// tokens, heads · value_dim]`. Writes the statistics for [`Attention::backward`].
    pub fn forward<P: Copy>(&self, inputs: Inputs<P>, out: P, statistics: Statistics<P>) -> Launch<P> {
        let path = self.path(Pass::Forward);
        let rows = [inputs.q.row, inputs.k.row, inputs.v.row, self.out_row()];
        let mut args = self.inputs(&inputs, path);
        args.extend(dropped(&inputs, path, statistics));
        args.extend([Arg::Pointer(out), row(self.out_row()), Arg::Pointer(statistics.logsum)]);
        self.launch("forward", Pass::Forward, &rows, &inputs, args)
    }

    /// Gradients by q, k and v from that by the output: with D the factors of dropout, P the weights
    /// and `delta` the sums of `out·dout` over rows, `dV = (P·D)ᵀ·dO`, `dS = P·((dO·Vᵀ)·D - delta)`,
    /// `dQ = scale dS·K`, `dK = scale dSᵀ·Q`. One launch that makes all three, or two,
    /// the one after the other, the first of which makes dQ.
    pub fn backward<P: Copy>(&self, inputs: &Inputs<P>, with: &Backward<P>) -> Vec<Launch<P>> {
        let Backward { out, dout, statistics, delta, dq, dk, dv } = *with;
        let rows = [inputs.q.row, inputs.k.row, inputs.v.row, self.out_row(), dout.row, dq.row, dk.row, dv.row];
        let path = self.path(Pass::Backward);
        let mut shared = self.inputs(inputs, path);
        shared.extend(dropped(inputs, path, statistics));
        let (out, dout) = ([Arg::Pointer(out), row(self.out_row())], [Arg::Pointer(dout.at), row(dout.row)]);
        let (logsum, delta) = (Arg::Pointer(statistics.logsum), Arg::Pointer(delta));
        let columns =
            |to: &[Columns<P>]| to.iter().flat_map(|to| [Arg::Pointer(to.at), row(to.row)]).collect::<Vec<_>>();
        let join = |parts: &[&[Arg<P>]]| [&shared[..]].iter().chain(parts).flat_map(|part| part.to_vec()).collect();
        if let Path::Whole { .. } = path {
            let args = join(&[&out, &dout, &[logsum], &columns(&[dq, dk, dv])]);
            return vec![self.launch("backward", Pass::Backward, &rows, inputs, args)];
        }
        let by_q = join(&[&out, &dout, &[logsum.clone(), delta.clone()], &columns(&[dq])]);
        let by_kv = join(&[&dout, &[logsum, delta], &columns(&[dk, dv])]);
        vec![
            self.launch("backward_q", Pass::ByQuery, &rows, inputs, by_q),
            self.launch("backward_kv", Pass::ByKey, &rows, inputs, by_kv),
        ]
    }

    fn inputs<P: Copy>(&self, inputs: &Inputs<P>, path: Path) -> Vec<Arg<P>> {
        let mut args = Vec::new();
        if let Path::Plain { .. } = path {
            args.extend([Arg::I32(int(self.tokens)), Arg::I32(int(self.sources)), Arg::F32(self.scale)]);
        }
        for tensor in [inputs.q, inputs.k, inputs.v] {
            args.extend([Arg::Pointer(tensor.at), row(tensor.row)]);
        }
        args
    }

    /// `rows` are the lengths of all rows that are moved.
    fn launch<P>(
        &self,
        entry: &'static str,
        pass: Pass,
        rows: &[usize],
        inputs: &Inputs<P>,
        args: Vec<Arg<P>>,
    ) -> Launch<P> {
        let Self { batch, tokens, sources, heads, key_dim, value_dim, precision, .. } = *self;
        let element = precision.element();
        let vectors = rows.iter().chain([&key_dim, &value_dim]).map(|&len| vector(len, element.vector())).min();
        let own = if pass == Pass::ByKey { sources } else { tokens };
        let dim = |name, value: usize| (name, value.to_string());
        let mut defines = vec![
            ("ACT", element.name().to_owned()),
            dim("KEY_DIM", key_dim),
            dim("VALUE_DIM", value_dim),
            dim("KEY_STEP", if self.shared_keys { 0 } else { key_dim }),
            dim("DOUT_STEP", if self.summed && pass != Pass::Forward { 0 } else { value_dim }),
            dim("VECTOR", vectors.unwrap_or(1)),
        ];
        if inputs.dropout.is_some() {
            defines.push(dim("DROPOUT", 1));
        }
        if self.diagonal {
            defines.push(dim("DIAGONAL", 1));
        }
        let path = self.path(pass);
        let shared = self.shared_bytes(pass, path);
        if let Path::Whole { warps } | Path::Mma { warps, .. } = path {
            defines.extend([
                dim("PARTS", self.parts()),
                dim("TOKENS", tokens),
                dim("SOURCES", sources),
                dim("HEADS", heads),
                ("SCALE", format!("{:e}f", self.scale)),
                dim("WARPS", warps),
            ]);
        }
        let [heads, batch] = [heads, batch].map(|extent| extent as u32);
        let (source, threads, grid) = match path {
            Path::Whole { warps } => {
                defines.push(dim("BLOCKS", self.blocks(pass, path)));
                (WHOLE_SOURCE, 32 * warps, [heads, batch, 1])
            }
            Path::Mma { warps, tile } => {
                defines.push(dim("TILE", tile));
                (MMA_SOURCE, 32 * warps, [own.div_ceil(16 * warps) as u32, heads, batch])
            }
            Path::Plain { rows } => {
                defines.push(dim("ROWS", rows));
                (SOURCE, 128, [own.div_ceil(4 * rows) as u32, heads, batch])
            }
        };
        Launch { source, defines, entry, grid, block: [threads as u32, 1, 1], shared_bytes: shared as u32, args }
    }
}

/// bfloat16 matrices whose sum is an operand: `mma.cuh` says how exact that is.
pub(super) fn parts(precision: Precision) -> usize {
    match precision {
        Precision::Bf16 => 1,
        Precision::Tf32 => 2,
        Precision::F32 => 3,
    }
}

/// Registers that a thread may have where so many warps are on a multiprocessor.
pub(super) fn registers_of(warps: usize) -> usize {
    // Of a multiprocessor, and the most of a thread; they are given out in eights.
    const REGISTERS: usize = 65536;
    const MOST: usize = 255;
    // Warps belong to a quarter of the multiprocessor, in turns.
    (REGISTERS / 4 / 32 / warps.div_ceil(4).max(1) / 8 * 8).min(MOST)
}

/// Shared memory that a block has besides.
pub(super) const RESERVED: usize = 1024;
/// More blocks on a multiprocessor are not asked for.
const MOST_BLOCKS: usize = 8;

/// Bytes of [`Statistics::kept`]: 16 bits for each token and 16 sources, both filled up to multiples of 16.
#[must_use]
pub fn kept_bytes(batch: usize, heads: usize, tokens: usize, sources: usize) -> usize {
    2 * batch * heads * sources.div_ceil(16) * tokens.next_multiple_of(16)
}

/// What a kernel is told of dropout.
fn dropped<P: Copy>(inputs: &Inputs<P>, path: Path, statistics: Statistics<P>) -> Vec<Arg<P>> {
    match (path, &inputs.dropout) {
        (Path::Plain { .. }, dropout) => Dropout::args(*dropout).to_vec(),
        (_, dropout) => kept(dropout.as_ref(), statistics).to_vec(),
    }
}

/// What a kernel is told of dropout that has been drawn before.
pub(super) fn kept<P: Copy>(dropout: Option<&Dropout<P>>, statistics: Statistics<P>) -> [Arg<P>; 2] {
    match dropout {
        Some(dropout) => [Arg::Pointer(statistics.kept), Arg::F32(dropout.scale())],
        None => [Arg::Null, Arg::F32(1.0)],
    }
}

pub(super) fn row<P>(elements: usize) -> Arg<P> {
    Arg::U32(int(elements) as u32)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{attention as cpu, dropout::Mask, isa::tests::noise},
        cuda::{
            emulator::{self, Memory, run_all},
            kernels::tests::{assert_near_floats, mask},
            launch::Element,
        },
    };

    /// Of the CPU backend: out, dq, dk, dv.
    pub fn expected(attention: &Attention, mask: Option<Mask>, [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f32>; 4] {
        let Attention {
            batch, tokens, sources, heads, key_dim, value_dim, scale, diagonal, shared_keys, summed, ..
        } = *attention;
        let mut all: [Vec<f32>; 4] = Default::default();
        for image in 0..batch {
            let one = cpu::Attention {
                tokens,
                sources,
                heads,
                key_dim,
                value_dim,
                scale,
                shared_keys,
                summed,
                diagonal,
                mask,
                image,
            };
            let part = |tensor: &'_ [f32]| tensor.len() / batch;
            let of = |tensor: &[f32]| tensor[image * part(tensor)..][..part(tensor)].to_vec();
            let (q, k, v, dout) = (of(q), of(k), of(v), of(dout));
            let mut out = vec![0.0; dout.len()];
            let mut grads = [q.clone(), k.clone(), v.clone()];
            let mut scratch = vec![0.0; one.forward_scratch_len().max(one.backward_scratch_len())];
            let mut kept = vec![0.0; one.kept_len(mask.is_some())];
            one.forward(&q, &k, &v, &mut out, &mut [], &mut kept, &mut scratch);
            let [dq, dk, dv] = &mut grads;
            one.backward(&q, &k, &v, &out, &kept, &dout, dq, dk, dv, &mut scratch);
            let [dq, dk, dv] = grads;
            for (all, part) in all.iter_mut().zip([out, dq, dk, dv]) {
                all.extend(part);
            }
        }
        all
    }

    /// How far a result may be from the CPU backend's.
    pub fn tolerance(precision: Precision) -> f64 {
        match precision {
            Precision::Bf16 => 2e-2,
            Precision::Tf32 => 1e-4,
            Precision::F32 => 2e-5,
        }
    }

    fn check(attention: Attention, dropout: Option<f32>) {
        check_within(1.0, attention, dropout);
    }

    /// The same within so many times the distance.
    fn check_within(times: f64, attention: Attention, dropout: Option<f32>) {
        let Attention { batch, tokens, sources, heads, key_dim, value_dim, shared_keys, summed, precision, .. } =
            attention;
        let element = precision.element();
        let what = format!("{attention:?} {dropout:?}");
        let (query_row, value_row) = (heads * key_dim, heads * value_dim);
        let key_row = if shared_keys { key_dim } else { query_row };
        let dout_row = if summed { value_dim } else { value_row };
        let tensor = |seed: u32, rows: usize, row: usize, scale: f32| {
            let values: Vec<f32> = noise(seed, batch * rows * row).iter().map(|x| scale * x).collect();
            Memory::of_floats(&values, element)
        };
        let (q, k) = (tensor(1, tokens, query_row, 3.0), tensor(2, sources, key_row, 1.0));
        let (v, dout) = (tensor(3, sources, value_row, 1.0), tensor(4, tokens, dout_row, 1.0));
        let empty = |rows: usize, row: usize| Memory::empty(batch * rows * row, element);
        let (out, dv) = (empty(tokens, value_row), empty(sources, value_row));
        let (dq, dk) = (empty(tokens, query_row), empty(sources, query_row));
        let [logsum, delta] = [0, 1].map(|_| Memory::empty(attention.logsum_len(), Element::F32));
        let (state, mask, layer) = mask(dropout.unwrap_or(0.0));
        let layer = dropout.map(|_| layer.map(|()| state.at()));
        let columns = |memory: &Memory, row: usize| Columns { at: memory.at(), row };
        let inputs =
            Inputs { q: columns(&q, query_row), k: columns(&k, key_row), v: columns(&v, value_row), dropout: layer };
        let bits = Memory::of(&vec![0xFF_u8; kept_bytes(batch, heads, tokens, sources)]);
        let statistics = Statistics { logsum: logsum.at(), kept: bits.at() };
        let with = Backward {
            out: out.at(),
            dout: columns(&dout, dout_row),
            statistics,
            delta: delta.at(),
            dq: columns(&dq, query_row),
            dk: columns(&dk, query_row),
            dv: columns(&dv, value_row),
        };
        run_all(attention.masks(layer, bits.at()));
        run_all([attention.forward(inputs.clone(), out.at(), statistics)]);
        run_all(attention.backward(&inputs, &with));
        let given = [&q, &k, &v, &dout].map(|memory| memory.floats(element));
        let given = [&given[0][..], &given[1], &given[2], &given[3]];
        let expected = expected(&attention, dropout.map(|_| mask), given);
        let tolerance = tolerance(precision);
        let heads_of = |summed: bool| if summed { heads } else { 1 };
        let ours = [
            (&out, heads_of(summed), dout_row),
            (&dq, 1, query_row),
            (&dk, heads_of(shared_keys), key_row),
            (&dv, 1, value_row),
        ];
        for ((name, (ours, heads, width)), expected) in ["out", "dq", "dk", "dv"].iter().zip(ours).zip(&expected) {
            let ours = sum_heads(&ours.floats(element), heads, width);
            assert_near_floats(&ours, expected, times * tolerance, &format!("{name} of {what}"));
        }
    }

    /// `[rows, heads · width]` to `[rows, width]`.
    fn sum_heads(of: &[f32], heads: usize, width: usize) -> Vec<f32> {
        let row = |row: &[f32]| -> Vec<f32> { (0..width).map(|i| row.iter().skip(i).step_by(width).sum()).collect() };
        of.chunks(heads * width).flat_map(row).collect()
    }

    pub fn shape(
        batch: usize,
        [tokens, sources]: [usize; 2],
        heads: usize,
        [key_dim, value_dim]: [usize; 2],
    ) -> Attention {
        let block_memory = crate::backend::cuda::device::BLOCK_MEMORY;
        Attention {
            batch,
            tokens,
            sources,
            heads,
            key_dim,
            value_dim,
            scale: 1.0 / (key_dim as f32).sqrt(),
            diagonal: false,
            shared_keys: false,
            summed: false,
            precision: Precision::F32,
            block_memory,
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn plain_as_on_the_cpu() {
        for (dims, rate) in [([150, 33], Some(0.2)), ([300, 8], None)] {
            check(shape(2, [7, 7], 3, dims), rate);
            check(shape(1, [37, 34], 2, dims), rate);
        }
        let wide = Attention { precision: Precision::Bf16, ..shape(1, [9, 6], 2, [136, 24]) };
        check(wide, Some(0.1));
    }

    /// Of each precision: heads of many shapes, those that a block does as a whole and those that pass by in tiles.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn by_tensor_cores_as_on_the_cpu() {
        let shapes = [
            (shape(1, [16, 16], 1, [16, 16]), None),
            (shape(2, [48, 48], 2, [64, 64]), Some(0.2)),
            (shape(1, [37, 83], 2, [20, 17]), Some(0.2)),
            (shape(1, [65, 40], 1, [24, 40]), Some(0.2)),
            (shape(2, [1, 37], 1, [32, 32]), Some(0.2)),
            (shape(1, [100, 37], 1, [32, 32]), None),
            (shape(1, [19, 33], 1, [128, 96]), Some(0.2)),
            // As many warps as a block has.
            (shape(1, [256, 250], 1, [48, 48]), Some(0.2)),
            (shape(1, [241, 256], 1, [40, 48]), None),
        ];
        emulator::matrices_read();
        let (mut whole, mut tiles) = (0, 0);
        for (shape, rate) in shapes {
            for precision in [Precision::Bf16, Precision::Tf32, Precision::F32] {
                for block_memory in [shape.block_memory, 0] {
                    let attention = Attention { precision, block_memory, ..shape };
                    match attention.path(Pass::Backward) {
                        Path::Whole { .. } => whole += 1,
                        Path::Mma { .. } => tiles += 1,
                        Path::Plain { .. } => panic!("{attention:?}"),
                    }
                    check(attention, rate);
                }
            }
        }
        assert_eq!((whole, tiles), (20, 34));
        assert_eq!(emulator::matrices_read().conflicts, 0);
    }

    /// Of each kernel: with one key for all heads, with the sum of their outputs, and with both.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn heads_that_share_as_on_the_cpu() {
        for (rows, dims, rate) in
            [([9, 7], [150, 9], Some(0.2)), ([37, 21], [24, 40], Some(0.2)), ([33, 33], [16, 16], None)]
        {
            for (shared_keys, summed) in [(true, false), (false, true), (true, true)] {
                for (precision, block_memory) in [(Precision::Bf16, 1 << 17), (Precision::Bf16, 0), (Precision::F32, 0)]
                {
                    let plain = Attention { precision, block_memory, ..shape(2, rows, 3, dims) };
                    check(Attention { scale: 0.3, shared_keys, summed, ..plain }, rate);
                }
            }
        }
    }

    /// Scores of later sources are far larger than those of the first, so that sums are multiplied anew, or a little, so that they
    /// are not.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn scores_that_outgrow_the_first() {
        for precision in [Precision::Bf16, Precision::F32] {
            for block_memory in [crate::backend::cuda::device::BLOCK_MEMORY, 0] {
                let plain = shape(1, [37, 150], 2, [24, 40]);
                check_within(2.0, Attention { scale: 1.0, precision, block_memory, ..plain }, Some(0.2));
            }
        }
    }

    /// Of each kernel, with a scale of its own.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn without_the_diagonal_as_on_the_cpu() {
        for (rows, dims, rate) in [
            (37, [150, 9], Some(0.2)),
            (2, [5, 3], None),
            (49, [24, 40], Some(0.2)),
            (33, [16, 16], None),
            (17, [8, 8], None),
        ] {
            for precision in [Precision::Bf16, Precision::F32] {
                for memory in [crate::backend::cuda::device::BLOCK_MEMORY, 0] {
                    let plain = shape(2, [rows, rows], 2, dims);
                    check(Attention { precision, block_memory: memory, scale: 0.3, diagonal: true, ..plain }, rate);
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn columns_of_one_product() {
        let attention = Attention { precision: Precision::Bf16, ..shape(2, [20, 20], 2, [16, 16]) };
        let whole = Memory::of_floats(&noise(1, 2 * 20 * 96), Element::Bf16);
        let pack = |columns: std::ops::Range<usize>| -> Vec<f32> {
            let floats = whole.floats(Element::Bf16);
            floats.chunks(96).flat_map(|row| row[columns.clone()].to_vec()).collect()
        };
        let [q, k, v] = [0..32, 32..64, 64..96].map(|columns| Memory::of_floats(&pack(columns), Element::Bf16));
        let run = |tensors: [(*mut u8, usize); 3]| {
            let [q, k, v] = tensors.map(|(at, row)| Columns { at, row });
            let (out, logsum) = (Memory::empty(2 * 20 * 32, Element::Bf16), Memory::empty(80, Element::F32));
            let statistics = Statistics { logsum: logsum.at(), kept: logsum.at() };
            run_all([attention.forward(Inputs { q, k, v, dropout: None }, out.at(), statistics)]);
            out.read::<u16>()
        };
        let at = |start: usize| whole.at().wrapping_add(2 * start);
        let apart = run([(q.at(), 32), (k.at(), 32), (v.at(), 32)]);
        assert_eq!(run([(at(0), 96), (at(32), 96), (at(64), 96)]), apart);
    }

    #[test]
    fn few_rows_are_empty() {
        assert_eq!((warps(144), tile(144)), (3, 48));
        assert_eq!((warps(65), tile(65)), (5, 80));
        assert_eq!(tile(16), 16);
        for rows in 1..600_usize {
            assert!(rows.div_ceil(tile(rows)) * tile(rows) < rows + 64, "{rows}");
        }
    }
}
