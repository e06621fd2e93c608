use super::{Kind, Setting, kind::half_cosine};

/// Half cosines one after the other, as `keras.optimizers.schedules.CosineDecayRestarts`.
pub static KIND: Kind = Kind {
    name: "cosine_restarts",
    about: "half cosines that start again, each longer: Loshchilov & Hutter 2017",
    options: &[
        Setting::number("first_decay_epochs", 10.0, 0.01, 1e6),
        Setting::number("t_mul", 2.0, 1.0, 100.0),
        Setting::number("m_mul", 1.0, 0.0, 1.0),
    ],
    factor: |at| {
        let (longer, lower) = (at.number("t_mul"), at.number("m_mul"));
        let (mut length, mut height, mut epoch) = (at.number("first_decay_epochs"), 1.0, at.since_warmup);
        // An epoch may be a rounding error short of a restart.
        while epoch + 1e-9 >= length {
            epoch -= length;
            (length, height) = (length * longer, height * lower);
        }
        at.down_to_final(height * half_cosine((epoch / length).max(0.0)))
    },
};
