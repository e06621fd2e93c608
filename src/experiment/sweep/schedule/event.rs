//! What a scheduler tells.

use super::super::Planned;
use crate::trial::{RunResult, Variant};

/// How a schedule came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every trial has ended, or one has failed where that ends the sweep.
    Complete,
    /// It was asked to end.
    Interrupted,
    /// There was nothing to do for as long as was said; others still train.
    Idle,
}

/// What happens to a trial.
#[derive(Debug)]
pub enum Event<'a> {
    /// It was handed over to an executor that has it wait; and where, if the executor tells.
    Queued(&'a Planned, Option<String>),
    /// Its process has begun; and where, if the executor tells.
    Started(&'a Planned, Option<String>),
    /// The executor has something to say.
    Note(&'a str),
    /// Another process trains it: of another worker, or left over from a sweep that was killed.
    Waiting(&'a Planned),
    /// It goes on, in the process that brought it so far.
    GoesOn(&'a Planned),
    /// It has its result.
    Finished(&'a Planned, RunResult),
    /// It has no result and will not be tried again, with the reason.
    Failed(&'a Planned, String),
    /// A search proposed what cannot be, with the reason.
    Impossible(&'a Variant, &'a str),
    /// It failed or was killed, with the reason, and will be tried again.
    Again(&'a Planned, String),
    /// Trained as far as was wanted for now.
    Paused(&'a Planned),
    /// Ended before its last epoch, with the reason.
    Stopped(&'a Planned, String),
    /// Time has passed; nothing new.
    Tick,
}
