//! A server that speaks as much of MLflow's REST interface as vitx asks for, and fails when it is told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tiny_http::{Method, Request, Response, Server};

/// A run with its id.
type Named = (String, Run);

/// A run, as the server has it.
#[derive(Debug, Default, Clone)]
pub struct Run {
    pub name: String,
    pub status: String,
    pub tags: BTreeMap<String, String>,
    pub parameters: BTreeMap<String, String>,
    /// Name, step, value and timestamp, as texts. One that comes again is the same.
    pub metrics: BTreeSet<(String, u64, String, u64)>,
    /// What was uploaded, by name: its length.
    pub files: BTreeMap<String, usize>,
    /// All states that it was in.
    pub history: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Kept {
    pub experiments: Vec<String>,
    pub runs: BTreeMap<String, Run>,
    pub asked: usize,
    /// Requests that were answered with a refusal.
    pub refused: Vec<String>,
}

/// The server, which ends with the test's process.
pub struct Fake {
    pub port: u16,
    pub kept: Arc<Mutex<Kept>>,
    server: Arc<Server>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

impl Fake {
    /// Of ten requests, so many fail: lost before they are done or after, or answered with 500 or 429.
    pub fn start(failures: u32) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (own, of) = (server.clone(), kept.clone());
        thread::spawn(move || {
            let mut state: u32 = 12345;
            for request in own.incoming_requests() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let fails = (state >> 16) % 10 < failures;
                answer(&of, request, fails.then_some((state >> 24) % 4));
            }
        });
        Self { port, kept, server }
    }

    pub fn url(&self) -> String {
        format!("mlflow=http://127.0.0.1:{}", self.port)
    }

    /// The runs without a parent, and with one.
    pub fn runs(&self) -> (Vec<Named>, Vec<Named>) {
        let all: Vec<Named> = self.kept.lock().unwrap().runs.clone().into_iter().collect();
        all.into_iter().partition(|(_, run)| !run.tags.contains_key("mlflow.parentRunId"))
    }
}

fn answer(kept: &Mutex<Kept>, mut request: Request, failure: Option<u32>) {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).unwrap();
    // Lost on its way to the server.
    if failure == Some(0) {
        return lose(request);
    }
    if let Some(status @ (500 | 429)) = failure.map(|kind| [0, 500, 429, 0][kind as usize]) {
        let _ = request.respond(Response::from_string("{\"error_code\": \"INTERNAL_ERROR\"}").with_status_code(status));
        return;
    }
    let (status, text) = done(&mut kept.lock().unwrap(), &request, &body);
    // Done, but the answer is lost.
    if failure.is_some() {
        return lose(request);
    }
    // The real one answers a file with nothing.
    let text = if *request.method() == Method::Put { String::new() } else { text.to_string() };
    let _ = request.respond(Response::from_string(text).with_status_code(status));
}

/// An answer that is none, as where a connection breaks. One that is never closed would only be waited for.
fn lose(request: Request) {
    let mut writer = request.into_writer();
    let _ = writer.write_all(b"gone\r\n\r\n").and_then(|()| writer.flush());
}

fn done(kept: &mut Kept, request: &Request, body: &[u8]) -> (u16, Value) {
    kept.asked += 1;
    let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
    let absent = (404, json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not there" }));
    if let Some(place) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
        let parts: Vec<&str> = place.split('/').collect();
        let [_, run, "artifacts", name] = parts[..] else { panic!("{place}") };
        assert_eq!(*request.method(), Method::Put);
        kept.runs.get_mut(run).unwrap().files.insert(name.to_owned(), body.len());
        return (200, json!({}));
    }
    let method = path.strip_prefix("/api/2.0/mlflow/").unwrap();
    if method == "experiments/get-by-name" {
        let name = query.strip_prefix("experiment_name=").unwrap();
        return match kept.experiments.iter().position(|known| known == name) {
            Some(at) => (200, json!({ "experiment": { "experiment_id": at.to_string() } })),
            None => absent,
        };
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pairs = |list: &Value| -> Vec<(String, String)> {
        list.as_array().unwrap().iter().map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect()
    };
    let info =
        |id: &str| json!({ "info": { "run_id": id, "artifact_uri": format!("mlflow-artifacts:/0/{id}/artifacts") } });
    match method {
        "experiments/create" => {
            kept.experiments.push(text(&body["name"]));
            (200, json!({ "experiment_id": (kept.experiments.len() - 1).to_string() }))
        }
        "runs/search" => {
            let filter = text(&body["filter"]);
            let key = filter.strip_prefix("tags.`vitx.key` = '").unwrap().trim_end_matches('\'');
            let found = kept.runs.iter().find(|(_, run)| run.tags["vitx.key"] == key);
            (200, found.map_or(json!({}), |(id, _)| json!({ "runs": [info(id)] })))
        }
        "runs/create" => {
            let id = format!("{:032x}", kept.runs.len() + 1);
            let tags = pairs(&body["tags"]).into_iter().collect();
            let run = Run { name: text(&body["run_name"]), status: "RUNNING".into(), tags, ..Run::default() };
            kept.runs.insert(id.clone(), run);
            (200, json!({ "run": info(&id) }))
        }
        "runs/log-batch" => {
            let Some(run) = kept.runs.get_mut(&text(&body["run_id"])) else { return absent };
            let (parameters, metrics) = (pairs(&body["params"]), body["metrics"].as_array().unwrap());
            assert!(parameters.len() <= 100 && metrics.len() <= 1000);
            for (key, value) in parameters {
                let known = run.parameters.entry(key.clone()).or_insert_with(|| value.clone());
                if *known != value {
                    kept.refused.push(key);
                    return (400, json!({ "error_code": "INVALID_PARAMETER_VALUE", "message": "changed" }));
                }
            }
            for metric in metrics {
                let (step, timestamp) = (metric["step"].as_u64().unwrap(), metric["timestamp"].as_u64().unwrap());
                run.metrics.insert((text(&metric["key"]), step, metric["value"].to_string(), timestamp));
            }
            run.tags.extend(pairs(&body["tags"]));
            (200, json!({}))
        }
        "runs/update" => {
            let Some(run) = kept.runs.get_mut(&text(&body["run_id"])) else { return absent };
            run.status = text(&body["status"]);
            run.history.push(run.status.clone());
            (200, json!({ "run_info": {} }))
        }
        other => panic!("{other}"),
    }
}
