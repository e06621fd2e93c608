//! Threads on a system that may refuse them: users and containers have limits of processes, and every thread counts.

use std::{
    fs, io,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// How long threads that were started in vain may take to end, before fewer are tried.
const PAUSE: Duration = Duration::from_millis(20);

/// What had to be done with fewer threads than were wanted.
static SHORTAGE: Mutex<Option<String>> = Mutex::new(None);

/// A pool of `wanted` threads, or of as many as can be had.
///
/// # Errors
/// When not a single one can: why, with the limits that this process has.
pub fn pool(wanted: usize) -> io::Result<ThreadPool> {
    let mut count = wanted.max(1);
    let mut refused: Option<io::Error> = None;
    loop {
        let started = AtomicUsize::new(0);
        let built = ThreadPoolBuilder::new()
            .num_threads(count)
            .spawn_handler(|thread| {
                if let Err(error) = thread::Builder::new().spawn(|| thread.run()) {
                    refused = Some(error);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                started.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .build();
        let failed = match built {
            Ok(pool) => {
                if let Some(error) = refused {
                    fewer(count, wanted, &error);
                }
                return Ok(pool);
            }
            Err(error) => error,
        };
        count = started.into_inner().min(count - 1);
        if count == 0 {
            return Err(explained(refused.unwrap_or_else(|| io::Error::other(failed))));
        }
        thread::sleep(PAUSE);
    }
}

/// Runs `work` where parallel iterators share the threads of one pool: of the one that this thread belongs to, or
/// else of one that the whole process shares.
///
/// # Errors
/// As [`pool`].
pub fn together<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    static SHARED: OnceLock<Result<ThreadPool, String>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return Ok(work());
    }
    let all = || thread::available_parallelism().map_or(1, usize::from);
    match SHARED.get_or_init(|| pool(all()).map_err(|error| error.to_string())) {
        Ok(pool) => Ok(pool.install(work)),
        Err(error) => Err(io::Error::new(io::ErrorKind::WouldBlock, error.clone())),
    }
}

/// Notes that `count` of `wanted` threads had to do.
pub fn fewer(count: usize, wanted: usize, error: &io::Error) {
    let text = format!("{count} of {wanted} threads could be started, and did the work of all: {error}{}", limits());
    SHORTAGE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
}

/// What had to be done with fewer threads, if anything: in one line, for people.
pub fn shortage() -> Option<String> {
    SHORTAGE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The error of a thread or process that could not be started, with the limits that it may have met.
pub fn explained(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("no thread or process can be started: {error}{}", limits()))
}

/// "; the limits are 100 processes and threads of this user (ulimit -u), ...".
fn limits() -> String {
    let mut limits = Vec::new();
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of_process = |text: &str, name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let own = text("/proc/self/limits");
    if let Some(count) = of_process(&own, "Max processes") {
        limits.push(format!("{count} processes and threads of this user (ulimit -u)"));
    }
    for folder in crate::memory::control_groups("pids") {
        if let Ok(count) = text(&format!("{}/pids.max", folder.display())).trim().parse::<u64>() {
            limits.push(format!("{count} of the control group (pids.max)"));
            break;
        }
    }
    if let Some(bytes) = of_process(&own, "Max address space") {
        limits.push(format!("{} MiB of addresses (ulimit -v)", bytes >> 20));
    }
    match limits.is_empty() {
        true => String::new(),
        false => format!("; the limits are {}", limits.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_shared_whoever_asks() {
        assert_eq!(pool(3).unwrap().current_num_threads(), 3);
        assert_eq!(pool(0).unwrap().current_num_threads(), 1);
        let sum = || (0..1000_u64).into_par_iter().sum::<u64>();
        assert_eq!(together(sum).unwrap(), 499_500);
        let own = pool(2).unwrap();
        assert_eq!(own.install(|| together(rayon::current_num_threads)).unwrap(), 2);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn errors_name_the_limits() {
        let error = explained(io::ErrorKind::WouldBlock.into()).to_string();
        assert!(error.starts_with("no thread or process can be started: "), "{error}");
    }
}
