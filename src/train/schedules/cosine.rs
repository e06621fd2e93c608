use super::{Kind, kind::half_cosine};

/// Half a cosine, as `keras.optimizers.schedules.CosineDecay`.
pub static KIND: Kind = Kind {
    name: "cosine",
    about: "half a cosine: Loshchilov & Hutter 2017, without restarts",
    options: &[],
    factor: |at| at.down_to_final(half_cosine(at.progress)),
};
