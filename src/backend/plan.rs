//! Placing buffers in one arena: those that do not live at the same time may overlap.

/// A buffer that lives from one point of the program to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub len: usize,
    pub first: usize,
    pub last: usize,
}

/// Buffers start on a cache line.
const ALIGNMENT: usize = 16;

/// Offsets for all buffers and the total length, in elements: largest first, each at the lowest
/// offset where it meets no neighbour in time.
pub fn pack(buffers: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(buffers[index].len), index));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for index in order {
        let buffer = buffers[index];
        let mut neighbours: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| buffers[other].first <= buffer.last && buffer.first <= buffers[other].last)
            .map(|&other| (offsets[other], offsets[other] + buffers[other].len))
            .collect();
        neighbours.sort_unstable();
        let mut offset = 0;
        for (start, end) in neighbours {
            if offset + buffer.len <= start {
                break;
            }
            offset = offset.max(end.next_multiple_of(ALIGNMENT));
        }
        offsets[index] = offset;
        total = total.max(offset + buffer.len);
        placed.push(index);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dead_buffers_are_reused() {
        let at = |first, last| Lifetime { len: 64, first, last };
        assert_eq!(pack(&[at(0, 1), at(1, 2), at(2, 3)]), (vec![0, 64, 0], 128));
    }

    proptest! {
        #[test]
        fn living_buffers_never_overlap(spec in prop::collection::vec((1_usize..200, 0_usize..20, 0_usize..6), 1..40)) {
            let buffers: Vec<Lifetime> =
                spec.iter().map(|&(len, first, length)| Lifetime { len, first, last: first + length }).collect();
            let (offsets, total) = pack(&buffers);
            for (i, a) in buffers.iter().enumerate() {
                prop_assert!(offsets[i] + a.len <= total);
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                    prop_assert!(apart || a.last < b.first || b.last < a.first);
                }
            }
        }
    }
}
