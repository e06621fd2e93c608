//! What is repeated in a list.

use std::ops::Range;

/// Items that are followed by the same again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    start: usize,
    period: usize,
    pub times: usize,
}

impl Run {
    /// Of the items that are repeated.
    pub fn first(&self) -> Range<usize> {
        self.start..self.start + self.period
    }

    /// Of the repeats.
    pub fn rest(&self) -> Range<usize> {
        self.start + self.period..self.start + self.period * self.times
    }
}

/// What an item is, but for its number: equal for equal items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub hash: u64,
    /// How many lines it takes.
    pub lines: usize,
}

/// The longest pattern that is looked for.
const LONGEST: usize = 16;

/// Cuts a list into runs. What repeats once is folded only if that saves a line.
pub fn runs(keys: &[Key]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < keys.len() {
        let times = |period: usize| {
            let alike = keys[start..].iter().zip(keys.iter().skip(start + period)).take_while(|(a, b)| a == b).count();
            1 + alike / period
        };
        let saves = |period: usize, times: usize| {
            let lines: usize = keys[start..start + period].iter().map(|key| key.lines).sum();
            lines * (times - 1) > 1
        };
        let found = (1..=LONGEST.min(keys.len() - start))
            .map(|period| (period, times(period)))
            .filter(|&(period, times)| times > 1 && saves(period, times))
            // Of two that fold as much, the shorter pattern.
            .max_by_key(|&(period, times)| (period * times, std::cmp::Reverse(period)));
        let (period, times) = found.unwrap_or((1, 1));
        runs.push(Run { start, period, times });
        start += period * times;
    }
    runs
}
