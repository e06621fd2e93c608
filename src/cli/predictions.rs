//! Rows of predictions, each complete in itself, so that they can be written as they come.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::choice::Choice;

/// How predictions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// A small table for each picture.
    Table,
    /// A row for each picture.
    Csv,
    /// A line of JSON for each picture.
    Json,
}

impl Choice for RowFormat {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Table, "table", "A table of the most probable classes for each picture"),
        (Self::Csv, "csv", "A header, and a row for each picture: path, error, and pairs of class and probability"),
        (Self::Json, "json", "A line for each picture: an object with its path, and its classes or its error"),
    ];
}

/// A picture with its most probable classes, first the most probable, or with why it cannot be read.
pub type Row<'a> = (&'a str, Result<&'a [(String, f32)], &'a str>);

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Class<'a> {
    class: &'a str,
    probability: f32,
}

/// The places of the `top` largest probabilities, in their order; among equal ones the first.
pub fn largest(probabilities: &[f32], top: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..probabilities.len()).collect();
    places.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    places.truncate(top);
    places
}

impl RowFormat {
    /// What stands before all rows of so many classes.
    pub fn header(self, classes: usize) -> Option<String> {
        (self == Self::Csv).then(|| {
            let pair = |number: usize| [format!("class_{number}"), format!("probability_{number}")];
            csv(["path", "error"].map(str::to_owned).into_iter().chain((1..=classes).flat_map(pair)).collect())
        })
    }

    /// A row of so many classes.
    pub fn row(self, (path, found): Row, classes: usize) -> String {
        match self {
            Self::Table => match found {
                Ok(found) => {
                    let mut table = Table::new();
                    table.load_style(UTF8_FULL_CONDENSED).set_header(["class", "probability"]);
                    for (name, probability) in found {
                        table.add_row([name.clone(), format!("{:.2}%", 100.0 * probability)]);
                    }
                    format!("{path}\n{table}")
                }
                Err(reason) => format!("{path} {reason}"),
            },
            Self::Csv => {
                let mut cells = vec![path.to_owned(), found.err().unwrap_or_default().to_owned()];
                for (name, probability) in found.unwrap_or_default() {
                    cells.extend([name.clone(), probability.to_string()]);
                }
                cells.resize(2 + 2 * classes, String::new());
                csv(cells)
            }
            Self::Json => {
                let classes = found.ok().map(|found| {
                    found.iter().map(|(class, probability)| Class { class, probability: *probability }).collect()
                });
                // Texts and numbers cannot fail.
                serde_json::to_string(&Line { path, classes, error: found.err() }).unwrap_or_default()
            }
        }
    }
}

/// One record, without the end of its line.
fn csv(cells: Vec<String>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory fails for nothing but rows of unequal length.
    let _ = writer.write_record(cells);
    String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_each_format() {
        let classes = [("red, dark".to_owned(), 0.75), ("blue".to_owned(), 0.125)];
        let rows: [Row; 2] = [("a \"b\".png", Ok(&classes)), ("x.jpg", Err("is cut off: the file ends"))];
        let all = RowFormat::CHOICES.iter().map(|(format, ..)| {
            let header = format.header(2).map(|header| header + "\n").unwrap_or_default();
            header + &rows.map(|row| format.row(row, 2)).join("\n")
        });
        insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn the_largest_come_first() {
        assert_eq!(largest(&[0.1, 0.4, 0.1, 0.4], 3), [1, 3, 0]);
        assert_eq!(largest(&[0.5, 0.5], 5), [0, 1]);
    }
}
