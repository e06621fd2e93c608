//! Copies of a product's operands, which its candidates are timed on in turns: what was used last is in the cache, which it
//! would not be in a step.

use crate::backend::cuda::gemm::{Epilogue, Gemm, Matrix};

/// Products of a graph that is timed: started together, they take so long that starting them does not count.
pub const RUNS: usize = 16;
/// Copies lie at multiples of so many bytes from the operands: they are as aligned, for all that a product asks.
const ALIGNMENT: u64 = 256;

/// The operands of a product, and where their copies are. Copies are never filled: what they hold makes no difference to
/// which candidate is the fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Copies {
    gemm: Gemm<u64>,
    /// The operands' memory: from, to, and where in a copy it begins.
    parts: Vec<(u64, u64, u64)>,
    /// Bytes of a copy.
    bytes: u64,
    count: usize,
    /// Of the first copy; the operands themselves count as one before it.
    first: u64,
}

impl Copies {
    /// So many that all of them do not fit a cache of `cached` bytes twice, but no more than run.
    pub fn of(gemm: &Gemm<u64>, cached: usize) -> Self {
        let mut ranges = operands(gemm);
        ranges.sort_unstable();
        let mut parts: Vec<(u64, u64, u64)> = Vec::new();
        for (from, to) in ranges {
            match parts.last_mut() {
                // Twice the same memory, or rows between the rows of another: one copy of all of it.
                Some(last) if from < last.1 => last.1 = last.1.max(to),
                _ => parts.push((from, to, 0)),
            }
        }
        let mut bytes = 0;
        for (from, to, start) in &mut parts {
            // As far from a multiple of the alignment as the operand is.
            *start = bytes + *from % ALIGNMENT;
            bytes = (*start + (*to - *from)).next_multiple_of(ALIGNMENT);
        }
        let count = (2 * cached as u64).div_ceil(bytes.max(1)).clamp(1, RUNS as u64) as usize;
        Self { gemm: *gemm, parts, bytes, count, first: 0 }
    }

    /// What the copies need besides the operands.
    pub fn bytes(&self) -> usize {
        ((self.count as u64 - 1) * self.bytes) as usize
    }

    /// In memory at this address, a multiple of 256.
    pub fn at(self, address: u64) -> Self {
        Self { first: address, ..self }
    }

    /// The operands alone.
    pub fn none(self) -> Self {
        Self { count: 1, ..self }
    }

    /// The operands included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The product on a copy; the first is the operands themselves.
    pub fn gemm(&self, copy: usize) -> Gemm<u64> {
        self.gemm.map(|place| self.address(copy, place))
    }

    /// Where an address lies in a copy, if it is of an operand, and itself if it is not.
    pub fn address(&self, copy: usize, address: u64) -> u64 {
        let Some(copy) = copy.checked_sub(1) else { return address };
        match self.parts.iter().find(|(from, to, _)| (*from..*to).contains(&address)) {
            Some((from, _, start)) => self.first + copy as u64 * self.bytes + start + (address - from),
            None => address,
        }
    }
}

/// The memory of both operands, the result and what the epilogue reads or writes.
fn operands(gemm: &Gemm<u64>) -> Vec<(u64, u64)> {
    let Gemm { m, n, k, a, b, d, epilogue, .. } = gemm;
    let matrix = |matrix: &Matrix<u64>, rows: usize, columns: usize| {
        let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
        let elements = rows.saturating_sub(1) * matrix.stride + columns;
        (matrix.place, matrix.place + (elements * matrix.element.size()) as u64)
    };
    let mut all = vec![matrix(a, *m, *k), matrix(b, *k, *n), matrix(d, *m, *n)];
    match epilogue {
        Epilogue::None => {}
        Epilogue::Bias(place) => all.push((*place, place + (n * d.element.size()) as u64)),
        Epilogue::RowSum(place) => all.push((*place, place + (n * size_of::<f32>()) as u64)),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::launch::{Element, Precision};

    fn product(a: u64, b: u64, d: u64, transposed: bool) -> Gemm<u64> {
        let matrix = |place, stride, transposed| Matrix { place, element: Element::Bf16, stride, transposed };
        let a = matrix(a, if transposed { 100 } else { 64 }, transposed);
        let (b, d) = (matrix(b, 48, false), matrix(d, 48, false));
        let epilogue = Epilogue::Bias(1 << 20);
        Gemm { m: 100, n: 48, k: 64, a, b, d, epilogue, precision: Precision::Bf16 }
    }

    #[test]
    fn copies_are_apart_and_as_aligned_as_the_operands_are() {
        for transposed in [false, true] {
            let gemm = product(4096, 65_536 + 16, 131_072 + 32, transposed);
            let start = 1_u64 << 30;
            let copies = Copies::of(&gemm, 100_000).at(start);
            // A copy takes 12,800 + 6,144 + 9,600 + 96 bytes, and what aligns them.
            assert_eq!(copies.count(), 7);
            assert_eq!(copies.gemm(0), gemm);
            let mut all: Vec<(u64, u64)> = (0..7).flat_map(|copy| operands(&copies.gemm(copy))).collect();
            for (original, copied) in operands(&gemm).iter().zip(operands(&copies.gemm(3))) {
                assert_eq!(original.1 - original.0, copied.1 - copied.0);
                assert_eq!(original.0 % ALIGNMENT, copied.0 % ALIGNMENT);
                assert_eq!(copies.address(3, original.1 - 1), copied.1 - 1);
            }
            assert_eq!(copies.address(3, 7), 7);
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{all:?}");
            assert!(
                all.iter().all(|(from, to)| *to <= 1 << 21 || (start..start + copies.bytes() as u64).contains(from))
            );
            assert!(all.iter().all(|(_, to)| *to <= start + copies.bytes() as u64));
        }
    }

    #[test]
    fn what_the_cache_does_not_hold_needs_no_copies_and_none_fit_without_room() {
        let gemm = product(4096, 65_536, 131_072, false);
        assert_eq!((Copies::of(&gemm, 14_000).count(), Copies::of(&gemm, 14_000).bytes()), (1, 0));
        assert_eq!(Copies::of(&gemm, 50 << 20).count(), RUNS);
        let none = Copies::of(&gemm, 50 << 20).none();
        assert_eq!((none.count(), none.gemm(0)), (1, gemm));
    }

    /// A result between whose rows an operand's rows lie moves with it.
    #[test]
    fn rows_between_rows_stay_there() {
        let mut gemm = product(4096, 65_536, 65_536 + 32, false);
        (gemm.b.stride, gemm.d.stride) = (96, 96);
        let copied = Copies::of(&gemm, 50 << 20).at(1 << 30).gemm(2);
        assert_eq!(copied.d.place - copied.b.place, 32);
    }
}
