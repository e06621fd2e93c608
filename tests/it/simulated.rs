//! The program on a CUDA driver that is simulated (src/backend/cuda/simulator): from the command line to the last event. What it
//! prints of times means nothing.
#![cfg(target_os = "linux")]

use std::{fs, path::Path, process::Command};

use crate::{
    simulator::simulated,
    support::{shown, vitx},
};

fn on_cuda(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = vitx(folder, arguments);
    command.arg("--backend").arg("cuda").env("VITX_DEVICE_LOCKS", folder.join("locks")).env_remove("VITX_DATA_DIR");
    simulated(&mut command, &folder.join("cache"));
    command
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    shown(&output)
}

/// All calls of the reference model's step on all lines, in one graph and one by one, held to the driver's rules.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn the_reference_step_is_captured_timed_and_profiled() {
    let folder = tempfile::tempdir().unwrap();
    for regions in ["off", "on"] {
        let arguments = ["bench", "step", "cifar100_vit", "--batch", "256", "--steps", "2", "--regions", regions];
        let mut command = on_cuda(folder.path(), &[&arguments[..], &["--profile"]].concat());
        command.env("VITX_SIMULATED_WORK", "none");
        let text = succeeds(command);
        assert!(text.contains("batch 256 on ") && text.contains("cuda bf16: median "), "{text}");
        assert_eq!(text.contains("dense+dense+attention+add"), regions == "on", "{text}");
    }
}

/// Trials of a sweep, each in a process of its own, and all in one program: the same weights, to the bit.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packed_trials_have_the_weights_of_trials_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |pack: &str| {
        let mut arguments =
            vec!["sweep", "digits_vit", "-p", "train.optimizer.learning_rate=1e-4,1e-3", "--pack", pack];
        arguments.extend(["-p", "depth=1", "--set", "train.epochs=2", "--set", "data.train_limit=48"]);
        arguments.extend(["--set", "data.test_limit=16", "--set", "train.batch_size=16", "--regions", "on"]);
        arguments.extend(["--output", pack]);
        succeeds(on_cuda(folder.path(), &arguments));
        let trials = folder.path().join(pack).join("trials");
        let mut trials: Vec<_> = fs::read_dir(trials).unwrap().map(|entry| entry.unwrap().path()).collect();
        trials.sort();
        trials.iter().map(|trial| fs::read(trial.join("best.safetensors")).unwrap()).collect::<Vec<_>>()
    };
    let alone = sweep("1");
    assert!(alone.len() == 2 && alone[0] != alone[1]);
    assert!(sweep("2") == alone);
}

/// What a program that ends with an error says, without the frame of the terminal.
fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    shown(&output).replace("\n  │ ", " ")
}

/// Of each part it is told how much it wants of how much there is; the peak is measured with what a step leaves.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_device_with_little_memory_says_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |bytes: &str| {
        let arguments = ["bench", "step", "digits_vit", "--batch", "8", "--steps", "1", "-p", "projection_dim=256"];
        let mut command = on_cuda(folder.path(), &arguments);
        command.env("VITX_SIMULATED_WORK", "none").env("VITX_SIMULATED_BYTES", bytes);
        command
    };
    for (bytes, says) in [
        ("60000000", "32 MiB are wanted for what matrix products need beside their matrices, 25 MiB are free\n"),
        (
            "70000000",
            " MiB are wanted for parameters, the optimizer's state and gradients, 2 MiB are free; use a smaller",
        ),
    ] {
        let text = fails(bench(bytes));
        assert!(text.contains("× out of device memory: ") && text.contains(says), "{text}");
    }
    let text = succeeds(bench("300000000"));
    assert!(text.contains("large matrix products reach here"), "{text}");
}

/// Whatever the driver refuses while a run trains, it ends with what was tried, and the same command comes to the same weights.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_run_that_the_driver_fails_is_resumed_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let run = |output: &str, failure: &str| {
        let mut arguments = vec!["run", "digits_vit", "-p", "depth=1", "--set", "train.epochs=2", "--output", output];
        arguments.extend(["--set", "data.train_limit=48", "--set", "data.test_limit=16"]);
        arguments.extend(["--set", "train.batch_size=16", "--regions", "off"]);
        let mut command = on_cuda(folder.path(), &arguments);
        command.env("VITX_SIMULATED_FAILURE", failure);
        command
    };
    let weights = |output: &str| fs::read(folder.path().join(output).join("best.safetensors")).unwrap();
    succeeds(run("whole", ""));
    for (failure, says) in [
        ("cuGraphLaunch:6:700", "cannot launch a graph: "),
        ("kernel:200:719", "cannot run what was launched: "),
        ("cuGraphInstantiate:2:2", "cannot make a graph: out of memory"),
        ("cublasLtMatmul:40:700", "cannot run a product: "),
    ] {
        let text = fails(run("broken", failure));
        assert!(text.contains(" it was asked to fail\n") && text.contains(says), "{failure}: {text}");
        assert!(!folder.path().join("broken/result.json").exists(), "{failure}");
        succeeds(run("broken", ""));
        assert!(weights("broken") == weights("whole"), "{failure}");
        fs::remove_dir_all(folder.path().join("broken")).unwrap();
    }
}

/// `CUDA_VISIBLE_DEVICES` numbers the devices anew.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn devices_are_those_that_are_visible() {
    let folder = tempfile::tempdir().unwrap();
    let devices = |visible: &str| {
        let mut command = vitx(folder.path(), &["devices"]);
        simulated(&mut command, &folder.path().join("cache")).env("VITX_SIMULATED_DEVICES", "2");
        command.env("VITX_DEVICE_LOCKS", folder.path().join("locks")).env("CUDA_VISIBLE_DEVICES", visible);
        command
    };
    let uuid = |last: &str| format!("GPU-51515151-5151-5151-5151-5151515151{last}");
    for (visible, shows) in [("1,0", vec!["52", "51"]), ("1,7,0", vec!["52"]), (&uuid("52"), vec!["52"])] {
        let text = succeeds(devices(visible));
        let found: Vec<_> = text.lines().filter(|line| line.contains("GPU-")).collect();
        assert_eq!(found.len(), shows.len(), "{text}");
        assert!(found.iter().zip(&shows).all(|(line, last)| line.contains(&uuid(last))), "{text}");
    }
    for visible in ["0,0", "7", "GPU-5151"] {
        let text = fails(devices(visible));
        assert!(
            text.contains(&format!("the NVIDIA driver shows no device: CUDA_VISIBLE_DEVICES is `{visible}`")),
            "{text}"
        );
    }
}
