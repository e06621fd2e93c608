use super::{measure, rows::Rows};

/// How much of the variance of test accuracy each swept key explains alone, largest first: the
/// variance of the means over the values of the key, of the whole variance (the main effect of an
/// analysis of variance; Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing
/// Hyperparameter Importance", ICML 2014). Empty where there is nothing to explain.
pub fn importance<'a>(rows: &Rows<'a>) -> Vec<(&'a str, f64)> {
    let scored: Vec<_> = rows.rows.iter().filter_map(|row| Some((row, row.mean(&measure::ACCURACY)?.mean))).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let all: Vec<f64> = scored.iter().map(|(_, accuracy)| *accuracy).collect();
    let center = mean(&all);
    let whole: f64 = all.iter().map(|accuracy| (accuracy - center).powi(2)).sum();
    if whole <= 0.0 {
        return Vec::new();
    }
    let explained = |at: usize| {
        let mut groups: Vec<(_, Vec<f64>)> = Vec::new();
        for (row, accuracy) in &scored {
            match groups.iter_mut().find(|(value, _)| *value == row.values[at]) {
                Some((_, group)) => group.push(*accuracy),
                None => groups.push((row.values[at], vec![*accuracy])),
            }
        }
        groups.iter().map(|(_, group)| group.len() as f64 * (mean(group) - center).powi(2)).sum::<f64>() / whole
    };
    let mut shares: Vec<(&str, f64)> = rows.keys.iter().enumerate().map(|(at, key)| (*key, explained(at))).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}
