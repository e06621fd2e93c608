//! The losses: what training minimises. A loss is an operator of the graph with options; the keys of an experiment, their
//! ranges and messages follow from its line here.
//!
//! A new loss is an operator and a line of [`LOSSES`]; a new option is a line of the loss' options and its use in the
//! operator.

mod cross_entropy;

use std::sync::Arc;

use super::{Builder, Value, optimizers::Setting};

/// All losses. The first is the one that trains where none is named.
pub static LOSSES: &[&LossKind] = &[&cross_entropy::CROSS_ENTROPY, &cross_entropy::BINARY_CROSS_ENTROPY];

/// A loss by name, with its options.
#[derive(Debug)]
pub struct LossKind {
    /// As an experiment calls it.
    pub name: &'static str,
    /// In a line.
    pub about: &'static str,
    /// Its numbers, with defaults and ranges.
    pub options: &'static [Setting],
    /// Adds its operator to a graph: the mean loss `[1]` of logits `[batch, classes]` and labels as [`Loss::labels`].
    pub apply: fn(&Loss, &mut Builder, logits: &Value, labels: &Value) -> Value,
}

/// A loss with its options.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Which loss it is.
    pub kind: &'static LossKind,
    /// Whether targets are mixed of two labels: `[batch, 3]`, the label, the other one, and the share of the first.
    pub mixed: bool,
    /// What the loss of an image is multiplied by, by its class; none: 1 for all. The mean divides by the number of images.
    pub class_weights: Option<Arc<[f32]>>,
    /// One for each option of the kind.
    values: Vec<f32>,
}

impl PartialEq for Loss {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.kind, other.kind)
            && self.mixed == other.mixed
            && self.class_weights == other.class_weights
            && self.values == other.values
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self::of(LOSSES[0])
    }
}

impl Loss {
    /// A loss with its defaults.
    pub fn of(kind: &'static LossKind) -> Self {
        let values = kind.options.iter().map(|option| option.default).collect();
        Self { kind, mixed: false, class_weights: None, values }
    }

    /// Whether it is the one that trains where none is named, with its defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// With another value of an option.
    ///
    /// # Panics
    /// Where the kind has no such option.
    #[must_use]
    pub fn with(mut self, name: &str, value: f32) -> Self {
        let at = self.place(name);
        self.values[at] = value;
        self
    }

    /// With targets mixed of two labels, or not.
    #[must_use]
    pub fn of_mixed(self, mixed: bool) -> Self {
        Self { mixed, ..self }
    }

    /// With weights of classes, one for each.
    #[must_use]
    pub fn of_classes(self, class_weights: Option<Arc<[f32]>>) -> Self {
        Self { class_weights, ..self }
    }

    /// The value of an option.
    ///
    /// # Panics
    /// Where the kind has no such option.
    pub fn option(&self, name: &str) -> f32 {
        self.values[self.place(name)]
    }

    fn place(&self, name: &str) -> usize {
        let at = self.kind.options.iter().position(|option| option.name == name);
        at.unwrap_or_else(|| panic!("`{}` has no option `{name}`", self.kind.name))
    }

    /// The shape of its labels.
    pub fn labels(&self, batch: usize) -> Vec<usize> {
        if self.mixed { vec![batch, 3] } else { vec![batch] }
    }

    /// Adds it to a graph: the mean loss `[1]` of logits `[batch, classes]` and labels as [`Loss::labels`].
    pub fn apply(&self, builder: &mut Builder, logits: &Value, labels: &Value) -> Value {
        (self.kind.apply)(self, builder, logits, labels)
    }
}

/// The loss of a name.
pub fn find(name: &str) -> Option<&'static LossKind> {
    LOSSES.iter().copied().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_name_twice() {
        for kind in LOSSES {
            assert!(std::ptr::eq(find(kind.name).unwrap(), *kind), "{} stands twice", kind.name);
            let mut names: Vec<&str> = kind.options.iter().map(|option| option.name).chain(["name"]).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", kind.name);
            for option in kind.options {
                assert!(option.range.has(option.default), "{}.{} = {}", kind.name, option.name, option.default);
            }
        }
    }
}
