use super::{
    Kind, Setting,
    kind::{Range, Value},
};

/// A factor at each milestone, as PyTorch's `MultiStepLR`.
pub static KIND: Kind = Kind {
    name: "multi_step",
    about: "a factor at each of some epochs, down to the final fraction",
    options: &[
        Setting { name: "milestones", default: Value::Numbers(Vec::new()), range: Range::Milestones },
        Setting::number("gamma", 0.1, 1e-6, 1.0),
    ],
    factor: |at| {
        // An epoch may be a rounding error short of its milestone.
        let passed = at.numbers("milestones").iter().filter(|milestone| **milestone <= at.epoch + 1e-9);
        at.number("gamma").powf(passed.count() as f64).max(at.least())
    },
};
