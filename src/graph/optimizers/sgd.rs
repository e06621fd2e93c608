use super::{
    Range::{BelowOne, Flag},
    Rule, Setting,
};

/// Gradient descent with momentum, as `keras.optimizers.SGD` has it:
///
/// ```text
/// v = momentum v - learning_rate g
/// w += v                                      or, with nesterov,
/// w += momentum v - learning_rate g
/// ```
pub static SGD: Rule = Rule {
    name: "sgd",
    dense_name: "sgd_dense_kernel",
    about: "down the gradient, with momentum or Nesterov's: Sutskever et al. 2013",
    learning_rate: 0.01,
    weight_decay: 0.0,
    options: &[
        Setting { name: "momentum", default: 0.0, range: BelowOne, about: "how much of the last step a step keeps" },
        Setting { name: "nesterov", default: 0.0, range: Flag, about: "looks ahead by the momentum" },
    ],
    slots: &["momentum"],
    scalars: &[("learning_rate", |step| step.learning_rate())],
    direction: None,
    update: |x| {
        let momentum = x.option("momentum");
        let step = &x.gradient * x.scalar("learning_rate");
        let velocity = &x.slots[0] * momentum - &step;
        let change = if x.option("nesterov") == 1.0 { &velocity * momentum - step } else { velocity.clone() };
        vec![&x.parameter + change, velocity]
    },
};
