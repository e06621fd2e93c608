use super::{
    Range::{BelowOne, Positive},
    Rule, Setting,
};

/// AdamW with Keras' placement of epsilon, outside the bias correction (`keras.optimizers.AdamW`):
///
/// ```text
/// m += (g - m) (1 - beta_1)
/// v += (g^2 - v) (1 - beta_2)
/// w -= alpha m / (sqrt(v) + epsilon),   alpha = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t)
/// ```
pub static ADAMW: Rule = Rule {
    name: "adamw",
    dense_name: "adamw_dense_kernel",
    about: "steps of about one size, by the mean and the spread of the gradient: Loshchilov & Hutter 2019",
    learning_rate: 1e-3,
    weight_decay: 1e-4,
    options: &[
        Setting {
            name: "beta_1",
            default: 0.9,
            range: BelowOne,
            about: "how much of the gradients' mean a step keeps",
        },
        Setting {
            name: "beta_2",
            default: 0.999,
            range: BelowOne,
            about: "how much of their squares' mean a step keeps",
        },
        Setting { name: "epsilon", default: 1e-7, range: Positive, about: "added to the root of that mean" },
    ],
    later: &[],
    slots: &["m", "v"],
    scalars: &[("alpha", |step| {
        let t = (step.iteration + 1) as f64;
        // In float64: the power of 0.999 would drift over a long training.
        let rest = |beta| 1.0 - f64::from(step.option(beta)).powf(t);
        step.learning_rate() * (rest("beta_2").sqrt() / rest("beta_1"))
    })],
    direction: None,
    update: |x| {
        let (g, m, v) = (&x.gradient, &x.slots[0], &x.slots[1]);
        let m = m + (g - m) * (1.0 - x.option("beta_1"));
        let v = v + (g * g - v) * (1.0 - x.option("beta_2"));
        let change = &m * x.scalar("alpha") * (v.sqrt() + x.option("epsilon")).reciprocal();
        vec![&x.parameter - change, m, v]
    },
};
