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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.kind.name == other.kind.name && self.values == other.values
    }
}

impl Listed {
    /// A transform with its defaults.
    pub fn new(kind: &'static TransformKind) -> Self {
        Self { kind, values: kind.options.iter().map(|option| option.default).collect() }
    }

    /// How batches are mixed by it, if they are.
    pub fn mixing(&self) -> Option<MixingOptions> {
        match self.build() {
            Ok(Transform::Mixing(options, _)) => Some(options),
            _ => None,
        }
    }

    /// # Errors
    /// Options that contradict each other.
    pub fn build(&self) -> Result<Transform, String> {
        (self.kind.build)(&Options { options: self.kind.options, values: &self.values })
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
    let transform = listed.build().unwrap_or_else(|message| panic!("`{}`: {message}", listed.kind.name));
    Drawing { transform, stream: stream(listed.kind.name, same), skipped: 0, apart: false }
}

impl Keys {
    /// Each draws its own words of one block of four.
    fn transforms(self) -> Vec<Drawing> {
        let Self { flip, rotation, zoom } = self;
        let about = |factor: f32| [-factor, factor];
        let drawing = |transform, skipped| Drawing { transform, stream: 0, skipped, apart: true };
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
