//! What bytes are in normalised images, and back.

use super::Statistics;

/// The values of bytes by channel: `(byte - mean) / deviation`.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// `[channels, 256]`
    values: Vec<f32>,
    /// `[channels]`, in units of 0 to 255.
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Levels {
    /// Of images with so many channels.
    pub fn new(statistics: &Statistics, channels: usize) -> Self {
        let value = |channel: usize, byte: usize| {
            ((byte as f64 - statistics.mean[channel]) / statistics.deviation(channel)) as f32
        };
        Self {
            values: (0..channels).flat_map(|channel| (0..256).map(move |byte| value(channel, byte))).collect(),
            mean: statistics.mean[..channels].iter().map(|&mean| mean as f32).collect(),
            deviation: (0..channels).map(|channel| statistics.deviation(channel) as f32).collect(),
        }
    }

    /// Channels of the images.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The values of all bytes, `[channels, 256]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Mean and deviation of each channel, `[2, channels]`, with which [`Levels::byte`] rounds.
    pub fn scales(&self) -> impl Iterator<Item = f32> + '_ {
        self.mean.iter().chain(&self.deviation).copied()
    }

    /// What a byte of a channel is in a normalised image.
    #[inline(always)]
    pub fn value(&self, channel: usize, byte: u8) -> f32 {
        self.values[channel * 256 + usize::from(byte)]
    }

    /// The byte that is nearest to a value. Of [`Levels::value`] it is the very byte.
    #[inline(always)]
    pub fn byte(&self, channel: usize, value: f32) -> u8 {
        let level = value * self.deviation[channel] + self.mean[channel];
        (level + 0.5).clamp(0.0, 255.0) as u8
    }

    /// The value of byte 0 by channel.
    pub fn black(&self) -> Vec<f32> {
        (0..self.channels()).map(|channel| self.value(channel, 0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let statistics =
            Statistics { mean: vec![0.0, 124.3, 200.7, 254.9, 8.0], variance: vec![1e4, 4500.0, 3.0, 1e-3, 0.0] };
        let levels = Levels::new(&statistics, 5);
        for channel in 0..4 {
            for byte in 0..=255 {
                assert_eq!(levels.byte(channel, levels.value(channel, byte)), byte, "{channel}");
            }
        }
        // A channel of one level has that one.
        assert_eq!(levels.byte(4, levels.value(4, 8)), 8);
        assert_eq!([-1e9, -3.0, 0.5, 3.0, 1e9].map(|value| levels.byte(1, value)), [0, 0, 158, 255, 255]);
        assert_eq!(levels.black()[1], (-124.3_f64 / 4500.0_f64.sqrt()) as f32);
    }
}
