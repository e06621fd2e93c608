use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::{
    ExecutorConfig, ExecutorEntry, ExecutorSetup,
    engine::{Engine, JobState, Listed, Listing, Submission, Trouble, command_line, here, output, quoted},
    remote::Remote,
};
use crate::{
    experiment::{ExperimentError, identity::hexadecimal, sweep::How},
    files::{make_folder, replace},
    trial::Directory,
};

pub const ENTRY: ExecutorEntry = ExecutorEntry {
    name: "slurm",
    help: "Jobs of Slurm, by sbatch, squeue and scancel",
    takes: &["cpus", "gpus", "memory", "time", "partition", "args"],
    is_here: false,
    new: |setup| {
        let folder = setup.folder.clone();
        Ok(Box::new(Remote::new(Box::new(Slurm::new(setup)?), folder)?))
    },
};

/// Words of Slurm's programs where the controller does not answer now.
const ABSENT: [&str; 6] = [
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Zero Bytes were transmitted",
    "Transport endpoint is not connected",
    "Slurm temporarily unable to accept job",
];

/// Words of `squeue` where it knows none of the jobs that it was asked for, and of `scancel` for one that it has forgotten.
const UNKNOWN: &str = "Invalid job id";

/// Words of `scancel` for a job that has just ended.
const COMPLETED: &str = "already completing or completed";

/// Most jobs of one array, where the site allows more.
const LARGEST_WAVE: usize = 1000;

/// How long before the time limit a trial is told to save.
const NOTICE_SECONDS: u64 = 60;

struct Slurm {
    config: ExecutorConfig,
    /// Where the lists of arrays lie.
    waves: PathBuf,
    /// What the script runs, before the directory.
    command: String,
    /// Where the sweep was started: what is relative is seen from there.
    from: PathBuf,
    /// Jobs of one array.
    wave: Option<usize>,
}

impl Slurm {
    fn new(setup: ExecutorSetup) -> Result<Self, ExperimentError> {
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        let mut command = command_line(&program, &setup.arguments);
        if !setup.threads_given {
            // Without -c, Slurm tells only what the node gives.
            command += " --threads \"${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}\"";
        }
        let (waves, from) = (setup.folder.join("waves"), here()?);
        Ok(Self { config: setup.config, waves, command, from, wave: None })
    }

    fn sbatch(&self, name: &str, log: &Path) -> Command {
        let ExecutorConfig { cpus, gpus, memory, time, partition, args, .. } = &self.config;
        let mut sbatch = Command::new("sbatch");
        // One attempt is one job: vitx itself hands over again, which is sooner than Slurm would.
        sbatch.args(["--parsable", "--no-requeue", "--open-mode=append", "--job-name", name]);
        // Slurm reads % in it.
        sbatch.arg("--output").arg(log.to_string_lossy().replace('%', "%%"));
        sbatch.arg("--chdir").arg(&self.from);
        // A sweep may itself run in a job, whose share is not that of its trials.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let of_job = text.starts_with("SLURM_") && !["SLURM_CONF", "SLURM_CLUSTERS"].contains(&&*text);
            if of_job || text == "CUDA_VISIBLE_DEVICES" {
                sbatch.env_remove(&name);
            }
        }
        sbatch.arg("--cpus-per-task").arg(cpus.unwrap_or(1).to_string());
        if let Some(gpus) = gpus.filter(|gpus| *gpus > 0) {
            sbatch.arg(format!("--gres=gpu:{gpus}"));
        }
        if let Some(memory) = memory {
            sbatch.arg(format!("--mem={}M", memory.mebibytes));
        }
        if let Some(time) = time {
            sbatch.arg("--time").arg(time.clock());
            // The script becomes the trial, which saves and ends.
            sbatch.arg(format!("--signal=B:TERM@{}", NOTICE_SECONDS.min(time.seconds / 2)));
        }
        if let Some(partition) = partition {
            sbatch.arg("--partition").arg(partition);
        }
        sbatch.args(args);
        sbatch
    }

    /// The script of a job, whose `$folder` is set by `find`.
    fn script(&self, find: &str) -> String {
        // A job that asked for no device is not to take one which nobody hides from it.
        let hide = match self.config.gpus {
            Some(1..) => "",
            _ => "[ -n \"$SLURM_JOB_GPUS$SLURM_GPUS_ON_NODE\" ] || export CUDA_VISIBLE_DEVICES=\n",
        };
        format!(
            "#!/bin/sh\n{find}\nexec >>\"$folder/log.txt\" 2>&1 </dev/null\n{hide}exec {} -- \"$folder\"\n",
            self.command
        )
    }

    fn submit_one(&self, job: &Submission) -> Result<String, Trouble> {
        let find = format!("folder={}", quoted(&job.folder.to_string_lossy()));
        let mut sbatch = self.sbatch(&job.name, &Directory::new(&job.folder).log());
        id(&output(&mut sbatch, &self.script(&find), &ABSENT)?)
    }

    /// An array, with a file of its directories. The file is there before the array is: whatever happens between, the names
    /// of its jobs are known.
    fn submit_array(&self, jobs: &[Submission]) -> Result<Vec<String>, Trouble> {
        let failed = |error: crate::files::FileError| Trouble::Refused(error.to_string());
        make_folder(&self.waves).map_err(failed)?;
        let text: String = jobs.iter().map(|job| format!("{}\t{}\n", job.name, job.folder.to_string_lossy())).collect();
        let hash = hexadecimal(&Sha256::digest(text.as_bytes()), 6);
        let list = self.waves.join(format!("{hash}.txt"));
        replace(&list, text.as_bytes()).map_err(failed)?;
        let find = format!(
            "folder=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {} | cut -f 2-)",
            quoted(&list.to_string_lossy())
        );
        let mut sbatch = self.sbatch(&format!("vitx-wave-{hash}"), &self.waves.join(format!("{hash}.log")));
        sbatch.arg(format!("--array=0-{}", jobs.len() - 1));
        let id = id(&output(&mut sbatch, &self.script(&find), &ABSENT)?)?;
        Ok((0..jobs.len()).map(|at| format!("{id}_{at}")).collect())
    }

    /// The names of the jobs of an array of this sweep.
    fn names(&self, wave: &str) -> Vec<String> {
        let text = fs::read_to_string(self.waves.join(format!("{wave}.txt"))).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned())).collect()
    }
}

/// What `sbatch --parsable` prints: the id, and behind a semicolon the cluster.
fn id(printed: &str) -> Result<String, Trouble> {
    let line = printed.lines().next_back().unwrap_or_default();
    let id = line.split(';').next().unwrap_or_default().trim();
    match !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(id.to_owned()),
        false => Err(Trouble::Refused(format!("`sbatch` printed `{line}` and no id"))),
    }
}

impl Engine for Slurm {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn wave(&self) -> usize {
        self.wave.unwrap_or(1)
    }

    fn submit(&mut self, jobs: &[Submission]) -> Result<Vec<String>, Trouble> {
        match jobs {
            [job] => Ok(vec![self.submit_one(job)?]),
            jobs => self.submit_array(jobs),
        }
    }

    fn list(&mut self, _: &[String]) -> Result<Listing, Trouble> {
        if self.wave.is_none() {
            let config = match output(Command::new("scontrol").args(["show", "config"]), "", &ABSENT) {
                // Where a site does not tell, jobs are handed over one by one.
                Err(Trouble::Refused(_)) => String::new(),
                config => config?,
            };
            let size = |line: &str| line.strip_prefix("MaxArraySize")?.split('=').nth(1)?.trim().parse().ok();
            let most = config.lines().find_map(size);
            // 0 where a site allows no arrays.
            self.wave = Some(most.unwrap_or(1_usize).saturating_sub(1).clamp(1, LARGEST_WAVE));
        }
        let mut squeue = Command::new("squeue");
        squeue.args(["--me", "--noheader", "--array", "--states=all"]);
        squeue.args(["--Format", "JobArrayID:|,Name:|,State:|,exit_code:|,Reason:|"]);
        let text = match output(&mut squeue, "", &ABSENT) {
            Err(Trouble::Refused(words)) if words.contains(UNKNOWN) => String::new(),
            text => text?,
        };
        let mut arrays: HashMap<String, Vec<String>> = HashMap::new();
        let jobs = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [id, name, state, code, reason, ..] = fields[..] else { return None };
            let name = match (name.strip_prefix("vitx-wave-"), id.rsplit_once('_')) {
                (Some(wave), Some((_, at))) => {
                    let names = arrays.entry(wave.to_owned()).or_insert_with(|| self.names(wave));
                    at.parse().ok().and_then(|at: usize| names.get(at).cloned())
                }
                _ => Some(name.to_owned()),
            };
            Some(Listed { id: id.to_owned(), name, state: job_state(state, code, reason) })
        });
        Ok(Listing { jobs: jobs.collect(), ..Listing::default() })
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), Trouble> {
        let mut scancel = Command::new("scancel");
        match output(scancel.args(ids), "", &ABSENT) {
            Err(Trouble::Refused(words)) if all_ended(&words) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Whether all that `scancel` complains of are jobs that have ended: a line for each.
fn all_ended(words: &str) -> bool {
    words.lines().all(|line| [UNKNOWN, COMPLETED].iter().any(|known| line.contains(known)))
}

/// A job's state by the words of `squeue`. `code` is what `wait` gave, or `EXIT:SIGNAL` in later versions.
fn job_state(state: &str, code: &str, reason: &str) -> JobState {
    let exit = match code.split_once(':') {
        Some((exit, signal)) => exit.parse().ok().zip(signal.parse().ok()),
        None => code.parse().ok().map(|status: i32| (status >> 8, status & 0x7f)),
    };
    let killed = |how: &str| JobState::Ended(Some(How::Killed(how.to_owned())));
    match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" => {
            JobState::Waiting(reason.to_owned())
        }
        "COMPLETED" => JobState::Ended(Some(How::Exited(0))),
        "FAILED" => match exit {
            Some((exit, 0)) => JobState::Ended(Some(How::Exited(exit))),
            Some((_, signal)) => JobState::Ended(Some(signalled(signal))),
            None => JobState::Ended(None),
        },
        "OUT_OF_MEMORY" => {
            let how = "Slurm ended it: it used more than its memory; give it more with `memory`";
            JobState::Ended(Some(How::Crashed(how.to_owned())))
        }
        "TIMEOUT" | "DEADLINE" => killed("its time was over"),
        "CANCELLED" => killed("its job was cancelled"),
        "PREEMPTED" => killed("its job had to make room for another"),
        "NODE_FAIL" | "BOOT_FAIL" => killed("its node has failed"),
        "REVOKED" => killed("its job was taken back"),
        // RUNNING, CONFIGURING, COMPLETING, SUSPENDED, STOPPED, STAGE_OUT and what later versions add: it has not ended.
        _ => JobState::Running,
    }
}

fn signalled(signal: i32) -> How {
    match signal {
        // Faults of the program itself: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
        4..=8 | 11 => How::Crashed(format!("it crashed with signal {signal}")),
        _ => How::Killed(format!("killed by signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slurm(folder: &Path, config: &str) -> Slurm {
        let setup = ExecutorSetup {
            config: serde_yaml::from_str(config).unwrap(),
            folder: folder.to_owned(),
            arguments: vec!["--backend".into(), "auto".into()],
            threads_given: false,
            pool: None,
            options: crate::experiment::training::Options::default(),
        };
        let mut slurm = Slurm::new(setup).unwrap();
        // The test's own program stands there.
        let program = quoted(&std::env::current_exe().unwrap().to_string_lossy());
        slurm.command = slurm.command.replace(&program, "/bin/vitx");
        slurm.from = "/home/a".into();
        slurm
    }

    #[test]
    fn a_job_is_handed_over_with_all_that_it_is_given() {
        let config = "{ name: slurm, cpus: 4, gpus: 1, memory: 8G, time: 2h, partition: gpu, args: [--qos=a b] }";
        let all = slurm(Path::new("/s"), config);
        let none = slurm(Path::new("/s"), "{ name: slurm }");
        let words = |slurm: &Slurm| {
            let sbatch = slurm.sbatch("vitx-1-2-a1", Path::new("/s/100%/log.txt"));
            let words: Vec<String> = sbatch.get_args().map(|word| quoted(&word.to_string_lossy())).collect();
            words.join(" ")
        };
        let texts = [words(&all), all.script("folder='/s/a b'"), words(&none), none.script("folder=/s/a")];
        insta::assert_snapshot!(texts.join("\n\n"));
    }

    #[test]
    fn states_are_those_of_slurm() {
        let killed = |how: &str| JobState::Ended(Some(How::Killed(how.into())));
        let exited = |code| JobState::Ended(Some(How::Exited(code)));
        let cases = [
            (["PENDING", "0", "Resources"], JobState::Waiting("Resources".into())),
            (["RUNNING", "0", "None"], JobState::Running),
            (["COMPLETING", "0", "None"], JobState::Running),
            (["COMPLETED", "0", "None"], exited(0)),
            (["FAILED", "768", "NonZeroExitCode"], exited(3)),
            (["FAILED", "75:0", "NonZeroExitCode"], exited(75)),
            (["FAILED", "9", ""], killed("killed by signal 9")),
            (["FAILED", "0:11", ""], JobState::Ended(Some(How::Crashed("it crashed with signal 11".into())))),
            (["NODE_FAIL", "0", ""], killed("its node has failed")),
            (["TIMEOUT", "0", ""], killed("its time was over")),
        ];
        for ([state, code, reason], expected) in cases {
            assert_eq!(job_state(state, code, reason), expected, "{state}");
        }
        assert_eq!(id("12\n").unwrap(), "12");
        assert_eq!(id("sbatch: a note\n12;cluster\n").unwrap(), "12");
        assert!(id("Submitted batch job 12").is_err());
    }

    #[test]
    fn a_job_that_has_just_ended_is_no_error() {
        let gone = "`scancel`: scancel: error: Kill job error on job id 7: Invalid job id specified";
        let ends = "scancel: error: Kill job error on job id 8: Job/step already completing or completed";
        assert!(all_ended(gone) && all_ended(&format!("{gone}\n{ends}")));
        assert!(!all_ended(&format!("{gone}\nscancel: error: Kill job error on job id 9: Access/permission denied")));
    }

    #[test]
    fn jobs_of_an_array_have_the_names_of_its_list() {
        let folder = tempfile::tempdir().unwrap();
        let slurm = slurm(folder.path(), "{ name: slurm }");
        fs::create_dir(folder.path().join("waves")).unwrap();
        fs::write(folder.path().join("waves/ab.txt"), "vitx-1-a1\t/a\nvitx-2-a1\t/b\n").unwrap();
        assert_eq!(slurm.names("ab"), ["vitx-1-a1", "vitx-2-a1"]);
        assert_eq!(slurm.names("cd"), Vec::<String>::new());
    }
}
