use super::{
    Record,
    measure::{ACCURACY, Measure, TOP_5_ACCURACY, percent},
    rows::Rows,
};

/// What trials that differ in nothing but their seeds reach: mean and sample deviation of the test accuracy, and the
/// accuracy of each. Nothing for a sweep of anything else, or before two of them are finished.
pub fn seeds(records: &[Record]) -> Option<String> {
    let Rows { keys, rows } = Rows::new(records);
    let ([], [row]) = (keys.as_slice(), rows.as_slice()) else { return None };
    let shown = |measure: &Measure| {
        let mean = row.mean(measure).filter(|mean| mean.count > 1)?;
        Some(format!("{} ± {}", percent(mean.mean), percent(mean.deviation)))
    };
    let count = row.mean(&ACCURACY)?.count;
    let each: Vec<String> = row.records.iter().filter_map(|record| (ACCURACY.of)(record)).map(percent).collect();
    Some(format!(
        "Test accuracy, mean ± sample standard deviation of {count} seeds: {} ({})\nTest top 5 accuracy: {}",
        shown(&ACCURACY)?,
        each.join(", "),
        shown(&TOP_5_ACCURACY)?,
    ))
}
