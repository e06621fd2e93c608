//! What calls touch of memory, held to what they say: lines are ordered by that alone.

use std::cell::RefCell;

use crate::backend::cuda::program::Extent;

thread_local! {
    /// Memory of this thread's devices that are watched: addresses and bytes.
    static BLOCKS: RefCell<Vec<(u64, usize)>> = const { RefCell::new(Vec::new()) };
}

/// NaN as floats, and no index of anything.
const HIDDEN: u8 = 0xFF;

pub fn remember(address: u64, bytes: usize) {
    BLOCKS.with_borrow_mut(|blocks| blocks.push((address, bytes)));
}

pub fn forget(address: u64) {
    BLOCKS.with_borrow_mut(|blocks| blocks.retain(|(known, _)| *known != address));
}

/// Runs a call with all memory hidden that it does not say it touches: what it reads of that spoils what it writes.
///
/// # Panics
/// When it has written to what it does not say that it writes.
pub fn watch(name: &str, touched: &[Extent<u64>], call: impl FnOnce()) {
    let ranges = |written: bool| {
        let of = touched.iter().filter(|extent| extent.written || !written);
        let mut ranges: Vec<(u64, u64)> = of.map(|extent| (extent.place, extent.place + extent.bytes as u64)).collect();
        ranges.sort_unstable();
        ranges
    };
    let (said, written) = (ranges(false), ranges(true));
    let blocks = BLOCKS.with_borrow(Clone::clone);
    let blocks = blocks.into_iter().map(|(address, bytes)| (address, address + bytes as u64));
    let hidden: Vec<Kept> = blocks.clone().flat_map(|block| between(block, &said)).map(Kept::of).collect();
    let kept: Vec<Kept> = blocks.flat_map(|block| between(block, &written)).map(Kept::of).collect();
    hidden.iter().for_each(|part| part.bytes().fill(HIDDEN));
    call();
    let spoilt = hidden.iter().any(|part| part.bytes().iter().any(|byte| *byte != HIDDEN));
    assert!(!spoilt, "`{name}` writes to memory that it does not say it touches");
    hidden.iter().for_each(|part| part.bytes().copy_from_slice(&part.before));
    let written = kept.iter().any(|part| part.bytes() != &*part.before);
    assert!(!written, "`{name}` writes to memory that it says it only reads");
}

/// What of a block lies outside of sorted ranges.
fn between((start, to): (u64, u64), ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut from = start;
    let mut all = Vec::new();
    for &(begin, end) in ranges.iter().filter(|(begin, end)| *begin < to && *end > start) {
        if begin > from {
            all.push((from, begin));
        }
        from = from.max(end);
    }
    if from < to {
        all.push((from, to));
    }
    all
}

/// A range of memory, and what it held.
struct Kept {
    address: u64,
    before: Vec<u8>,
}

impl Kept {
    fn of((from, to): (u64, u64)) -> Self {
        // SAFETY: the range lies in memory of a device of this thread, which no call touches now.
        let before = unsafe { std::slice::from_raw_parts(from as *const u8, (to - from) as usize) }.to_vec();
        Self { address: from, before }
    }

    #[allow(clippy::mut_from_ref)]
    fn bytes(&self) -> &mut [u8] {
        // SAFETY: as in `of`; ranges of one block do not meet, and no two slices of one are alive together.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.before.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a call that says what it touches of sixteen bytes, on what it is given of them.
    fn watched(touched: &[(usize, usize, bool)], call: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut memory: Vec<u8> = (0..16).collect();
        let address = memory.as_mut_ptr() as u64;
        remember(address, memory.len());
        let extent =
            |&(from, bytes, written): &(usize, usize, bool)| Extent { place: address + from as u64, bytes, written };
        let touched: Vec<_> = touched.iter().map(extent).collect();
        // SAFETY: the vector is not used while the call runs.
        watch("it", &touched, || call(unsafe { std::slice::from_raw_parts_mut(address as *mut u8, 16) }));
        forget(address);
        memory
    }

    #[test]
    fn what_is_not_said_is_hidden_and_comes_back() {
        let touched = [(4, 2, false), (8, 4, true), (10, 3, false)];
        let after = watched(&touched, |memory| {
            let seen: Vec<usize> = (0..16).filter(|&at| memory[at] != HIDDEN).collect();
            assert_eq!(seen, [4, 5, 8, 9, 10, 11, 12]);
            memory[8] = 77;
        });
        let expected: Vec<u8> = (0..16).map(|at| if at == 8 { 77 } else { at }).collect();
        assert_eq!(after, expected);
    }

    #[test]
    #[should_panic(expected = "`it` writes to memory that it does not say it touches")]
    fn writing_beside_is_found() {
        watched(&[(4, 2, true)], |memory| memory[6] = 0);
    }

    #[test]
    #[should_panic(expected = "`it` writes to memory that it says it only reads")]
    fn writing_what_is_only_read_is_found() {
        watched(&[(4, 2, false), (8, 1, true)], |memory| memory[5] = 0);
    }
}
