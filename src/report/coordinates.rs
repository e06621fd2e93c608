//! Parallel coordinates: an axis for each swept key and one for test accuracy, and a line through them for each variant.

use maud::{Markup, html};

use super::{
    html::colour,
    measure,
    rows::{Row, Rows},
};
use crate::dsl::Value;

/// Height of the drawing and the margin around its axes, in pixels.
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 44.0;

/// Least width, and what an axis takes at least.
const WIDTH: f64 = 860.0;
const AXIS: f64 = 90.0;

/// Pixels between the lines of two labels, and of a character, at most.
const LINE: f64 = 13.0;
const CHARACTER: f64 = 6.8;

/// Where what does not vary stands: below the axis.
const APART: f64 = -0.09;

/// An axis with what stands on it: the share of the way up, from 0 to 1.
struct Axis {
    values: Vec<(String, f64)>,
}

impl Axis {
    /// The axis of values, in the order of their rows: numbers by their size, others in their order; a key that does
    /// not vary somewhere stands apart.
    fn of(values: &[Option<&Value>]) -> Self {
        let there: Vec<&Value> = values.iter().copied().flatten().collect();
        let numbers: Option<Vec<f64>> = there.iter().map(|value| number(value)).collect();
        let shares: Vec<f64> = match numbers {
            Some(numbers) => scaled(&numbers),
            None => {
                let mut different: Vec<&Value> = Vec::new();
                there.iter().for_each(|value| {
                    if !different.contains(value) {
                        different.push(value);
                    }
                });
                let last = different.len().saturating_sub(1);
                let at = |value: &&Value| different.iter().position(|other| other == value).unwrap_or(0);
                there.iter().map(|value| if last == 0 { 0.5 } else { at(value) as f64 / last as f64 }).collect()
            }
        };
        let mut shares = shares.into_iter();
        let value = |value: &Option<&Value>| match value {
            Some(value) => (label(value), shares.next().unwrap_or(0.5)),
            None => ("not varied".to_owned(), APART),
        };
        Self { values: values.iter().map(value).collect() }
    }

    /// The labels that have room: the first and the last, and of the others those that overlap none before.
    fn labels(&self, height: f64) -> Vec<(&str, f64)> {
        let mut all: Vec<(&str, f64)> = self.values.iter().map(|(text, share)| (text.as_str(), *share)).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.dedup_by(|a, b| a.1 == b.1);
        let ends = [all.first().copied(), all.last().copied()];
        let mut shown: Vec<(&str, f64)> = Vec::new();
        for (text, share) in ends.into_iter().flatten().chain(all) {
            if shown.iter().all(|(_, other)| (other - share).abs() * height >= LINE) {
                shown.push((text, share));
            }
        }
        shown
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// Numbers on a scale from 0 to 1: by their size, or by their logarithm where that spreads them more evenly, as values
/// of `log` and `loguniform` are.
fn scaled(numbers: &[f64]) -> Vec<f64> {
    let linear = shares(numbers);
    if numbers.iter().any(|number| *number <= 0.0) {
        return linear;
    }
    let logarithmic = shares(&numbers.iter().map(|number| number.ln()).collect::<Vec<_>>());
    if widest_gap(&logarithmic) < widest_gap(&linear) - 1e-9 { logarithmic } else { linear }
}

fn shares(numbers: &[f64]) -> Vec<f64> {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    numbers.iter().map(|number| if most > least { (number - least) / (most - least) } else { 0.5 }).collect()
}

fn widest_gap(shares: &[f64]) -> f64 {
    let mut sorted = shares.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

/// A value as a tick has it: of a drawn number, its first digits.
fn label(value: &Value) -> String {
    match value {
        Value::Float(number) if value.plain().len() > 8 => format!("{number:.3e}"),
        value => value.plain(),
    }
}

/// A text that fits into so many pixels.
fn fitting(text: &str, width: f64) -> String {
    let most = ((width / CHARACTER) as usize).max(3);
    match text.chars().count() {
        count if count <= most => text.to_owned(),
        _ => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The name of a key over its axis: where it is too long, its last word.
fn named(key: &str, width: f64) -> String {
    match key.rsplit_once('.') {
        Some((_, last)) if key.chars().count() as f64 * CHARACTER > width => fitting(last, width),
        _ => fitting(key, width),
    }
}

pub fn coordinates(rows: &Rows) -> Markup {
    if rows.keys.is_empty() {
        return html! { p { "Nothing was varied." } };
    }
    let scored: Vec<(&Row, f64)> =
        rows.rows.iter().filter_map(|row| Some((row, row.mean(&measure::ACCURACY)?.mean))).collect();
    let column = |at: usize| rows.rows.iter().map(|row| row.values[at]).collect::<Vec<_>>();
    let mut axes: Vec<(String, Axis)> =
        rows.keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), Axis::of(&column(at)))).collect();
    let accuracies: Vec<f64> = scored.iter().map(|(_, accuracy)| *accuracy).collect();
    let places = shares(&accuracies);
    let measured = accuracies.iter().map(|accuracy| measure::percent(*accuracy)).zip(places.iter().copied());
    let count = axes.len();
    axes.push(("test top-1".to_owned(), Axis { values: measured.collect() }));
    let width = WIDTH.max(4.0 * MARGIN + count as f64 * AXIS);
    let between = (width - 4.0 * MARGIN) / count as f64;
    let x = |axis: usize| 2.0 * MARGIN + axis as f64 * between;
    let tall = HEIGHT - 2.0 * MARGIN;
    let y = |share: f64| HEIGHT - MARGIN - share * tall;
    let over = between.min(4.0 * MARGIN) - 4.0;
    let path = |row: &Row, at: usize| {
        let own = rows.rows.iter().position(|other| other.values == row.values).unwrap_or(0);
        let points = axes.iter().take(count).map(|(_, axis)| axis.values[own].1).chain([places[at]]);
        let points = points.enumerate().map(|(at, share)| format!("{:.1},{:.1}", x(at), y(share)));
        points.collect::<Vec<_>>().join(" ")
    };
    html! {
        svg id="coordinates" viewBox=(format!("0 0 {width} {HEIGHT}")) {
            @for (at, (key, axis)) in axes.iter().enumerate() {
                line class="axis" x1=(x(at)) x2=(x(at)) y1=(y(0.0)) y2=(y(1.0)) {}
                text x=(x(at)) y=(MARGIN - 14.0) text-anchor="middle" { title { (key) } (named(key, over)) }
                @for (text, share) in axis.labels(tall) {
                    text class="tick" x=(x(at) + 6.0) y=(format!("{:.1}", y(share) + 4.0)) {
                        title { (text) } (fitting(text, between.min(2.0 * MARGIN) - 10.0))
                    }
                }
            }
            @for (at, (row, _)) in scored.iter().enumerate() {
                polyline points=(path(row, at)) stroke=(colour(rows, row)) { title { (row.name(&rows.keys)) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[&str]) -> Vec<f64> {
        let values: Vec<Option<Value>> = values.iter().map(|text| text.parse().ok()).collect();
        let all: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        Axis::of(&all).values.into_iter().map(|(_, share)| (100.0 * share).round() / 100.0).collect()
    }

    #[test]
    fn numbers_stand_by_their_size_and_what_is_missing_apart() {
        assert_eq!(axis(&["", "2", "0", "0.5"]), [APART, 1.0, 0.0, 0.25]);
        assert_eq!(axis(&["3", "1", "2", "10"]), [0.48, 0.0, 0.3, 1.0]);
        assert_eq!(axis(&["cosine", "constant", "cosine"]), [0.0, 1.0, 0.0]);
        assert_eq!(axis(&["4"]), [0.5]);
        assert_eq!(axis(&["", ""]), [APART, APART]);
        assert_eq!(axis(&["[8, 4]", "4"]), [0.0, 1.0]);
    }

    #[test]
    fn the_scale_is_that_of_the_values() {
        assert_eq!(axis(&["1e-4", "1e-3", "1e-2", "1e-1"]), [0.0, 0.33, 0.67, 1.0]);
        assert_eq!(axis(&["1", "2", "4", "8", "16"]), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(axis(&["1", "2", "3", "4"]), [0.0, 0.33, 0.67, 1.0]);
        assert_eq!(axis(&["0", "0.1", "0.2"]), [0.0, 0.5, 1.0]);
        // Drawn, and so not quite even.
        let drawn = axis(&["0.00013", "0.05", "0.0021", "0.0006", "0.011", "0.1"]);
        assert!(drawn.iter().all(|share| drawn.iter().filter(|other| (*other - share).abs() < 0.08).count() == 1));
        assert_eq!(axis(&["0.01", "0.1", "0.22", "0.31", "0.4", "0.5"])[2], 0.43);
    }

    #[test]
    fn labels_do_not_overlap() {
        let values: Vec<Value> = (0..60).map(|at| Value::Float(0.001 + f64::from(at * at % 61) / 61.0)).collect();
        let axis = Axis::of(&values.iter().map(Some).chain([None]).collect::<Vec<_>>());
        let labels = axis.labels(250.0);
        assert!(labels.len() > 10 && labels.iter().any(|(text, _)| *text == "not varied"), "{labels:?}");
        for (at, (_, share)) in labels.iter().enumerate() {
            assert!(labels[..at].iter().all(|(_, other)| (share - other).abs() * 250.0 >= LINE), "{labels:?}");
        }
        assert_eq!(named("train.optimizer.learning_rate", 90.0), "learning_rate");
        assert_eq!(named("a_very_long_parameter_of_a_model", 90.0), "a_very_long_…");
        assert_eq!(label(&Value::Float(0.000_398_107_170_553_497_3)), "3.981e-4");
    }
}
