//! The tests of kernels on the machine's CUDA device instead: with `VITX_KERNEL_TESTS=device`.

use std::cell::RefCell;

use cudarc::driver::{result, sys::CUmemAttach_flags_enum::CU_MEM_ATTACH_GLOBAL};

use super::super::{device::Device, driver::Driver, launch::Launch, program::Call};

fn with_driver<R>(run: impl FnOnce(&mut Driver) -> R) -> R {
    thread_local! {
        static DRIVER: RefCell<Option<Driver>> = const { RefCell::new(None) };
    }
    DRIVER.with_borrow_mut(|driver| run(driver.get_or_insert_with(|| Driver::new(0).expect("a CUDA device"))))
}

/// Memory that host and device reach by one address; it is the process's until that ends.
pub fn allocate(bytes: usize) -> *mut u8 {
    // SAFETY: the driver's context is this thread's. Nobody reads the memory before it is filled.
    let address = with_driver(|_| unsafe { result::malloc_managed(bytes, CU_MEM_ATTACH_GLOBAL) });
    address.expect("managed memory") as *mut u8
}

/// Seconds that launches take together, one after the other, without what comes before the first.
pub fn seconds(launches: &[Launch<*mut u8>]) -> f64 {
    const TIMES: usize = 10;
    let call = |launch: &Launch<*mut u8>| Call::alone(launch.entry, launch.clone().map(|pointer| pointer as u64));
    let calls: Vec<_> = (0..TIMES).flat_map(|_| launches.iter().map(call)).collect();
    with_driver(|driver| {
        let prepared = driver.prepare(calls).expect("launches of kernels");
        let mut least = f64::INFINITY;
        for _ in 0..4 {
            driver.synchronize().expect("the device's work");
            let start = std::time::Instant::now();
            driver.launch(&prepared).expect("a launch");
            driver.synchronize().expect("the device's work");
            least = least.min(start.elapsed().as_secs_f64() / TIMES as f64);
        }
        least
    })
}

/// Runs a launch and waits for its end.
pub fn run(launch: Launch<*mut u8>) {
    let call = Call::alone(launch.entry, launch.map(|pointer| pointer as u64));
    let done = with_driver(|driver| {
        let prepared = driver.prepare(vec![call])?;
        driver.launch(&prepared)?;
        driver.synchronize()
    });
    done.expect("a launch of a kernel");
}
