//! The AdamW update of all parameters in one launch.

use bytemuck::{Pod, Zeroable};

use super::source;
use crate::{
    backend::cuda::launch::{Arg, Launch, Source},
    graph::ops::AdamWUpdate,
};

pub const SOURCE: Source = source!("adamw");

const THREADS: u32 = 256;
/// Elements of a block.
const CHUNK: usize = 4096;

/// A parameter and what belongs to it, by addresses in the device's memory (multiples of 16). All
/// float32 but the shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    pub parameter: u64,
    pub gradient: u64,
    pub m: u64,
    pub v: u64,
    /// Its bfloat16 copy for matmuls, or 0.
    pub shadow: u64,
    pub len: usize,
}

/// `Chunk` of `adamw.cu`: the part of a tensor that one block updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    parameter: u64,
    gradient: u64,
    m: u64,
    v: u64,
    shadow: u64,
    count: u64,
}

/// The table that [`step`] wants in device memory.
#[must_use]
pub fn chunks(tensors: &[Tensor]) -> Vec<Chunk> {
    let of = |tensor: &Tensor| {
        let tensor = *tensor;
        (0..tensor.len).step_by(CHUNK).map(move |start| {
            let float = |base: u64| base + 4 * start as u64;
            Chunk {
                parameter: float(tensor.parameter),
                gradient: float(tensor.gradient),
                m: float(tensor.m),
                v: float(tensor.v),
                shadow: if tensor.shadow == 0 { 0 } else { tensor.shadow + 2 * start as u64 },
                count: CHUNK.min(tensor.len - start) as u64,
            }
        })
    };
    tensors.iter().flat_map(of).collect()
}

/// One update of every tensor of the table of `count` chunks, at the learning rate and alpha of the
/// step's state, as [`AdamWUpdate`] has it. While the u32 `stop` is not 0 nothing changes: a loss that
/// is not finite spoils no parameter.
pub fn step<P>(count: usize, table: P, state: P, stop: P, rule: &AdamWUpdate) -> Launch<P> {
    let &AdamWUpdate { beta_1, beta_2, epsilon, weight_decay } = rule;
    let mut args: Vec<Arg<P>> = [table, state, stop].map(Arg::Pointer).into();
    args.extend([weight_decay, 1.0 - beta_1, 1.0 - beta_2, epsilon].map(Arg::F32));
    launch("adamw", count, args)
}

/// Writes the shadows of the table's parameters, which the host has set.
pub fn shadow<P>(count: usize, table: P) -> Launch<P> {
    launch("shadow", count, vec![Arg::Pointer(table)])
}

fn launch<P>(entry: &'static str, count: usize, args: Vec<Arg<P>>) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: Vec::new(),
        entry,
        grid: [count as u32, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{adamw as cpu, isa::tests::noise},
        cuda::{
            emulator::{Memory, run_all, to_bf16},
            kernels::{State, tests::assert_near_floats},
            launch::Element,
        },
    };

    const RULE: AdamWUpdate = AdamWUpdate { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 0.1 };

    #[test]
    fn all_tensors_as_on_the_cpu() {
        let lens = [1, 7, 4096, 9001];
        let of = |seed: u32| lens.map(|len| Memory::of(&noise(seed + len as u32, len)));
        let (parameters, gradients, ms) = (of(1), of(2), of(3));
        let vs = lens.map(|len| Memory::of(&noise(4, len).iter().map(|v| v * v).collect::<Vec<_>>()));
        let shadows = lens.map(|len| Memory::empty(len, Element::Bf16));
        let tensors: Vec<Tensor> = (0..lens.len())
            .map(|i| Tensor {
                parameter: parameters[i].at() as u64,
                gradient: gradients[i].at() as u64,
                m: ms[i].at() as u64,
                v: vs[i].at() as u64,
                shadow: if i == 1 { 0 } else { shadows[i].at() as u64 },
                len: lens[i],
            })
            .collect();
        let chunks = chunks(&tensors);
        assert_eq!(chunks.len(), 6);
        let [learning_rate, alpha] = RULE.rates(0.01, 4);
        let (table, state) = (Memory::of(&chunks), Memory::of(&[State { learning_rate, alpha, ..State::default() }]));
        let before: Vec<Vec<f32>> = parameters.iter().map(Memory::read).collect();

        let stop = Memory::of(&[1_u32]);
        run_all([step(chunks.len(), table.at(), state.at(), stop.at(), &RULE)]);
        assert!(parameters.iter().zip(&before).all(|(now, before)| now.read::<f32>() == *before));

        let mut expected: Vec<[Vec<f32>; 3]> =
            (0..lens.len()).map(|i| [parameters[i].read(), ms[i].read(), vs[i].read()]).collect();
        let go = Memory::of(&[0_u32]);
        run_all([step(chunks.len(), table.at(), state.at(), go.at(), &RULE)]);
        for (i, [w, m, v]) in expected.iter_mut().enumerate() {
            cpu::step(w, &gradients[i].read::<f32>(), m, v, &cpu::Rates::new(0.01, 0.1, 0.9, 0.999, 1e-7, 5));
            assert_near_floats(&parameters[i].read::<f32>(), w, 1e-6, &format!("parameter {i}"));
            assert_near_floats(&ms[i].read::<f32>(), m, 1e-6, &format!("m {i}"));
            assert_near_floats(&vs[i].read::<f32>(), v, 1e-6, &format!("v {i}"));
            let shadow: Vec<u16> = parameters[i].read::<f32>().into_iter().map(to_bf16).collect();
            assert_eq!(shadows[i].read::<u16>(), if i == 1 { vec![0xFFFF; 7] } else { shadow.clone() });
        }

        let again = Memory::empty(lens[3], Element::Bf16);
        let tensor = Tensor { shadow: again.at() as u64, ..tensors[3] };
        let table = super::chunks(&[tensor]);
        run_all([super::shadow(table.len(), Memory::of(&table).at())]);
        assert_eq!(again.read::<u16>(), shadows[3].read::<u16>());
    }
}
