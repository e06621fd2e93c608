use super::{
    Operands,
    Range::{BelowOne, Flag, Steps},
    Rule, Setting,
    momentum::{MOMENTUM_START, MOMENTUM_WARMUP, warmed_momentum},
};
use crate::graph::expression::Term;

/// Muon, as its author has it (Jordan et al. 2024, `KellerJordan/Muon`), on matrices:
///
/// ```text
/// m = momentum m + (1 - momentum) g
/// d = momentum m + (1 - momentum) g           with nesterov; else d = m
/// w -= learning_rate sqrt(max(1, fan_out / fan_in)) orthogonal(d)
/// ```
///
/// `orthogonal` is [`Direction`](crate::graph::ops::Direction)'s.
pub static MUON: Rule = Rule {
    name: "muon",
    dense_name: "muon_dense_kernel",
    about: "orthogonal steps of matrices, by Newton-Schulz: Jordan et al. 2024; another rule for all else",
    learning_rate: 0.02,
    weight_decay: 0.0,
    options: &[
        Setting {
            name: "momentum",
            default: 0.95,
            range: BelowOne,
            about: "how much of the gradients' mean a step keeps",
        },
        Setting { name: "nesterov", default: 1.0, range: Flag, about: "looks ahead by the momentum" },
        MOMENTUM_START,
        MOMENTUM_WARMUP,
        Setting { name: "ns_steps", default: 5.0, range: Steps, about: "steps of Newton-Schulz" },
    ],
    later: &[],
    slots: &["momentum"],
    scalars: &[("learning_rate", |step| step.learning_rate()), ("momentum", |step| warmed_momentum(step))],
    direction: Some(|x| {
        let mean = mean(x);
        match x.option("nesterov") == 1.0 {
            true => towards(&mean, x),
            false => mean,
        }
    }),
    update: |x| vec![&x.parameter - &x.direction * x.scalar("learning_rate"), mean(x)],
};

/// `momentum m + (1 - momentum) g`
fn towards(m: &Term, x: &Operands) -> Term {
    let (g, momentum) = (&x.gradient, x.scalar("momentum"));
    m * momentum + (g - g * momentum)
}

/// The mean of the gradients after the step.
fn mean(x: &Operands) -> Term {
    towards(&x.slots[0], x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::optimizers::Optimizer;

    #[test]
    fn the_momentum_warms_up() {
        let momentum = |total_steps, iteration| {
            let muon = Optimizer::of(&MUON).with("momentum_start", 0.75).with("momentum_warmup", 0.25);
            Optimizer { total_steps, ..muon.with("momentum", 0.875) }.plan(&[]).step_scalars(0.1, iteration)[2]
        };
        assert_eq!([0, 5, 10, 39].map(|iteration| momentum(40, iteration)), [0.75, 0.8125, 0.875, 0.875]);
        // Where the length of the training is not known, it is over.
        assert_eq!(momentum(0, 0), 0.875);
    }
}
