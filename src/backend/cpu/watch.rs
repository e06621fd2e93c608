//! Watching a program run: how long each operator takes, where the first bad value appears.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{
    kernel::{Call, Kind},
    program::{Program, Step},
};

/// Counts of the kernel calls of one program, over all threads.
#[derive(Debug)]
pub struct Watch {
    nanoseconds: Vec<AtomicU64>,
    /// The first step, in the program's order, that made a value that is not finite.
    first_bad: AtomicUsize,
    looks_for_bad: bool,
    runs: u64,
}

impl Watch {
    /// Takes times.
    pub fn times(program: &Program) -> Self {
        Self::new(program, false)
    }

    /// Looks at every value, too.
    pub fn values(program: &Program) -> Self {
        Self::new(program, true)
    }

    fn new(program: &Program, looks_for_bad: bool) -> Self {
        let nanoseconds = program.steps().map(|_| AtomicU64::new(0)).collect();
        Self { nanoseconds, first_bad: AtomicUsize::new(usize::MAX), looks_for_bad, runs: 0 }
    }

    /// Runs a kernel.
    pub fn call(&self, step: &Step, call: &mut Call) {
        let start = Instant::now();
        (step.kernel.run)(call);
        self.nanoseconds[step.index].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        // What stands in for a tensor need not be numbers.
        let bad = |(kind, values): (&Kind, &&mut [f32])| {
            !matches!(kind, Kind::Abridged(_)) && values.iter().any(|value| !value.is_finite())
        };
        if self.looks_for_bad && step.kernel.outputs.iter().zip(&call.outputs).any(bad) {
            self.first_bad.fetch_min(step.index, Ordering::Relaxed);
        }
    }

    /// Counts a run of the program.
    pub fn finish_run(&mut self) {
        self.runs += 1;
    }

    /// How often the program ran.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Time of a step.
    pub fn time(&self, step: &Step) -> Duration {
        Duration::from_nanos(self.nanoseconds[step.index].load(Ordering::Relaxed))
    }

    /// The first operator that made a value that is not finite, and the parameters it reads.
    pub fn first_bad(&self, program: &Program) -> Option<String> {
        let index = self.first_bad.load(Ordering::Relaxed);
        let step = program.steps().find(|step| step.index == index)?;
        Some(match &step.parameters[..] {
            [] => step.name.to_owned(),
            parameters => format!("{} of {}", step.name, parameters.join(", ")),
        })
    }
}
