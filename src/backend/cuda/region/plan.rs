//! Where buffers lie in shared memory, and where a block waits.

use std::ops::Range;

use super::sketch::{Does, Memory, Phase, Sketch};
use crate::backend::plan::{Lifetime, pack};

/// Buffers begin at multiples of 16 of these bytes: their rows are read 16 bytes at a time.
const UNIT: usize = 8;

/// What stands in front of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Before {
    /// Waits for this thread's copies, but for so many of the latest.
    pub copies: Option<usize>,
    pub barrier: bool,
}

/// A sketch whose buffers have places.
#[derive(Debug)]
pub struct Plan {
    /// In bytes.
    pub offsets: Vec<usize>,
    pub bytes: usize,
    pub before: Vec<Before>,
}

/// Places the buffers of phases that run in this order.
pub fn plan(sketch: &Sketch, phases: &[Phase]) -> Plan {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; sketch.buffers.len()];
    for (index, phase) in phases.iter().enumerate() {
        for memory in phase.reads.iter().chain(&phase.writes) {
            if let Memory::Buffer(buffer) = memory {
                let (first, _) = lives[*buffer].unwrap_or((index, index));
                lives[*buffer] = Some((first, index));
            }
        }
    }
    let lifetimes: Vec<Lifetime> = sketch
        .buffers
        .iter()
        .zip(&lives)
        .map(|(bytes, life)| {
            let (first, last) = life.unwrap_or((0, 0));
            Lifetime { len: bytes.div_ceil(UNIT), first, last }
        })
        .collect();
    let (places, len) = pack(&lifetimes);
    let offsets: Vec<usize> = places.into_iter().map(|place| place * UNIT).collect();
    let before = waits(sketch, phases, &offsets);
    Plan { offsets, bytes: len * UNIT, before }
}

/// Bytes of a block's memory, or a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Bytes(Range<usize>),
    Tensor(usize),
}

impl Part {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(a), Self::Bytes(b)) => a.start < b.end && b.start < a.end,
            (Self::Tensor(a), Self::Tensor(b)) => a == b,
            _ => false,
        }
    }
}

/// A barrier stands where a phase touches what another has touched since the last one, if either writes it; and
/// before it a thread waits for its copies to what the phase touches.
fn waits(sketch: &Sketch, phases: &[Phase], offsets: &[usize]) -> Vec<Before> {
    let parts = |memory: &[Memory]| -> Vec<Part> {
        let part = |memory: &Memory| match *memory {
            Memory::Buffer(buffer) => Part::Bytes(offsets[buffer]..offsets[buffer] + sketch.buffers[buffer]),
            Memory::Tensor(id) => Part::Tensor(id),
        };
        memory.iter().map(part).collect()
    };
    let meet = |some: &[Part], others: &[Part]| some.iter().any(|a| others.iter().any(|b| a.meets(b)));
    let (mut read, mut written): (Vec<Part>, Vec<Part>) = (Vec::new(), Vec::new());
    // Copies under way, in order, by what they write.
    let mut copies: Vec<Vec<Part>> = Vec::new();
    phases
        .iter()
        .map(|phase| {
            let (reads, writes) = (parts(&phase.reads), parts(&phase.writes));
            let touches = |copy: &Vec<Part>| meet(copy, &reads) || meet(copy, &writes);
            let mut before = Before::default();
            if let Some(last) = copies.iter().rposition(touches) {
                before = Before { copies: Some(copies.len() - 1 - last), barrier: true };
                copies.drain(..=last);
            }
            before.barrier |= meet(&written, &reads) || meet(&written, &writes) || meet(&read, &writes);
            if before.barrier {
                (read, written) = (Vec::new(), Vec::new());
            }
            if phase.does == Does::Copies {
                // What it writes is held by the copy until that is waited for; what it reads, tensors, nothing overwrites.
                copies.push(writes);
            } else {
                read.extend(reads);
                written.extend(writes);
            }
            before
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(does: Does, reads: &[usize], writes: &[usize]) -> Phase {
        let buffers = |of: &[usize]| of.iter().map(|&buffer| Memory::Buffer(buffer)).collect();
        Phase { text: String::new(), operation: String::new(), reads: buffers(reads), writes: buffers(writes), does }
    }

    fn planned(bytes: &[usize], phases: &[Phase]) -> Plan {
        let sketch = Sketch { buffers: bytes.to_vec(), ..Sketch::default() };
        plan(&sketch, phases)
    }

    #[test]
    fn what_touches_one_memory_is_apart() {
        let plan = planned(
            &[256, 256, 256, 256],
            &[
                phase(Does::Copies, &[], &[0]),
                phase(Does::Copies, &[], &[1]),
                phase(Does::Other, &[0], &[2]),
                // Another reader of the same waits for nothing.
                phase(Does::Other, &[0], &[3]),
                phase(Does::Multiplies, &[1, 2], &[]),
                // Nothing has touched what it writes, since the barrier, but readers of it.
                phase(Does::Other, &[], &[2]),
            ],
        );
        let barrier = |copies| Before { copies, barrier: true };
        let none = Before::default();
        assert_eq!(plan.before, [none, none, barrier(Some(1)), none, barrier(Some(0)), barrier(None)]);
        assert_eq!(plan.bytes, 1024);
    }

    #[test]
    fn memory_of_another_buffer_is_memory() {
        let plan = planned(
            &[256, 256, 512],
            &[
                phase(Does::Other, &[], &[0]),
                phase(Does::Other, &[0], &[1]),
                // It takes the memory of buffer 0, which has just been read.
                phase(Does::Copies, &[], &[2]),
                phase(Does::Other, &[2, 1], &[]),
            ],
        );
        assert!(plan.bytes < 1024);
        assert_eq!(plan.before.iter().map(|before| before.barrier).collect::<Vec<_>>(), [false, true, true, true]);
        assert_eq!(plan.before[3].copies, Some(0));
    }
}
