//! CUDA C++ to machine code by NVRTC.

use std::ffi::{CStr, CString};

use cudarc::nvrtc::{result, sys};

use crate::backend::{
    BackendError,
    cuda::{kernels, launch::Source},
};

/// A program of NVRTC, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `nvrtcCreateProgram`, and not destroyed before. There is nothing to do about an error.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Other(format!("NVRTC: cannot {what}: {error}"))
}

fn text(text: &str) -> Result<CString, BackendError> {
    CString::new(text).map_err(|error| failed("read the source", &error))
}

/// NVRTC's version, which is part of a compiled module's identity.
///
/// # Errors
/// When NVRTC does not tell.
pub fn version() -> Result<(i32, i32), BackendError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both pointers are to live integers.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }
        .result()
        .map_err(|error| failed("ask for its version", &error))?;
    Ok((major, minor))
}

/// Compiles a source to a cubin, by the options of [`Launch::compiler_options`](crate::backend::cuda::launch::Launch).
///
/// # Errors
/// NVRTC's log.
pub fn compile(source: Source, options: &[String]) -> Result<Vec<u8>, BackendError> {
    let (name, code) = (text(source.name)?, text(source.text)?);
    let texts = |part: fn(&(&str, &str)) -> Result<CString, BackendError>| {
        kernels::HEADERS.iter().map(part).collect::<Result<Vec<CString>, BackendError>>()
    };
    let (header_names, header_texts) = (texts(|(name, _)| text(name))?, texts(|(_, code)| text(code))?);
    let pointers = |strings: &[CString]| strings.iter().map(|string| string.as_ptr()).collect::<Vec<_>>();
    let (names, texts) = (pointers(&header_names), pointers(&header_texts));
    let mut program = std::ptr::null_mut();
    // SAFETY: all strings end in zero and live until the end of this function, longer than the program.
    unsafe {
        let (texts, names) = (texts.as_ptr(), names.as_ptr());
        let count = kernels::HEADERS.len() as i32;
        sys::nvrtcCreateProgram(&raw mut program, code.as_ptr(), name.as_ptr(), count, texts, names)
    }
    .result()
    .map_err(|error| failed("read the source", &error))?;
    let program = Program(program);
    // SAFETY: the program is alive.
    if let Err(error) = unsafe { result::compile_program(program.0, options) } {
        // SAFETY: the program is alive, and the log that it gives ends in zero.
        let log = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
        // SAFETY: as above; an empty log has no zero, so it is not read.
        let log = if log.is_empty() { "".into() } else { unsafe { CStr::from_ptr(log.as_ptr()) }.to_string_lossy() };
        return Err(failed(&format!("compile {}", source.name), &format!("{error}\n{log}")));
    }
    let mut size = 0;
    // SAFETY: the program is compiled, and the pointer is to a live integer.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &raw mut size) }
        .result()
        .map_err(|error| failed("tell the size of a cubin", &error))?;
    let mut cubin = vec![0_u8; size];
    // SAFETY: the buffer is as large as NVRTC wants it.
    unsafe { sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()) }
        .result()
        .map_err(|error| failed("give a cubin", &error))?;
    Ok(cubin)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io::Write};

    use super::*;
    use crate::backend::{
        cuda::{
            launch::{Launch, Precision},
            program::{Place, Work},
            tests::reference_model,
        },
        plan,
    };

    /// All launches of the reference model's training step, those that replace epilogues included.
    fn launches(precision: Precision) -> Vec<Launch<Place>> {
        let program = reference_model::program(precision, plan::pack, false);
        let of_call = |call: &crate::backend::cuda::program::Call<Place>| match call.work.clone() {
            Work::Launch(launch) => vec![launch],
            Work::Gemm(_, plain) => plain,
        };
        program.calls.iter().flat_map(of_call).collect()
    }

    #[test]
    fn every_module_of_the_seed_s_step_compiles_to_a_cubin() {
        let Some(path) = crate::folders::absolute("VITX_NVRTC") else {
            // Not by `eprintln`, which is only shown when a test fails.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: the reference model's CUDA kernels are not compiled, VITX_NVRTC is not set"
            );
            return;
        };
        // The bindings ask for the library by name: the one that is loaded already is the one they get.
        // SAFETY: NVRTC's initialisers do no more than any library's.
        std::mem::forget(unsafe { libloading::Library::new(&path) }.unwrap());
        assert!(version().unwrap() >= (12, 0));
        let mut modules = BTreeSet::new();
        for precision in [Precision::F32, Precision::Bf16] {
            for launch in launches(precision) {
                let options = launch.compiler_options("sm_90");
                if modules.insert((launch.source.name, options.clone())) {
                    let cubin = compile(launch.source, &options).unwrap();
                    assert!(cubin.starts_with(b"\x7fELF"), "{}", launch.source.name);
                }
            }
        }
        assert!(modules.len() > 10, "{modules:?}");
        let broken = Source { name: "broken", text: "__global__ void broken() { nonsense; }" };
        let error = compile(broken, &["--gpu-architecture=sm_90".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
    }
}
