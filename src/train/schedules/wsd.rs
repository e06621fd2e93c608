use super::{Kind, Setting, kind::half_cosine};

/// Warm-up, stable, decay.
pub static KIND: Kind = Kind {
    name: "wsd",
    about: "constant, then down in the last part of the training: Hu et al. 2024; tails of Haegele et al. 2024",
    options: &[Setting::number("decay_fraction", 0.2, 1e-6, 1.0), Setting::word("tail", &["linear", "cosine", "sqrt"])],
    factor: |at| {
        let tail = at.number("decay_fraction");
        let progress = ((at.of_all - (1.0 - tail)) / tail).clamp(0.0, 1.0);
        at.down_to_final(match at.word("tail") {
            "cosine" => half_cosine(progress),
            "sqrt" => 1.0 - progress.sqrt(),
            _ => 1.0 - progress,
        })
    },
};
