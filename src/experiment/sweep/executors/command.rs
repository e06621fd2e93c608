use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    ExecutorConfig, ExecutorEntry, ExecutorSetup,
    engine::{Engine, JobState, Listed, Listing, Submission, Trouble, command_line, here, output, quoted},
    refused,
    remote::Remote,
};
use crate::{
    dsl,
    experiment::{ExperimentError, sweep::How},
    files::{make_folder, replace},
    trial::Directory,
};

pub const ENTRY: ExecutorEntry = ExecutorEntry {
    name: "command",
    help: "Any engine, by three shell commands: `submit`, `poll` and `cancel`",
    takes: &["cpus", "gpus", "memory", "time", "partition", "args", "submit", "poll", "cancel"],
    is_here: false,
    new: |setup| {
        let folder = setup.folder.clone();
        Ok(Box::new(Remote::new(Box::new(Commands::new(setup)?), folder)?))
    },
};

/// What stands in braces in `submit`.
const OF_SUBMIT: &[&str] =
    &["command", "script", "name", "folder", "log", "cpus", "gpus", "memory", "time", "seconds", "partition", "args"];

/// What stands in braces in `poll` and `cancel`.
const OF_JOBS: &[&str] = &["ids"];

/// The exit code by which a command says that the engine does not answer now (EX_TEMPFAIL of sysexits.h).
const NOT_NOW: i32 = 75;

const HELP: &str = "e.g. `submit: qsub -N {name} -l ncpus={cpus} {script}`, `poll: my-list {ids}`, `cancel: qdel {ids}`; \
                    docs/CLUSTERS.md has them for many engines";

struct Commands {
    config: ExecutorConfig,
    submit: String,
    poll: String,
    cancel: String,
    command: String,
    /// Where the scripts of jobs lie.
    scripts: PathBuf,
}

impl Commands {
    fn new(setup: ExecutorSetup) -> Result<Self, ExperimentError> {
        let mut config = setup.config;
        let template = |text: Option<String>, key: &str, words: &[&str]| {
            let lacks = || refused(format!("the executor command needs `{key}`"), Some(HELP));
            let text = text.ok_or_else(lacks)?;
            check(&text, key, words)?;
            Ok::<String, ExperimentError>(text)
        };
        let submit = template(config.submit.take(), "submit", OF_SUBMIT)?;
        let poll = template(config.poll.take(), "poll", OF_JOBS)?;
        let cancel = template(config.cancel.take(), "cancel", OF_JOBS)?;
        if !submit.contains("{command}") && !submit.contains("{script}") {
            let message = "`submit` hands nothing over: it has neither `{command}` nor `{script}`".into();
            return Err(refused(message, Some(HELP)));
        }
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        // What is relative is seen from where the sweep was started.
        let from = quoted(&here()?.to_string_lossy());
        let mut command = format!("cd {from} && exec {}", command_line(&program, &setup.arguments));
        if let (Some(cpus), false) = (config.cpus, setup.threads_given) {
            command += &format!(" --threads {cpus}");
        }
        Ok(Self { config, submit, poll, cancel, command, scripts: setup.folder.join("waves") })
    }

    /// What the words of `submit` stand for. All but `command` and `args` are one word of the shell each.
    fn value(&self, word: &str, job: &Submission) -> String {
        let ExecutorConfig { cpus, gpus, memory, time, partition, args, .. } = &self.config;
        let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let folder = job.folder.to_string_lossy();
        let command = || format!("{} -- {}", self.command, quoted(&folder));
        match word {
            "command" => quoted(&command()),
            "script" => quoted(&self.script(job).to_string_lossy()),
            "name" => quoted(&job.name),
            "folder" => quoted(&folder),
            "log" => quoted(&Directory::new(&job.folder).log().to_string_lossy()),
            "cpus" => cpus.unwrap_or(1).to_string(),
            "gpus" => gpus.unwrap_or(0).to_string(),
            "memory" => number(memory.map(|memory| memory.mebibytes)),
            "time" => time.map_or(String::new(), |time| time.clock()),
            "seconds" => number(time.map(|time| time.seconds)),
            "partition" => partition.as_deref().map_or(String::new(), quoted),
            _ => args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "),
        }
    }

    fn script(&self, job: &Submission) -> PathBuf {
        self.scripts.join(format!("{}.sh", job.name))
    }

    /// Runs a command of the user's.
    fn run(text: &str) -> Result<String, Trouble> {
        let mut sh = Command::new("sh");
        let absent = format!("exit status: {NOT_NOW}");
        // Its own words do not say so; the code does.
        let guarded =
            format!("({text}\n) || {{ code=$?; [ $code != {NOT_NOW} ] || echo '{absent}' >&2; exit $code; }}");
        match output(sh.arg("-c").arg(guarded), "", &[&absent]) {
            Err(Trouble::Refused(words)) => {
                Err(Trouble::Refused(format!("{}, of `{text}`", words.trim_start_matches("`sh`: "))))
            }
            Err(Trouble::Absent(words)) => {
                Err(Trouble::Absent(format!("{}, of `{text}`", words.trim_start_matches("`sh`: "))))
            }
            printed => printed,
        }
    }
}

/// Puts values for words in braces. Other braces stay, as those of awk.
fn filled(template: &str, words: &[&str], value: impl Fn(&str) -> String) -> String {
    let (mut text, mut rest) = (String::new(), template);
    while let Some(at) = rest.find('{') {
        text += &rest[..at];
        rest = &rest[at..];
        let word = rest[1..].split_once('}').map(|(word, _)| word).filter(|word| words.contains(word));
        match word {
            Some(word) => {
                text += &value(word);
                rest = &rest[word.len() + 2..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text + rest
}

/// Refuses words in braces that stand for nothing. In commands that list and end jobs only those that are meant for us, for engines
/// have formats with braces.
fn check(template: &str, key: &str, words: &[&str]) -> Result<(), ExperimentError> {
    let mut before = "";
    for (at, piece) in template.split('{').enumerate() {
        let around = std::mem::replace(&mut before, piece);
        let Some((word, _)) = piece.split_once('}').filter(|_| at > 0) else { continue };
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let ours = key == "submit" || OF_SUBMIT.contains(&word) || ["id", "job", "jobs"].contains(&word);
        // `${name}` is the shell's, `{{name}}` an engine's.
        if is_word && ours && !words.contains(&word) && !around.ends_with('$') && !(around.is_empty() && at > 1) {
            let near = dsl::nearest(word, words.iter().copied()).map(|near| format!("; did you mean `{{{near}}}`?"));
            let known: Vec<String> = words.iter().map(|word| format!("{{{word}}}")).collect();
            let help = format!("it may have {}{}", known.join(", "), near.unwrap_or_default());
            return Err(refused(format!("`{{{word}}}` stands for nothing in `{key}`"), Some(&help)));
        }
    }
    Ok(())
}

impl Engine for Commands {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn submit(&mut self, jobs: &[Submission]) -> Result<Vec<String>, Trouble> {
        let mut ids = Vec::new();
        for job in jobs {
            if self.submit.contains("{script}") {
                self.write_script(job).map_err(|error| Trouble::Refused(error.to_string()))?;
            }
            let text = filled(&self.submit, OF_SUBMIT, |word| self.value(word, job));
            let printed = Self::run(&text)?;
            let line = printed.trim().lines().next_back().unwrap_or_default();
            let Some(id) = line.split_whitespace().next() else {
                return Err(Trouble::Refused(format!(
                    "`submit` printed nothing: its last line begins with the id of the job ({text})"
                )));
            };
            ids.push(id.to_owned());
        }
        Ok(ids)
    }

    fn list(&mut self, ids: &[String]) -> Result<Listing, Trouble> {
        let all: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        if all.is_empty() {
            return Ok(Listing::default());
        }
        let printed = Self::run(&filled(&self.poll, OF_JOBS, |_| all.join(" ")))?;
        let mut jobs = Vec::new();
        for line in printed.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (id, state, code) = match words[..] {
                [] => continue,
                [id, state] => (id, state, None),
                [id, state, code, ..] => (id, state, code.parse().ok()),
                [_] => {
                    return Err(Trouble::Refused(format!(
                        "`poll` printed `{line}`: expected `ID STATE`, a job a line"
                    )));
                }
            };
            // Lists may have the jobs of others.
            if !ids.iter().any(|known| known == id) {
                continue;
            }
            let state = job_state(state, code).ok_or_else(|| {
                let known = STATES.iter().flat_map(|(words, _)| words.iter().copied()).collect::<Vec<_>>().join(", ");
                Trouble::Refused(format!("`poll` printed `{line}`, and `{state}` is no state: {known}"))
            })?;
            jobs.push(Listed { id: id.to_owned(), name: None, state });
        }
        Ok(Listing { jobs, ..Listing::default() })
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), Trouble> {
        let all: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        Self::run(&filled(&self.cancel, OF_JOBS, |_| all.join(" "))).map(|_| ())
    }
}

impl Commands {
    fn write_script(&self, job: &Submission) -> Result<(), ExperimentError> {
        make_folder(&self.scripts)?;
        let path = self.script(job);
        let (folder, log) = (job.folder.to_string_lossy(), Directory::new(&job.folder).log());
        let log = quoted(&log.to_string_lossy());
        let text = format!("#!/bin/sh\nexec >>{log} 2>&1 </dev/null\n{} -- {}\n", self.command, quoted(&folder));
        replace(&path, text.as_bytes())?;
        executable(&path).map_err(ExperimentError::io("make executable", &path))
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(path: &Path) -> std::io::Result<()> {
    fs::metadata(path).map(|_| ())
}

#[derive(Clone, Copy)]
enum Word {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Killed,
}

/// The words of engines, in capitals: of Slurm, PBS (Q, R, E, F), LSF, Grid Engine, Flux, HyperQueue, Kubernetes, Nomad.
const STATES: &[(&[&str], Word)] = &[
    (
        &[
            "WAITING",
            "PENDING",
            "PEND",
            "QUEUED",
            "Q",
            "PD",
            "QW",
            "HELD",
            "H",
            "SUSPENDED",
            "PSUSP",
            "USUSP",
            "SSUSP",
            "WAIT",
            "W",
            "T",
            "S",
            "DEPEND",
            "PRIORITY",
            "SCHED",
        ],
        Word::Waiting,
    ),
    (
        &["RUNNING", "RUN", "R", "EXITING", "E", "COMPLETING", "CG", "CLEANUP", "ACTIVE", "UNKNOWN", "UNKWN", "ZOMBI"],
        Word::Running,
    ),
    (&["FINISHED", "COMPLETED", "COMPLETE", "DONE", "F", "C", "CD", "SUCCEEDED", "INACTIVE"], Word::Succeeded),
    (&["FAILED", "EXIT", "ERROR"], Word::Failed),
    (&["CANCELED", "CANCELLED", "CA", "STOPPED", "KILLED", "TIMEOUT", "PREEMPTED"], Word::Killed),
];

fn job_state(word: &str, code: Option<i32>) -> Option<JobState> {
    let capitals = word.to_uppercase();
    let (_, state) = STATES.iter().find(|(words, _)| words.contains(&&*capitals))?;
    // Without a code, the directory of the trial says how it ended.
    let by_code = code.map(exited);
    Some(match state {
        Word::Waiting => JobState::Waiting(String::new()),
        Word::Running => JobState::Running,
        Word::Succeeded | Word::Failed => JobState::Ended(by_code),
        Word::Killed => JobState::Ended(Some(How::Killed(format!("its job is {}", word.to_lowercase())))),
    })
}

/// How a job ended by its exit code. Shells add 128 to the signal that killed it, and PBS 256.
fn exited(code: i32) -> How {
    const OUTSIDE: [i32; 4] = [1, 9, 15, 24];
    let signal = if code > 256 { code - 256 } else { code - 128 };
    match OUTSIDE.contains(&signal) {
        true => How::Killed(format!("killed by signal {signal}")),
        false => How::Exited(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(config: &str) -> Result<Commands, ExperimentError> {
        let setup = ExecutorSetup {
            config: serde_yaml::from_str(config).unwrap(),
            folder: "/s".into(),
            arguments: vec!["--backend".into(), "auto".into()],
            threads_given: false,
            pool: None,
            options: crate::experiment::training::Options::default(),
        };
        let mut commands = Commands::new(setup)?;
        let program = quoted(&std::env::current_exe().unwrap().to_string_lossy());
        commands.command = commands.command.replace(&program, "/bin/vitx");
        commands.command = commands.command.replace(&quoted(&here()?.to_string_lossy()), "/home/a");
        Ok(commands)
    }

    #[test]
    fn templates_are_filled() {
        let config = "{ name: command, cpus: 2, gpus: 1, memory: 2G, time: 90m, partition: a b, args: [-x, 'y z'], poll: p, \
                      cancel: c, submit: 'qsub {script} {name} {folder} {log} {cpus} {gpus} {memory} {time} {seconds} \
                      {partition} {args} ${name} | awk ''{print $1}'' # {command}' }";
        let commands = commands(config).unwrap();
        let job = Submission { name: "vitx-1-2-a1".into(), attempt: 1, folder: PathBuf::from("/s/it's") };
        insta::assert_snapshot!(filled(&commands.submit, OF_SUBMIT, |word| commands.value(word, &job)));
    }

    #[test]
    fn the_recipes_of_the_docs_are_executors() {
        #[derive(serde::Deserialize)]
        struct Recipe {
            executor: ExecutorConfig,
        }
        let text = include_str!("../../../../docs/CLUSTERS.md");
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let recipes: Vec<ExecutorConfig> = blocks
            .filter(|block| block.starts_with("executor:"))
            .map(|block| {
                serde_yaml::from_str::<Recipe>(block).unwrap_or_else(|error| panic!("{error}:\n{block}")).executor
            })
            .collect();
        assert_eq!(recipes.len(), 5);
        for recipe in recipes {
            recipe.check(recipe.entry()).unwrap();
            commands(&serde_yaml::to_string(&recipe).unwrap()).unwrap();
        }
    }

    #[test]
    fn templates_that_cannot_be_are_explained() {
        let texts = [
            "{ name: command }",
            "{ name: command, submit: 'qsub {script}', poll: qstat }",
            "{ name: command, submit: qsub, poll: p, cancel: c }",
            "{ name: command, submit: 'qsub {scripts}', poll: p, cancel: c }",
            "{ name: command, submit: 'qsub {script}', poll: 'p {id}', cancel: c }",
        ];
        let said = texts.map(|text| match commands(text).err().unwrap() {
            ExperimentError::Executor { message, help } => format!("{message}\n  help: {}", help.unwrap_or_default()),
            other => panic!("{text}: {other}"),
        });
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_commands_print_is_read_or_refused() {
        let with = |poll: &str| {
            let config =
                format!("{{ name: command, submit: 'echo {{command}}', cancel: 'false {{ids}}', poll: \"{poll}\" }}");
            commands(&config).unwrap()
        };
        let ids = ["7".to_owned(), "8".to_owned()];
        let listing = with("printf '7 R\\\\n\\\\n9 odd\\\\n8 finished 3\\\\n'").list(&ids).unwrap();
        let states: Vec<_> = listing.jobs.iter().map(|job| (&*job.id, job.state.clone())).collect();
        assert_eq!(states, [("7", JobState::Running), ("8", JobState::Ended(Some(How::Exited(3))))]);
        assert!(matches!(with("true").cancel(&ids), Err(Trouble::Refused(words)) if words.ends_with("`false 7 8`")));
        let refusals = ["echo 7", "echo 7 odd", "echo no such cluster >&2; exit 1"].map(|poll| {
            match with(poll).list(&ids).unwrap_err() {
                Trouble::Refused(words) => words,
                Trouble::Absent(words) => panic!("{words}"),
            }
        });
        insta::assert_snapshot!(refusals.join("\n"));
        assert!(matches!(with("exit 75").list(&ids), Err(Trouble::Absent(_))));
    }
}
