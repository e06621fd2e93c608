//! The checks on the emulated device.

use super::{Emulated, best_weights, kept_images, losses, networks, operators, optimizers, sizes, steps};

/// Calls touch no more than they say.
fn device() -> Emulated {
    Emulated { watched: true, ..Emulated::default() }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn keras_fixtures() {
    networks::keras_fixtures(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn trains_as_the_cpu_backend_does() {
    networks::trains_as_the_cpu_backend_does(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn convolutions_train_as_on_the_cpu_backend() {
    networks::convolutions_train_as_on_the_cpu_backend(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn residual_networks_have_the_gradients_of_the_cpu_backend() {
    networks::residual_networks_have_the_gradients_of_the_cpu_backend(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn losses_with_options_train_as_the_cpu_backend_does() {
    losses::losses_with_options_train_as_the_cpu_backend_does(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_operator() {
    operators::every_operator(device, &[(1, [1, 1]), (3, [5, 7])]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn sizes_share_parameters() {
    sizes::sizes_share_parameters(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn kept_images_are_made_smaller() {
    sizes::kept_images_are_made_smaller(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn training_is_deterministic() {
    steps::training_is_deterministic(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_optimizer() {
    optimizers::every_optimizer(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn frozen() {
    optimizers::frozen(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn evaluates_the_average() {
    optimizers::evaluates_the_average(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn not_finite() {
    steps::not_finite(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn trains_on_kept_images() {
    kept_images::trains_on_kept_images(device);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn takes_batches_where_images_do_not_fit() {
    kept_images::trains_on_kept_images(|| Emulated { no_room_for: Some("images"), ..device() });
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn best_weights_stay_on_the_device() {
    best_weights::best_weights_stay_on_the_device(device, best_weights::full);
}
