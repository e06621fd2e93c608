//! Results sent to a tracking server, from trial directories alone: whoever can read the directory can send it, the process
//! that trains while it trains, or `vitx report` years later. So nothing is lost where the server cannot be reached, and
//! no training waits for it.
//!
//! | file | holds |
//! |---|---|
//! | [`Destination`] (`destination.rs`) | what `--log` names |
//! | `mlflow.rs` | the calls of MLflow's REST interface |
//! | `sync.rs` | what a directory has and its server has not |
//! | [`Sender`] (`sender.rs`) | the thread that sends while something else trains |

mod destination;
mod mlflow;
mod sender;
mod sync;

pub use destination::Destination;
pub use mlflow::TrackingError;
pub use sender::Sender;
pub use sync::{Sent, send};
