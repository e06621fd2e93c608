//! A look at every picture of a folder.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use rayon::prelude::*;

use crate::threads;

use super::super::super::{
    Place,
    decode::{Encoded, Fit},
};
use super::CHANNELS;

/// How close the look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// The head, and whether the file is whole.
    Structure,
    /// All pixels are decoded.
    Pixels,
}

/// A picture that can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Width and height as shown.
    pub size: (u32, u32),
    /// "JPEG".
    pub format: &'static str,
}

/// What it is, or what is wrong.
type Look = Result<Seen, String>;
pub(super) type Looked = (Place, Look);

/// What one file was found to be. A run looks several times at the same files: when it is checked,
/// described and loaded, and a sweep for each of its variants.
struct Known {
    length: u64,
    changed: Option<SystemTime>,
    depth: Depth,
    look: Look,
}

static KNOWN: LazyLock<Mutex<HashMap<Place, Known>>> = LazyLock::new(Mutex::default);

/// Looks at files, on all threads.
pub(super) fn survey(files: &[&Place], depth: Depth) -> Vec<Looked> {
    threads::together(|| files.par_iter().map(|place| ((*place).clone(), look(place, depth))).collect())
}

/// Those that are broken.
pub(super) fn broken(looked: &[Looked]) -> Vec<(Place, String)> {
    looked.iter().filter_map(|(place, look)| Some((place.clone(), look.clone().err()?))).collect()
}

fn look(place: &Place, depth: Depth) -> Look {
    let data = place.metadata().ok();
    let (length, changed) = data.map_or((0, None), |data| (data.len(), data.modified().ok()));
    let known = |known: &Known| known.length == length && known.changed == changed && known.depth >= depth;
    // Without its time a file is looked at anew.
    if changed.is_some()
        && let Some(known) = all().get(place).filter(|entry| known(entry))
    {
        return known.look.clone();
    }
    let look = look_anew(place, depth);
    all().insert(place.clone(), Known { length, changed, depth, look: look.clone() });
    look
}

fn all() -> std::sync::MutexGuard<'static, HashMap<Place, Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_anew(place: &Place, depth: Depth) -> Look {
    let picture = Encoded::read(place)?;
    let size = match depth {
        Depth::Structure => picture.size(),
        Depth::Pixels => picture.pixels(CHANNELS, None, Fit::Squash).map(|pixels| (pixels.width, pixels.height)),
    };
    size.map(|size| Seen { size, format: picture.format() })
}
