//! The optimizers: a rule each, which says what one step does to one element of a parameter. The graph's operator, the
//! layout of the state, the kernels of every backend, the keys of an experiment and the names in checkpoints follow.
//!
//! A new optimizer is a file here and a line of [`OPTIMIZERS`].

mod adamw;
mod ema;
mod layer_decay;
mod lion;
mod momentum;
mod muon;
mod optimizer;
mod pattern;
mod plan;
mod rule;
mod sgd;

pub use ema::Ema;
pub use optimizer::{Decay, Optimizer, Others};
pub use pattern::Pattern;
pub use plan::{Group, Plan};
pub use rule::{Iteration, Operands, Range, Rule, Setting};

/// All optimizers. The first is the one that trains where none is named.
pub static OPTIMIZERS: &[&Rule] = &[&adamw::ADAMW, &sgd::SGD, &lion::LION, &muon::MUON];

/// The rule of a name.
pub fn find(name: &str) -> Option<&'static Rule> {
    OPTIMIZERS.iter().copied().find(|rule| rule.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_name_twice() {
        for (index, rule) in OPTIMIZERS.iter().enumerate() {
            assert!(std::ptr::eq(find(rule.name).unwrap(), *rule), "{} stands twice", rule.name);
            let mut names: Vec<&str> = rule.options.iter().map(|option| option.name).collect();
            names.extend([
                "name",
                "learning_rate",
                "weight_decay",
                "decay",
                "no_decay",
                "rates",
                "layer_decay",
                "clip_norm",
                "others",
            ]);
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", rule.name);
            for option in rule.options {
                assert!(option.range.has(option.default), "{}.{} = {}", rule.name, option.name, option.default);
            }
            let optimizer = Optimizer::of(OPTIMIZERS[index]);
            assert_eq!(optimizer.formulas().results().len(), 1 + rule.slots.len(), "{}", rule.name);
        }
    }
}
