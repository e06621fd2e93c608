//! Results sent to MLflow: to a server that fails at random, to one that is not there, and to the real one.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    self,
    mlflow::{Fake, Run},
    shown, succeed, sweep, vitx,
    wait::until,
};

const FIGURES: [&str; 10] = [
    "accuracy",
    "epoch_seconds",
    "images_per_second",
    "learning_rate",
    "loader_wait_seconds",
    "loss",
    "top_5_accuracy",
    "val_accuracy",
    "val_loss",
    "val_top_5_accuracy",
];

/// The steps that have a figure, each once.
fn steps(run: &Run, figure: &str) -> Vec<u64> {
    let steps: Vec<u64> = run.metrics.iter().filter(|(name, ..)| name == figure).map(|(_, step, ..)| *step).collect();
    assert_eq!(steps.iter().collect::<BTreeSet<_>>().len(), steps.len(), "{figure} twice: {:?}", run.metrics);
    steps
}

/// Sends what is left, as often as it takes.
fn send(folder: &Path, url: &str) {
    for _ in 0..200 {
        let output = vitx(folder, &["report", "out", "--log", url]).output().unwrap();
        if output.status.success() {
            return;
        }
        assert!(shown(&output).contains("vitx::tracking::absent"), "{}", shown(&output));
    }
    panic!("it is never sent");
}

#[test]
fn a_server_that_fails_at_random_gets_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(3);
    let arguments = ["-p", "depth=1,2", "--seeds", "2", "--set", "data.train_limit=60", "--log", &fake.url()];
    let about = ["--tag", "first", "--tag", "digits", "--note", "Does it learn?"];
    succeed(sweep(folder.path(), &[&arguments[..], &about].concat()));
    send(folder.path(), &fake.url());
    let (parents, children) = fake.runs();
    assert_eq!((parents.len(), children.len()), (1, 4), "{:#?}", fake.kept.lock().unwrap());
    assert_eq!((parents[0].1.status.as_str(), parents[0].1.name.as_str()), ("FINISHED", "out"));
    let mut depths = Vec::new();
    for (_, run) in &children {
        assert_eq!(run.tags["mlflow.parentRunId"], parents[0].0);
        assert_eq!(run.status, "FINISHED");
        FIGURES.iter().for_each(|figure| assert_eq!(steps(run, figure), [1, 2, 3], "{figure}"));
        assert_eq!(steps(run, "test_accuracy"), [3]);
        assert_eq!((run.parameters["train.epochs"].as_str(), run.parameters["data.name"].as_str()), ("3", "digits"));
        for file in ["config.yaml", "model.vitx", "result.json", "history.csv", "accuracy.png"] {
            assert!(run.files[file] > 0, "{file}");
        }
        assert!(!run.files.contains_key("best.safetensors"));
        depths.push(run.parameters["depth"].clone());
    }
    depths.sort();
    assert_eq!(depths, ["1", "1", "2", "2"]);
    // What it has is not sent again, and nothing was refused.
    let asked = fake.kept.lock().unwrap().asked;
    send(folder.path(), &fake.url());
    let kept = fake.kept.lock().unwrap();
    assert_eq!((kept.asked, kept.experiments.as_slice(), kept.refused.len()), (asked, &["out".to_owned()][..], 0));
    drop(kept);
    let told = || {
        let tags = fake.runs().0[0].1.tags.clone();
        (tags["vitx.tags"].clone(), tags["mlflow.note.content"].clone())
    };
    assert_eq!(told(), ("first, digits".into(), "Does it learn?".into()));
    succeed(vitx(folder.path(), &["report", "out", "--tag", "second", "--note", ""]));
    send(folder.path(), &fake.url());
    assert_eq!(told(), ("second".into(), String::new()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_as_the_same_run() {
    let command = |folder: &Path, fake: &Fake, epochs: u64| -> Command {
        let mut command =
            vitx(folder, &["run", "digits_vit.yaml", "--output", "out", "--backend", "cpu", "--threads", "1"]);
        command.args(["--set", &format!("train.epochs={epochs}"), "--set", "data.train_limit=60"]);
        command.args(["--set", "data.test_limit=20", "--log", &fake.url(), "--log-weights"]);
        command
    };
    // It is as long as it must be to be interrupted in time.
    let (folder, fake, epochs) = [12, 100, 800]
        .into_iter()
        .find_map(|epochs| {
            let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(0));
            let mut command = command(folder.path(), &fake, epochs);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let record = folder.path().join("out/metrics.jsonl");
            let done = || fs::read_to_string(&record).map_or(0, |text| text.lines().count());
            until("two epochs", || done() >= 2 || child.try_wait().unwrap().is_some());
            // It may have just ended.
            let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status().unwrap();
            let code = child.wait().unwrap().code();
            if done() as u64 == epochs {
                return None;
            }
            assert_eq!(code, Some(130));
            Some((folder, fake, epochs))
        })
        .expect("one of them is interrupted before it has ended");
    let (before, _) = fake.runs();
    assert_eq!((before.len(), before[0].1.status.as_str()), (1, "KILLED"));
    assert!((steps(&before[0].1, "loss").len() as u64) < epochs);
    succeed({
        let mut command = command(folder.path(), &fake, epochs);
        command.arg("--resume");
        command
    });
    let (after, _) = fake.runs();
    assert_eq!((after.len(), &after[0].0), (1, &before[0].0));
    let run = &after[0].1;
    assert_eq!((steps(run, "loss"), run.status.as_str()), ((1..=epochs).collect(), "FINISHED"));
    assert!(run.files["best.safetensors"] > 1000, "{:?}", run.files);
}

#[test]
fn a_server_that_is_not_there_is_said_once_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The port of the near end of a connection: nobody listens there, and nobody else gets it.
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(far.local_addr().unwrap()).unwrap();
    let port = near.local_addr().unwrap().port();
    let url = format!("mlflow=http://me:secret@127.0.0.1:{port}");
    let said = succeed(sweep(folder.path(), &["-p", "depth=1", "--set", "data.train_limit=60", "--log", &url]));
    // A training of a moment has ended before there is anything to say.
    assert!(said.matches("training goes on").count() <= 1, "{said}");
    assert_eq!(said.matches("vitx report out --log mlflow=http://127.0.0.1").count(), 1, "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert!(!fs::read_to_string(folder.path().join("out/mlflow.json")).unwrap_or_default().contains("secret"));
    let fake = Fake::start(0);
    send(folder.path(), &fake.url());
    assert_eq!(fake.runs().1.len(), 1);
    let wrong = vitx(folder.path(), &["report", "out", "--log", "wandb=http://x"]).output().unwrap();
    assert!(!wrong.status.success() && shown(&wrong).contains("vitx::tracking::destination"), "{}", shown(&wrong));
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "depth=1", "--set", "data.train_limit=60"];
    let calm = Instant::now();
    succeed(sweep(tempfile::tempdir().unwrap().path(), &arguments));
    let calm = calm.elapsed();
    // The system takes the connection, and nobody reads it.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mlflow=http://127.0.0.1:{}", deaf.local_addr().unwrap().port());
    let began = Instant::now();
    let said = succeed(sweep(folder.path(), &[&arguments[..], &["--log", &url]].concat()));
    let took = began.elapsed();
    // It takes five seconds to give up, and 25 where it would wait as for a server that answers.
    assert!(took < 3 * calm + Duration::from_secs(18), "{took:?}, and {calm:?} without a server: {said}");
    assert!(
        said.contains(" did not answer in time. The run is not there, or not all of it. What it has not"),
        "{said}"
    );
    assert_eq!(said.matches("vitx report out --log mlflow=http://127.0.0.1").count(), 1, "{said}");
}

/// The real server, which ends with the test.
struct Real(Child);

impl Drop for Real {
    fn drop(&mut self) {
        // Its workers are processes of its group.
        let _ = Command::new("kill").arg("--").arg(format!("-{}", self.0.id())).status();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn mlflows_own_server_takes_it() {
    let Ok(program) = std::env::var("VITX_MLFLOW") else {
        support::skipped("VITX_MLFLOW names no `mlflow` program of PyPI, so its own server is not tested");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["server", "--host", "127.0.0.1", "--port", &port.to_string(), "--workers", "1"]);
    command.arg("--backend-store-uri").arg(format!("sqlite:///{}/db.sqlite", folder.path().display()));
    command.arg("--artifacts-destination").arg(folder.path().join("artifacts")).env("MLFLOW_DISABLE_TELEMETRY", "true");
    command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let _real = Real(command.spawn().unwrap());
    let url = format!("mlflow=http://127.0.0.1:{port}");
    // The server takes long to start: until then it is one that is not there.
    succeed(sweep(folder.path(), &["-p", "depth=1,2", "--set", "data.train_limit=60", "--log", &url]));
    let began = Instant::now();
    while !vitx(folder.path(), &["report", "out", "--log", &url]).output().unwrap().status.success() {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "{}",
            shown(&vitx(folder.path(), &["report", "out", "--log", &url]).output().unwrap())
        );
        thread::sleep(Duration::from_secs(1));
    }
    let ask = |method: &str, body: serde_json::Value| -> serde_json::Value {
        let request = ureq::post(format!("http://127.0.0.1:{port}/api/2.0/mlflow/{method}"))
            .header("Content-Type", "application/json");
        serde_json::from_str(&request.send(body.to_string()).unwrap().body_mut().read_to_string().unwrap()).unwrap()
    };
    let experiments = ask("experiments/search", serde_json::json!({ "max_results": 10 }));
    let out = experiments["experiments"].as_array().unwrap().iter().find(|found| found["name"] == "out").unwrap();
    let found = ask("runs/search", serde_json::json!({ "experiment_ids": [out["experiment_id"]], "max_results": 10 }));
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{found:#}");
    for run in runs {
        assert_eq!(run["info"]["status"], "FINISHED", "{run:#}");
        let tags = run["data"]["tags"].as_array().unwrap();
        if !tags.iter().any(|tag| tag["key"] == "mlflow.parentRunId") {
            continue;
        }
        let parameters = run["data"]["params"].as_array().unwrap();
        assert!(parameters.iter().any(|pair| pair["key"] == "depth"), "{run:#}");
        let metrics = run["data"]["metrics"].as_array().unwrap();
        let loss = metrics.iter().find(|metric| metric["key"] == "val_loss").unwrap();
        assert_eq!(loss["step"], 3, "{run:#}");
        let id = run["info"]["run_id"].as_str().unwrap();
        let place = folder
            .path()
            .join("artifacts")
            .join(out["experiment_id"].as_str().unwrap())
            .join(id)
            .join("artifacts/result.json");
        assert!(place.exists(), "{}", place.display());
    }
}
