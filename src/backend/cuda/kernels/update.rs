//! One step of an optimizer on all parameters in one launch.

use bytemuck::{Pod, Zeroable};

use super::source;
use crate::{
    backend::cuda::launch::{Arg, Launch, Source},
    graph::{expression::literal, optimizers::Optimizer},
};

pub const SOURCE: Source = source!("update");

const THREADS: u32 = 256;
/// Elements of a block.
const CHUNK: usize = 4096;

/// Most tensors that an update changes.
pub const MOST_STATES: usize = 4;

/// A parameter and what belongs to it, by addresses in the device's memory. All float32 but the shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// The parameter, then its slots; 0 for those that it has not.
    pub states: [u64; MOST_STATES],
    pub gradient: u64,
    /// Its bfloat16 copy for matmuls, or 0.
    pub shadow: u64,
    pub len: usize,
    /// The first number of the step that it reads.
    pub first_scalar: usize,
}

/// `Chunk` of `update.cu`: the part of a tensor that one block updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    states: [u64; MOST_STATES],
    gradient: u64,
    shadow: u64,
    count: u64,
    first_scalar: u64,
}

impl Chunk {
    /// How many elements the block updates.
    pub fn elements(&self) -> usize {
        self.count as usize
    }
}

/// How many chunks a tensor of so many elements is.
pub fn chunks_of(len: usize) -> usize {
    len.div_ceil(CHUNK)
}

/// The table that [`step`] wants in device memory.
#[must_use]
pub fn chunks(tensors: &[Tensor]) -> Vec<Chunk> {
    let of = |tensor: &Tensor| {
        let tensor = *tensor;
        (0..tensor.len).step_by(CHUNK).map(move |start| {
            let part = |base: u64, size: usize| if base == 0 { 0 } else { base + (size * start) as u64 };
            Chunk {
                states: tensor.states.map(|state| part(state, 4)),
                gradient: part(tensor.gradient, 4),
                shadow: part(tensor.shadow, 2),
                count: CHUNK.min(tensor.len - start) as u64,
                first_scalar: tensor.first_scalar as u64,
            }
        })
    };
    tensors.iter().flat_map(of).collect()
}

/// One step of every tensor of the table of `count` chunks, by the numbers in the step's state. While the u32 `stop` is
/// not 0 nothing changes: a loss that is not finite spoils no parameter. Where gradients are clipped, they are multiplied
/// by the float32 `clip`. Of a rule for matrices, the table's gradients are the orthogonal directions.
pub fn step<P>(count: usize, table: P, state: P, stop: P, clip: P, optimizer: &Optimizer) -> Launch<P> {
    let rule = match optimizer.after_direction() {
        Some(formulas) => formulas.cuda(),
        None => own(optimizer).unwrap_or_else(|| optimizer.formulas().cuda()),
    };
    let states = optimizer.states();
    let mut update = inputs(optimizer);
    update.extend((0..states).map(|state| format!("{} y{state}", if state == 0 { "; float" } else { "," })));
    update += &format!("; {rule}");
    update.extend((0..states).map(|state| format!(" state[{state}] = y{state};")));
    on_chunks("step", ("UPDATE", update), count, [table, state, stop, clip], optimizer)
}

/// Before [`step`] of a rule for matrices: its slots as they are after the step, and in place of the gradient what is to be
/// made orthogonal. Then the table's gradients are the directions of [`step`].
///
/// # Panics
/// When the rule has no direction.
pub fn direction<P>(count: usize, table: P, state: P, stop: P, clip: P, optimizer: &Optimizer) -> Launch<P> {
    let formulas = optimizer.before_direction();
    let formulas = formulas.unwrap_or_else(|| panic!("`{}` has no direction", optimizer.rule.name));
    // The average waits for the parameter.
    let slots = optimizer.rule.slots.len();
    let mut text = inputs(optimizer);
    text.extend((0..=slots).map(|result| format!("{} y{result}", if result == 0 { "; float" } else { "," })));
    text += &format!("; {} gradient = y0;", formulas.cuda());
    text.extend((1..=slots).map(|slot| format!(" state[{slot}] = y{slot};")));
    on_chunks("direction", ("DIRECTION", text), count, [table, state, stop, clip], optimizer)
}

/// The inputs of formulas, as locals of what they are in a kernel.
fn inputs(optimizer: &Optimizer) -> String {
    let (states, scalars) = (optimizer.states(), numbers(optimizer));
    let mut text = String::from("const float x0 = state[0], x1 = gradient");
    text.extend((1..states).map(|state| format!(", x{} = state[{state}]", state + 1)));
    text.extend((0..scalars).map(|scalar| format!(", x{} = scalars[{scalar}]", states + 1 + scalar)));
    text
}

/// How many numbers an update reads.
fn numbers(optimizer: &Optimizer) -> usize {
    optimizer.scalars() + usize::from(optimizer.clip_norm.is_some())
}

fn on_chunks<P>(
    entry: &'static str,
    text: (&'static str, String),
    count: usize,
    pointers: [P; 4],
    optimizer: &Optimizer,
) -> Launch<P> {
    let clipped = usize::from(optimizer.clip_norm.is_some());
    let defines = vec![
        ("STATES", optimizer.states().to_string()),
        ("SCALARS", numbers(optimizer).to_string()),
        text,
        ("CLIPPED", clipped.to_string()),
    ];
    launch(entry, defines, count, pointers.into_iter().take(3 + clipped).map(Arg::Pointer).collect())
}

/// The text of its own that a rule has, if it has one: another form of its formulas, of which the compiler makes other
/// multiply-adds.
fn own(optimizer: &Optimizer) -> Option<String> {
    match optimizer.rule.name {
        "adamw" => {
            let keep = |beta| literal(1.0 - optimizer.option(beta));
            let (keep_1, keep_2, epsilon) = (keep("beta_1"), keep("beta_2"), literal(optimizer.option("epsilon")));
            // Of the numbers, which follow the tensors, the share that decays and alpha are the first two.
            let decay = 1 + optimizer.states();
            let (alpha, share) = (decay + 1, decay + 2);
            let gradient = match optimizer.clip_norm {
                Some(_) => format!("x1 * x{}", decay + optimizer.scalars()),
                None => "x1".to_owned(),
            };
            let average = optimizer.ema.map_or(String::new(), |_| format!(" y3 = x4 + (y0 - x4) * x{share};"));
            Some(format!(
                "const float g = {gradient}, decayed = x0 - x0 * x{decay}; y1 = x2 + (g - x2) * {keep_1}; \
                 y2 = x3 + (g * g - x3) * {keep_2}; y0 = decayed - y1 * x{alpha} / (sqrtf(y2) + {epsilon});{average}"
            ))
        }
        _ => None,
    }
}

/// Writes the shadows of the table's parameters, which the host has set.
pub fn shadow<P>(count: usize, table: P) -> Launch<P> {
    launch("shadow", Vec::new(), count, vec![Arg::Pointer(table)])
}

fn launch<P>(entry: &'static str, defines: Vec<(&'static str, String)>, count: usize, args: Vec<Arg<P>>) -> Launch<P> {
    Launch { source: SOURCE, defines, entry, grid: [count as u32, 1, 1], block: [THREADS, 1, 1], shared_bytes: 0, args }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{
            cpu::kernels::{
                isa::tests::noise,
                update::{
                    Rule,
                    tests::{FACTOR, numbers, optimizers, views},
                },
            },
            cuda::{
                emulator::{Memory, run_all, to_bf16},
                kernels::{State, tests::assert_near_floats},
                launch::Element,
            },
        },
        graph::optimizers::Optimizer,
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn all_tensors_as_on_the_cpu() {
        let clip = Memory::of(&[FACTOR]);
        let elementwise = |(_, optimizer): &(String, Optimizer)| optimizer.rule.direction.is_none();
        for (name, optimizer) in optimizers().into_iter().filter(elementwise) {
            let count = optimizer.states();
            let lens = [1, 7, 4096, 9001];
            let of = |seed: u32| lens.map(|len| Memory::of(&noise(seed + len as u32, len)));
            let gradients = of(2);
            // The second slot may be a mean of squares.
            let state = |number: usize, len: usize| {
                let values = noise(3 + number as u32 + len as u32, len);
                Memory::of(&values.iter().map(|x| if number == 2 { x * x } else { *x }).collect::<Vec<f32>>())
            };
            let states: Vec<Vec<Memory>> =
                lens.iter().map(|&len| (0..count).map(|number| state(number, len)).collect()).collect();
            let shadows = lens.map(|len| Memory::empty(len, Element::Bf16));
            let tensors: Vec<Tensor> = (0..lens.len())
                .map(|i| Tensor {
                    states: std::array::from_fn(|k| states[i].get(k).map_or(0, |state| state.at() as u64)),
                    gradient: gradients[i].at() as u64,
                    shadow: if i == 1 { 0 } else { shadows[i].at() as u64 },
                    len: lens[i],
                    // The second group of numbers.
                    first_scalar: optimizer.scalars(),
                })
                .collect();
            let chunks = chunks(&tensors);
            assert_eq!(chunks.len(), 6);
            let scalars = optimizer.plan(&[]).step_scalars(0.01, 4);
            let padded = [vec![f32::NAN; scalars.len()], scalars.clone()].concat();
            let (table, at) = (Memory::of(&chunks), Memory::of(&[State::new(4, 0, 0, 0, &padded)]));
            let read = |states: &[Memory]| states.iter().map(Memory::read::<f32>).collect::<Vec<_>>();
            let before: Vec<Vec<Vec<f32>>> = states.iter().map(|states| read(states)).collect();

            let stop = Memory::of(&[1_u32]);
            run_all([step(chunks.len(), table.at(), at.at(), stop.at(), clip.at(), &optimizer)]);
            assert!(states.iter().zip(&before).all(|(now, before)| read(now) == *before));

            let go = Memory::of(&[0_u32]);
            run_all([step(chunks.len(), table.at(), at.at(), go.at(), clip.at(), &optimizer)]);
            let kernel = Rule::new(&optimizer).unwrap();
            for (i, mut expected) in before.into_iter().enumerate() {
                kernel.step(&numbers(&optimizer, 4), &gradients[i].read::<f32>(), &mut views(&mut expected));
                for (number, expected) in expected.iter().enumerate() {
                    let actual = states[i][number].read::<f32>();
                    assert_near_floats(&actual, expected, 1e-6, &format!("{name} {number} of {i}"));
                }
                let shadow: Vec<u16> = states[i][0].read::<f32>().into_iter().map(to_bf16).collect();
                assert_eq!(shadows[i].read::<u16>(), if i == 1 { vec![0xFFFF; 7] } else { shadow });
            }

            let again = Memory::empty(lens[3], Element::Bf16);
            let tensor = Tensor { shadow: again.at() as u64, ..tensors[3] };
            let table = super::chunks(&[tensor]);
            run_all([super::shadow(table.len(), Memory::of(&table).at())]);
            assert_eq!(again.read::<u16>(), shadows[3].read::<u16>());
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn rows_that_begin_anywhere() {
        let optimizer = Optimizer::default();
        let data: Vec<Memory> =
            (0..4).map(|seed| Memory::of(&noise(seed, 300).iter().map(|x| x.abs()).collect::<Vec<_>>())).collect();
        let expected: Vec<Vec<f32>> = data.iter().map(Memory::read).collect();
        let at = |memory: &Memory| memory.at() as u64 + 4 * 5;
        let tensor = Tensor {
            states: [at(&data[0]), at(&data[2]), at(&data[3]), 0],
            gradient: at(&data[1]),
            shadow: 0,
            len: 290,
            first_scalar: 0,
        };
        let scalars = optimizer.plan(&[]).step_scalars(0.01, 4);
        let (chunks, go) = (chunks(&[tensor]), Memory::of(&[0_u32]));
        let (table, state) = (Memory::of(&chunks), Memory::of(&[State::new(4, 0, 0, 0, &scalars)]));
        run_all([step(chunks.len(), table.at(), state.at(), go.at(), go.at(), &optimizer)]);
        let [mut w, g, mut m, mut v] = <[Vec<f32>; 4]>::try_from(expected).unwrap();
        let mut parts = [&mut w[5..295], &mut m[5..295], &mut v[5..295]];
        Rule::new(&optimizer).unwrap().step(&scalars, &g[5..295], &mut parts);
        for (actual, expected) in [0, 2, 3].map(|number| data[number].read::<f32>()).iter().zip([w, m, v]) {
            assert_near_floats(actual, &expected, 1e-6, "rows");
        }
    }
}
