use super::{Kind, Setting};

/// A power of what is left, as `keras.optimizers.schedules.PolynomialDecay`.
pub static KIND: Kind = Kind {
    name: "polynomial",
    about: "a power of the share of the training that is left",
    options: &[Setting::number("power", 2.0, 0.01, 100.0)],
    factor: |at| at.down_to_final((1.0 - at.progress).powf(at.number("power"))),
};
