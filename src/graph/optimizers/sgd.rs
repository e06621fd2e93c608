use super::{
    Range::{BelowOne, Flag},
    Rule, Setting,
    momentum::{MOMENTUM_START, MOMENTUM_WARMUP, warmed_momentum},
};
use crate::graph::expression::Term;

/// Gradient descent with momentum, as `keras.optimizers.SGD` has it:
///
/// ```text
/// v = momentum v - learning_rate g
/// w += v                                      or, with nesterov,
/// w += momentum v - learning_rate g
/// ```
///
/// Where the momentum warms up, both have that of the step.
pub static SGD: Rule = Rule {
    name: "sgd",
    dense_name: "sgd_dense_kernel",
    about: "down the gradient, with momentum or Nesterov's: Sutskever et al. 2013",
    learning_rate: 0.01,
    weight_decay: 0.0,
    options: &[
        Setting { name: "momentum", default: 0.0, range: BelowOne, about: "how much of the last step a step keeps" },
        Setting { name: "nesterov", default: 0.0, range: Flag, about: "looks ahead by the momentum" },
        MOMENTUM_START,
        MOMENTUM_WARMUP,
    ],
    later: &["momentum_start", "momentum_warmup"],
    slots: &["momentum"],
    scalars: &[("learning_rate", |step| step.learning_rate()), ("momentum", |step| warmed_momentum(step))],
    direction: None,
    update: |x| {
        // A constant, unless it warms up.
        let with_momentum = |velocity: &Term| match x.option("momentum_warmup") > 0.0 {
            true => velocity * x.scalar("momentum"),
            false => velocity * x.option("momentum"),
        };
        let step = &x.gradient * x.scalar("learning_rate");
        let velocity = with_momentum(&x.slots[0]) - &step;
        let change = if x.option("nesterov") == 1.0 { with_momentum(&velocity) - step } else { velocity.clone() };
        vec![&x.parameter + change, velocity]
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::optimizers::Optimizer;

    #[test]
    fn the_momentum_warms_up() {
        let sgd = |warmup| Optimizer::of(&SGD).with("momentum", 0.875).with("momentum_warmup", warmup);
        let momentum = |warmup, iteration| {
            let sgd = Optimizer { total_steps: 40, ..sgd(warmup).with("momentum_start", 0.75) };
            sgd.plan(&[]).step_scalars(0.1, iteration)[2]
        };
        assert_eq!([0, 5, 10, 39].map(|iteration| momentum(0.25, iteration)), [0.75, 0.8125, 0.875, 0.875]);
        assert_eq!([0, 5, 39].map(|iteration| momentum(0.0, iteration)), [0.875; 3]);
    }
}
