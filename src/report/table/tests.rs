use std::path::PathBuf;

use super::*;
use crate::{
    experiment::sweep::Prediction,
    train::{
        history::Epoch,
        metrics::Means,
        result::{Failure, FailureKind, RunResult},
    },
};

fn record(patch_size: i64, depth: i64, seed: i64, accuracy: Option<f64>) -> Record {
    let result = accuracy.map(|accuracy| RunResult {
        test_loss: 2.0 - accuracy,
        test_accuracy: accuracy,
        test_top_5_accuracy: 0.9,
        best_epoch: 2,
        best_val_loss: None,
        best_val_accuracy: Some(accuracy / 2.0),
        best_val_top_5_accuracy: None,
        epochs: 3,
        parameters: 21_759_012,
        flops: 402_751_488,
        seconds: 12.25 / patch_size as f64,
        images_per_second: 100.4,
        peak_memory_bytes: Some(3 << 20),
    });
    let failure = accuracy.is_none().then(|| Failure { kind: FailureKind::Nan, reason: "a, \"b\" & c_d".into() });
    let variant = [("patch_size", patch_size), ("depth", depth), ("train.seed", seed)]
        .map(|(key, value)| (key.to_owned(), Value::Int(value)))
        .to_vec();
    let prediction = Some(Prediction {
        parameters: 21_759_012,
        flops: 402_751_488,
        epoch_seconds: Some(4.0 / patch_size as f64),
        first_seconds: 0.25,
        memory_bytes: 3 << 20,
        threads: 2,
    });
    let folder = PathBuf::from("trials/1");
    let epochs = accuracy.map(|accuracy| {
        let means = Means { loss: 1.0, accuracy: accuracy / 2.0, top_5_accuracy: 0.9 };
        vec![Epoch::new(1, means, Some(means), 1e-3)]
    });
    let epochs = epochs.unwrap_or_default();
    Record { folder, variant, epochs, result, failure, stopped: None, prediction, running: false, damaged: None }
}

pub fn records() -> Vec<Record> {
    vec![
        record(4, 1, 1, Some(0.5)),
        record(4, 1, 2, Some(0.6)),
        record(8, 1, 1, Some(0.7)),
        record(8, 1, 2, Some(0.7)),
        record(8, 2, 1, Some(0.4)),
        record(9, 1, 1, None),
    ]
}

#[test]
fn every_format() {
    let shown = [Format::Table, Format::Markdown, Format::Csv, Format::Latex, Format::Json]
        .map(|format| render(&records(), &View { format, sort: Some(Sort::Accuracy), ..View::default() }).unwrap());
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn every_view() {
    let text = |text: &str| Some(text.to_owned());
    let views = [
        View { group_by: text("depth"), ..View::default() },
        View { pivot: text("patch_size,depth"), ..View::default() },
        View { pareto: Some(Price::Time), baseline: text("patch_size=8,depth=1"), ..View::default() },
    ];
    insta::assert_snapshot!(views.map(|view| render(&records(), &view).unwrap()).join("\n\n"));
}

#[test]
fn keys_that_are_not_varied_are_refused() {
    let text = |text: &str| Some(text.to_owned());
    let views = [
        View { group_by: text("detph"), ..View::default() },
        View { pivot: text("depth"), ..View::default() },
        View { pivot: text("depth,width"), ..View::default() },
        View { baseline: text("depth=7"), ..View::default() },
    ];
    let errors = views.map(|view| render(&records(), &view).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"));
}
