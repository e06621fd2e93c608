use super::{Kind, Setting, kind::half_cosine};

/// Up to the peak and down again, as PyTorch's `OneCycleLR`, to the final fraction.
pub static KIND: Kind = Kind {
    name: "one_cycle",
    about: "up from a part of the peak, then down: Smith & Topin 2018",
    options: &[
        Setting::number("pct_start", 0.3, 0.0, 1.0),
        Setting::number("div_factor", 25.0, 1.0, 1e6),
        Setting::word("anneal_strategy", &["cos", "linear"]),
    ],
    factor: |at| {
        let (up, start) = (at.number("pct_start"), 1.0 / at.number("div_factor"));
        let left = |progress: f64| match at.word("anneal_strategy") {
            "linear" => 1.0 - progress,
            _ => half_cosine(progress),
        };
        match at.progress {
            progress if progress < up => 1.0 + (start - 1.0) * left(progress / up),
            progress if up < 1.0 => at.down_to_final(left((progress - up) / (1.0 - up))),
            _ => 1.0,
        }
    },
};
