//! MLflow's REST interface (`/api/2.0/mlflow`), as far as it is used; and its proxy for files (`mlflow-artifacts`).

use std::{
    fs::File,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use miette::Diagnostic;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Destination;
use crate::{experiment::ExperimentError, files::FileError};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Of a file that is sent: weights may be large.
const FILE_TIMEOUT: Duration = Duration::from_secs(600);

/// What a batch may hold (`mlflow/utils/validation.py`).
pub const MOST_METRICS: usize = 1000;
pub const MOST_PARAMETERS: usize = 100;
/// Characters of a parameter's value, and of its name.
const MOST_VALUE: usize = 6000;
const MOST_NAME: usize = 250;

/// Why something was not sent.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TrackingError {
    /// Nobody answers, or not in time, or only that it cannot now.
    #[error("{url} cannot be reached: {problem}")]
    #[diagnostic(code(vitx::tracking::absent), help("once it can be, send it by `vitx report DIR --log mlflow={url}`"))]
    Absent {
        /// The server.
        url: String,
        /// What failed.
        problem: String,
    },
    /// The server says no.
    #[error("{url} does not take it: {problem}")]
    #[diagnostic(
        code(vitx::tracking::refused),
        help(
            "is it an MLflow server, and may you write there? MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN, say who asks"
        )
    )]
    Refused {
        /// The server.
        url: String,
        /// What it answers.
        problem: String,
    },
    /// The directory cannot be read, or what was sent not noted in it.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Directory(#[from] ExperimentError),
}

impl From<FileError> for TrackingError {
    fn from(error: FileError) -> Self {
        Self::Directory(error.into())
    }
}

/// One figure of a run.
pub struct Metric {
    pub key: &'static str,
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    pub step: u32,
}

/// A run, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: String,
    pub artifacts: String,
}

/// When a server was last heard, for whoever waits for it.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Option<Word>>);

/// The last that is known of a server.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// It has answered.
    Answered(Instant),
    /// A file is on its way to it, which takes its time.
    Receives,
}

impl Heard {
    fn note(&self, word: Word) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
    }

    /// How long it has said nothing since a moment; no time while it is sent a file.
    pub fn silent_since(&self, moment: Instant) -> Duration {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Word::Receives) => Duration::ZERO,
            Some(Word::Answered(last)) => moment.max(last).elapsed(),
            None => moment.elapsed(),
        }
    }
}

/// A server that is asked.
pub struct Mlflow<'a> {
    to: &'a Destination,
    agent: ureq::Agent,
    heard: &'a Heard,
}

impl<'a> Mlflow<'a> {
    pub fn new(to: &'a Destination, heard: &'a Heard) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(3).build().into();
        Self { to, agent, heard }
    }

    fn absent(&self, problem: impl std::fmt::Display) -> TrackingError {
        TrackingError::Absent { url: self.to.url.clone(), problem: problem.to_string() }
    }

    fn refused(&self, problem: impl std::fmt::Display) -> TrackingError {
        TrackingError::Refused { url: self.to.url.clone(), problem: problem.to_string() }
    }

    /// The answer as JSON; `None` where what was asked for is not there.
    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Option<Json>, TrackingError> {
        let mut answer = answer.map_err(|error| self.absent(error))?;
        self.heard.note(Word::Answered(Instant::now()));
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(|error| self.absent(error))?;
        let json: Option<Json> = serde_json::from_str(&text).ok();
        match (status, json) {
            (200..=299, Some(json)) => Ok(Some(json)),
            // As after a file.
            (200..=299, None) if text.is_empty() => Ok(Some(Json::Null)),
            (200..=299, None) => Err(self.refused("it answers with something else than JSON")),
            (_, Some(json)) if json["error_code"] == "RESOURCE_DOES_NOT_EXIST" => Ok(None),
            (408 | 429 | 500..=599, _) => Err(self.absent(format!("it answers {status}"))),
            (_, json) => {
                let said = json.and_then(|json| Some(json["message"].as_str()?.chars().take(200).collect::<String>()));
                Err(self.refused(format!("{status}{}", said.map(|said| format!(", {said}")).unwrap_or_default())))
            }
        }
    }

    fn url(&self, method: &str) -> String {
        format!("{}/api/2.0/mlflow/{method}", self.to.url)
    }

    fn post(&self, method: &str, body: &Json) -> Result<Option<Json>, TrackingError> {
        let mut request = self.agent.post(self.url(method)).header("Content-Type", "application/json");
        if let Some(who) = &self.to.authorization {
            request = request.header("Authorization", who);
        }
        let request = request.config().timeout_global(Some(TIMEOUT)).build();
        self.read(request.send(body.to_string()))
    }

    /// The answer that must be there, as what is expected of it.
    fn answer<T: for<'de> Deserialize<'de>>(&self, answer: Option<Json>) -> Result<T, TrackingError> {
        let answer = answer.ok_or_else(|| {
            self.refused("it does not know what the directory names, which may have been deleted there")
        })?;
        serde_json::from_value(answer).map_err(|error| self.refused(format!("it answers with something else: {error}")))
    }

    /// The id of an experiment, which is made if it is not there.
    pub fn experiment(&self, name: &str) -> Result<String, TrackingError> {
        #[derive(Deserialize)]
        struct Made {
            experiment_id: String,
        }
        #[derive(Deserialize)]
        struct Found {
            experiment: Made,
        }
        let by_name = |name: &str| {
            let mut request = self.agent.get(self.url("experiments/get-by-name")).query("experiment_name", name);
            if let Some(who) = &self.to.authorization {
                request = request.header("Authorization", who);
            }
            self.read(request.config().timeout_global(Some(TIMEOUT)).build().call())
        };
        if let Some(found) = by_name(name)? {
            return Ok(self.answer::<Found>(Some(found))?.experiment.experiment_id);
        }
        match self.post("experiments/create", &json!({ "name": name })) {
            Ok(made) => Ok(self.answer::<Made>(made)?.experiment_id),
            // Someone else has made it meanwhile.
            Err(error @ TrackingError::Refused { .. }) => match by_name(name)? {
                Some(found) => Ok(self.answer::<Found>(Some(found))?.experiment.experiment_id),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The run that has a tag's value, if there is one.
    pub fn find(&self, experiment: &str, tag: &str, value: &str) -> Result<Option<Run>, TrackingError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            runs: Vec<Json>,
        }
        let filter = format!("tags.`{tag}` = '{value}'");
        let body = json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 });
        let found: Found = self.answer(self.post("runs/search", &body)?)?;
        found.runs.first().map(|run| self.run(run)).transpose()
    }

    fn run(&self, run: &Json) -> Result<Run, TrackingError> {
        let text = |key: &str| run["info"][key].as_str().map(str::to_owned);
        let id = text("run_id").ok_or_else(|| self.refused("it names no run"))?;
        Ok(Run { id, artifacts: text("artifact_uri").unwrap_or_default() })
    }

    /// Makes a run.
    pub fn create(
        &self,
        experiment: &str,
        name: &str,
        started: u64,
        tags: &[(&str, String)],
    ) -> Result<Run, TrackingError> {
        let tags: Vec<Json> = tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let body = json!({ "experiment_id": experiment, "run_name": name, "start_time": started, "tags": tags });
        let made: Json = self.answer(self.post("runs/create", &body)?)?;
        self.run(&made["run"])
    }

    /// Adds parameters, figures and tags, of each at most what a batch may hold.
    pub fn log(
        &self,
        run: &str,
        parameters: &[(String, String)],
        metrics: &[Metric],
        tags: &[(&str, String)],
    ) -> Result<(), TrackingError> {
        let parameter = |(key, value): &(String, String)| json!({ "key": named(key), "value": cut(value, MOST_VALUE) });
        let metric = |m: &Metric| json!({ "key": m.key, "value": m.value, "timestamp": m.timestamp, "step": m.step });
        let body = json!({
            "run_id": run,
            "params": parameters.iter().map(parameter).collect::<Vec<_>>(),
            "metrics": metrics.iter().map(metric).collect::<Vec<_>>(),
            "tags": tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Vec<_>>(),
        });
        self.answer::<Json>(self.post("runs/log-batch", &body)?).map(drop)
    }

    /// Tells a run's state; `end` where it has ended, in milliseconds since 1970.
    pub fn update(&self, run: &str, status: &str, end: Option<u64>) -> Result<(), TrackingError> {
        let mut body = json!({ "run_id": run, "status": status });
        if let Some(end) = end {
            body["end_time"] = json!(end);
        }
        self.answer::<Json>(self.post("runs/update", &body)?).map(drop)
    }

    /// Sends a file, by the server's proxy. False where the server has its files elsewhere, and only says where.
    pub fn upload(&self, artifacts: &str, name: &str, path: &Path) -> Result<bool, TrackingError> {
        let Some(place) = artifacts.strip_prefix("mlflow-artifacts:") else { return Ok(false) };
        // `mlflow-artifacts:/1/RUN/artifacts`, or with a host, which is that of the server.
        let place = match place.strip_prefix("//") {
            Some(rest) => rest.split_once('/').map_or("", |(_, place)| place),
            None => place.trim_start_matches('/'),
        };
        let file = File::open(path).map_err(ExperimentError::io("read", path))?;
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{place}/{name}", self.to.url);
        let mut request = self.agent.put(url).header("Content-Type", "application/octet-stream");
        if let Some(who) = &self.to.authorization {
            request = request.header("Authorization", who);
        }
        let request = request.config().timeout_global(Some(FILE_TIMEOUT)).build();
        self.heard.note(Word::Receives);
        let sent = request.send(&file);
        self.heard.note(Word::Answered(Instant::now()));
        self.read(sent).map(|_| true)
    }
}

/// A name that MLflow takes: letters, digits, and some signs.
fn named(key: &str) -> String {
    let known = |c: char| if c.is_alphanumeric() || "_-. /".contains(c) { c } else { '_' };
    cut(key, MOST_NAME).chars().map(known).collect()
}

/// A text of so many characters at most; one that was longer says so at its end.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
