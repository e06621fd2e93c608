use std::time::Duration;

use serde_json::{Value, json};

use super::{
    ExecutorEntry, ExecutorSetup,
    engine::{Engine, JobState, Listed, Listing, Submission, Trouble, command_line, here, quoted},
    refused,
    remote::Remote,
};
use crate::{
    experiment::{ExperimentError, sweep::How},
    folders,
    trial::Directory,
};

pub const ENTRY: ExecutorEntry = ExecutorEntry {
    name: "ray",
    help: "Jobs of a Ray cluster, by the HTTP of its head (`address`, or RAY_ADDRESS)",
    takes: &["cpus", "gpus", "memory", "address"],
    is_here: false,
    new: |setup| {
        let folder = setup.folder.clone();
        Ok(Box::new(Remote::new(Box::new(Ray::new(setup)?), folder)?))
    },
};

/// Where a head answers that was started without arguments.
const DEFAULT: &str = "http://127.0.0.1:8265";

/// How long the head may be silent.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a trial may take to save before Ray kills it, in seconds: Ray's own three are too few.
const STOP_WAIT: &str = "60";

/// Longest piece of a message of Ray's.
const LONGEST: usize = 400;

struct Ray {
    address: String,
    agent: ureq::Agent,
    command: String,
    cpus: u32,
    gpus: u32,
    memory_bytes: Option<u64>,
}

impl Ray {
    fn new(setup: ExecutorSetup) -> Result<Self, ExperimentError> {
        let config = setup.config;
        let variable = folders::variable("RAY_ADDRESS").map(|address| address.to_string_lossy().into_owned());
        let address = config.address.or(variable).unwrap_or_else(|| DEFAULT.to_owned());
        if !address.starts_with("http://") && !address.starts_with("https://") {
            let message = format!("`{address}` is no address of Ray's dashboard");
            return Err(refused(message, Some("it begins with http://, and its port is usually 8265")));
        }
        let cpus = config.cpus.unwrap_or(1);
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        // Ray starts it where the head was started.
        let from = quoted(&here()?.to_string_lossy());
        let mut command = format!("cd {from} && exec {}", command_line(&program, &setup.arguments));
        if !setup.threads_given {
            command += &format!(" --threads {cpus}");
        }
        // The head is no machine of the internet.
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        let memory_bytes = config.memory.map(|memory| memory.mebibytes << 20);
        let (address, gpus) = (address.trim_end_matches('/').to_owned(), config.gpus.unwrap_or(0));
        Ok(Self { address, agent, command, cpus, gpus, memory_bytes })
    }

    /// A request, with its status and what came back.
    fn ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, String), Trouble> {
        let url = format!("{}{path}", self.address);
        let sent = match body {
            Some(body) => self.agent.post(&url).header("Content-Type", "application/json").send(body.to_string()),
            None => self.agent.get(&url).call(),
        };
        let absent = |error: ureq::Error| Trouble::Absent(format!("{url}: {error}"));
        let mut response = sent.map_err(absent)?;
        let text = response.body_mut().read_to_string().map_err(absent)?;
        Ok((response.status().as_u16(), text))
    }

    fn json(&self, path: &str) -> Result<Value, Trouble> {
        let (status, text) = self.ask(path, None)?;
        if status != 200 {
            return Err(Trouble::Absent(format!("{}{path}: status {status}: {}", self.address, last_line(&text))));
        }
        let no_ray = |error| Trouble::Refused(format!("{}{path} is no answer of Ray: {error}", self.address));
        serde_json::from_str(&text).map_err(no_ray)
    }

    /// What Ray is told of a trial.
    fn request(&self, job: &Submission) -> Value {
        let log = Directory::new(&job.folder).log();
        let entrypoint = format!(
            "{} -- {} >>{} 2>&1 </dev/null",
            self.command,
            quoted(&job.folder.to_string_lossy()),
            quoted(&log.to_string_lossy())
        );
        let mut variables = json!({ "RAY_JOB_STOP_WAIT_TIME_S": STOP_WAIT });
        // Ray does not hand the environment over; where data lie is said there.
        for (name, value) in std::env::vars_os() {
            if let (Some(name @ ("VITX_DATA_DIR" | "HF_HOME" | "XDG_CACHE_HOME")), Some(value)) =
                (name.to_str(), value.to_str())
            {
                variables[name] = json!(value);
            }
        }
        if self.gpus == 0 {
            // Ray hides none from a job that asked for none.
            variables["CUDA_VISIBLE_DEVICES"] = json!("");
        }
        let mut request = json!({
            "entrypoint": entrypoint,
            "submission_id": job.name,
            "entrypoint_num_cpus": self.cpus,
            "runtime_env": { "env_vars": variables },
            "metadata": { "vitx": job.folder.to_string_lossy() },
        });
        if self.gpus > 0 {
            request["entrypoint_num_gpus"] = json!(self.gpus);
        }
        if let Some(bytes) = self.memory_bytes {
            request["entrypoint_memory"] = json!(bytes);
        }
        request
    }

    /// How many jobs would begin at once, by what Ray's monitor says is used, and how many when nothing is.
    fn fit(&self, status: &Value) -> Option<(usize, usize)> {
        let usage = status.pointer("/data/clusterStatus/loadMetricsReport/usage")?;
        // There is nothing at all before the monitor's first look.
        usage.get("CPU")?;
        let of = |name: &str, each: f64| {
            let pair = |at: usize| usage.get(name).and_then(|pair| pair.get(at)?.as_f64()).unwrap_or(0.0);
            let count = |amount: f64| if each > 0.0 { ((amount + 1e-6) / each).max(0.0) as usize } else { usize::MAX };
            (count(pair(1) - pair(0)), count(pair(1)))
        };
        let memory = self.memory_bytes.map_or(0.0, |bytes| bytes as f64);
        let all = [of("CPU", f64::from(self.cpus)), of("GPU", f64::from(self.gpus)), of("memory", memory)];
        Some(all.into_iter().fold((usize::MAX, usize::MAX), |least, fit| (least.0.min(fit.0), least.1.min(fit.1))))
    }

    /// How many more may be handed over, where so many wait already, and what is to be said of that. Ray has no queue: a job
    /// that waits too long fails. One may wait where the cluster as it is has no place for any, for it may grow when
    /// something waits, and where Ray does not say.
    fn free(&self, status: &Value, waiting: usize) -> (usize, Option<String>) {
        match self.fit(status) {
            Some((now, 1..)) => (now.saturating_sub(waiting), None),
            Some((_, 0)) => {
                let Self { cpus, gpus, .. } = self;
                let note = format!(
                    "ray has no place for a job of {cpus} cpus and {gpus} gpus, unless the cluster grows; one job waits for that"
                );
                (1_usize.saturating_sub(waiting), Some(note))
            }
            None => (1_usize.saturating_sub(waiting), None),
        }
    }
}

/// What Ray says last, behind a trace of its own.
fn last_line(text: &str) -> String {
    let plain = text.trim().trim_end_matches('.').trim();
    plain.lines().next_back().unwrap_or_default().chars().take(LONGEST).collect()
}

impl Engine for Ray {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn submit(&mut self, jobs: &[Submission]) -> Result<Vec<String>, Trouble> {
        let mut ids = Vec::new();
        for job in jobs {
            let (status, text) = self.ask("/api/jobs/", Some(&self.request(job)))?;
            match status {
                200 => {}
                // Handed over before, when the answer did not come back.
                _ if text.contains("already exists") => {}
                // Ray wraps refusals of its agents as errors of its own.
                400..=499 => return Err(Trouble::Refused(format!("status {status}: {}", last_line(&text)))),
                _ if text.contains("status code 400") => {
                    return Err(Trouble::Refused(format!("status {status}: {}", last_line(&text))));
                }
                _ => return Err(Trouble::Absent(format!("status {status}: {}", last_line(&text)))),
            }
            ids.push(job.name.clone());
        }
        Ok(ids)
    }

    fn list(&mut self, _: &[String]) -> Result<Listing, Trouble> {
        let Value::Array(all) = self.json("/api/jobs/")? else {
            return Err(Trouble::Refused(format!("{}/api/jobs/ is no list of jobs", self.address)));
        };
        let listed = |job: &Value| {
            let id = job.get("submission_id")?.as_str()?.to_owned();
            let state = job_state(
                job.get("status")?.as_str()?,
                job.get("driver_exit_code").and_then(Value::as_i64),
                job.get("message").and_then(Value::as_str).unwrap_or_default(),
            );
            Some(Listed { name: Some(id.clone()), id, state })
        };
        let jobs: Vec<Listed> = all.iter().filter_map(listed).collect();
        let waiting = jobs.iter().filter(|job| matches!(job.state, JobState::Waiting(_))).count();
        let status = self.json("/api/cluster_status").unwrap_or_default();
        let (free, note) = self.free(&status, waiting);
        Ok(Listing { jobs, free: Some(free), note })
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), Trouble> {
        let mut first = Ok(());
        for id in ids {
            let stopped = match self.ask(&format!("/api/jobs/{id}/stop"), Some(&json!({}))) {
                // One that Ray has forgotten has ended.
                Ok((200 | 404, _)) => Ok(()),
                Ok((status, text)) => Err(Trouble::Absent(format!("status {status}: {}", last_line(&text)))),
                Err(trouble) => Err(trouble),
            };
            // The agent of one job's node may be gone, and others' may not.
            first = first.and(stopped);
        }
        first
    }
}

fn job_state(status: &str, code: Option<i64>, message: &str) -> JobState {
    let ended = |how| JobState::Ended(Some(how));
    match (status, code) {
        ("PENDING", _) => JobState::Waiting(String::new()),
        ("SUCCEEDED", _) => ended(How::Exited(0)),
        ("FAILED", Some(code @ 0..)) => ended(How::Exited(code as i32)),
        ("FAILED", Some(signal)) => ended(match -signal {
            4..=8 | 11 => How::Crashed(format!("it crashed with signal {}", -signal)),
            signal => How::Killed(format!("killed by signal {signal}")),
        }),
        ("FAILED", None) => ended(How::Killed(format!("Ray gave it up: {}", last_line(message)))),
        ("STOPPED", _) => ended(How::Killed("its job was stopped".into())),
        _ => JobState::Running,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn ray(config: &str) -> Ray {
        let setup = ExecutorSetup {
            config: serde_yaml::from_str(config).unwrap(),
            folder: "/s".into(),
            arguments: vec!["--backend".into(), "auto".into()],
            threads_given: false,
            pool: None,
            options: crate::experiment::training::Options::default(),
        };
        let mut ray = Ray::new(setup).unwrap();
        let program = quoted(&std::env::current_exe().unwrap().to_string_lossy());
        ray.command = ray.command.replace(&program, "/bin/vitx");
        ray.command = ray.command.replace(&quoted(&here().unwrap().to_string_lossy()), "/home/a");
        ray
    }

    #[test]
    fn a_job_is_handed_over_with_all_that_it_is_given() {
        let job = Submission { name: "vitx-1-2-a1".into(), attempt: 1, folder: PathBuf::from("/s/a b") };
        let texts = ["{ name: ray, cpus: 2, gpus: 1, memory: 2G, address: 'http://head:8265/' }", "{ name: ray }"]
            .map(|config| serde_json::to_string_pretty(&ray(config).request(&job)).unwrap());
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn no_more_is_handed_over_than_fits() {
        let status = |cpu: [f64; 2], gpu: [f64; 2]| json!({"data": {"clusterStatus": {"loadMetricsReport": {"usage": {"CPU": cpu, "GPU": gpu, "memory": [0.0, 1e10]}}}}});
        let ray = ray("{ name: ray, cpus: 2, gpus: 1, memory: 2G }");
        let free = |status: &Value, waiting| ray.free(status, waiting).0;
        assert_eq!(free(&status([0.0, 16.0], [0.0, 8.0]), 0), 4);
        assert_eq!(free(&status([0.0, 16.0], [5.0, 8.0]), 1), 2);
        assert_eq!(free(&status([15.0, 16.0], [0.0, 8.0]), 0), 0);
        assert_eq!([free(&json!({"data": {}}), 0), free(&json!({"data": {}}), 1)], [1, 0]);
        let small = status([0.0, 1.0], [0.0, 8.0]);
        assert_eq!([free(&small, 0), free(&small, 1)], [1, 0]);
        assert!(ray.free(&small, 0).1.unwrap().starts_with("ray has no place for a job of 2 cpus and 1 gpus"));
    }

    #[test]
    fn states_are_those_of_ray() {
        let killed = |how: &str| JobState::Ended(Some(How::Killed(how.into())));
        assert_eq!(job_state("PENDING", None, ""), JobState::Waiting(String::new()));
        assert_eq!(job_state("FAILED", Some(3), ""), JobState::Ended(Some(How::Exited(3))));
        assert_eq!(job_state("FAILED", Some(-9), ""), killed("killed by signal 9"));
        assert_eq!(job_state("STOPPED", None, ""), killed("its job was stopped"));
        assert_eq!(job_state("FAILED", None, "a trace\nNo node."), killed("Ray gave it up: No node"));
    }

    /// The agent of a node that is gone holds up no job of another one.
    #[test]
    fn all_jobs_are_asked_to_end_though_one_cannot_be() {
        let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
        let address = format!("http://{}", server.server_addr());
        let answers = std::thread::spawn(move || {
            [500, 200, 404].map(|status| {
                let request = server.recv_timeout(crate::wait::PATIENCE).unwrap().unwrap();
                let path = request.url().to_owned();
                request.respond(tiny_http::Response::from_string("no agent").with_status_code(status)).unwrap();
                path
            })
        });
        let mut ray = ray(&format!("{{ name: ray, address: '{address}' }}"));
        let stopped = ray.cancel(&["a", "b", "c"].map(str::to_owned));
        assert!(matches!(stopped, Err(Trouble::Absent(words)) if words == "status 500: no agent"));
        assert_eq!(answers.join().unwrap(), ["a", "b", "c"].map(|id| format!("/api/jobs/{id}/stop")));
    }
}
