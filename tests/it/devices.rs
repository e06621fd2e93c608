//! The devices of a machine, by a driver that only answers (tests/support/libcuda_stub.cpp): eight of them, the last one
//! too old.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::{shown, vitx};

/// A folder with the libraries that stand in for NVIDIA's. It stays until the program ends.
fn stub() -> &'static Path {
    static STUB: OnceLock<tempfile::TempDir> = OnceLock::new();
    STUB.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/libcuda_stub.cpp");
        let library = folder.path().join("libcuda.so");
        let compiler = std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".to_owned());
        let options = ["-std=c++17", "-shared", "-fPIC", "-o"];
        let output = Command::new(compiler).args(options).arg(&library).arg(source).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        // These are only looked for before a device is opened.
        for name in ["libnvrtc.so", "libcublasLt.so"] {
            fs::copy(&library, folder.path().join(name)).unwrap();
        }
        folder
    })
    .path()
}

/// A machine of its own: its locks, and which devices were opened.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn vitx(&self, visible: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = vitx(self.0.path(), arguments);
        command.env("LD_LIBRARY_PATH", stub()).env_remove("CUDA_VISIBLE_DEVICES").env_remove("VITX_DATA_DIR");
        command.env("VITX_DEVICE_LOCKS", self.locks()).env("STUB_OPENED", self.0.path().join("opened"));
        if let Some(visible) = visible {
            command.env("CUDA_VISIBLE_DEVICES", visible);
        }
        command
    }

    fn locks(&self) -> PathBuf {
        self.0.path().join("locks")
    }

    /// Numbers of devices, of the machine, that were opened since the last call.
    fn opened(&self) -> Vec<String> {
        let path = self.0.path().join("opened");
        let text = fs::read_to_string(&path).unwrap_or_default();
        // There is none where nothing was opened.
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }

    fn says(&self, visible: Option<&str>, arguments: &[&str]) -> String {
        shown(&self.vitx(visible, arguments).output().unwrap())
    }
}

#[test]
fn devices_are_listed_with_what_is_wrong_of_them() {
    let machine = Machine::new();
    insta::assert_snapshot!(machine.says(None, &["devices"]));
}

#[test]
fn cuda_visible_devices_chooses_and_orders() {
    let machine = Machine::new();
    let names = |visible: &str| -> Vec<String> {
        let text = machine.says(Some(visible), &["devices"]);
        let named = text.lines().filter_map(|line| line.split("Stub A100 #").nth(1));
        named.map(|rest| rest.chars().next().unwrap().to_string()).collect()
    };
    assert_eq!(names("3,1"), ["3", "1"]);
    assert_eq!(names("GPU-000000a5-0000-4000-8000-000000000005"), ["5"]);
    assert_eq!(names("GPU-000000a2,GPU-000000a0"), ["2", "0"]);
    assert_eq!(names("4,-1,2"), ["4"]);
    let said: Vec<String> = ["0,9,1", "", "9", "-1", "2,2", "GPU-ff"]
        .iter()
        .map(|visible| {
            let text = machine.says(Some(visible), &["devices"]);
            let lines = text.lines().filter(|line| line.contains("CUDA_VISIBLE_DEVICES"));
            format!("{visible:?}: {}", lines.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_device_that_is_named_is_opened() {
    let machine = Machine::new();
    let bench = |visible: Option<&str>, more: &[&str]| {
        let arguments = ["bench", "step", "digits_vit.yaml", "--backend", "cuda"];
        machine.says(visible, &[&arguments[..], more].concat())
    };
    let text = bench(None, &["--device", "3"]);
    assert!(text.contains("cannot open device 3: out of memory"), "{text}");
    assert_eq!(machine.opened(), ["3"]);
    bench(Some("6,5,4"), &["--device", "2"]);
    assert_eq!(machine.opened(), ["4"]);
    bench(Some("GPU-000000a5"), &[]);
    assert_eq!(machine.opened(), ["5"]);
    // Of several, the first that nobody has.
    let locks = vitx::backend::DeviceLocks::in_folder(&machine.locks());
    let device = |number: usize| vitx::backend::Device {
        ordinal: number,
        name: String::new(),
        uuid: format!("GPU-{:08x}-0000-4000-8000-00000000000{number}", 0xa0 + number),
        compute_capability: (8, 0),
        bytes: 0,
    };
    let held = [0, 2].map(|number| locks.take(&device(number), "vitx sweep, for /a").unwrap().unwrap());
    bench(None, &[]);
    bench(None, &["--device", "2,0,4"]);
    assert_eq!(machine.opened(), ["1", "4"]);
    let text = bench(None, &["--device", "0,2"]);
    let note = "every device is in use; device 0 is shared with vitx sweep, for /a (process ";
    assert!(text.contains(note), "{text}");
    let text = machine.says(None, &["devices"]);
    assert_eq!(text.matches("vitx sweep, for /a").count(), 2, "{text}");
    drop(held);
}

#[test]
fn what_cannot_be_is_told_with_what_there_is() {
    let machine = Machine::new();
    let cases: [(Option<&str>, &[&str]); 8] = [
        (Some("3,1"), &["--backend", "cuda", "--device", "2"]),
        (Some("3,7"), &["--backend", "cuda", "--device", "1"]),
        (Some("7"), &["--device", "0"]),
        (Some(""), &["--device", "0"]),
        (Some(""), &["--backend", "cuda", "--device", "all"]),
        (None, &["--backend", "cpu", "--device", "0"]),
        (None, &["--device", "gpu"]),
        (None, &["--device", "1,1"]),
    ];
    let said = cases.iter().map(|(visible, more)| {
        let text = machine.says(*visible, &[&["bench", "step", "digits_vit.yaml"], *more].concat());
        format!("CUDA_VISIBLE_DEVICES={visible:?} {}\n{text}", more.join(" "))
    });
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"));
    assert_eq!(machine.opened(), Vec::<String>::new());
}

#[test]
fn a_trial_says_where_it_runs() {
    let machine = Machine::new();
    let arguments = ["run", "digits_vit.yaml", "--output", "r", "--backend", "cuda", "--device", "6"];
    let text = machine.says(None, &[&arguments[..], &["--set", "data.train_limit=50"]].concat());
    assert!(text.contains("on device 6: Stub A100 #6 (GPU-000000a6-"), "{text}");
    assert_eq!(machine.opened(), ["6"]);
}

#[test]
fn a_sweep_refuses_devices_that_are_not_there_before_it_plans() {
    let machine = Machine::new();
    let arguments =
        ["sweep", "digits_vit.yaml", "-p", "depth=1,2", "--output", "s", "--backend", "cuda", "--device", "0,8"];
    let text = machine.says(None, &arguments);
    assert!(text.contains("there is no device 8"), "{text}");
    assert!(!machine.0.path().join("s").exists());
}
