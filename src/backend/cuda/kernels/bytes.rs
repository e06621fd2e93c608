//! Operations on the bytes of images, a block for each image.

use super::{int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Source},
    data::transforms::bytes::OPERATIONS,
};

pub const SOURCE: Source = source!("bytes");

const THREADS: u32 = 256;
/// Bytes of shared memory that both copies of an image may take: every device gives 48 KiB without being asked, and the
/// histograms of its channels lie there too.
const SHARED: usize = 32 << 10;

/// Where the rows of images and what they are read with lie.
#[derive(Debug)]
pub struct Drawn<P> {
    /// `[count, words]` u32, one row for each image of the data, whose operations begin at word `at`, `operations` of them.
    pub rows: P,
    pub words: usize,
    pub at: usize,
    pub operations: usize,
    /// Indices of images, u32, from the state's position on.
    pub order: P,
    /// How many times in a row an epoch has an image; then rows are those of its places.
    pub repeats: u32,
    pub state: P,
    /// As [`super::images::tables`]; mean and deviation of each channel begin at word `scales`.
    pub tables: P,
    pub scales: usize,
}

/// Applies operations to `images` `[batch, height, width, channels]` float32 as
/// [`Image`](crate::data::transforms::bytes::Image) does it on the host, to the bit. Where `images` is too large for shared
/// memory it is written over.
pub fn operate<P>(
    drawn: Drawn<P>,
    [batch, height, width, channels]: [usize; 4],
    images: P,
    (element, to): (Element, P),
) -> Launch<P> {
    let bytes = 2 * height * width * channels;
    let staged = bytes <= SHARED;
    let mut defines = vec![
        ("TO", element.name().to_owned()),
        ("CHANNELS", channels.to_string()),
        ("WORDS", drawn.words.to_string()),
        ("AT", drawn.at.to_string()),
        ("COUNT", drawn.operations.to_string()),
        ("STRIDE", if staged { "1" } else { "4" }.to_owned()),
    ];
    defines.extend(super::images::repeated(drawn.repeats));
    defines.extend(OPERATIONS.iter().enumerate().map(|(place, operation)| (operation.define, place.to_string())));
    Launch {
        source: SOURCE,
        defines,
        entry: "operate",
        grid: [batch as u32, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: if staged { bytes as u32 } else { 0 },
        args: vec![
            Arg::Pointer(images),
            Arg::Pointer(drawn.order),
            Arg::Pointer(drawn.tables),
            Arg::I32(int(drawn.scales)),
            Arg::I32(int(height)),
            Arg::I32(int(width)),
            Arg::Pointer(drawn.state),
            Arg::Pointer(drawn.rows),
            Arg::Pointer(to),
        ],
    }
}
