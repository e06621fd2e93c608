use std::path::PathBuf;

use super::{
    super::view::{Price, Sort},
    *,
};
use crate::{
    metrics::Means,
    trial::{Epoch, Failure, FailureKind, Prediction, RunResult},
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
        device: None,
        ema: false,
        stopped: None,
    });
    let failure = accuracy.is_none().then(|| Failure::new(FailureKind::Nan, "a, \"b\" & c_d"));
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

const FORMATS: [Format; 5] = [Format::Table, Format::Markdown, Format::Csv, Format::Latex, Format::Json];

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn views() -> [View; 5] {
    [
        View { group_by: text("depth"), ..View::default() },
        View { pivot: text("patch_size,depth"), ..View::default() },
        View { pareto: Some(Price::Time), ..View::default() },
        View { baseline: text("patch_size=8.0, params.depth=1"), ..View::default() },
        View { group_by: text("train.seed"), sort: Some(Sort::Loss), ..View::default() },
    ]
}

#[test]
fn every_format() {
    let shown = FORMATS
        .map(|format| render(&records(), &View { format, sort: Some(Sort::Accuracy), ..View::default() }).unwrap());
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn every_view() {
    insta::assert_snapshot!(views().map(|view| render(&records(), &view).unwrap()).join("\n\n"));
}

/// The page of trials, without their networks.
fn page(records: &[Record], view: &View) -> Result<String, ExperimentError> {
    let link = |_: usize, _: &std::path::Path| String::new();
    crate::report::Page { title: "a sweep", records, models: &[], view, link: &link, live: false }.html()
}

/// What an option does to a table it does in the other formats, too, and to the page.
#[test]
fn every_view_in_every_format() {
    let records = records();
    let page = |view: &View| page(&records, view).unwrap();
    for view in views() {
        for format in FORMATS {
            let own = render(&records, &View { format, ..view.clone() }).unwrap();
            assert_ne!(own, render(&records, &View { format, ..View::default() }).unwrap(), "{view:?} {format:?}");
        }
        assert_ne!(page(&view), page(&View::default()), "{view:?}");
    }
    let shown: Vec<String> = views()
        .iter()
        .flat_map(|view| [Format::Csv, Format::Markdown, Format::Latex].map(|format| View { format, ..view.clone() }))
        .map(|view| render(&records, &view).unwrap())
        .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
    let json = |view: &View| -> serde_json::Value {
        serde_json::from_str(&render(&records, &View { format: Format::Json, ..view.clone() }).unwrap()).unwrap()
    };
    let [groups, pivot, pareto, baseline, _] = views().map(|view| json(&view));
    assert_eq!((&groups[0]["key"], &groups[1]["value"]), (&"depth".into(), &2.into()));
    assert_eq!(groups[1]["trials"].as_array().unwrap().len(), 1);
    assert_eq!(pivot[0], serde_json::json!({ "patch_size": 4, "depth": 1, "test_accuracy": 0.55 }));
    let front = |trial: &serde_json::Value| trial["pareto"] == true;
    assert_eq!(pareto.as_array().unwrap().iter().filter(|trial| front(trial)).count(), 2);
    assert_eq!((&baseline[2]["baseline"], &baseline[0]["baseline"]), (&true.into(), &false.into()));
    assert!((baseline[0]["vs_baseline"].as_f64().unwrap() + 0.15).abs() < 1e-9);
    let sorted = json(&View { sort: Some(Sort::Accuracy), ..View::default() });
    assert_eq!(
        sorted[0]["over_seeds"]["test_accuracy"],
        serde_json::json!({ "mean": 0.7, "deviation": 0.0, "count": 2 })
    );
    assert_eq!(sorted[0]["variant"]["patch_size"], 8);
}

/// Values that mean something else in a format stay what they are.
#[test]
fn odd_values_break_no_row() {
    let odd =
        ["a|b", "", "a,b", "a\nb", "\"q\"", "a_b & c%", "<i>", "\u{1b}[31m", "[8, 4]", "*x*", "日本 Ä", "`a`", "4"];
    let mut records = records();
    records.truncate(1);
    let base = records.remove(0);
    for value in odd {
        let variant = vec![("tag|key".to_owned(), Value::Str(value.into()))];
        records.push(Record { variant, ..base.clone() });
    }
    records.push(Record { variant: vec![("other_key".to_owned(), Value::Int(1))], ..base });
    let shown = |format| render(&records, &View { format, ..View::default() }).unwrap();
    let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let markdown = shown(Format::Markdown);
    assert_eq!(markdown.lines().count(), records.len() + 2, "{markdown}");
    assert!(markdown.lines().all(|line| bars(line) == bars(markdown.lines().next().unwrap())), "{markdown}");
    let csv = shown(Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let first: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
    assert_eq!(first.len(), records.len());
    // An empty text is not what does not vary.
    assert_eq!((first[1].as_str(), first[12].as_str(), first[13].as_str()), ("\"\"", "\"4\"", ""));
    let latex = shown(Format::Latex);
    let ampersands = |line: &str| line.replace("\\&", "").matches('&').count();
    let rows: Vec<&str> = latex.lines().filter(|line| line.ends_with("\\\\")).collect();
    assert_eq!(rows.len(), records.len() + 1);
    assert!(rows.iter().all(|row| ampersands(row) == ampersands(rows[0]) && !row.starts_with(['[', '*'])), "{latex}");
    for format in FORMATS {
        assert!(!shown(format).contains('\u{1b}'), "{format:?}");
        let nothing = shown(format);
        assert!(!nothing.is_empty());
    }
    let table = shown(Format::Table);
    assert_eq!(table.lines().count(), records.len() + 4, "{table}");
    insta::assert_snapshot!([markdown, csv, latex].join("\n\n"));
}

/// One trial, trials that all failed, trials of no sweep, and none.
#[test]
fn little_can_be_shown_in_every_format() {
    let failed = record(4, 1, 1, None);
    let alone = Record { variant: Vec::new(), ..record(4, 1, 1, Some(0.5)) };
    for records in
        [vec![failed.clone()], vec![failed.clone(), record(8, 1, 1, None)], vec![alone.clone(), alone], vec![]]
    {
        for format in FORMATS {
            let views = [None, Some(Price::Flops)].map(|pareto| View {
                format,
                pareto,
                sort: Some(Sort::Time),
                ..View::default()
            });
            for view in views {
                let shown = render(&records, &view).unwrap();
                assert!(format == Format::Json || shown.contains("state"), "{shown}");
            }
        }
        page(&records, &View::default()).unwrap();
    }
}

#[test]
fn keys_that_are_not_varied_are_refused() {
    let views = [
        View { group_by: text("detph"), ..View::default() },
        View { group_by: text("model"), ..View::default() },
        View { pivot: text("depth"), ..View::default() },
        View { pivot: text("depth,depth"), ..View::default() },
        View { pivot: text("depth,width"), ..View::default() },
        View { baseline: text("depth=7"), ..View::default() },
        View { baseline: text("depth"), ..View::default() },
        View { baseline: text("depth=[1"), ..View::default() },
    ];
    let refused = |view: &View, format| {
        let view = View { format, ..view.clone() };
        let error = render(&records(), &view).unwrap_err();
        let help = miette::Diagnostic::help(&error).map(|help| help.to_string()).unwrap_or_default();
        assert_eq!(page(&records(), &view).unwrap_err().to_string(), error.to_string());
        format!("{error}\n  {help}")
    };
    let all: Vec<String> = views.iter().map(|view| refused(view, Format::Table)).collect();
    for format in FORMATS {
        assert_eq!(views.iter().map(|view| refused(view, format)).collect::<Vec<_>>(), all, "{format:?}");
        let view = View { format, width: Some(80), ..View::default() };
        assert_eq!(render(&records(), &view).is_ok(), format == Format::Table, "{format:?}");
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_baseline_is_found_by_its_value() {
    let values = ["0.0", "[8, 4]", "\"a,b\"", "\"4\"", "../x/a", "true"];
    let records: Vec<Record> = values
        .iter()
        .map(|value| Record { variant: vec![("a".to_owned(), value.parse().unwrap())], ..record(4, 1, 1, Some(0.5)) })
        .collect();
    for (at, wanted) in ["0", "[8.0, 4]", "\"a,b\"", "4", "../x/a", "true"].iter().enumerate() {
        let view = View { baseline: Some(format!("a={wanted}")), ..View::default() };
        let shown = render(&records, &view).unwrap();
        let line = shown.lines().filter(|line| line.starts_with('│')).nth(at + 1).unwrap();
        assert!(line.contains("baseline"), "{wanted}: {shown}");
    }
}
