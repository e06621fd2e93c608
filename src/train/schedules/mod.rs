//! The ways of a learning rate over a training: a file each, and a line of [`KINDS`].

mod constant;
mod cosine;
mod cosine_restarts;
mod exponential;
mod kind;
mod linear;
mod multi_step;
mod one_cycle;
mod polynomial;
mod wsd;

pub use kind::{At, Kind, Range, Setting, Value};

/// All of them. The first is the one where none is named.
pub static KINDS: &[&Kind] = &[
    &constant::KIND,
    &cosine::KIND,
    &linear::KIND,
    &polynomial::KIND,
    &exponential::KIND,
    &multi_step::KIND,
    &one_cycle::KIND,
    &wsd::KIND,
    &cosine_restarts::KIND,
];

/// The one of a name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
