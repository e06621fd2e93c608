//! Rows of channels, cut among blocks whose threads each keep their channels and go from row to row.

use super::BLOCKS;

const THREADS: usize = 256;

/// Channels that a thread takes at once where it does not keep them: a power of two up to eight.
pub fn channels_at_once(channels: usize) -> usize {
    1 << channels.trailing_zeros().min(3)
}

/// A cut along the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// Channels of a thread.
    pub vector: usize,
    /// Threads side by side along the channels.
    pub lanes: usize,
    /// Blocks side by side along the channels.
    pub tiles: usize,
}

impl Channels {
    /// With up to `most` channels a thread, a power of two.
    pub fn new(channels: usize, most: usize) -> Self {
        let vector = 1 << channels.trailing_zeros().min(most.ilog2());
        let lanes = channels.div_ceil(vector).next_power_of_two().min(32);
        Self { vector, lanes, tiles: channels.div_ceil(lanes * vector) }
    }

    /// How many parts so many rows are cut into, and the rows of each: as many blocks as go on for `waves` times what a
    /// large device has room for, with eight rows for each thread or more.
    pub fn parts(&self, rows: usize, waves: usize) -> [usize; 2] {
        let blocks = (waves * BLOCKS).div_ceil(self.tiles);
        let least = 8 * THREADS / self.lanes;
        let part = rows.div_ceil(blocks).max(least);
        [rows.div_ceil(part).max(1), part]
    }

    /// As kernels take it.
    pub fn defines(&self) -> [(&'static str, String); 2] {
        [("VECTOR", self.vector.to_string()), ("LANES", self.lanes.to_string())]
    }

    /// The grid of a launch of so many parts.
    pub fn grid(&self, parts: usize) -> [u32; 3] {
        [self.tiles as u32, parts as u32, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_divide_the_channels() {
        let of = |channels| Channels::new(channels, 8);
        assert_eq!(of(768), Channels { vector: 8, lanes: 32, tiles: 3 });
        assert_eq!(of(64), Channels { vector: 8, lanes: 8, tiles: 1 });
        assert_eq!(of(20), Channels { vector: 4, lanes: 8, tiles: 1 });
        assert_eq!(of(3), Channels { vector: 1, lanes: 4, tiles: 1 });
        assert_eq!(of(1), Channels { vector: 1, lanes: 1, tiles: 1 });
    }

    #[test]
    fn parts_cover_all_rows() {
        for channels in [1, 7, 24, 768] {
            for rows in [1, 63, 64, 1000, 131_072] {
                let [parts, part] = Channels::new(channels, 8).parts(rows, 1);
                assert!(parts * part >= rows && (parts - 1) * part < rows, "{channels} {rows}");
            }
        }
    }
}
