//! The masks of dropout, drawn ahead of what reads them.

use super::{BLOCKS, Dropout, attention::kept_bytes, int, source};
use crate::backend::cuda::launch::{Arg, Launch, Source};

pub const SOURCE: Source = source!("masks");

const THREADS: usize = 256;

/// Draws which weights of an attention `[batch, heads, tokens, sources]` dropout keeps: [`kept_bytes`] of `kept`, as the
/// attention's kernels read them.
pub fn of_attention<P>([batch, heads, tokens, sources]: [usize; 4], dropout: Dropout<P>, kept: P) -> Launch<P> {
    let words = kept_bytes(batch, heads, tokens, sources) / size_of::<u16>();
    let mut args = vec![Arg::U32(int(words) as u32), Arg::I32(int(tokens)), Arg::I32(int(sources))];
    args.extend(Dropout::args(Some(dropout)));
    args.push(Arg::Pointer(kept));
    Launch {
        source: SOURCE,
        defines: Vec::new(),
        entry: "of_attention",
        grid: [words.div_ceil(THREADS).clamp(1, 16 * BLOCKS) as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::{
        emulator::{Memory, run_all},
        kernels::tests::mask,
    };

    /// Each bit is that of the CPU's mask, whatever the shape; rows that are not there have none.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_cpu() {
        for (shape, rate) in [
            ([2, 2, 16, 16], 0.1),
            ([1, 3, 5, 1], 0.5),
            ([2, 1, 17, 37], 0.2),
            ([3, 2, 9, 24], 0.9),
            ([1, 1, 144, 144], 0.3),
        ] {
            let [batch, heads, tokens, sources] = shape;
            let (state, expected, layer) = mask(rate);
            let kept = Memory::of(&vec![0xFFFF_u16; kept_bytes(batch, heads, tokens, sources) / 2]);
            run_all([of_attention(shape, layer.map(|()| state.at()), kept.at())]);
            let words = kept.read::<u16>();
            let (all_tokens, groups) = (tokens.next_multiple_of(16), sources.div_ceil(16));
            for head in 0..batch * heads {
                for token in 0..all_tokens {
                    let first = (head * tokens + token) * sources;
                    let factors: Vec<f32> = (0..if token < tokens { sources } else { 0 })
                        .map(|source| expected.factor((first + source) as u64))
                        .collect();
                    for source in 0..sources {
                        let word = words[(head * groups + source / 16) * all_tokens + token];
                        let stays = word >> (source % 16) & 1 == 1;
                        assert_eq!(
                            stays,
                            factors.get(source).is_some_and(|&factor| factor > 0.0),
                            "{shape:?} {head} {token} {source}"
                        );
                    }
                }
            }
        }
    }
}
