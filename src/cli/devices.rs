use std::process::ExitCode;

use super::out;
use crate::{
    backend::{DeviceLocks, devices, hidden_devices},
    report::{fitted, measure},
};

/// Lists the CUDA devices that can be used here, with the numbers that `--device` takes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "CUDA_VISIBLE_DEVICES chooses and orders what is listed. \"in use\" tells of vitx alone: other programs \
hold no lock (nvidia-smi lists them)."
)]
pub struct Args {}

pub fn run(_: &Args) -> miette::Result<ExitCode> {
    let devices = devices().map_err(|reason| miette::miette!(code = "vitx::device", "{reason}"))?;
    hidden_devices().iter().for_each(|note| out::note(note));
    let locks = DeviceLocks::of_machine();
    let mut cells = Vec::new();
    for device in &devices {
        let (major, minor) = device.compute_capability;
        let compute = if device.is_usable() { "" } else { ": too old" };
        // Who can take it has it for a moment only.
        let holder = match locks.take(device, "vitx devices") {
            Ok(None) => locks.holder(device).unwrap_or_else(|| "another process".into()),
            Ok(Some(_)) => String::new(),
            Err(error) => format!("? {error}"),
        };
        cells.push(vec![
            device.ordinal.to_string(),
            device.name.clone(),
            measure::mebibytes(device.bytes as f64),
            format!("{major}.{minor}{compute}"),
            device.uuid.clone(),
            holder,
        ]);
    }
    let header = ["device", "name", "memory", "compute", "UUID", "in use"].map(str::to_owned);
    out::line(&fitted(header.to_vec(), cells, 1));
    Ok(ExitCode::SUCCESS)
}
