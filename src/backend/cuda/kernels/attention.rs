//! Scaled dot-product attention (Vaswani et al. 2017), forward and backward, fused: the weights are
//! never in memory, dropout masks are drawn again in each pass.
//!
//! bfloat16 heads up to 128 wide go by tensor cores (`attention_mma.cu`), all others by plain
//! arithmetic (`attention.cu`); both read and write the same tensors.

use super::{Dropout, int, source, vector};
use crate::backend::cuda::launch::{Arg, Element, Launch, Precision, Source};

pub const SOURCE: Source = source!("attention");
pub const MMA_SOURCE: Source = source!("attention_mma");

/// Widest head for tensor cores: the sums of a warp's rows are in registers.
const MMA_DIM: usize = 128;

/// Extents of one attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    pub batch: usize,
    /// Rows of queries.
    pub tokens: usize,
    /// Rows of keys and values.
    pub sources: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    pub precision: Precision,
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
    /// `[batch, sources, heads · key_dim]`
    pub k: Columns<P>,
    /// `[batch, sources, heads · value_dim]`
    pub v: Columns<P>,
    /// Of the weights, by their index in `[batch, heads, tokens, sources]`.
    pub dropout: Option<Dropout<P>>,
}

/// What [`Attention::backward`] takes besides.
#[derive(Debug, Clone)]
pub struct Backward<P> {
    /// The output and its gradient, contiguous `[batch, tokens, heads · value_dim]`.
    pub out: P,
    pub dout: P,
    /// As [`Attention::forward`] left it.
    pub logsum: P,
    /// Workspace as large as `logsum`.
    pub delta: P,
    /// As the inputs.
    pub dq: Columns<P>,
    pub dk: Columns<P>,
    pub dv: Columns<P>,
}

/// How the work is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// By tensor cores: warps of a block for rows of tokens and of sources, and rows of sources and
    /// of tokens that pass by at a time.
    Mma { warps: [usize; 2], tiles: [usize; 2] },
    /// Rows of a warp.
    Plain { rows: usize },
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

impl Attention {
    fn path(&self) -> Path {
        let widest = self.key_dim.max(self.value_dim);
        if self.precision == Precision::Bf16 && widest <= MMA_DIM {
            let Self { tokens, sources, .. } = *self;
            return Path::Mma { warps: [warps(tokens), warps(sources)], tiles: [tile(sources), tile(tokens)] };
        }
        Path::Plain { rows: (512 / widest).clamp(1, 4) }
    }

    /// Floats of `logsum`: `[batch, heads, tokens]`.
    #[must_use]
    pub fn logsum_len(&self) -> usize {
        self.batch * self.heads * self.tokens
    }

    fn out_row(&self) -> usize {
        self.heads * self.value_dim
    }

    /// `out = dropout(softmax(q·kᵀ / sqrt(key_dim)))·v`, head by head; `out` is contiguous `[batch,
    /// tokens, heads · value_dim]`. `logsum` receives the base-2 logarithm of the sum of each row's
    /// exponentials, [`Attention::logsum_len`] float32, for [`Attention::backward`].
    pub fn forward<P: Copy>(&self, inputs: Inputs<P>, out: P, logsum: P) -> Launch<P> {
        let rows = [inputs.q.row, inputs.k.row, inputs.v.row, self.out_row()];
        let mut args = self.inputs(&inputs);
        args.extend(Dropout::args(inputs.dropout));
        args.extend([Arg::Pointer(out), row(self.out_row()), Arg::Pointer(logsum)]);
        self.launch("forward", 0, &rows, &inputs, args)
    }

    /// Gradients by q, k and v from that by the output: with D the factors of dropout, P the weights
    /// and `delta` the sums of `out·dout` over rows, `dV = (P·D)ᵀ·dO`, `dS = P·((dO·Vᵀ)·D - delta)`,
    /// `dQ = dS·K / sqrt(key_dim)`, `dK = dSᵀ·Q / sqrt(key_dim)`. Two launches, the one after the
    /// other.
    pub fn backward<P: Copy>(&self, inputs: &Inputs<P>, with: &Backward<P>) -> [Launch<P>; 2] {
        let Backward { out, dout, logsum, delta, dq, dk, dv } = *with;
        let rows = [inputs.q.row, inputs.k.row, inputs.v.row, self.out_row(), dq.row, dk.row, dv.row];
        let mut by_q = self.inputs(inputs);
        by_q.extend(Dropout::args(inputs.dropout));
        by_q.extend([Arg::Pointer(out), Arg::Pointer(dout), row(self.out_row())]);
        by_q.extend([Arg::Pointer(logsum), Arg::Pointer(delta), Arg::Pointer(dq.at), row(dq.row)]);
        let mut by_kv = self.inputs(inputs);
        by_kv.extend(Dropout::args(inputs.dropout));
        by_kv.extend([Arg::Pointer(dout), row(self.out_row()), Arg::Pointer(logsum), Arg::Pointer(delta)]);
        by_kv.extend([Arg::Pointer(dk.at), row(dk.row), Arg::Pointer(dv.at), row(dv.row)]);
        [self.launch("backward_q", 0, &rows, inputs, by_q), self.launch("backward_kv", 1, &rows, inputs, by_kv)]
    }

    fn inputs<P: Copy>(&self, inputs: &Inputs<P>) -> Vec<Arg<P>> {
        let mut args = Vec::new();
        if let Path::Plain { .. } = self.path() {
            args.extend([Arg::I32(int(self.tokens)), Arg::I32(int(self.sources)), Arg::F32(self.scale())]);
        }
        for tensor in [inputs.q, inputs.k, inputs.v] {
            args.extend([Arg::Pointer(tensor.at), row(tensor.row)]);
        }
        args
    }

    fn scale(&self) -> f32 {
        1.0 / (self.key_dim as f32).sqrt()
    }

    /// A launch whose warps do rows of tokens (`side` 0) or of sources (1). `rows` are the lengths of
    /// all rows that are moved.
    fn launch<P>(
        &self,
        entry: &'static str,
        side: usize,
        rows: &[usize],
        inputs: &Inputs<P>,
        args: Vec<Arg<P>>,
    ) -> Launch<P> {
        let Self { batch, tokens, sources, heads, key_dim, value_dim, precision } = *self;
        let vectors = |largest: usize| rows.iter().chain([&key_dim, &value_dim]).map(|&len| vector(len, largest)).min();
        let own = [tokens, sources][side];
        let dim = |name, value: usize| (name, value.to_string());
        let mut defines = vec![dim("KEY_DIM", key_dim), dim("VALUE_DIM", value_dim)];
        if inputs.dropout.is_some() {
            defines.push(dim("DROPOUT", 1));
        }
        let (source, block, blocks, shared) = match self.path() {
            Path::Mma { warps, tiles } => {
                let (warps, tile) = (warps[side], tiles[side]);
                defines.extend([
                    dim("TOKENS", tokens),
                    dim("SOURCES", sources),
                    dim("HEADS", heads),
                    ("SCALE", format!("{:e}f", self.scale())),
                    dim("WARPS", warps),
                    dim("TILE", tile),
                    dim("VECTOR", vectors(Element::Bf16.vector()).unwrap_or(1)),
                ]);
                let [key_pitch, value_pitch] = [key_dim, value_dim].map(|dim| dim.next_multiple_of(16) + 8);
                let held = match entry {
                    "forward" => key_pitch.max(value_pitch),
                    _ => key_pitch + value_pitch,
                };
                let elements = 16 * warps * held + tile * (key_pitch + value_pitch);
                (MMA_SOURCE, 32 * warps, own.div_ceil(16 * warps), 2 * elements + 8 * tile)
            }
            Path::Plain { rows } => {
                let element = precision.element();
                defines.extend([
                    ("ACT", element.name().to_owned()),
                    dim("ROWS", rows),
                    dim("VECTOR", vectors(element.vector()).unwrap_or(1)),
                ]);
                (SOURCE, 128, own.div_ceil(4 * rows), 4 * 4 * rows * (key_dim + value_dim))
            }
        };
        Launch {
            source,
            defines,
            entry,
            grid: [blocks as u32, heads as u32, batch as u32],
            block: [block as u32, 1, 1],
            shared_bytes: shared as u32,
            args,
        }
    }
}

fn row<P>(elements: usize) -> Arg<P> {
    Arg::U32(int(elements) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{attention as cpu, dropout::Mask, isa::tests::noise},
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{assert_near_floats, mask},
        },
    };

    /// Of the CPU backend: out, dq, dk, dv.
    fn expected(attention: &Attention, mask: Option<Mask>, [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f32>; 4] {
        let Attention { batch, tokens, sources, heads, key_dim, value_dim, .. } = *attention;
        let mut all: [Vec<f32>; 4] = Default::default();
        for image in 0..batch {
            let one = cpu::Attention { tokens, sources, heads, key_dim, value_dim, mask, image };
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

    fn check(attention: Attention, dropout: Option<f32>) {
        let Attention { batch, tokens, sources, heads, key_dim, value_dim, precision } = attention;
        let element = precision.element();
        let what = format!("{attention:?} {dropout:?}");
        let (key_row, value_row) = (heads * key_dim, heads * value_dim);
        let tensor = |seed: u32, rows: usize, row: usize, scale: f32| {
            let values: Vec<f32> = noise(seed, batch * rows * row).iter().map(|x| scale * x).collect();
            Memory::of_floats(&values, element)
        };
        let (q, k) = (tensor(1, tokens, key_row, 3.0), tensor(2, sources, key_row, 1.0));
        let (v, dout) = (tensor(3, sources, value_row, 1.0), tensor(4, tokens, value_row, 1.0));
        let empty = |memory: &Memory| Memory::empty(memory.floats(element).len(), element);
        let [out, dq, dk, dv] = [&dout, &q, &k, &v].map(empty);
        let [logsum, delta] = [0, 1].map(|_| Memory::empty(attention.logsum_len(), Element::F32));
        let (state, mask, layer) = mask(dropout.unwrap_or(0.0));
        let layer = dropout.map(|_| layer.map(|()| state.at()));
        let columns = |memory: &Memory, row: usize| Columns { at: memory.at(), row };
        let inputs =
            Inputs { q: columns(&q, key_row), k: columns(&k, key_row), v: columns(&v, value_row), dropout: layer };
        let with = Backward {
            out: out.at(),
            dout: dout.at(),
            logsum: logsum.at(),
            delta: delta.at(),
            dq: columns(&dq, key_row),
            dk: columns(&dk, key_row),
            dv: columns(&dv, value_row),
        };
        run_all([attention.forward(inputs.clone(), out.at(), logsum.at())]);
        run_all(attention.backward(&inputs, &with));
        let given = [&q, &k, &v, &dout].map(|memory| memory.floats(element));
        let given = [&given[0][..], &given[1], &given[2], &given[3]];
        let expected = expected(&attention, dropout.map(|_| mask), given);
        let tolerance = if element == Element::F32 { 2e-5 } else { 2e-2 };
        for ((name, ours), expected) in ["out", "dq", "dk", "dv"].iter().zip([&out, &dq, &dk, &dv]).zip(&expected) {
            assert_near_floats(&ours.floats(element), expected, tolerance, &format!("{name} of {what}"));
        }
    }

    fn shape(batch: usize, [tokens, sources]: [usize; 2], heads: usize, [key_dim, value_dim]: [usize; 2]) -> Attention {
        Attention { batch, tokens, sources, heads, key_dim, value_dim, precision: Precision::F32 }
    }

    #[test]
    fn plain_as_on_the_cpu() {
        for (dims, rate) in [([5, 7], None), ([16, 16], Some(0.2)), ([40, 33], Some(0.2)), ([300, 8], None)] {
            check(shape(2, [7, 7], 3, dims), rate);
            check(shape(1, [37, 34], 2, dims), rate);
        }
        let wide = Attention { precision: Precision::Bf16, ..shape(1, [9, 6], 2, [136, 24]) };
        check(wide, Some(0.1));
    }

    #[test]
    fn by_tensor_cores_as_on_the_cpu() {
        let check = |shape: Attention, rate| check(Attention { precision: Precision::Bf16, ..shape }, rate);
        check(shape(1, [16, 16], 1, [16, 16]), None);
        check(shape(2, [48, 48], 2, [64, 64]), Some(0.2));
        check(shape(1, [37, 83], 2, [20, 17]), Some(0.2));
        check(shape(1, [65, 40], 1, [24, 40]), Some(0.2));
        check(shape(1, [100, 37], 1, [32, 32]), Some(0.2));
        check(shape(1, [19, 33], 1, [128, 96]), None);
    }

    #[test]
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
            run_all([attention.forward(Inputs { q, k, v, dropout: None }, out.at(), logsum.at())]);
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
