use std::path::Path;

use super::out;
use crate::tracking::{Destination, Sender};

/// Where results are sent while they come.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArgs {
    /// Sends parameters, figures and files to an MLflow server: `mlflow=http://127.0.0.1:5000`. Nothing waits for it; what
    /// it misses is sent later by `vitx report DIR --log`
    #[arg(long = "log", value_name = "mlflow=URL")]
    log: Option<String>,
    /// Sends the best weights, too
    #[arg(long, requires = "log")]
    log_weights: bool,
}

impl LogArgs {
    /// Where to, if anywhere.
    ///
    /// # Errors
    /// What names no server.
    pub fn destination(&self) -> miette::Result<Option<Destination>> {
        Ok(self.log.as_deref().map(|text| Destination::parse(text, self.log_weights)).transpose()?)
    }
}

/// Sends a directory to where it goes, in the background.
pub fn start(folder: &Path, to: Option<Destination>) -> Option<Sender> {
    to.map(|to| Sender::start(folder, to, out::note))
}

/// Sends the rest, and says what is left.
pub fn finish(sender: Option<Sender>) {
    if let Some(remark) = sender.and_then(Sender::finish) {
        out::note(&remark);
    }
}
