//! Kernels on the host, for tests: the very text of a `.cu` file, compiled by the host's C++ compiler
//! with `emulator.h` and `instructions.h` in place of CUDA's built-ins.

use std::{
    cell::Cell,
    collections::HashMap,
    ffi::{CStr, c_char, c_void},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
};

use libloading::{Library, Symbol};
use sha2::{Digest, Sha256};

use super::{
    kernels::HEADERS,
    launch::{Arg, Launch, Source},
};

mod memory;
mod on_device;
mod races;
#[cfg(test)]
mod tests;
pub use memory::{Memory, run_all, to_bf16};
pub use on_device::seconds;

/// What the emulator is made of, by name, in the order of their use.
const SHIM: [(&str, &str); 3] = [
    ("emulator.h", include_str!("emulator.h")),
    ("races.h", include_str!("races.h")),
    ("instructions.h", include_str!("instructions.h")),
];

type Key = (Source, Vec<(&'static str, String)>, bool);
type Entry = unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, u32) -> *const c_char;
type Parameters = unsafe extern "C" fn() -> *const c_char;

/// How the tests of kernels run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// Emulated on the host.
    Emulated,
    /// The same, and races are looked for, which takes several times as long: `VITX_KERNEL_TESTS=races`.
    Races,
    /// On the machine's CUDA device: `VITX_KERNEL_TESTS=device`.
    Device,
}

impl Way {
    /// What the environment asks for.
    ///
    /// # Panics
    /// When it asks for something else.
    pub fn wanted() -> Self {
        static WANTED: OnceLock<Way> = OnceLock::new();
        *WANTED.get_or_init(|| match std::env::var("VITX_KERNEL_TESTS").unwrap_or_default().as_str() {
            "" => Self::Emulated,
            "races" => Self::Races,
            "device" => Self::Device,
            other => panic!("VITX_KERNEL_TESTS is `{other}`; it may be `races` or `device`"),
        })
    }
}

/// Reads of shared memory by `ldmatrix`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Matrices {
    /// Matrices of eight rows of 16 bytes.
    pub read: u64,
    /// How often a warp had to read once more, because several rows of a matrix lie in the same banks.
    pub conflicts: u64,
}

thread_local! {
    static MATRICES: Cell<Matrices> = const { Cell::new(Matrices { read: 0, conflicts: 0 }) };
}

/// What the launches of this thread have read since it was last asked.
pub fn matrices_read() -> Matrices {
    MATRICES.take()
}

/// A compiled source, and its file.
type Module = Arc<Mutex<(Library, PathBuf)>>;

/// Runs a launch to its end, and looks for races if the environment asks for that.
///
/// # Panics
/// When the kernel does not compile, takes other arguments, has a race, or its threads wait for one another for ever.
///
/// # Safety
/// The pointers must be good for all that the kernel does with them.
pub unsafe fn run(launch: &Launch<*mut u8>) {
    if Way::wanted() == Way::Races {
        // SAFETY: the caller's promise is the same.
        let races = unsafe { races_of(launch) };
        assert!(races.is_empty(), "{}", races.join("\n"));
    } else {
        // SAFETY: as above.
        unsafe { run_compiled(&module(launch.source, &launch.defines, false), launch, |_| ()) }
    }
}

/// Runs a launch to its end, and tells its races.
///
/// # Panics
/// When the kernel does not compile, or takes other arguments.
///
/// # Safety
/// The pointers must be good for all that the kernel does with them.
pub unsafe fn races_of(launch: &Launch<*mut u8>) -> Vec<String> {
    let module = module(launch.source, &launch.defines, true);
    // SAFETY: the caller's promise is the same.
    unsafe { run_compiled(&module, launch, |(library, path)| races::found(library, path, launch)) }
}

/// Runs a launch, and then `after` on the module, before it runs anything else.
unsafe fn run_compiled<R>(
    module: &Module,
    launch: &Launch<*mut u8>,
    after: impl FnOnce(&(Library, PathBuf)) -> R,
) -> R {
    // A module's block state is static: one launch at a time.
    let module = module.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let entry = launch.entry;
    // SAFETY: `EMULATED_ENTRY` defines the two symbols with these signatures.
    let (parameters, run): (Symbol<Parameters>, Symbol<Entry>) = unsafe {
        let find = |kind: &str| format!("vitx_{kind}_{entry}");
        (
            module.0.get(find("parameters").as_bytes()).unwrap_or_else(|error| panic!("{entry}: {error}")),
            module.0.get(find("launch").as_bytes()).unwrap_or_else(|error| panic!("{entry}: {error}")),
        )
    };
    let given: String = launch.args.iter().map(letter).collect();
    // SAFETY: the function gives a static string.
    let taken = unsafe { CStr::from_ptr(parameters()) }.to_string_lossy().into_owned();
    assert_eq!(given, taken, "arguments given to and taken by `{entry}`");
    let mut values: Vec<Vec<u64>> = launch.args.iter().map(words).collect();
    let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| value.as_mut_ptr().cast()).collect();
    // SAFETY: each pointer leads to a value of its parameter's type, as the letters say; the caller
    // vouches for the memory.
    let wrong = unsafe { run(pointers.as_mut_ptr(), launch.grid.as_ptr(), launch.block.as_ptr(), launch.shared_bytes) };
    if !wrong.is_null() {
        // SAFETY: it is a string that stays until the next launch.
        let wrong = unsafe { CStr::from_ptr(wrong) }.to_string_lossy().into_owned();
        panic!("kernel `{entry}` of {}: {wrong}", launch.source.name);
    }
    let mut counts = [0; 2];
    // SAFETY: `emulator.h` defines the symbol with this signature.
    unsafe {
        type Counts = unsafe extern "C" fn(*mut u64);
        module.0.get::<Counts>(b"vitx_matrices").unwrap_or_else(|error| panic!("{error}"))(counts.as_mut_ptr());
    }
    let Matrices { read, conflicts } = MATRICES.get();
    MATRICES.set(Matrices { read: read + counts[0], conflicts: conflicts + counts[1] });
    after(&module)
}

fn letter<P>(arg: &Arg<P>) -> char {
    match arg {
        Arg::Pointer(_) | Arg::Null => 'p',
        Arg::I32(_) => 'i',
        Arg::U32(_) => 'u',
        Arg::U64(_) => 'l',
        Arg::F32(_) => 'f',
        Arg::Words(_) => '?',
    }
}

/// An argument as it lies in memory.
fn words(arg: &Arg<*mut u8>) -> Vec<u64> {
    match arg.clone().map(|pointer| pointer as u64) {
        Arg::Words(words) => words.to_vec(),
        other => Vec::from_iter(other.word()),
    }
}

/// The library of a source under these definitions, compiled once per process.
fn module(source: Source, defines: &[(&'static str, String)], races: bool) -> Module {
    type Cell = Arc<OnceLock<Module>>;
    static MODULES: OnceLock<Mutex<HashMap<Key, Cell>>> = OnceLock::new();
    let cell = {
        let mut modules = MODULES.get_or_init(Mutex::default).lock().expect("nothing panics while it is held");
        modules.entry((source, defines.to_vec(), races)).or_default().clone()
    };
    let load = || {
        let path = compile(source, defines, races);
        // SAFETY: the library has no initialisers but of empty vectors.
        let library = unsafe { Library::new(&path) };
        Arc::new(Mutex::new((library.unwrap_or_else(|error| panic!("{}: {error}", path.display())), path)))
    };
    cell.get_or_init(load).clone()
}

/// Appends a file's text, with each of these headers where it is first included, and with the lines' own numbers.
fn append(
    text: &mut String,
    (name, code): (&str, &str),
    headers: &[(&'static str, &str)],
    there: &mut Vec<&'static str>,
) {
    let here = |text: &mut String, line: usize| writeln!(text, "#line {line} \"{name}\"").expect("a string takes all");
    here(text, 1);
    for (index, line) in code.lines().enumerate() {
        let included = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"'));
        match included.and_then(|included| headers.iter().find(|(header, _)| *header == included)) {
            Some(&(header, code)) => {
                if !there.contains(&header) {
                    there.push(header);
                    append(text, (header, code), headers, there);
                }
                here(text, index + 2);
            }
            None if line == "#pragma once" => *text += "\n",
            None => *text += &format!("{line}\n"),
        }
    }
}

/// Compiles into a folder of temporary files, by a name that tells the content: what is there is
/// taken.
fn compile(source: Source, defines: &[(&'static str, String)], races: bool) -> PathBuf {
    let mut text = String::new();
    let mut there = vec!["races.h"];
    if races {
        text += "#define VITX_RACES\n";
        there.clear();
    }
    for part in [SHIM[0], SHIM[2]] {
        append(&mut text, part, &SHIM, &mut there);
    }
    // After the emulator, which has names of its own.
    for (name, value) in defines {
        text += &format!("#define {name} {value}\n");
    }
    // Without a namespace of its own, what an inline function shares with its block would be one variable of the
    // process, though libraries are loaded apart: GCC marks it as unique.
    text += "namespace {\n";
    append(&mut text, (&format!("{}.cu", source.name), source.text), &HEADERS, &mut there);
    text += "}\n";
    for entry in source.entries() {
        text += &format!("EMULATED_ENTRY({entry})\n");
    }
    let compiler = std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".to_owned());
    let hash: String = Sha256::digest(format!("{compiler} {OPTIONS}\n{text}"))[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Not where everybody writes, as in /tmp: what lies there is loaded.
    let tests = std::env::current_exe().expect("a program of tests");
    let folder = tests.parent().expect("the folder that it was built into").join("vitx-emulator");
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let library = folder.join(format!("{}-{hash}.so", source.name));
    if !library.exists() {
        let unfinished = tempfile::Builder::new().prefix(source.name).tempdir_in(&folder).expect("a temporary folder");
        std::fs::write(unfinished.path().join("kernel.cpp"), text).expect("a temporary file");
        build(&compiler, unfinished.path(), source.name, races);
        std::fs::rename(unfinished.path().join("kernel.so"), &library).expect("the library in its place");
    }
    library
}

const OPTIONS: &str =
    "-std=c++17 -O1 -w -fPIC -fno-exceptions -fno-strict-aliasing -ffp-contract=off -U_FORTIFY_SOURCE";

/// `kernel.so` of the folder's `kernel.cpp`.
fn build(compiler: &str, folder: &Path, name: &str, races: bool) {
    let run = |options: &[&str]| {
        let result = Command::new(compiler).args(options).current_dir(folder).output();
        let result = result.unwrap_or_else(|error| panic!("the emulator needs a C++ compiler; `{compiler}`: {error}"));
        assert!(result.status.success(), "{name}: {}", String::from_utf8_lossy(&result.stderr));
    };
    let mut compile: Vec<&str> = OPTIONS.split(' ').chain(["-c", "-o", "kernel.o", "kernel.cpp"]).collect();
    if races {
        compile.extend(["-fsanitize=thread", "-g1"]);
    }
    run(&compile);
    // Without the start files, whose variables would lie among those that a block shares.
    run(&["-shared", "-nostartfiles", "-o", "kernel.so", "kernel.o"]);
}
