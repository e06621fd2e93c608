use super::{Range::BelowOne, Rule, Setting};

/// Lion, as `keras.optimizers.Lion` has it:
///
/// ```text
/// w -= learning_rate sign(beta_1 m + (1 - beta_1) g)
/// m = beta_2 m + (1 - beta_2) g
/// ```
pub static LION: Rule = Rule {
    name: "lion",
    dense_name: "lion_dense_kernel",
    about: "steps of one size, by the sign of a mean of gradients: Chen et al. 2023",
    learning_rate: 1e-3,
    weight_decay: 0.0,
    options: &[
        Setting { name: "beta_1", default: 0.9, range: BelowOne, about: "how much of the mean decides the sign" },
        Setting {
            name: "beta_2",
            default: 0.99,
            range: BelowOne,
            about: "how much of the gradients' mean a step keeps",
        },
    ],
    later: &[],
    slots: &["momentum"],
    scalars: &[("learning_rate", |step| step.learning_rate())],
    direction: None,
    update: |x| {
        let (g, m) = (&x.gradient, &x.slots[0]);
        let mean = |beta: f32| m * beta + g * (1.0 - beta);
        let sign = mean(x.option("beta_1")).sign();
        vec![&x.parameter - sign * x.scalar("learning_rate"), mean(x.option("beta_2"))]
    },
};
