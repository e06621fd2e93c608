//! The table of a sweep's variants before the first step, and what cannot be.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt::Write,
};

use crate::{
    experiment::sweep::{Plan, Planned},
    memory,
    report::{fitted, measure, rows::SEED},
    trial::{Variant, variant},
};

/// Variants that cannot be of which the reason is shown.
const MOST_REASONS: usize = 100;

/// Writes a plan for a terminal.
pub fn show(plan: &Plan, jobs: usize) -> String {
    let mut lines: Vec<(Variant, &Planned, usize)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for planned in &plan.trials {
        let variant = without_seed(&planned.variant);
        match known.entry(format!("{variant:?}")) {
            Entry::Occupied(at) => lines[*at.get()].2 += 1,
            Entry::Vacant(at) => {
                at.insert(lines.len());
                lines.push((variant, planned, 1));
            }
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
        let value = |key: &&String| variant.iter().find(|(k, _)| k == *key).map(|(_, value)| value.plain());
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
    let cells: Vec<Vec<String>> = cells.collect();
    let mut text = if cells.is_empty() { String::new() } else { fitted(header, cells, keys.len()) + "\n" };
    text += &counted(plan, jobs);
    if let (false, Some(available)) = (plan.elsewhere, memory::available_bytes()) {
        text += &too_large(&lines, jobs, available);
    }
    let mut said: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for (variant, reason) in &plan.invalid {
        // What cannot be cannot be with any seed. Without a name, it is the experiment itself.
        let line = match variant::shown(&without_seed(variant)) {
            name if name.is_empty() => format!("cannot be: {reason}"),
            name => format!("cannot be: {name}: {reason}"),
        };
        if known.insert(line.clone()) {
            said.push(line);
        }
    }
    let more = said.len().saturating_sub(MOST_REASONS);
    said.truncate(MOST_REASONS);
    said.extend((more > 0).then(|| format!("cannot be: and {more} more")));
    said.extend(plan.notes.iter().cloned());
    [&[text], &said[..]].concat().join("\n").trim_start().to_owned()
}

/// How many trials there are, and how long all of them take.
fn counted(plan: &Plan, jobs: usize) -> String {
    let left: Vec<&Planned> = plan.trials.iter().filter(|planned| !planned.finished).collect();
    // A sum of nothing begins at -0.
    let total: f64 = left.iter().filter_map(|planned| seconds(planned)).fold(0.0, |sum, seconds| sum + seconds);
    let jobs = jobs.min(left.len().max(1));
    let finished = match plan.trials.len() - left.len() {
        0 => String::new(),
        finished => format!(", {finished} of them finished"),
    };
    let at_once = if jobs > 1 { format!(", {jobs} at once") } else { String::new() };
    match plan.trials.len() {
        0 => String::new(),
        1 if left.is_empty() => "1 trial, finished".to_owned(),
        count if left.is_empty() => format!("{count} trials, all of them finished"),
        count => {
            let trials = if count == 1 { "trial" } else { "trials" };
            if plan.elsewhere {
                // Those of an earlier time may know how long they take; the others do not.
                return format!(
                    "{count} {trials}{finished}{at_once}; how long they take is not told here, for they run elsewhere"
                );
            }
            format!("{count} {trials}{finished}; about {} of training{at_once}", measure::seconds(total / jobs as f64))
        }
    }
}

/// What needs more memory than there is.
fn too_large(lines: &[(Variant, &Planned, usize)], jobs: usize, available: u64) -> String {
    let mut text = String::new();
    for (variant, planned, _) in lines.iter().filter(|(_, planned, _)| !planned.finished) {
        let needs = planned.prediction.memory_bytes;
        if needs * jobs as u64 > available {
            let [needs, free] = [needs, available].map(|bytes| measure::mebibytes(bytes as f64));
            let times = if jobs > 1 { format!(", {jobs} times") } else { String::new() };
            // Writing to a string cannot fail.
            let _ =
                write!(text, "\nwill not fit: {}: it needs {needs}{times}; {free} are free", variant::shown(variant));
        }
    }
    text
}

fn without_seed(variant: &Variant) -> Variant {
    variant.iter().filter(|(key, _)| key != SEED).cloned().collect()
}

fn seconds(planned: &Planned) -> Option<f64> {
    planned.prediction.seconds(planned.definition.experiment.train.epochs)
}
