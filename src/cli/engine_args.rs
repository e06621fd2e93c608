use std::{ffi::OsString, path::PathBuf};

use crate::{backend::Backend, experiment::trial::Options, train::Interrupt};

/// More threads than any machine has cores would only hinder each other.
const MOST_THREADS: i64 = 1024;

/// What the commands that run a network share: where, and on which data. Nothing here changes results.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Which backend runs the network
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl EngineArgs {
    /// The options of a trial.
    pub fn options(&self, interrupt: Interrupt) -> Options {
        Options {
            data_dir: self.data_dir.clone(),
            backend: self.backend,
            threads: self.threads.map(usize::from),
            interrupt,
        }
    }

    /// The same, as arguments of one of `jobs` processes that share the threads.
    pub fn arguments(&self, jobs: usize) -> Vec<OsString> {
        let threads = self.options(Interrupt::default()).threads() / jobs;
        let mut arguments: Vec<OsString> = vec!["--threads".into(), threads.max(1).to_string().into()];
        arguments.extend(["--backend".into(), self.backend.to_string().into()]);
        if let Some(folder) = &self.data_dir {
            arguments.extend(["--data-dir".into(), folder.into()]);
        }
        arguments
    }
}
