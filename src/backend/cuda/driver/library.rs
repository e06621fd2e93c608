//! Finding the CUDA libraries when the program runs: building it needs none.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cudarc::{
    cublaslt,
    driver::{
        self, DriverError,
        sys::{CUdevice_attribute as Attribute, CUresult},
    },
    nvrtc,
};

use crate::backend::devices::Device;

/// Drivers before CUDA 12 are not supported.
const OLDEST_DRIVER: i32 = 12_000;
/// Major compute capability: earlier ones have no bfloat16.
pub const OLDEST_DEVICE: i32 = 8;

/// Variables that name a toolkit's folder.
const VARIABLES: [&str; 3] = ["CUDA_PATH", "CUDA_HOME", "CUDA_ROOT"];

/// Folders that the system's loader may not know, where toolkits and their Python packages put libraries. All are
/// absolute: nothing is loaded from wherever the program is started.
fn folders(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let roots = VARIABLES.into_iter().filter_map(variable).filter(|root| root.is_absolute());
    roots
        .chain(["/usr/local/cuda".into(), "/opt/cuda".into()])
        .flat_map(|root| [root.join("lib64"), root.join("lib"), root.join("targets/x86_64-linux/lib")])
        .collect()
}

/// The folders of NVIDIA's packages from PyPI, such as `nvidia-cuda-nvrtc`, in the Python environment that this program was
/// installed into: `bin/vitx` beside `lib/python3.12/site-packages/nvidia/cu13/lib`, and what pip makes elsewhere of the
/// same. Sorted, so that the same ones are found in the same order.
fn packages(program: &Path) -> Vec<PathBuf> {
    let Some(root) = program.parent().and_then(Path::parent) else { return Vec::new() };
    let inner = |folder: &Path| {
        let mut found: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.sort();
        found
    };
    let pythons = ["lib", "lib64"].into_iter().flat_map(|lib| inner(&root.join(lib)));
    let pythons =
        pythons.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python")));
    let sites = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|site| python.join(site)));
    // Of `pip install --target`, the root itself.
    let sites = sites.chain([root.to_owned()]);
    sites
        .flat_map(|site| inner(&site.join("nvidia")))
        .map(|package| package.join("lib"))
        .filter(|lib| lib.is_dir())
        .collect()
}

/// Loads a library from one of [`folders`] or [`packages`], so that the bindings, which ask by name alone, get that one. Of
/// CUDA `newest` or before. Stays loaded for the life of the process.
fn preload(name: &str, newest: i32) {
    // By the name of the file itself, which links to it do not have.
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    let packages = program.map(|program| packages(&program)).unwrap_or_default();
    for folder in folders(crate::folders::variable).into_iter().chain(packages) {
        for version in [13, 12].into_iter().filter(|version| *version <= newest) {
            let path = folder.join(format!("lib{name}.so.{version}"));
            if !path.exists() {
                continue;
            }
            // SAFETY: these are NVIDIA's libraries, whose initialisers only set up their own state.
            if let Ok(library) = unsafe { libloading::Library::new(&path) } {
                std::mem::forget(library);
                return;
            }
        }
    }
}

/// Whether this process can use a CUDA device: if not, why, in one line. Looks once.
///
/// # Errors
/// Which library, driver or device is missing.
pub fn available() -> Result<(), String> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

/// The devices that the driver shows. Looks once: what is shown to a process does not change.
///
/// # Errors
/// Why there are none, in one line.
pub fn devices() -> Result<Vec<Device>, String> {
    static FOUND: OnceLock<Result<Vec<Device>, String>> = OnceLock::new();
    FOUND.get_or_init(look_for_devices).clone()
}

/// The newest CUDA that the driver has: 13020 is 13.2.
fn driver_version() -> Result<i32, String> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer; this call needs no initialised driver.
    let status = unsafe { driver::sys::cuDriverGetVersion(&raw mut version) };
    status.result().map_err(|error| format!("the NVIDIA driver does not answer: {error}"))?;
    Ok(version)
}

fn look_for_devices() -> Result<Vec<Device>, String> {
    // SAFETY: loading the driver's library only sets up its own state.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err("no NVIDIA driver (libcuda.so.1) on this machine".into());
    }
    let version = driver_version()?;
    if version < OLDEST_DRIVER {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(format!("the NVIDIA driver is for CUDA {major}.{minor}, and 12.0 is needed"));
    }
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    match driver::result::init() {
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(none_shown(visible.as_deref())),
        status => status.map_err(|error| format!("the NVIDIA driver does not start: {error}"))?,
    }
    let count = driver::result::device::get_count().map_err(|error| error.to_string())?;
    if count <= 0 {
        return Err(none_shown(visible.as_deref()));
    }
    (0..count).map(|ordinal| device(ordinal).map_err(|error| error.to_string())).collect()
}

fn device(ordinal: i32) -> Result<Device, DriverError> {
    let device = driver::result::device::get(ordinal)?;
    // SAFETY: the device is one that the driver has just given.
    let attribute = |attribute| unsafe { driver::result::device::get_attribute(device, attribute) };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as for the attributes.
    let bytes = unsafe { driver::result::device::total_mem(device) }? as u64;
    let bytes_of_uuid = driver::result::device::get_uuid(device)?.bytes;
    let digits: String = bytes_of_uuid.iter().map(|byte| format!("{:02x}", *byte as u8)).collect();
    let uuid =
        format!("GPU-{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    let name = driver::result::device::get_name(device)?;
    Ok(Device { ordinal: ordinal as usize, name, uuid, compute_capability: (major, minor), bytes })
}

/// Why the driver shows no device, by what `CUDA_VISIBLE_DEVICES` is.
fn none_shown(visible: Option<&str>) -> String {
    match visible {
        None => "the NVIDIA driver has no device".into(),
        Some("") => "CUDA_VISIBLE_DEVICES is set and empty, which hides every device".into(),
        Some(visible) => format!("the NVIDIA driver shows no device: CUDA_VISIBLE_DEVICES is `{visible}`"),
    }
}

/// What is to be said of `CUDA_VISIBLE_DEVICES` where the driver shows fewer devices than it names: the driver ends
/// the list at the first that is not there, without a word.
pub fn hidden() -> Option<String> {
    let shown = devices().ok()?.len();
    named_but_not_shown(&std::env::var("CUDA_VISIBLE_DEVICES").ok()?, shown)
}

fn named_but_not_shown(visible: &str, shown: usize) -> Option<String> {
    // -1 ends a list on purpose.
    let named = visible.split(',').map(str::trim).take_while(|name| *name != "-1").count();
    let word = if shown == 1 { "device" } else { "devices" };
    (named > shown).then(|| {
        format!(
            "CUDA_VISIBLE_DEVICES is `{visible}`, and the driver shows {shown} {word} of it: its list ends at the first \
             that is not there"
        )
    })
}

fn look() -> Result<(), String> {
    let devices = devices()?;
    if !devices.iter().any(Device::is_usable) {
        let (major, minor) = devices[0].compute_capability;
        return Err(format!(
            "the CUDA device is of compute capability {major}.{minor}, and 8.0 is needed: an A100 or later"
        ));
    }
    let newest = driver_version()? / 1000;
    // SAFETY: as for the driver's library.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        preload("nvrtc", newest);
    }
    // SAFETY: as for the driver's library.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err(missing("nvrtc", "nvidia-cuda-nvrtc"));
    }
    // SAFETY: as for the driver's library.
    if !unsafe { cublaslt::sys::is_culib_present() } {
        preload("cublasLt", newest);
    }
    // SAFETY: as for the driver's library.
    if !unsafe { cublaslt::sys::is_culib_present() } {
        return Err(missing("cublasLt", "nvidia-cublas"));
    }
    // What the loader finds by itself may be of any version.
    let (major, _) = super::nvrtc::version().map_err(|error| error.to_string())?;
    // SAFETY: a query without arguments, of a library that is there.
    let products = unsafe { cublaslt::sys::cublasLtGetVersion() } / 10_000;
    for (name, major) in [("nvrtc", major), ("cublasLt", products as i32)] {
        fits(name, major, newest)?;
    }
    Ok(())
}

/// Refuses a library of a CUDA that is not supported, or of one that is newer than the driver's: it needs a driver of its own.
fn fits(name: &str, major: i32, newest: i32) -> Result<(), String> {
    let supported = OLDEST_DRIVER / 1000..=newest;
    if supported.contains(&major) {
        return Ok(());
    }
    Err(format!(
        "the lib{name}.so that is found first is of CUDA {major}, and the NVIDIA driver of CUDA {newest}: put the folder of one of \
         CUDA {newest} first in LD_LIBRARY_PATH"
    ))
}

fn missing(name: &str, package: &str) -> String {
    let relative = |name: &&str| crate::folders::variable(name).is_some_and(|folder| !folder.is_absolute());
    let ignored = VARIABLES.into_iter().find(relative);
    let ignored = ignored.map_or(String::new(), |name| format!("; {name} is no absolute path, and not searched"));
    format!(
        "lib{name}.so of CUDA 12 or 13 is not found: put its folder in LD_LIBRARY_PATH, or set CUDA_PATH (PyPI's {package} has \
         it, and `pip install 'vitx[cuda]'` brings it){ignored}"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    #[test]
    fn libraries_are_looked_for_in_absolute_folders_alone() {
        let set = |name: &str| -> Option<PathBuf> {
            match name {
                "CUDA_PATH" => Some("".into()),
                "CUDA_HOME" => Some("cuda".into()),
                _ => Some("/somewhere/cuda".into()),
            }
        };
        let folders = super::folders(set);
        assert!(folders.iter().all(|folder| folder.is_absolute()), "{folders:?}");
        assert_eq!(folders[0], PathBuf::from("/somewhere/cuda/lib64"));
        assert_eq!(folders.len(), super::folders(|_| None).len() + 3);
    }

    #[test]
    fn what_hides_devices_is_named() {
        use super::{named_but_not_shown, none_shown};
        assert_eq!(none_shown(None), "the NVIDIA driver has no device");
        assert!(none_shown(Some("")).contains("empty"));
        assert!(none_shown(Some("9")).contains("CUDA_VISIBLE_DEVICES is `9`"));
        assert_eq!(named_but_not_shown("0,1", 2), None);
        assert_eq!(named_but_not_shown("0,1,-1,2", 2), None);
        let note = named_but_not_shown("0,9,1", 1).unwrap();
        assert!(note.starts_with("CUDA_VISIBLE_DEVICES is `0,9,1`, and the driver shows 1 device of it"), "{note}");
    }

    #[test]
    fn libraries_are_of_the_drivers_cuda_or_before() {
        use super::fits;
        assert_eq!([fits("nvrtc", 12, 12), fits("nvrtc", 12, 13), fits("cublasLt", 13, 13)], [Ok(()), Ok(()), Ok(())]);
        assert!(
            fits("nvrtc", 13, 12).unwrap_err().starts_with("the libnvrtc.so that is found first is of CUDA 13, and")
        );
        assert!(fits("cublasLt", 11, 12).is_err());
    }

    #[test]
    fn says_in_one_line_what_is_missing_and_says_it_again() {
        let first = super::available();
        assert_eq!(first, super::available());
        if let Err(reason) = first {
            assert!(!reason.contains('\n') && !reason.is_empty(), "{reason}");
        }
        assert!(super::missing("nvrtc", "p").contains("libnvrtc.so"));
    }

    /// A Python environment as `pip install 'vitx[cuda]'` makes it: links stand for the packages' files.
    #[cfg(unix)]
    #[test]
    fn packages_beside_the_program_are_found() {
        use std::{fs, os::unix::fs::symlink};

        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in [
            "bin",
            "venv/bin",
            "venv/lib/python3.12/site-packages/nvidia/cu13/lib",
            "venv/lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib",
            "venv/lib/other/site-packages/nvidia/x/lib",
            "venv/nvidia/cublas/lib",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("venv/bin/vitx"), "").unwrap();
        let wanted = [
            "venv/lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib",
            "venv/lib/python3.12/site-packages/nvidia/cu13/lib",
            "venv/nvidia/cublas/lib",
        ];
        assert_eq!(super::packages(&root.join("venv/bin/vitx")), wanted.map(|folder| root.join(folder)));
        assert!(super::packages(std::path::Path::new("vitx")).is_empty());
        // What `uv tool install` puts into the user's path.
        symlink("../venv/bin/vitx", root.join("bin/vitx")).unwrap();
        let program = root.join("bin/vitx").canonicalize().unwrap();
        assert_eq!(super::packages(&program).len(), 3);

        let Some(nvrtc) = crate::folders::absolute("VITX_NVRTC") else { return };
        let folder = nvrtc.parent().unwrap();
        let site = root.join("real/lib/python3.12/site-packages/nvidia/cu13");
        fs::create_dir_all(&site).unwrap();
        symlink(folder, site.join("lib")).unwrap();
        let folders = super::packages(&root.join("real/bin/vitx"));
        // In a process of its own: NVRTC looks for its other half where it was loaded from, and these links go.
        let name = "backend::cuda::driver::library::tests::a_library_loads";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env(LOADED, folders[0].join(nvrtc.file_name().unwrap()));
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    /// Names a library for [`a_library_loads`], in its own process.
    #[cfg(unix)]
    const LOADED: &str = "VITX_TEST_LOADED";

    #[cfg(unix)]
    #[test]
    fn a_library_loads() {
        let Some(path) = crate::folders::absolute(LOADED) else { return };
        // SAFETY: NVRTC's initialisers do no more than any library's.
        let library = unsafe { libloading::Library::new(path) }.unwrap();
        type Version = unsafe extern "C" fn(*mut i32, *mut i32) -> i32;
        // SAFETY: that is the function's type.
        let version = unsafe { library.get::<Version>(b"nvrtcVersion\0") }.unwrap();
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        assert_eq!(unsafe { version(&raw mut major, &raw mut minor) }, 0);
        assert!(major >= 12, "{major}.{minor}");
    }
}
