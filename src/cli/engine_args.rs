use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Once,
};

use super::{choice::words, out};
use crate::{
    backend::{Backend, Device, DeviceLocks, DeviceSelection, NoDevice, Precision, Regions, devices, hidden_devices},
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
    /// CUDA device, by its number among those that CUDA_VISIBLE_DEVICES shows; of several (`0,2,3`, `all`) the first
    /// that no other vitx has, and in a sweep one for each trial [default: all]
    #[arg(long, value_name = "N|N,M|all")]
    device: Option<DeviceSelection>,
    /// Of the cuda backend's activations and products; the others compute in f32
    #[arg(long, value_parser = words::<Precision>(), default_value = Precision::default().word())]
    precision: Precision,
    /// Of the cuda backend's programs: whether operations on rows become one kernel where they fit shared memory
    #[arg(long, value_parser = words::<Regions>(), default_value = Regions::default().word())]
    regions: Regions,
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl EngineArgs {
    /// The options of a trial. With the cuda backend it has a device, which is held against other processes for as long
    /// as the options live. Says once, in one line, when `auto` has to do without one.
    ///
    /// # Errors
    /// `--device` with a number of none, or for a backend without devices.
    pub fn options(&self, interrupt: Interrupt) -> miette::Result<Options> {
        let (mut options, shown) = self.resolved(interrupt)?;
        if let Some(shown) = shown {
            let selection = self.device.clone().unwrap_or_default();
            let owner =
                std::env::args().skip(1).take(1).fold("vitx".to_owned(), |owner, command| owner + " " + &command);
            let (placed, note) = selection.place(&shown, &DeviceLocks::of_machine(), &owner).map_err(refused)?;
            note.iter().for_each(|note| out::note(note));
            options.device = Some(placed);
        }
        Ok(options)
    }

    /// The options of each of `jobs` trials at once, which share the threads, and the devices that they share. Nothing is
    /// held yet.
    ///
    /// # Errors
    /// As [`EngineArgs::options`].
    pub fn shared(&self, jobs: usize, interrupt: Interrupt) -> miette::Result<(Options, Vec<Device>)> {
        let (mut options, shown) = self.resolved(interrupt)?;
        options.threads = Some((options.threads() / jobs.max(1)).max(1));
        let Some(shown) = shown else { return Ok((options, Vec::new())) };
        let selection = self.device.clone().unwrap_or_default();
        let devices = selection.of(&shown).map_err(refused)?;
        // Planning times steps on one that is free now, if there is one.
        let (mut placed, _) = selection.place(&shown, &DeviceLocks::of_machine(), "vitx sweep").map_err(refused)?;
        placed.lock = None;
        options.device = Some(placed);
        Ok((options, devices))
    }

    /// The backend that trains.
    ///
    /// # Errors
    /// `--device` for a backend without devices.
    pub fn backend(&self) -> miette::Result<Backend> {
        Ok(self.resolved(Interrupt::default())?.0.backend)
    }

    /// The options without a device, and the devices that are shown where the backend has some.
    fn resolved(&self, interrupt: Interrupt) -> miette::Result<(Options, Option<Vec<Device>>)> {
        let (backend, missing) = self.backend.resolve();
        if self.device.is_some() && backend != Backend::Cuda {
            let help = "leave --device out, or use --backend cuda";
            return Err(match missing {
                Some(reason) => miette::miette!(code = "vitx::device", "--device: {reason}"),
                None => miette::miette!(code = "vitx::device", help = help, "the {backend} backend has no devices"),
            });
        }
        static SAID: Once = Once::new();
        if let Some(reason) = missing {
            SAID.call_once(|| out::note(&format!("{backend} backend: {reason}")));
        }
        let threads = self.threads.map(usize::from);
        let (data_dir, precision, regions) = (self.data_dir.clone(), self.precision, self.regions);
        let options = Options { data_dir, backend, precision, regions, threads, interrupt, ..Options::default() };
        if backend != Backend::Cuda {
            return Ok((options, None));
        }
        match devices() {
            Ok(shown) => {
                SAID.call_once(|| hidden_devices().iter().for_each(|note| out::note(note)));
                Ok((options, Some(shown)))
            }
            Err(reason) if self.device.is_some() => Err(miette::miette!(code = "vitx::device", "--device: {reason}")),
            // The engine says so when it starts.
            Err(_) => Ok((options, None)),
        }
    }

    /// The options with which trials are planned that run on other machines, with so many cores and devices: what this machine
    /// has does not matter.
    pub fn elsewhere(&self, cpus: u32, gpus: u32, interrupt: Interrupt) -> Options {
        let backend = match self.backend {
            Backend::Auto if gpus > 0 => Backend::Cuda,
            Backend::Auto => Backend::Cpu,
            backend => backend,
        };
        let threads = Some(self.threads.map_or(cpus as usize, usize::from));
        let (data_dir, precision, regions) = (self.data_dir.clone(), self.precision, self.regions);
        Options { data_dir, backend, precision, regions, threads, interrupt, ..Options::default() }
    }

    /// Whether --threads is given.
    pub fn gives_threads(&self) -> bool {
        self.threads.is_some()
    }

    /// As they were given, as arguments of a process of another machine.
    pub fn handed_over(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--backend".into(), self.backend.word().into()];
        arguments.extend(["--precision".into(), self.precision.word().into()]);
        if self.regions != Regions::default() {
            arguments.extend(["--regions".into(), self.regions.word().into()]);
        }
        if let Some(device) = &self.device {
            arguments.extend(["--device".into(), device.to_string().into()]);
        }
        if let Some(threads) = self.threads {
            arguments.extend(["--threads".into(), threads.to_string().into()]);
        }
        if let Some(folder) = &self.data_dir {
            // Seen from wherever the engine starts it.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            arguments.push(in_one_piece(&folder));
        }
        arguments
    }

    /// The same, as arguments of a process of this machine, with the backend and the threads of `options`, and without a device.
    pub fn arguments(&self, options: &Options) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--threads".into(), options.threads().to_string().into()];
        // As resolved here: each trial would say again what is missing.
        arguments.extend(["--backend".into(), options.backend.word().into()]);
        arguments.extend(["--precision".into(), self.precision.word().into()]);
        if self.regions != Regions::default() {
            arguments.extend(["--regions".into(), self.regions.word().into()]);
        }
        if let Some(folder) = &self.data_dir {
            arguments.push(in_one_piece(folder));
        }
        arguments
    }
}

/// A folder may begin with a dash.
fn in_one_piece(folder: &Path) -> OsString {
    let mut argument = OsString::from("--data-dir=");
    argument.push(folder);
    argument
}

fn refused(error: NoDevice) -> miette::Report {
    miette::miette!(code = "vitx::device", help = error.help, "{}", error.message)
}
