//! The commands that look at a model, as a user runs them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

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
