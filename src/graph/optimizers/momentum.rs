//! A momentum that grows in the first steps.

use super::{Range::BelowOne, Setting, rule::Iteration};

/// Where it begins.
pub(super) const MOMENTUM_START: Setting = Setting {
    name: "momentum_start",
    default: 0.85,
    range: BelowOne,
    about: "the momentum of the first step, if it warms up",
};

/// How long it grows.
pub(super) const MOMENTUM_WARMUP: Setting = Setting {
    name: "momentum_warmup",
    default: 0.0,
    range: BelowOne,
    about: "the share of all steps in which the momentum grows, evenly",
};

/// The momentum of a step, of a rule with both options and `momentum`: a line from the one to the other, as Muon's authors have
/// it. Where the length of the training is not known, it is over.
pub(super) fn warmed_momentum(step: &Iteration) -> f64 {
    let [momentum, start, warmup] =
        ["momentum", "momentum_start", "momentum_warmup"].map(|name| f64::from(step.option(name)));
    match step.progress() {
        progress if progress < warmup => start + (momentum - start) * progress / warmup,
        _ => momentum,
    }
}
