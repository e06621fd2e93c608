//! Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy
//! as 1, 2, 3", SC 2011).
//!
//! Randomness is a function, not a state: every draw is addressed by (seed, stream, counter), so
//! dropout masks are recomputed instead of stored, and neither the number of threads nor a resume
//! changes a bit. Own code because the same function must exist inside vectorised CPU kernels and
//! CUDA kernels.

use std::{io, thread, time::Duration};

use sha2::{Digest, Sha256};

/// Counted up when the same seed would give other numbers than before: a run goes on only with the numbers that it
/// began with. Since 2, the streams of initialisers and dropout are addressed by the paths of parameters and layers
/// ([`address`]), before by how many there were in front.
pub const VERSION: u32 = 2;

/// How often the system is asked for random bytes before it is given up, and how long one waits between: five seconds.
const ASKED: u32 = 50;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// Waits until the system has random bytes. No result depends on them, but the standard library's tables are keyed by some,
/// and it panics where a machine that has just started has none yet.
///
/// # Errors
/// When there are none after a while.
pub fn wait_for_system() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return wait(|| {
        use rustix::rand::{GetRandomFlags, getrandom};
        Ok(getrandom(&mut [0_u8; 16], GetRandomFlags::INSECURE).map(drop)?)
    });
    #[cfg(not(target_os = "linux"))]
    Ok(())
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn wait(ask: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..ASKED {
        match ask() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                thread::sleep(PAUSE);
            }
            // Where this call is not to be had, the library has other ways.
            _ => return Ok(()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::WouldBlock,
        "the system's source of random numbers is not ready; try again later",
    ))
}

/// What a draw is for. Streams of one seed never overlap: the stream is part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights.
    Initializer = 1,
    /// Masks of dropout and of stochastic depth.
    Dropout = 2,
    /// The order of the training images of an epoch.
    Shuffle = 3,
    /// What transforms draw.
    Augmentation = 4,
    /// What benchmarks and tests compute with.
    Benchmark = 5,
    /// What a sweep's search proposes, and the orders in which a report weighs its keys.
    Search = 6,
}

/// The address of a part of a network among the draws of a stream: by its path, so that other parts keep their numbers
/// where one is added.
pub fn address(path: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(path.as_bytes()).into();
    digest.iter().take(8).rev().fold(0, |address, byte| address << 8 | u64::from(*byte))
}

/// One keyed generator; [`Philox::block`] maps a 128-bit counter to four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    /// Of the seed and the stream.
    pub key: [u32; 2],
}

/// Multipliers and Weyl increments of Philox4x32.
pub const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Added to the key after each round.
pub const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// Of a block.
pub const ROUNDS: usize = 10;

/// Blocks that [`Philox::units`] draws together.
pub const MANY: usize = 64;

impl Philox {
    /// The generator of a stream. The 64-bit seed is mixed (splitmix64's finaliser) with the
    /// stream into the 64-bit key.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut z = seed.wrapping_add((stream as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        Self { key: [z as u32, (z >> 32) as u32] }
    }

    /// Four independent 32-bit words for one counter.
    #[inline(always)]
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        self.blocks(counter.map(|word| [word])).map(|[word]| word)
    }

    /// As [`Philox::block`] for [`MANY`] counters side by side, given word by word: the numbers in `[0, 1)` of one after
    /// the other.
    pub fn units(&self, counters: &[[u32; MANY]; 4], out: &mut [[f32; 4]; MANY]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            #[target_feature(enable = "avx2")]
            fn avx2(philox: &Philox, counters: &[[u32; MANY]; 4], out: &mut [[f32; 4]; MANY]) {
                philox.units_generic(counters, out);
            }
            // SAFETY: the processor has AVX2.
            return unsafe { avx2(self, counters, out) };
        }
        self.units_generic(counters, out);
    }

    #[inline(always)]
    fn units_generic(&self, counters: &[[u32; MANY]; 4], out: &mut [[f32; 4]; MANY]) {
        let words = self.blocks(*counters);
        for (lane, out) in out.iter_mut().enumerate() {
            *out = std::array::from_fn(|word| unit(words[word][lane]));
        }
    }

    /// In loops over the lanes, which the compiler turns into vectors.
    #[inline(always)]
    fn blocks<const N: usize>(&self, counters: [[u32; N]; 4]) -> [[u32; N]; 4] {
        let [mut c0, mut c1, mut c2, mut c3] = counters;
        let [mut k0, mut k1] = self.key;
        for _ in 0..ROUNDS {
            for lane in 0..N {
                let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
                let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
                c0[lane] = (p1 >> 32) as u32 ^ c1[lane] ^ k0;
                c2[lane] = (p0 >> 32) as u32 ^ c3[lane] ^ k1;
                c1[lane] = p1 as u32;
                c3[lane] = p0 as u32;
            }
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        [c0, c1, c2, c3]
    }
}

/// A word as a float32 in `[0, 1)`, from its upper 24 bits.
#[inline(always)]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_ready_is_waited_for() {
        wait_for_system().unwrap();
        let asked = std::cell::Cell::new(0);
        let later = |kind: io::ErrorKind, ready: u32| {
            asked.set(0);
            wait(|| {
                asked.set(asked.get() + 1);
                if asked.get() < ready { Err(kind.into()) } else { Ok(()) }
            })
        };
        later(io::ErrorKind::WouldBlock, 7).unwrap();
        assert_eq!(asked.get(), 7);
        later(io::ErrorKind::Unsupported, 7).unwrap();
        assert_eq!(asked.get(), 1);
        let error = later(io::ErrorKind::WouldBlock, u32::MAX).unwrap_err().to_string();
        assert!(error.contains("source of random numbers"), "{error}");
    }

    #[test]
    fn units_are_those_of_blocks() {
        let philox = Philox::new(5, Stream::Initializer);
        let counters: [[u32; MANY]; 4] =
            std::array::from_fn(|word| std::array::from_fn(|lane| (lane * 7 + word) as u32));
        let mut units = [[0.0; 4]; MANY];
        philox.units(&counters, &mut units);
        for (lane, units) in units.iter().enumerate() {
            assert_eq!(*units, philox.block(counters.map(|words| words[lane])).map(unit));
        }
    }

    /// Known answers from the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        let zero = Philox { key: [0, 0] };
        assert_eq!(zero.block([0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox { key: [u32::MAX; 2] };
        assert_eq!(ones.block([u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox { key: [0xa409_3822, 0x299f_31d0] };
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(pi.block(counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// What is written here holds for as long as [`VERSION`] does.
    #[test]
    fn addresses_are_those_of_paths() {
        assert_eq!(address(""), 0x141c_fc98_42c4_b0e3);
        assert_ne!(address("dense0/kernel"), address("dense1/kernel"));
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Philox::new(1, Stream::Dropout), Philox::new(1, Stream::Shuffle));
        assert_ne!(Philox::new(1, Stream::Dropout), Philox::new(2, Stream::Dropout));
    }
}
