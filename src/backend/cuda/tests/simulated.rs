//! The driver's code, without a device: the tests that need one run on a driver that is simulated, which does work as late as it
//! may, in any order that streams, events and graphs leave open, and refuses what a driver refuses.

use std::process::Command;

use super::super::simulator::simulated;

/// Runs tests of `on_a_device` in a process of their own, which finds the simulated libraries.
fn pass(tests: &[&str], variables: &[(&str, &str)]) {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--test-threads", "1"]).env_remove("VITX_KERNEL_TESTS");
    command.args(tests.iter().map(|test| format!("backend::cuda::tests::on_a_device::{test}")));
    command.envs(variables.iter().copied());
    let output = simulated(&mut command, cache.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(&format!(" {} passed", tests.len())), "{said}");
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn steps_are_those_of_other_backends() {
    pass(
        &[
            "trains_as_the_cpu_backend_does",
            "training_is_deterministic",
            "convolutions_train_as_on_the_cpu_backend",
            "trains_on_kept_images",
            "best_weights_stay_on_the_device",
            "not_finite",
        ],
        &[],
    );
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn regions_and_all_lines_are() {
    pass(&["regions_train_as_the_cpu_backend_does"], &[]);
}

/// The first driver that is supported has all that is called.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_driver_of_cuda_12_will_do() {
    pass(&["trains_as_the_cpu_backend_does"], &[("VITX_SIMULATED_CUDA", "12000"), ("VITX_SIMULATED_LIBRARIES", "12")]);
}

/// Where the system locks little memory, or none, copies wait for one another.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn copies_need_no_locked_memory() {
    for bytes in ["0", "300000"] {
        pass(&["trains_on_kept_images"], &[("VITX_SIMULATED_LOCKED", bytes)]);
    }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packed_trials_are_those_alone() {
    pass(&["packed_trials_come_to_the_bits_of_trials_alone"], &[]);
}
