//! What a thread will touch next, brought into the second-level cache while it multiplies.
//!
//! A training step reads what the forward pass saved long ago: from memory, at a fraction of the speed
//! of the caches. The products between have loads to spare: a micro-kernel asks for a pair of lines every few
//! steps along `k`. Whoever knows the order of the kernels announces their operands; results do not
//! depend on any of it.

use std::cell::RefCell;

/// Bytes of a pair of cache lines, which is asked for together.
const PAIR: usize = 2 * LINE;
/// Bytes of a cache line.
pub const LINE: usize = 64;
/// Announcements kept: a few steps' operands. More are forgotten.
const CAPACITY: usize = 64;

/// Memory that a step will touch.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// The step, in the order of the thread.
    step: u64,
    next: usize,
    /// Bytes from pair to pair.
    stride: usize,
    left: usize,
}

/// Announced ranges of a thread, in the order of their steps.
struct Queue {
    ranges: [Range; CAPACITY],
    first: usize,
    len: usize,
}

thread_local! {
    static QUEUE: RefCell<Queue> = const {
        RefCell::new(Queue { ranges: [Range { step: 0, next: 0, stride: 0, left: 0 }; CAPACITY], first: 0, len: 0 })
    };
}

/// Pairs of lines to be asked for: the address of the first, the bytes to the next, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    /// Of the first pair of cache lines.
    pub address: *const i8,
    /// Bytes from a pair to the next.
    pub stride: usize,
    /// How many pairs.
    pub count: usize,
}

/// Announces that a step of this thread will touch `len` floats. Nothing is read through the pointer.
pub fn announce(step: u64, start: *const f32, len: usize) {
    push(Range { step, next: start as usize, stride: PAIR, left: (len * size_of::<f32>()).div_ceil(PAIR) });
}

/// Announces floats to be touched next.
pub fn announce_part(part: &[f32]) {
    announce(0, part.as_ptr(), part.len());
}

/// Announces `rows` rows of `len` floats each, `stride` floats apart, to be touched next.
pub fn announce_rows(start: *const f32, len: usize, rows: usize, stride: usize) {
    for at in (0..len * size_of::<f32>()).step_by(PAIR) {
        push(Range { step: 0, next: start as usize + at, stride: stride * size_of::<f32>(), left: rows });
    }
}

fn push(range: Range) {
    QUEUE.with_borrow_mut(|queue| {
        if queue.len < CAPACITY {
            let at = (queue.first + queue.len) % CAPACITY;
            queue.ranges[at] = range;
            queue.len += 1;
        }
    });
}

/// A step begins: what it and those before it touch is not announced any more.
pub fn begin(step: u64) {
    QUEUE.with_borrow_mut(|queue| {
        while queue.len > 0 && queue.ranges[queue.first].step <= step {
            queue.drop_first();
        }
    });
}

/// At most the next `count` pairs of lines, which the caller asks the processor for.
#[inline]
pub fn pairs(count: usize) -> Pairs {
    QUEUE.with_borrow_mut(|queue| {
        if queue.len == 0 {
            return Pairs { address: std::ptr::null(), stride: 0, count: 0 };
        }
        let range = &mut queue.ranges[queue.first];
        let pairs = Pairs { address: range.next as *const i8, stride: range.stride, count: count.min(range.left) };
        range.next += pairs.count * range.stride;
        range.left -= pairs.count;
        if range.left == 0 {
            queue.drop_first();
        }
        pairs
    })
}

impl Queue {
    fn drop_first(&mut self) {
        self.first = (self.first + 1) % CAPACITY;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_in_order_until_their_step_begins() {
        let (a, b) = ([0.0_f32; 128], [0.0_f32; 128]);
        announce(1, a.as_ptr(), 128);
        announce(2, b.as_ptr(), 128);
        let first = pairs(3);
        assert_eq!((first.address, first.stride), (a.as_ptr().cast(), PAIR));
        assert_eq!(pairs(3).address, a[96..].as_ptr().cast());
        assert_eq!(pairs(1).address, b.as_ptr().cast());
        begin(2);
        assert_eq!(pairs(1).stride, 0);
        for _ in 0..2 * CAPACITY {
            announce(3, a.as_ptr(), 128);
        }
        begin(3);
        assert_eq!(pairs(1).stride, 0);
        announce_rows(a.as_ptr(), 64, 2, 64);
        assert_eq!((pairs(2).stride, pairs(2).address), (256, a[32..].as_ptr().cast()));
        assert_eq!(pairs(1).stride, 0);
    }
}
