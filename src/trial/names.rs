//! The names of the files of a trial's directory. No other room spells one: `tests/rooms.rs` looks for them.

/// The experiment that is trained.
pub const CONFIG: &str = "config.yaml";
/// The text of its model.
pub const MODEL: &str = "model.vitx";
/// The checked model, for people.
pub(super) const MODEL_TEXT: &str = "model.txt";
/// The checked model, for programs.
pub(super) const NETWORK: &str = "model.json";
/// What a sweep changed.
pub(super) const VARIANT: &str = "variant.json";
/// What a sweep expected.
pub(super) const PREDICTION: &str = "prediction.json";
/// What a picture needs to be classified, and with which data the trial began.
pub(super) const INPUT: &str = "input.json";
/// The record of epochs.
pub(super) const METRICS: &str = "metrics.jsonl";
/// The record of epochs as TensorBoard reads it.
pub(super) const TENSORBOARD: &str = "tensorboard";
/// What training goes on from.
pub(super) const LAST: &str = "last.safetensors";
/// The weights that are tested.
pub(super) const BEST: &str = "best.safetensors";
/// The network for other programs, with the extension of its format.
pub(super) const EXPORTED: &str = "model";
/// How it ended.
pub(super) const RESULT: &str = "result.json";
/// How well each class of the test images was recognised.
pub(super) const TEST_CLASSES: &str = "test_classes.json";
/// Why it did not.
pub(super) const FAILURE: &str = "failure.json";
/// How far a sweep wants it trained for now.
pub(super) const UNTIL: &str = "until.json";
/// Why a sweep ended it.
pub(super) const STOPPED: &str = "stopped.json";
/// The record of epochs as a table.
pub(super) const TABLE: &str = "history.csv";
/// What the process of a sweep's trial printed.
pub(super) const LOG: &str = "log.txt";
/// As what a cluster's engine last knew it.
pub(super) const JOB: &str = "job.json";
/// Which run of a tracking server it is, and what that has.
pub(super) const TRACKED: &str = "mlflow.json";
/// Held by the process that trains.
pub(super) const LOCK: &str = "lock";
/// Tells who holds it, where the system's locks may not.
pub(super) const OWNER: &str = "lock.json";
/// Held for a moment by the process that takes away a dead owner's.
pub(super) const CLAIM: &str = "lock.claim";

/// What comes of a trial, once it is defined: no process writes one of these before.
pub(super) const OUTCOME: &[&str] = &[MODEL_TEXT, NETWORK, INPUT, METRICS, LAST, BEST, RESULT, TEST_CLASSES, TABLE];

/// What is of one directory alone, whatever else is the same in another one of the same trial: what it was made of, which its owner
/// writes, and what its processes left.
pub(super) const OWN: &[&str] = &[CONFIG, MODEL, VARIANT, FAILURE, UNTIL, STOPPED, JOB, TRACKED, LOCK, OWNER, CLAIM];
