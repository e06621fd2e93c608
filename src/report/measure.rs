use super::Record;
use crate::train::result::RunResult;

/// A column of measured numbers.
pub struct Measure {
    pub header: &'static str,
    pub of: fn(&Record) -> Option<f64>,
    pub show: fn(f64) -> String,
    /// Whether the largest or the smallest is the best; `None` marks nothing.
    pub best: Option<fn(f64, f64) -> bool>,
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

/// `12.2 s`
pub fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}

fn result(record: &Record, of: fn(&RunResult) -> f64) -> Option<f64> {
    record.result.as_ref().map(of)
}

const MORE: Option<fn(f64, f64) -> bool> = Some(|a, b| a > b);
const LESS: Option<fn(f64, f64) -> bool> = Some(|a, b| a < b);

/// Parameters of the model.
pub const PARAMETERS: Measure =
    Measure { header: "params", of: |r| result(r, |r| r.parameters as f64), show: short, best: None };
/// Of a forward pass over one image.
pub const FLOPS: Measure = Measure { header: "FLOPs", of: |r| result(r, |r| r.flops as f64), show: short, best: None };
pub const VAL_ACCURACY: Measure =
    Measure { header: "val top-1", of: |r| r.result.as_ref()?.best_val_accuracy, show: percent, best: MORE };
pub const ACCURACY: Measure =
    Measure { header: "test top-1", of: |r| result(r, |r| r.test_accuracy), show: percent, best: MORE };
pub const TOP_5_ACCURACY: Measure =
    Measure { header: "test top-5", of: |r| result(r, |r| r.test_top_5_accuracy), show: percent, best: MORE };
pub const LOSS: Measure =
    Measure { header: "test loss", of: |r| result(r, |r| r.test_loss), show: |v| format!("{v:.4}"), best: LESS };
/// Wall time of all epochs.
pub const TIME: Measure = Measure { header: "time", of: |r| result(r, |r| r.seconds), show: seconds, best: LESS };
/// The time that was predicted before the first step.
pub const PREDICTED: Measure = Measure {
    header: "predicted",
    of: |r| Some(r.prediction?.epoch_seconds * f64::from(r.result.as_ref()?.epochs)),
    show: seconds,
    best: None,
};
pub const SPEED: Measure =
    Measure { header: "img/s", of: |r| result(r, |r| r.images_per_second), show: |v| format!("{v:.0}"), best: None };
pub const MEMORY: Measure = Measure {
    header: "peak MiB",
    of: |r| r.result.as_ref()?.peak_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)),
    show: |v| format!("{v:.0}"),
    best: None,
};

/// The columns of a table, in order.
pub const ALL: [Measure; 10] =
    [PARAMETERS, FLOPS, VAL_ACCURACY, ACCURACY, TOP_5_ACCURACY, LOSS, TIME, PREDICTED, SPEED, MEMORY];
