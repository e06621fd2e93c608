//! The commands that look at a model, as a user runs them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::json;

fn vitx(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vitx"))
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env_remove("VITX_DATA_DIR")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const MODEL: &[u8] = b"model m(units = 5) { flatten dense(units) dense(num_classes) }";

#[test]
fn models_experiments_and_standard_input_are_taken_alike() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.vitx"), MODEL).unwrap();
    fs::write(folder.path().join("e.yaml"), "model: m.vitx\ndata: { name: digits }\n").unwrap();
    let size = ["--image-size", "8", "--channels", "1", "--num-classes", "10"];
    let mut summaries = Vec::new();
    for file in ["m.vitx", "e.yaml", "-"] {
        let run = |command: &str| vitx(folder.path(), &[&[command, file, "-p", "units=7"], &size[..]].concat(), MODEL);
        assert_eq!(out(&run("check")), format!("{file}: model `m` is fine\n"));
        summaries.push(out(&run("summary")));
    }
    assert!(summaries[0].contains("Total parameters: 535"), "{}", summaries[0]);
    assert!(summaries.iter().all(|summary| *summary == summaries[0]));
    assert!(!summaries[0].contains("assumed"), "{}", summaries[0]);
}

/// What is assumed is said, unless the model or an option says it; and what is counted.
#[test]
fn summaries_say_what_they_assume_and_count() {
    let folder = tempfile::tempdir().unwrap();
    let model =
        b"model m(channels = 3, units = 5) { flatten dense(units) repeat { dense(5) gelu } x 4 dense(num_classes) }";
    let summary = |arguments: &[&str], model: &[u8]| {
        let output = vitx(folder.path(), &[&["summary", "-"], arguments].concat(), model);
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let bare = summary(&[], MODEL);
    assert!(bare.contains("with units = 5\nassumed 32x32x3 images and 100 classes; --data NAME, or"), "{bare}");
    // 3072 * 5 and 5 * 100 multiply-adds.
    let flops = "31,720 per image (matrix products; a multiply-add counts two: 15,860 MACs)";
    assert!(bare.contains(flops), "{bare}");
    assert!(summary(&["--num-classes", "10"], MODEL).contains("assumed 32x32x3 images; "));
    assert!(summary(&["--data", "digits"], MODEL).contains("Total parameters: 385"));
    let graph = vitx(folder.path(), &["graph", "-"], MODEL);
    assert!(err(&graph).starts_with("assumed 32x32x3 images and 100 classes"), "{}", err(&graph));

    let text = summary(&[], model);
    assert!(text.contains("×4: 3 more") && text.contains("assumed 32x32 images and 100 classes"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&summary(&["--format", "json"], model)).unwrap();
    assert_eq!(json["parameters"]["units"], 5);
    assert_eq!(json["assumptions"], json!({ "image_size": 32, "num_classes": 100 }));
    let layers = json["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 11);
    let dense = &layers[1];
    assert_eq!(dense["arguments"], json!({ "activation": "none", "units": 5, "use_bias": true }));
    assert_eq!((&dense["inputs"], &dense["input_shapes"]), (&json!(["flatten"]), &json!([[3072]])));
    assert_eq!((&dense["output_shape"], &dense["parameters"]), (&json!([5]), &json!(15_365)));
    assert_eq!(dense["tensors"][0]["shape"], json!([3072, 5]));
    assert_eq!((&dense["flops"], &dense["macs"]), (&json!(30_720), &json!(15_360)));
    let sum = |key: &str| layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
    for key in ["parameters", "flops", "macs"] {
        assert_eq!(json["totals"][key], sum(key), "{key}");
    }
}

/// A tensor that is used twice has two arrows.
#[test]
fn arrows_are_uses() {
    let folder = tempfile::tempdir().unwrap();
    let model =
        b"model m { flatten let a = { dense(4) } let b = { dense(4) } add(a, a) add(a, b, a) dense(num_classes) }";
    for stage in ["model", "forward"] {
        let drawn = out(&vitx(folder.path(), &["graph", "-", "--stage", stage, "--format", "dot"], model));
        let json = out(&vitx(folder.path(), &["graph", "-", "--stage", stage, "--format", "json"], model));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let nodes = json.get("layers").or(json.get("nodes")).unwrap().as_array().unwrap();
        let inputs: usize = nodes.iter().map(|node| node["inputs"].as_array().unwrap().len()).sum();
        assert_eq!(drawn.matches(" -> ").count(), inputs, "{drawn}");
        // Images, two branches, two and three terms, logits.
        assert!(stage == "forward" || inputs == 9, "{drawn}");
    }
}

#[test]
fn check_reports_all_errors_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.vitx"), "model m { dence(3) flatten dense(unit = 3) dense }").unwrap();
    let output = vitx(folder.path(), &["check", "m.vitx"], b"");
    assert_eq!(output.status.code(), Some(1));
    let shown = err(&output);
    assert!(shown.contains("3 errors in `m.vitx`") && shown.matches("m.vitx:1:").count() == 3, "{shown}");
    assert_eq!(shown.matches("did you mean").count(), 2, "{shown}");
    assert!(output.stdout.is_empty());
}

/// A parameter without effect: a warning, and an error where a sweep varies it.
#[test]
fn what_has_no_effect_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = "model m(units = 5, rate = 0.1) { flatten dense(units) dense(num_classes) }";
    fs::write(folder.path().join("m.vitx"), model).unwrap();
    let experiment = "model: m.vitx\ndata: { name: digits }\nparams: { rate: 0.2 }\n";
    fs::write(folder.path().join("e.yaml"), experiment).unwrap();
    fs::write(folder.path().join("s.yaml"), format!("{experiment}sweep: {{ params: {{ rate: [0.1, 0.2] }} }}\n"))
        .unwrap();
    for command in ["check", "summary"] {
        let output = vitx(folder.path(), &[command, "e.yaml"], b"");
        assert_eq!(output.status.code(), Some(0));
        let said = err(&output);
        assert!(said.contains("⚠ `rate` has no effect: the model does not use it"), "{said}");
        assert!(said.contains("`rate` is set here"), "{said}");
        assert!(!out(&output).contains("no effect"));
    }
    for command in [&["check", "s.yaml"][..], &["sweep", "s.yaml", "--dry-run"]] {
        let output = vitx(folder.path(), command, b"");
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        let said = err(&output) + &out(&output);
        assert_eq!(said.matches("`rate` has no effect: the model does not use it").count(), 1, "{said}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let inputs: [&[u8]; 8] = [
        b"",
        b"\xff\xfe\x00m",
        b"model m {\0",
        b"\xef\xbb\xbf",
        b"[[[[",
        b"\"",
        b"model \xe2\x80\xae {}",
        &[b'{'; 100_000],
    ];
    for input in inputs {
        for command in [&["check", "-"][..], &["graph", "-"], &["summary", "-"], &["fmt", "--check", "-"]] {
            let output = vitx(folder.path(), command, input);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{command:?} {input:?}: {}", err(&output));
            assert!(!err(&output).contains("panicked"), "{}", err(&output));
        }
    }
    let long = vitx(folder.path(), &["check", "-"], &vec![b' '; 3 << 20]);
    assert!(err(&long).contains("a model file has at most"), "{}", err(&long));
}
