//! Threads on a system that may refuse them: users and containers have limits of processes, and every thread counts.

use std::{
    fs, io,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc::channel},
    thread,
};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

/// What had to be done with fewer threads than were wanted.
static SHORTAGE: Mutex<Option<String>> = Mutex::new(None);

/// A pool of `wanted` threads, or of as many as can be had: at last, of those that the process has already.
///
/// # Errors
/// When not a single one can: why, with the limits that this process has.
pub fn pool(wanted: usize) -> io::Result<Arc<ThreadPool>> {
    let shared = || SHARED.get().cloned().flatten();
    start(wanted).or_else(|error| {
        let pool = shared().ok_or_else(|| explained(&error))?;
        fewer(pool.current_num_threads(), wanted, &error);
        Ok(pool)
    })
}

fn start(wanted: usize) -> io::Result<Arc<ThreadPool>> {
    let wanted = wanted.max(1);
    // They are started first, and wait to be told that they are a pool's: so it is known how many there are.
    let (mut waiting, mut refused) = (Vec::new(), None);
    while waiting.len() < wanted && refused.is_none() {
        let (begin, begin_there) = channel::<ThreadBuilder>();
        let work = move || begin_there.recv().map_or((), ThreadBuilder::run);
        match thread::Builder::new().spawn(work) {
            Ok(_) => waiting.push(begin),
            Err(error) => refused = Some(error),
        }
    }
    let count = waiting.len();
    match refused {
        Some(error) if count == 0 => return Err(error),
        Some(error) => fewer(count, wanted, &error),
        None => {}
    }
    let mut waiting = waiting.into_iter();
    let gone = || io::Error::other("a thread has ended before it began");
    let begin = |thread| waiting.next().and_then(|begin| begin.send(thread).ok()).ok_or_else(gone);
    ThreadPoolBuilder::new().num_threads(count).spawn_handler(begin).build().map(Arc::new).map_err(io::Error::other)
}

/// The pool that the whole process shares, once it was needed; `None` where no thread could be started.
static SHARED: OnceLock<Option<Arc<ThreadPool>>> = OnceLock::new();

/// Runs `work` where parallel iterators share the threads of one pool: of the one that this thread belongs to, or
/// else of one that the whole process shares. Where no thread can be started, this one does all of it.
pub fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let all = || thread::available_parallelism().map_or(1, usize::from);
    match SHARED.get_or_init(|| start(all()).ok()) {
        Some(pool) => pool.install(work),
        None => {
            // From here on this thread is a pool of its own; it was none, so nothing can fail.
            let _ = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            work()
        }
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
pub fn explained(error: &io::Error) -> io::Error {
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
        assert_eq!(together(sum), 499_500);
        let own = pool(2).unwrap();
        assert_eq!(own.install(|| together(rayon::current_num_threads)), 2);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn errors_name_the_limits() {
        let error = explained(&io::ErrorKind::WouldBlock.into()).to_string();
        assert!(error.starts_with("no thread or process can be started: "), "{error}");
    }
}
