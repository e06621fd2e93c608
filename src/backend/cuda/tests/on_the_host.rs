//! The checks on the emulated device.

use super::{Emulated, best_weights, kept_images, losses, networks, operators, optimizers, sizes, steps};

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn keras_fixtures() {
    networks::keras_fixtures(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn trains_as_the_cpu_backend_does() {
    networks::trains_as_the_cpu_backend_does(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn convolutions_train_as_on_the_cpu_backend() {
    networks::convolutions_train_as_on_the_cpu_backend(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn residual_networks_have_the_gradients_of_the_cpu_backend() {
    networks::residual_networks_have_the_gradients_of_the_cpu_backend(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn losses_with_options_train_as_the_cpu_backend_does() {
    losses::losses_with_options_train_as_the_cpu_backend_does(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_operator() {
    operators::every_operator(Emulated::watched, &[(1, [1, 1]), (3, [5, 7])]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn sizes_share_parameters() {
    sizes::sizes_share_parameters(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn kept_images_are_made_smaller() {
    sizes::kept_images_are_made_smaller(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn training_is_deterministic() {
    steps::training_is_deterministic(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_optimizer() {
    optimizers::every_optimizer(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn frozen() {
    optimizers::frozen(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn evaluates_the_average() {
    optimizers::evaluates_the_average(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn not_finite() {
    steps::not_finite(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn trains_on_kept_images() {
    kept_images::trains_on_kept_images(Emulated::watched);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn takes_batches_where_images_do_not_fit() {
    kept_images::trains_on_kept_images(|| Emulated { no_room_for: Some("images"), ..Emulated::watched() });
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn best_weights_stay_on_the_device() {
    best_weights::best_weights_stay_on_the_device(Emulated::watched, best_weights::full);
}
