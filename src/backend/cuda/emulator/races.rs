//! Races of a kernel, which `races.h` finds: two threads touch the same bytes, one of them writing, and no barrier lies
//! between. Names the places in the kernel's source.

use std::{fmt::Write as _, path::Path, process::Command};

use libloading::{Library, Symbol};

use super::super::launch::{Arg, Launch};

/// One access of a race, as `races.h` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Access {
    epoch: u32,
    warp_barriers: u32,
    place: u32,
    block: u32,
    thread: u16,
}

/// A race, as `races.h` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Race {
    before: Access,
    after: Access,
    before_kind: u32,
    after_kind: u32,
    memory: u32,
    at: u64,
}

/// The races of the last launch of a module that was compiled to find them, a sentence each.
pub fn found(module: &Library, path: &Path, launch: &Launch<*mut u8>) -> Vec<String> {
    type Races = unsafe extern "C" fn(*mut *const Race) -> u32;
    let mut races = std::ptr::null();
    // SAFETY: `races.h` defines the symbol with this signature. It gives as many races, which stay until the next launch.
    let races = unsafe {
        let of_launch: Symbol<Races> = module.get(b"vitx_races").unwrap_or_else(|error| panic!("{error}"));
        match of_launch(&raw mut races) as usize {
            0 => &[],
            count => std::slice::from_raw_parts(races, count),
        }
    };
    races.iter().map(|race| sentence(race, path, launch)).collect()
}

fn sentence(race: &Race, path: &Path, launch: &Launch<*mut u8>) -> String {
    let bytes = match race.memory {
        0 => format!("byte {} of dynamic shared memory", race.at),
        1 => format!("byte {} of static shared memory", race.at),
        _ => of_argument(race.at, launch),
    };
    let access = |access: &Access, kind| {
        let does = ["reads", "writes", "adds to"][kind as usize];
        let Access { thread, block, .. } = *access;
        format!(
            "thread {} of block {} {does} it at {}",
            coordinates(thread.into(), launch.block),
            coordinates(block, launch.grid),
            place(path, access.place)
        )
    };
    format!(
        "race for {bytes} in kernel `{}` of {}: {}, and {}, with no barrier between",
        launch.entry,
        launch.source.name,
        access(&race.before, race.before_kind),
        access(&race.after, race.after_kind)
    )
}

/// Of a linear index, as CUDA counts: x first.
fn coordinates(index: u32, [x, y, _]: [u32; 3]) -> String {
    format!("({}, {}, {})", index % x, index / x % y, index / x / y)
}

/// The memory at an address, by the pointer that lies closest before it.
fn of_argument(at: u64, launch: &Launch<*mut u8>) -> String {
    let before = |(index, arg): (usize, &Arg<*mut u8>)| match arg {
        Arg::Pointer(pointer) => at.checked_sub(*pointer as u64).map(|bytes| (bytes, index)),
        _ => None,
    };
    match launch.args.iter().enumerate().filter_map(before).min() {
        Some((bytes, index)) => format!("byte {bytes} of the memory that argument {index} points to"),
        None => format!("address {at:#x}"),
    }
}

/// The lines of the source that an instruction comes from: the innermost of inlined functions first.
fn place(library: &Path, after: u32) -> String {
    // The address is that of the next instruction.
    let address = format!("{:#x}", after.saturating_sub(1));
    let lines = Command::new("addr2line").arg("-i").arg("-e").arg(library).arg(&address).output();
    let lines = lines.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut text = String::new();
    for line in lines.lines().map(|line| line.rsplit('/').next().unwrap_or(line)) {
        // `mma.cuh:42 (discriminator 2)`
        let line = line.split(' ').next().unwrap_or(line);
        let between = if text.is_empty() { "" } else { ", called at " };
        let _ = write!(text, "{between}{line}");
    }
    if text.is_empty() || text.starts_with('?') { format!("{address} (addr2line tells no line)") } else { text }
}
