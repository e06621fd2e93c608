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
