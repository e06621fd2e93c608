//! How threads share numbered tasks: in stages, of which one begins when the one before is done, and beside them whatever
//! else may run by then.

use std::{
    hint,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How often a thread without work looks for the next stage before it goes to sleep: some 20 µs, less than it takes to be
/// woken.
const LOOKS: usize = 1000;

/// The tasks of a run.
pub trait Tasks: Sync {
    /// The stages, in order.
    fn stages(&self) -> usize;

    /// Tasks of a stage.
    fn of_stage(&self, stage: usize) -> usize;

    /// How many of the tasks beside the stages, from the first on, may run as soon as a stage has begun. Of the
    /// stage after the last: all of them.
    fn beside(&self, stage: usize) -> usize;
}

/// A task to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Of { stage: usize, index: usize },
    Beside(usize),
}

/// The progress of a run that threads share.
pub struct Crew<'a, T> {
    tasks: &'a T,
    state: Mutex<State>,
    /// The stage in `state`, to be looked at without the lock.
    stage: AtomicUsize,
    changed: Condvar,
}

struct State {
    stage: usize,
    /// The next task of the stage.
    next: usize,
    /// Tasks of the stage that were begun and are not done.
    running: usize,
    /// The next task beside the stages.
    beside: usize,
    /// A task has panicked.
    failed: bool,
}

impl<'a, T: Tasks> Crew<'a, T> {
    pub fn new(tasks: &'a T) -> Self {
        let mut state = State { stage: 0, next: 0, running: 0, beside: 0, failed: false };
        state.skip_empty(tasks);
        Self { tasks, stage: AtomicUsize::new(state.stage), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs tasks until none are left, or until one has panicked. Called by each thread; which one runs a task must
    /// not matter. Those of the stages go first.
    pub fn work(&self, mut run: impl FnMut(Task)) {
        let mut state = self.lock();
        loop {
            let task = match state.take(self.tasks) {
                Some(task) => task,
                None if state.failed || state.stage == self.tasks.stages() => return,
                None => {
                    state = self.next_stage(state);
                    continue;
                }
            };
            drop(state);
            let finish = Finish { crew: self, task };
            run(task);
            state = self.lock();
            finish.done(&mut state);
        }
    }

    /// Waits for the stage to end.
    fn next_stage<'b>(&'b self, state: MutexGuard<'b, State>) -> MutexGuard<'b, State> {
        let stage = state.stage;
        drop(state);
        for _ in 0..LOOKS {
            if self.stage.load(Ordering::Acquire) != stage {
                return self.lock();
            }
            hint::spin_loop();
        }
        let waits = |state: &mut State| state.stage == stage && !state.failed;
        self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// No task runs under the lock, so that the state is whole even if a thread has panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, tasks: &impl Tasks) -> Option<Task> {
        if self.failed {
            return None;
        }
        if self.stage < tasks.stages() && self.next < tasks.of_stage(self.stage) {
            self.next += 1;
            self.running += 1;
            return Some(Task::Of { stage: self.stage, index: self.next - 1 });
        }
        if self.beside < tasks.beside(self.stage) {
            self.beside += 1;
            return Some(Task::Beside(self.beside - 1));
        }
        None
    }

    fn skip_empty(&mut self, tasks: &impl Tasks) {
        while self.stage < tasks.stages() && tasks.of_stage(self.stage) == 0 {
            self.stage += 1;
        }
    }
}

/// A task that runs. Dropped before it is done, it fails the run: the others would wait for it for ever.
struct Finish<'a, 'b, T: Tasks> {
    crew: &'b Crew<'a, T>,
    task: Task,
}

impl<T: Tasks> Finish<'_, '_, T> {
    fn done(self, state: &mut State) {
        let crew = self.crew;
        if let Task::Of { stage, .. } = self.task {
            state.running -= 1;
            if state.running == 0 && state.next == crew.tasks.of_stage(stage) {
                state.stage += 1;
                state.next = 0;
                state.skip_empty(crew.tasks);
                crew.stage.store(state.stage, Ordering::Release);
                crew.changed.notify_all();
            }
        }
        std::mem::forget(self);
    }
}

impl<T: Tasks> Drop for Finish<'_, '_, T> {
    fn drop(&mut self) {
        self.crew.lock().failed = true;
        self.crew.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks by stage, and how many may run beside each stage.
    struct Plan {
        stages: Vec<usize>,
        beside: Vec<usize>,
    }

    impl Tasks for Plan {
        fn stages(&self) -> usize {
            self.stages.len()
        }

        fn of_stage(&self, stage: usize) -> usize {
            self.stages[stage]
        }

        fn beside(&self, stage: usize) -> usize {
            self.beside[stage]
        }
    }

    /// What ran, in the order in which it was done.
    fn run(plan: &Plan, threads: usize) -> Vec<Task> {
        let (crew, done) = (Crew::new(plan), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    crew.work(|task| {
                        std::thread::yield_now();
                        done.lock().unwrap().push(task);
                    });
                });
            }
        });
        done.into_inner().unwrap()
    }

    #[test]
    fn stages_end_before_the_next_begins_and_all_else_runs_when_it_may() {
        let plan = Plan { stages: vec![0, 3, 0, 1, 5, 0], beside: vec![0, 0, 0, 2, 2, 2, 6] };
        for threads in 1..4 {
            for _ in 0..100 {
                let done = run(&plan, threads);
                assert_eq!(done.len(), 3 + 1 + 5 + 6);
                let stages: Vec<usize> = done
                    .iter()
                    .filter_map(|task| if let Task::Of { stage, .. } = task { Some(*stage) } else { None })
                    .collect();
                assert_eq!(stages, [1, 1, 1, 3, 4, 4, 4, 4, 4]);
                for (at, task) in done.iter().enumerate() {
                    let ran = |stage| {
                        done[..at]
                            .iter()
                            .filter(|task| matches!(task, Task::Of { stage: s, .. } if *s == stage))
                            .count()
                    };
                    match task {
                        Task::Beside(0..2) => assert_eq!(ran(1), 3),
                        Task::Beside(_) => assert_eq!(ran(4), 5),
                        Task::Of { .. } => {}
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_to_do() {
        assert_eq!(run(&Plan { stages: vec![], beside: vec![0] }, 2), []);
        assert_eq!(run(&Plan { stages: vec![0], beside: vec![0, 1] }, 1), [Task::Beside(0)]);
    }

    #[test]
    fn a_panic_ends_the_run() {
        let plan = Plan { stages: vec![2, 1], beside: vec![0, 0, 0] };
        let crew = Crew::new(&plan);
        let threads: Vec<_> = std::thread::scope(|scope| {
            let work = || crew.work(|task| assert_ne!(task, Task::Of { stage: 0, index: 1 }));
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().is_err()).collect()
        });
        assert_eq!(threads.iter().filter(|failed| **failed).count(), 1);
    }
}
