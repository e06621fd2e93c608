//! What an evaluation found, as text and as JSON.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use crate::metrics::{Confused, Confusion, Means};

/// Pairs of classes that are shown.
const PAIRS: usize = 10;

/// The tables of `--report`: precision, recall and F1 of each class, and what was most often taken for what.
pub fn report(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> String {
    let percent = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.2}%", 100.0 * value));
    let mut table = table(&["class", "images", "precision", "recall", "F1"]);
    let mut images = 0;
    for (class, counts) in confusion.classes().enumerate() {
        images += counts.images;
        let shares = [counts.precision(), counts.recall(), counts.f1()].map(percent);
        table.add_row([name(class), counts.images.to_string()].into_iter().chain(shares));
    }
    let means = confusion.means().map(|mean| percent(Some(mean)));
    table.add_row(["mean of the classes".to_owned(), images.to_string()].into_iter().chain(means));
    right(&mut table, 1..5);
    let confused = confusion.confused();
    if confused.is_empty() {
        return format!("{table}\nNo image was taken for another class");
    }
    let mut pairs = self::table(&["images of", "taken for", "images", "of the class"]);
    for Confused { label, predicted, images } in confused.iter().take(PAIRS) {
        let all: u64 = confusion.row(*label).iter().sum();
        let share = percent(Some(*images as f64 / all as f64));
        pairs.add_row([name(*label), name(*predicted), images.to_string(), share]);
    }
    right(&mut pairs, 2..4);
    let more = match confused.len().saturating_sub(PAIRS) {
        0 => String::new(),
        1 => "\nand 1 more pair of classes".to_owned(),
        more => format!("\nand {more} more pairs of classes"),
    };
    format!("{table}\n{pairs}{more}")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Means as an object.
pub fn means(means: &Means) -> Value {
    json!({ "loss": means.loss, "accuracy": means.accuracy, "top_5_accuracy": means.top_5_accuracy })
}

/// The classes, the means over them and all pairs of classes of which one was taken for the other, as keys.
pub fn report_json(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> [(&'static str, Value); 3] {
    let classes = confusion.classes().enumerate().map(|(class, counts)| {
        json!({
            "class": name(class), "images": counts.images, "predicted": counts.predicted, "correct": counts.correct,
            "precision": counts.precision(), "recall": counts.recall(), "f1": counts.f1(),
        })
    });
    let [precision, recall, f1] = confusion.means();
    let confused = confusion.confused().into_iter().map(|Confused { label, predicted, images }| {
        json!({ "class": name(label), "predicted": name(predicted), "images": images })
    });
    [
        ("classes", classes.collect()),
        ("class_means", json!({ "precision": precision, "recall": recall, "f1": f1 })),
        ("confused", confused.collect()),
    ]
}

/// The confusion matrix as CSV: of each class a row, of each prediction a column.
pub fn matrix(confusion: &Confusion, names: &[String]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails for nothing but rows of unequal length, which these are not.
    let _ = writer.write_record(std::iter::once("class").chain(names.iter().map(String::as_str)));
    for (label, name) in names.iter().enumerate() {
        let counts = confusion.row(label).iter().map(ToString::to_string);
        let _ = writer.write_record(std::iter::once(name.clone()).chain(counts));
    }
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_three_classes() {
        let mut confusion = Confusion::new(3);
        let logits = |class: usize| (0..3).map(move |at| f32::from(u8::from(at == class)));
        let predicted: Vec<f32> = [0, 0, 1, 1, 1, 0].into_iter().flat_map(logits).collect();
        confusion.add(&predicted, &[0, 0, 0, 1, 2, 2]);
        let names = ["cat", "dog, big", "owl"].map(str::to_owned);
        let name = |class: usize| names[class].clone();
        let json: serde_json::Map<String, Value> =
            report_json(&confusion, &name).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let csv = String::from_utf8(matrix(&confusion, &names)).unwrap();
        let text = report(&confusion, &name);
        insta::assert_snapshot!(format!("{text}\n\n{}\n\n{csv}", serde_json::to_string_pretty(&json).unwrap()));
        let mut right = Confusion::new(3);
        right.add(&predicted[..6], &[0, 0]);
        assert!(report(&right, &name).ends_with("No image was taken for another class"));
    }
}
