//! Training: the loop, its schedule, what it keeps on the way.

mod fit;
mod flips;
mod interrupt;
mod linger;
mod monitor;
mod observer;
mod restore;
mod saves;
mod schedule;
pub mod schedules;
mod stop;

pub use fit::{Fit, FitError, Fitted, evaluate, evaluate_each};
pub use flips::{Flips, evaluate_flips};
pub use interrupt::Interrupt;
pub use monitor::Monitor;
pub use observer::Observer;
pub use restore::{restore, restore_weights};
pub use schedule::{Per, Schedule};
pub use stop::Stop;
