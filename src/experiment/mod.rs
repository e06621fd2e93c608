//! Experiment files, overrides, trials.
