//! Kernels on the host, for tests: the very text of a `.cu` file, compiled by the host's C++ compiler
//! with `emulator.h` in place of CUDA's built-ins.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_void},
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
pub use memory::{Memory, run_all, to_bf16};
pub use on_device::{seconds, wanted};

const SHIM: &str = include_str!("emulator.h");

type Key = (Source, Vec<(&'static str, String)>);
type Entry = unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, u32);
type Parameters = unsafe extern "C" fn() -> *const c_char;

/// Runs a launch to its end.
///
/// # Panics
/// When the kernel does not compile, or takes other arguments.
///
/// # Safety
/// The pointers must be good for all that the kernel does with them.
pub unsafe fn run(launch: &Launch<*mut u8>) {
    // A module's block state is static: one launch at a time.
    let module = module(launch.source, &launch.defines);
    let module = module.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let entry = launch.entry;
    // SAFETY: `EMULATED_ENTRY` defines the two symbols with these signatures.
    let (parameters, run): (Symbol<Parameters>, Symbol<Entry>) = unsafe {
        let find = |kind: &str| format!("vitx_{kind}_{entry}");
        (
            module.get(find("parameters").as_bytes()).unwrap_or_else(|error| panic!("{entry}: {error}")),
            module.get(find("launch").as_bytes()).unwrap_or_else(|error| panic!("{entry}: {error}")),
        )
    };
    let given: String = launch.args.iter().map(letter).collect();
    // SAFETY: the function gives a static string.
    let taken = unsafe { CStr::from_ptr(parameters()) }.to_string_lossy().into_owned();
    assert_eq!(given, taken, "arguments given to and taken by `{entry}`");
    let mut values: Vec<u64> = launch.args.iter().map(bits).collect();
    let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
    // SAFETY: each pointer leads to a value of its parameter's type, as the letters say; the caller
    // vouches for the memory.
    unsafe { run(pointers.as_mut_ptr(), launch.grid.as_ptr(), launch.block.as_ptr(), launch.shared_bytes) };
}

fn letter<P>(arg: &Arg<P>) -> char {
    match arg {
        Arg::Pointer(_) | Arg::Null => 'p',
        Arg::I32(_) => 'i',
        Arg::U32(_) => 'u',
        Arg::U64(_) => 'l',
        Arg::F32(_) => 'f',
    }
}

fn bits(arg: &Arg<*mut u8>) -> u64 {
    match *arg {
        Arg::Pointer(pointer) => pointer as u64,
        Arg::Null => 0,
        Arg::I32(value) => u64::from(value as u32),
        Arg::U32(value) => u64::from(value),
        Arg::U64(value) => value,
        Arg::F32(value) => u64::from(value.to_bits()),
    }
}

/// The library of a source under these definitions, compiled once per process.
fn module(source: Source, defines: &[(&'static str, String)]) -> Arc<Mutex<Library>> {
    type Cell = Arc<OnceLock<Arc<Mutex<Library>>>>;
    static MODULES: OnceLock<Mutex<HashMap<Key, Cell>>> = OnceLock::new();
    let cell = {
        let mut modules = MODULES.get_or_init(Mutex::default).lock().expect("nothing panics while it is held");
        modules.entry((source, defines.to_vec())).or_default().clone()
    };
    let load = || {
        let path = compile(source, defines);
        // SAFETY: the library has no initialisers but of empty vectors.
        let library = unsafe { Library::new(&path) };
        Arc::new(Mutex::new(library.unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
    };
    cell.get_or_init(load).clone()
}

/// Compiles into a folder of temporary files, by a name that tells the content: what is there is
/// taken.
fn compile(source: Source, defines: &[(&'static str, String)]) -> PathBuf {
    let mut text = String::new();
    for (name, value) in defines {
        text += &format!("#define {name} {value}\n");
    }
    // A header stands where its last user includes it; those before have it from there.
    let mut code = source.text.to_owned();
    for (name, header) in HEADERS.iter().rev() {
        code = code.replace(&format!("#include \"{name}\"\n"), header);
    }
    // Without a namespace of its own, what an inline function shares with its block would be one variable of the
    // process, though libraries are loaded apart: GCC marks it as unique.
    text += &format!("{SHIM}\nnamespace {{\n{code}\n}}\n");
    for entry in source.entries() {
        text += &format!("EMULATED_ENTRY({entry})\n");
    }
    let text = text.replace("#pragma once\n", "");
    let compiler = std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".to_owned());
    let hash: String =
        Sha256::digest(format!("{compiler}\n{text}"))[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    // Not where everybody writes, as in /tmp: what lies there is loaded.
    let tests = std::env::current_exe().expect("a program of tests");
    let folder = tests.parent().expect("the folder that it was built into").join("vitx-emulator");
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let library = folder.join(format!("{}-{hash}.so", source.name));
    if !library.exists() {
        let unfinished = tempfile::Builder::new().prefix(source.name).tempdir_in(&folder).expect("a temporary folder");
        let (file, output) = (unfinished.path().join("kernel.cpp"), unfinished.path().join("kernel.so"));
        std::fs::write(&file, text).expect("a temporary file");
        build(&compiler, &file, &output, source.name);
        std::fs::rename(&output, &library).expect("the library in its place");
    }
    library
}

fn build(compiler: &str, file: &Path, output: &Path, name: &str) {
    let options = "-std=c++17 -O1 -w -shared -fPIC -fno-strict-aliasing -ffp-contract=off -U_FORTIFY_SOURCE";
    let result = Command::new(compiler).args(options.split(' ')).arg("-o").arg(output).arg(file).output();
    let result = result.unwrap_or_else(|error| panic!("the emulator needs a C++ compiler; `{compiler}`: {error}"));
    assert!(result.status.success(), "{name}: {}", String::from_utf8_lossy(&result.stderr));
}
