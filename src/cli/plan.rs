//! The table of a sweep's variants before the first step, and what cannot be.

use std::fmt::Write;

use crate::{
    experiment::sweep::{Plan, Planned, Variant},
    memory,
    report::{fitted, measure, rows::SEED},
};

use super::live::name;

/// Writes a plan for a terminal.
pub fn show(plan: &Plan, jobs: usize) -> String {
    let available = memory::available_bytes();
    let mut lines: Vec<(Variant, &Planned, usize)> = Vec::new();
    for planned in &plan.trials {
        let variant: Variant = planned.variant.iter().filter(|(key, _)| key != SEED).cloned().collect();
        match lines.iter_mut().find(|(known, ..)| *known == variant) {
            Some((.., count)) => *count += 1,
            None => lines.push((variant, planned, 1)),
        }
    }
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in lines.iter().flat_map(|(variant, ..)| variant) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let seeds = lines.iter().any(|(.., count)| *count > 1);
    let mut header: Vec<String> = keys.iter().map(|key| (*key).clone()).collect();
    header.extend(seeds.then(|| "trials".to_owned()));
    header.extend(["params", "FLOPs", "memory", "per epoch", "time"].map(str::to_owned));
    let cells = lines.iter().map(|(variant, planned, count)| {
        let value = |key: &&String| variant.iter().find(|(k, _)| k == *key).map(|(_, value)| value.to_string());
        let mut cells: Vec<String> = keys.iter().map(|key| value(key).unwrap_or_default()).collect();
        cells.extend(seeds.then(|| count.to_string()));
        let prediction = &planned.prediction;
        cells.push(measure::short(prediction.parameters as f64));
        cells.push(measure::short(prediction.flops as f64));
        cells.push(measure::mebibytes(prediction.memory_bytes as f64));
        cells.push(prediction.epoch_seconds.map_or_else(|| "?".into(), measure::seconds));
        cells.push(match seconds(planned) {
            _ if planned.finished => "finished".to_owned(),
            Some(seconds) => measure::seconds(seconds),
            None => "?".to_owned(),
        });
        cells
    });
    let cells = cells.collect();
    let mut text = fitted(header, cells, keys.len());
    let left: Vec<&Planned> = plan.trials.iter().filter(|planned| !planned.finished).collect();
    let total: f64 = left.iter().filter_map(|planned| seconds(planned)).sum();
    let most = plan.trials.iter().map(|planned| planned.prediction.memory_bytes).max().unwrap_or(0);
    let jobs = jobs.min(left.len().max(1));
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{} trials", plan.trials.len());
    if left.len() < plan.trials.len() {
        let _ = write!(text, ", {} of them finished", plan.trials.len() - left.len());
    }
    let _ = write!(text, "; about {} of training", measure::seconds(total / jobs as f64));
    if jobs > 1 {
        let _ = write!(text, ", {jobs} at once");
    }
    if let Some(available) = available.filter(|available| most * jobs as u64 > *available) {
        for (variant, planned, _) in &lines {
            if planned.prediction.memory_bytes * jobs as u64 > available {
                let needs = measure::mebibytes(planned.prediction.memory_bytes as f64);
                let (times, free) = (if jobs > 1 { format!(", {jobs} times") } else { String::new() }, available as f64);
                let free = measure::mebibytes(free);
                let _ = write!(text, "\nwill not fit: {}: it needs {needs}{times}; {free} are free", name(variant));
            }
        }
    }
    for (variant, reason) in &plan.invalid {
        let _ = write!(text, "\ncannot be: {}: {reason}", name(variant));
    }
    text
}

fn seconds(planned: &Planned) -> Option<f64> {
    planned.prediction.seconds(planned.definition.experiment.train.epochs)
}
