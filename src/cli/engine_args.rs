use std::{ffi::OsString, path::PathBuf, sync::Once};

use super::{choice::words, out};
use crate::{
    backend::{Backend, Precision},
    choice::Choice,
    experiment::training::Options,
    train::Interrupt,
};

/// More threads than any machine has cores would only hinder each other.
const MOST_THREADS: i64 = 1024;

/// What the commands that run a network share: where, and on which data. Nothing here changes results, but for
/// rounding.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Which backend runs the network
    #[arg(long, value_parser = words::<Backend>(), default_value = Backend::default().word())]
    backend: Backend,
    /// Of the cuda backend's activations and products; the others compute in f32
    #[arg(long, value_parser = words::<Precision>(), default_value = Precision::default().word())]
    precision: Precision,
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl EngineArgs {
    /// The options of a trial. Says once, in one line, when `auto` has to do without a CUDA device.
    pub fn options(&self, interrupt: Interrupt) -> Options {
        let (backend, missing) = self.backend.resolve();
        static SAID: Once = Once::new();
        if let Some(reason) = missing {
            SAID.call_once(|| out::note(&format!("{backend} backend: {reason}")));
        }
        let threads = self.threads.map(usize::from);
        let precision = self.precision;
        Options { data_dir: self.data_dir.clone(), backend, precision, threads, path: None, interrupt }
    }

    /// The same, as arguments of one of `jobs` processes that share the threads.
    pub fn arguments(&self, jobs: usize) -> Vec<OsString> {
        let options = self.options(Interrupt::default());
        let threads = (options.threads() / jobs).max(1);
        let mut arguments: Vec<OsString> = vec!["--threads".into(), threads.to_string().into()];
        // As resolved here: each trial would say again what is missing.
        arguments.extend(["--backend".into(), options.backend.word().into()]);
        arguments.extend(["--precision".into(), self.precision.word().into()]);
        if let Some(folder) = &self.data_dir {
            // In one piece: a folder may begin with a dash.
            let mut argument = OsString::from("--data-dir=");
            argument.push(folder);
            arguments.push(argument);
        }
        arguments
    }
}
