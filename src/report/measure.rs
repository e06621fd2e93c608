use super::Record;
use crate::{experiment::sweep::Metric, trial::RunResult};

/// A column of measured numbers.
pub struct Measure {
    /// The column's title.
    pub header: &'static str,
    /// A trial's number, if it has one.
    pub of: fn(&Record) -> Option<f64>,
    /// How a number is written, with its unit.
    pub show: fn(f64) -> String,
    /// By what a page writes it in the same way.
    pub unit: Unit,
    /// Whether the largest or the smallest is the best; `None` marks nothing.
    pub best: Option<fn(f64, f64) -> bool>,
}

/// What a number counts, in the words of the page of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// From 0 to 1, written in percent.
    Share,
    /// Of many things.
    Count,
    /// Of wall time.
    Seconds,
    /// Of memory.
    Bytes,
    /// Of few things.
    Whole,
    /// A mean loss.
    Loss,
    /// Anything else.
    Number,
}

/// `55.01%`
pub fn percent(value: f64) -> String {
    format!("{:.2}%", 100.0 * value)
}

/// `21.76M`
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => return format!("{value:.0}"),
    };
    format!("{scaled:.2}{unit}")
}

/// `0.123 s`, `12.2 s`, `3 min 20 s`, `2 h 05 min`
pub fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    match value {
        value if value < 0.9995 => format!("{value:.3} s"),
        value if value < 119.95 => format!("{value:.1} s"),
        value if value < 7199.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `14.1 MiB`, `1548 MiB`
pub fn mebibytes(bytes: f64) -> String {
    let value = bytes / f64::from(1 << 20);
    if value < 99.95 { format!("{value:.1} MiB") } else { format!("{value:.0} MiB") }
}

fn result(record: &Record, of: fn(&RunResult) -> f64) -> Option<f64> {
    record.result.as_ref().map(of)
}

const MORE: Option<fn(f64, f64) -> bool> = Some(|a, b| a > b);
const LESS: Option<fn(f64, f64) -> bool> = Some(|a, b| a < b);

/// Parameters of the model, known before its first step.
pub const PARAMETERS: Measure = Measure {
    header: "params",
    of: |r| result(r, |r| r.parameters as f64).or_else(|| Some(r.prediction?.parameters as f64)),
    show: short,
    unit: Unit::Count,
    best: None,
};
/// Of a forward pass over one image.
pub const FLOPS: Measure = Measure {
    header: "FLOPs",
    of: |r| result(r, |r| r.flops as f64).or_else(|| Some(r.prediction?.flops as f64)),
    show: short,
    unit: Unit::Count,
    best: None,
};
/// Of the weights that were tested, or the best of the epochs of a trial that did not finish.
pub const VAL_ACCURACY: Measure = Measure {
    header: "val top-1",
    of: |r| {
        let tested = r.result.as_ref().and_then(|result| result.best_val_accuracy);
        tested.or_else(|| r.epochs.iter().filter_map(|epoch| epoch.val_accuracy).reduce(f64::max))
    },
    show: percent,
    unit: Unit::Share,
    best: MORE,
};
/// The least of all epochs, as a sweep by `val_loss` compares.
pub const VAL_LOSS: Measure = Measure {
    header: "val loss",
    of: |r| r.epochs.iter().filter_map(|epoch| epoch.val_loss).reduce(f64::min),
    show: |v| format!("{v:.4}"),
    unit: Unit::Loss,
    best: LESS,
};
/// The best of all epochs, as a sweep by `val_top_5_accuracy` compares.
pub const VAL_TOP_5_ACCURACY: Measure = Measure {
    header: "val top-5",
    of: |r| r.epochs.iter().filter_map(|epoch| epoch.val_top_5_accuracy).reduce(f64::max),
    show: percent,
    unit: Unit::Share,
    best: MORE,
};
/// Of the best weights on the test split.
pub const ACCURACY: Measure = Measure {
    header: "test top-1",
    of: |r| result(r, |r| r.test_accuracy),
    show: percent,
    unit: Unit::Share,
    best: MORE,
};
/// Of the best weights on the test split: the label is among the five largest logits.
pub const TOP_5_ACCURACY: Measure = Measure {
    header: "test top-5",
    of: |r| result(r, |r| r.test_top_5_accuracy),
    show: percent,
    unit: Unit::Share,
    best: MORE,
};
/// Of the best weights on the test split, the mean of an image.
pub const LOSS: Measure = Measure {
    header: "test loss",
    of: |r| result(r, |r| r.test_loss),
    show: |v| format!("{v:.4}"),
    unit: Unit::Loss,
    best: LESS,
};
/// Wall time of all epochs.
pub const TIME: Measure =
    Measure { header: "time", of: |r| result(r, |r| r.seconds), show: seconds, unit: Unit::Seconds, best: LESS };
/// The time that was predicted before the first step.
pub const PREDICTED_TIME: Measure = Measure {
    header: "predicted time",
    of: |r| r.prediction?.seconds(r.result.as_ref()?.epochs),
    show: seconds,
    unit: Unit::Seconds,
    best: None,
};
/// Training images a second.
pub const SPEED: Measure = Measure {
    header: "img/s",
    of: |r| result(r, |r| r.images_per_second),
    show: |v| format!("{v:.0}"),
    unit: Unit::Whole,
    best: None,
};
/// The most memory that the trial's process had resident at once.
pub const MEMORY: Measure = Measure {
    header: "memory",
    of: |r| r.result.as_ref()?.peak_memory_bytes.map(|bytes| bytes as f64),
    show: mebibytes,
    unit: Unit::Bytes,
    best: LESS,
};
/// The memory that was predicted before the first step.
pub const PREDICTED_MEMORY: Measure = Measure {
    header: "predicted memory",
    of: |r| Some(r.prediction?.memory_bytes as f64),
    show: mebibytes,
    unit: Unit::Bytes,
    best: None,
};

/// By what a sweep compares its trials.
pub fn of_metric(metric: Metric) -> Measure {
    match metric {
        Metric::ValAccuracy => VAL_ACCURACY,
        Metric::ValLoss => VAL_LOSS,
        Metric::ValTop5Accuracy => VAL_TOP_5_ACCURACY,
    }
}

/// The columns of a table, in order.
pub const ALL: [Measure; 11] = [
    PARAMETERS,
    FLOPS,
    VAL_ACCURACY,
    ACCURACY,
    TOP_5_ACCURACY,
    LOSS,
    TIME,
    PREDICTED_TIME,
    SPEED,
    MEMORY,
    PREDICTED_MEMORY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.01234, 0.9999, 12.25, 119.96, 200.0, 7500.0].map(seconds),
            ["0.012 s", "1.0 s", "12.2 s", "2 min 00 s", "3 min 20 s", "2 h 05 min"]
        );
        assert_eq!([14.06, 1548.4].map(|mib| mebibytes(mib * 1048576.0)), ["14.1 MiB", "1548 MiB"]);
    }
}
