//! The checks on the machine's CUDA device: `scripts/cuda_check.sh` runs them.

use super::{best_weights, heads, kept_images, losses, networks, operators, optimizers, packed, sizes, steps};
use crate::backend::cuda::driver::Driver;

fn device() -> Driver {
    Driver::new(0).unwrap()
}

#[test]
#[ignore = "needs a CUDA device"]
fn keras_fixtures() {
    networks::keras_fixtures(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn trains_as_the_cpu_backend_does() {
    networks::trains_as_the_cpu_backend_does(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn convolutions_train_as_on_the_cpu_backend() {
    networks::convolutions_train_as_on_the_cpu_backend(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn residual_networks_have_the_gradients_of_the_cpu_backend() {
    networks::residual_networks_have_the_gradients_of_the_cpu_backend(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn losses_with_options_train_as_the_cpu_backend_does() {
    losses::losses_with_options_train_as_the_cpu_backend_does(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn every_operator() {
    operators::every_operator(device, &[(1, [1, 1]), (3, [5, 7]), (19, [17, 33]), (2, [37, 20]), (8, [144, 64])]);
}

#[test]
#[ignore = "needs a CUDA device"]
fn training_is_deterministic() {
    steps::training_is_deterministic(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn best_weights_stay_on_the_device() {
    best_weights::best_weights_stay_on_the_device(device, device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn kept_images_are_made_smaller() {
    sizes::kept_images_are_made_smaller(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn every_optimizer() {
    optimizers::every_optimizer(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn frozen() {
    optimizers::frozen(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn evaluates_the_average() {
    optimizers::evaluates_the_average(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn not_finite() {
    steps::not_finite(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn trains_on_kept_images() {
    kept_images::trains_on_kept_images(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn regions_train_as_the_cpu_backend_does() {
    heads::regions_train_as_the_cpu_backend_does(device);
}

#[test]
#[ignore = "needs a CUDA device"]
fn packed_trials_come_to_the_bits_of_trials_alone() {
    packed::packed_trials_come_to_the_bits_of_trials_alone_on(device);
}
