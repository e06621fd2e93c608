//! Sweeps of tiny trials, as a user runs them.
#![allow(dead_code, reason = "not every system runs the tests that use all of it")]

pub mod browser;
pub mod mlflow;
#[cfg(target_os = "linux")]
pub mod suspended;
pub mod wait;

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Settings of trials that take a moment.
pub const QUICK: [&str; 6] =
    ["--set", "train.epochs=3", "--set", "data.train_limit=300", "--set", "data.test_limit=100"];

/// `vitx`, in a folder.
pub fn vitx(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
    command.current_dir(folder).env("NO_COLOR", "1").args(arguments);
    command
}

/// A sweep of the embedded digits in the folder `out`.
pub fn sweep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command =
        vitx(folder, &["sweep", "digits_vit.yaml", "--output", "out", "--backend", "cpu", "--threads", "1"]);
    command.args(QUICK).args(arguments);
    command
}

/// The longest that a process of a test takes, on a machine that is slow and does much else. What takes longer hangs.
const LONGEST: Duration = Duration::from_secs(900);

/// How a process ends. One that hangs is killed, and fails the test with what it has said.
#[track_caller]
pub fn end(child: &mut Child, said: impl FnOnce() -> String) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() >= LONGEST {
            // It may have ended this moment.
            let _ = child.kill().and_then(|()| child.wait());
            panic!("a process does not end in {} s:\n{}", LONGEST.as_secs(), said());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs it to its end, as [`Command::output`] does, but not for ever.
#[track_caller]
pub fn ran(command: &mut Command) -> Output {
    // Files, and not pipes: what it leaves in the background is not waited for.
    let mut files = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let [stdout, stderr] = files.each_ref().map(|file| file.try_clone().unwrap());
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
        bytes
    };
    let status =
        end(&mut child, || files.each_mut().map(|file| String::from_utf8_lossy(&read(file)).into_owned()).concat());
    let [stdout, stderr] = files.each_mut().map(read);
    Output { status, stdout, stderr }
}

/// Both outputs.
pub fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs it, and expects success.
#[track_caller]
pub fn succeed(mut command: Command) -> String {
    let output = ran(&mut command);
    assert!(output.status.success(), "{}", shown(&output));
    shown(&output)
}

/// The report without what depends on the clock, the machine and the folder.
pub fn learnt(folder: &Path) -> serde_json::Value {
    let output = vitx(folder, &["report", "out", "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let mut trials: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for trial in trials.as_array_mut().unwrap() {
        trial.as_object_mut().unwrap().remove("prediction");
        if let Some(result) = trial["result"].as_object_mut() {
            for key in ["seconds", "images_per_second", "peak_memory_bytes"] {
                result.remove(key);
            }
        }
    }
    trials
}

/// The table's columns that do not depend on the clock and the machine, to the last digit.
pub fn table(folder: &Path) -> String {
    let text = succeed(vitx(folder, &["report", "out", "--format", "csv"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let measured = ["time", "predicted time", "img/s", "memory", "predicted memory"];
    let kept: Vec<usize> = (0..header.len()).filter(|at| !measured.contains(&&header[*at])).collect();
    let line = |row: &csv::StringRecord| kept.iter().map(|at| row[*at].to_owned()).collect::<Vec<_>>().join(",");
    let rows: Vec<String> = reader.records().map(|row| line(&row.unwrap())).collect();
    [vec![line(&header)], rows].concat().join("\n")
}

/// Says that something cannot be tested here, past what holds back the words of tests that pass.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}
