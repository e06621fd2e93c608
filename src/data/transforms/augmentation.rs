//! What an experiment says of its augmentation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Fill, MixingOptions, Options, Plan, Transform, TransformKind, Value, draw::stream, plan::Drawing, random_flip,
    random_rotation::RandomRotation, random_zoom::RandomZoom,
};

/// What is drawn anew for every image of every epoch. The default changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Augmentation {
    /// The form of the first version.
    Keys(Keys),
    /// Transforms, applied in order.
    List(Vec<Listed>),
}

/// Keras' `RandomFlip("horizontal")`, `RandomRotation(rotation)` and `RandomZoom(zoom, zoom)`, each of which samples the
/// image that the former made, as in Keras. All draw from one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Turns every other image left to right.
    pub flip: bool,
    /// The largest angle, either way, as a fraction of a full turn.
    pub rotation: f32,
    /// The largest change of scale, in and out; drawn for height and width independently.
    pub zoom: f32,
}

/// A transform in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which transform it is.
    pub kind: &'static TransformKind,
    /// One for each of the kind's options.
    pub values: Vec<Value>,
    /// From which epochs on, from 0 and in order, they are others; `None` where it is left out.
    pub later: Vec<(u32, Option<Vec<Value>>)>,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.kind.name == other.kind.name && self.values == other.values && self.later == other.later
    }
}

impl Listed {
    /// A transform with its defaults.
    pub fn new(kind: &'static TransformKind) -> Self {
        Self { kind, values: kind.options.iter().map(|option| option.default).collect(), later: Vec::new() }
    }

    /// How batches are mixed by it, if they are.
    pub fn mixing(&self) -> Option<MixingOptions> {
        self.mixing_in(0)
    }

    /// How batches are mixed by it in an epoch, if they are.
    pub fn mixing_in(&self, epoch: u32) -> Option<MixingOptions> {
        match self.with(in_epoch(&self.values, &self.later, epoch)?) {
            Ok(Transform::Mixing(options, _)) => Some(options),
            _ => None,
        }
    }

    /// As it begins.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub fn build(&self) -> Result<Transform, String> {
        self.with(&self.values)
    }

    /// What it becomes from which epochs on.
    ///
    /// # Errors
    /// Options that contradict each other, or that may not be others later.
    pub fn build_later(&self) -> Result<Vec<(u32, Option<Transform>)>, String> {
        let first = self.build()?;
        let build = |(epoch, values): &(u32, Option<Vec<Value>>)| {
            let Some(values) = values else { return Ok((*epoch, None)) };
            let transform = self.with(values)?;
            match (&first, &transform) {
                (Transform::Geometric(first), Transform::Geometric(later)) if first.fill() != later.fill() => {
                    Err(format!("what stands outside of images cannot be another from epoch {epoch} on"))
                }
                _ => Ok((*epoch, Some(transform))),
            }
        };
        self.later.iter().map(build).collect()
    }

    fn with(&self, values: &[Value]) -> Result<Transform, String> {
        (self.kind.build)(&Options { options: self.kind.options, values })
    }
}

/// What holds in an epoch: the first, or the last of those that begin later and have begun; none where it is left out.
pub(super) fn in_epoch<'a, T>(first: &'a T, later: &'a [(u32, Option<T>)], epoch: u32) -> Option<&'a T> {
    match later.iter().rfind(|(from, _)| *from <= epoch) {
        Some((_, later)) => later.as_ref(),
        None => Some(first),
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::Keys(Keys::default())
    }
}

impl Augmentation {
    /// The first transform that mixes the images of a batch, and their labels.
    pub fn mixing(&self) -> Option<&'static str> {
        match self {
            Self::Keys(_) => None,
            Self::List(list) => list.iter().find(|listed| listed.mixing().is_some()).map(|listed| listed.kind.name),
        }
    }

    /// The last epoch, from 0, from which on a transform is another, with the transform's name.
    pub fn last_change(&self) -> Option<(u32, &'static str)> {
        let Self::List(list) = self else { return None };
        list.iter().filter_map(|listed| Some((listed.later.last()?.0, listed.kind.name))).max()
    }

    /// Whether something is drawn for each image, rather than for batches alone.
    pub fn changes_images(&self) -> bool {
        match self {
            Self::Keys(keys) => *keys != Keys::default(),
            Self::List(list) => list.iter().any(|listed| listed.mixing().is_none()),
        }
    }

    /// The first transform that does nothing to images of so many channels, 1 or 3, and why.
    pub fn without_effect(&self, channels: usize) -> Option<(&'static str, String)> {
        let Self::List(list) = self else { return None };
        list.iter().find_map(|listed| match listed.build() {
            Ok(Transform::Operating(operating)) => Some((listed.kind.name, operating.takes(channels).err()?)),
            _ => None,
        })
    }

    /// What is done to images of a size `[height, width]`.
    ///
    /// # Panics
    /// On a list whose transforms cannot be built: such is refused where it is read.
    pub fn plan(&self, size: [usize; 2]) -> Arc<Plan> {
        let transforms = match self {
            Self::Keys(keys) => keys.transforms(),
            Self::List(list) => list.iter().enumerate().map(|(at, listed)| listed_at(&list[..at], listed)).collect(),
        };
        Arc::new(Plan::new(transforms, size))
    }
}

fn listed_at(before: &[Listed], listed: &Listed) -> Drawing {
    let same = before.iter().filter(|other| other.kind.name == listed.kind.name).count();
    let built = |built: Result<_, String>| built.unwrap_or_else(|message| panic!("`{}`: {message}", listed.kind.name));
    let (transform, later) = built(listed.build().and_then(|transform| Ok((transform, listed.build_later()?))));
    Drawing { transform, later, stream: stream(listed.kind.name, same), skipped: 0, apart: false }
}

impl Keys {
    /// Each draws its own words of one block of four.
    fn transforms(self) -> Vec<Drawing> {
        let Self { flip, rotation, zoom } = self;
        let about = |factor: f32| [-factor, factor];
        let drawing = |transform, skipped| Drawing { transform, later: Vec::new(), stream: 0, skipped, apart: true };
        let mut transforms = Vec::new();
        if flip && let Ok(transform) = Listed::new(&random_flip::KIND).build() {
            transforms.push(drawing(transform, 0));
        }
        if rotation != 0.0 {
            let rotation = RandomRotation::new(about(rotation), Fill::Reflect);
            transforms.push(drawing(Transform::Geometric(Box::new(rotation)), 1));
        }
        if zoom != 0.0 {
            let zoom = RandomZoom { height: about(zoom), width: Some(about(zoom)), fill: Fill::Reflect };
            transforms.push(drawing(Transform::Geometric(Box::new(zoom)), 2));
        }
        transforms
    }
}
