use super::{Kind, Setting};

/// The same share from epoch to epoch, as `keras.optimizers.schedules.ExponentialDecay` with an epoch's steps; in stairs
/// with `per: epoch`.
pub static KIND: Kind = Kind {
    name: "exponential",
    about: "each epoch takes the same share, down to the final fraction",
    options: &[Setting::number("decay_rate", 0.96, 1e-6, 1.0)],
    factor: |at| at.number("decay_rate").powf(at.since_warmup).max(at.least()),
};
