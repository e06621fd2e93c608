//! Updates of parameters by an optimizer's rule, in place and element by element: by a kernel of the rule's own, or by
//! its formulas.

mod adamw;
pub mod dense;
pub mod panels;

use smallvec::SmallVec;

use super::pointwise::{Input, Program};
use crate::graph::optimizers::Optimizer;

/// Elements that are computed together: their tensors are copied to the first-level cache, for the results overwrite
/// them.
const BLOCK: usize = 1024;

/// Tensors of one length that an update changes: the parameter, then its slots.
pub type States<'a> = SmallVec<[&'a mut [f32]; 4]>;

/// `step(scalars, gradient, states)`
type Step = Box<dyn Fn(&[f32], &[f32], &mut [&mut [f32]]) + Send + Sync>;

/// How one step changes elements.
pub enum Rule {
    /// A kernel written for the rule.
    Own(Step),
    /// The rule's expressions, run by the kernel of all expressions.
    Formulas(Program),
}

/// The kernel of its own that a rule has, if it has one.
fn own(optimizer: &Optimizer) -> Option<Step> {
    match optimizer.rule.name {
        "adamw" => Some(adamw::rule(optimizer)),
        _ => None,
    }
}

impl Rule {
    /// `None` for formulas that take more registers than there are.
    pub fn new(optimizer: &Optimizer) -> Option<Self> {
        match own(optimizer) {
            Some(step) => Some(Self::Own(step)),
            None => Self::of_formulas(optimizer),
        }
    }

    fn of_formulas(optimizer: &Optimizer) -> Option<Self> {
        Program::of_all(&optimizer.formulas()).map(Self::Formulas)
    }

    /// Changes a parameter and its slots by the gradient; see [`Optimizer::formulas`].
    ///
    /// # Panics
    /// When the tensors have not the same length.
    pub fn step(&self, scalars: &[f32], gradient: &[f32], states: &mut [&mut [f32]]) {
        self.step_along(scalars, gradient, None, states);
    }

    /// As [`Rule::step`], by a rule for matrices, whose direction is given.
    ///
    /// # Panics
    /// When the tensors have not the same length.
    pub fn step_along(&self, scalars: &[f32], gradient: &[f32], direction: Option<&[f32]>, states: &mut [&mut [f32]]) {
        let others = states.iter().map(|state| state.len()).chain(direction.map(<[f32]>::len));
        assert!({ others }.all(|len| len == gradient.len()), "tensors of one length");
        match self {
            Self::Own(step) => step(scalars, gradient, states),
            Self::Formulas(program) => by_formulas(program, scalars, gradient, direction, states),
        }
    }
}

fn by_formulas(
    program: &Program,
    scalars: &[f32],
    gradient: &[f32],
    direction: Option<&[f32]>,
    states: &mut [&mut [f32]],
) {
    let mut copies = [[0.0; BLOCK]; 4];
    assert!(states.len() <= copies.len(), "an update changes at most four tensors");
    for start in (0..gradient.len()).step_by(BLOCK) {
        let end = gradient.len().min(start + BLOCK);
        for (copy, state) in copies.iter_mut().zip(&*states) {
            copy[..end - start].copy_from_slice(&state[start..end]);
        }
        let copies: SmallVec<[&[f32]; 4]> = copies[..states.len()].iter().map(|copy| &copy[..end - start]).collect();
        let tensors = [copies[0], &gradient[start..end]].into_iter().chain(copies[1..].iter().copied());
        let inputs: SmallVec<[Input; 16]> = { tensors.map(Input::Values) }
            .chain(scalars.iter().map(|&scalar| Input::Value(scalar)))
            .chain(direction.map(|direction| Input::Values(&direction[start..end])))
            .collect();
        let mut outs: States = states.iter_mut().map(|state| &mut state[start..end]).collect();
        program.run_all(&inputs, &mut outs);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::graph::optimizers;
    use crate::{
        backend::cpu::kernels::isa::tests::{assert_close, noise, on_each_isa},
        graph::optimizers::{Decay, Ema, OPTIMIZERS},
    };

    /// Each rule for single elements by its own kernel and by its formulas: a name, how many tensors it changes, and a step's numbers.
    pub fn rules() -> Vec<(String, Rule, usize, Vec<f32>)> {
        let of = |(name, optimizer): (String, Optimizer)| {
            let own = own(&optimizer).map(|step| ("own", Rule::Own(step)));
            let formulas = Rule::of_formulas(&optimizer).map(|formulas| ("formulas", formulas));
            let numbers = numbers(&optimizer, 2);
            let count = optimizer.states();
            own.into_iter()
                .chain(formulas)
                .map(move |(kind, kernel)| (format!("{name} {kind}"), kernel, count, numbers.clone()))
        };
        let elementwise = |(_, optimizer): &(String, Optimizer)| optimizer.rule.direction.is_none();
        optimizers().into_iter().filter(elementwise).flat_map(of).collect()
    }

    /// Each rule, alone and with all that it may be given besides.
    pub fn optimizers() -> Vec<(String, Optimizer)> {
        let of = |rule: &&'static optimizers::Rule| {
            let optimizer = Optimizer { weight_decay: 0.1, ..Optimizer::of(rule) };
            let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
            let all = [
                ("", optimizer.clone()),
                (" clipped", Optimizer { clip_norm: Some(1.0), ..optimizer.clone() }),
                (" averaged", Optimizer { ema, ..optimizer.clone() }),
                (" clipped and averaged", Optimizer { clip_norm: Some(1.0), ema, ..optimizer }),
            ];
            all.map(|(with, optimizer)| (format!("{}{with}", rule.name), optimizer))
        };
        OPTIMIZERS.iter().flat_map(of).collect()
    }

    /// What gradients are multiplied by where they are clipped.
    pub const FACTOR: f32 = 0.37;

    /// The numbers that an update reads.
    pub fn numbers(optimizer: &Optimizer, iteration: u64) -> Vec<f32> {
        let mut numbers = optimizer.plan(&[]).step_scalars(0.01, iteration);
        numbers.extend(optimizer.clip_norm.map(|_| FACTOR));
        numbers
    }

    /// A parameter, then slots as an optimizer may keep them: the second is never negative.
    pub fn states(count: usize, len: usize) -> Vec<Vec<f32>> {
        (0..count)
            .map(|seed| noise(seed as u32 + 1, len).iter().map(|x| if seed == 2 { x * x } else { *x }).collect())
            .collect()
    }

    /// As an update takes them.
    pub fn views(states: &mut [Vec<f32>]) -> States<'_> {
        states.iter_mut().map(|state| &mut state[..]).collect()
    }

    #[test]
    fn own_kernels_are_the_formulas() {
        on_each_isa(|isa| {
            for (name, optimizer) in optimizers() {
                let Some(step) = own(&optimizer) else { continue };
                let own = Rule::Own(step);
                let scalars = numbers(&optimizer, 4);
                for len in [1, 7, 130, 1025, 3000] {
                    let mut ours = states(optimizer.states(), len);
                    let mut theirs = ours.clone();
                    let gradient = noise(9, len);
                    own.step(&scalars, &gradient, &mut views(&mut ours));
                    Rule::of_formulas(&optimizer).unwrap().step(&scalars, &gradient, &mut views(&mut theirs));
                    for (ours, theirs) in ours.iter().zip(&theirs) {
                        let theirs: Vec<f64> = theirs.iter().map(|&x| f64::from(x)).collect();
                        assert_close(ours, &theirs, 1e-6, &format!("{isa:?} {name} {len}"));
                    }
                }
            }
        });
    }

    /// What a rule changes in a step, in double precision: `step(states, g, learning_rate, t)`, `t` from 1, on the
    /// parameter and its slots. As Keras writes them.
    type Exact = fn(&mut [f64], f64, f64, i32);

    /// Rules with their numbers.
    fn cases() -> Vec<(Optimizer, Exact)> {
        let of = |name| Optimizer::of(optimizers::find(name).unwrap());
        vec![
            (of("adamw"), |s, g, rate, t| {
                s[1] += (g - s[1]) * 0.1;
                s[2] += (g * g - s[2]) * 0.001;
                let alpha = rate * (1.0 - 0.999_f64.powi(t)).sqrt() / (1.0 - 0.9_f64.powi(t));
                s[0] -= s[1] * alpha / (s[2].sqrt() + 1e-7);
            }),
            (of("lion"), |s, g, rate, _| {
                s[0] -= rate * (0.9 * s[1] + 0.1 * g).signum();
                s[1] = 0.99 * s[1] + 0.01 * g;
            }),
            (of("sgd"), |s, g, rate, _| {
                s[1] = -rate * g;
                s[0] -= rate * g;
            }),
            (of("sgd").with("momentum", 0.9), |s, g, rate, _| {
                s[1] = 0.9 * s[1] - rate * g;
                s[0] += s[1];
            }),
            (of("sgd").with("momentum", 0.9).with("nesterov", 1.0), |s, g, rate, _| {
                s[1] = 0.9 * s[1] - rate * g;
                s[0] += 0.9 * s[1] - rate * g;
            }),
        ]
    }

    #[test]
    fn against_f64() {
        let cases = cases();
        let elementwise = OPTIMIZERS.iter().filter(|rule| rule.direction.is_none());
        assert!({ elementwise }.all(|rule| cases.iter().any(|(case, _)| std::ptr::eq(case.rule, *rule))));
        on_each_isa(|isa| {
            for (optimizer, exact) in &cases {
                let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
                let more = [(Decay::Scaled, None, None), (Decay::Plain, None, ema), (Decay::Scaled, Some(1.0), ema)];
                for (decay, clip_norm, ema) in more {
                    let optimizer = Optimizer { weight_decay: 0.1, decay, clip_norm, ema, ..optimizer.clone() };
                    let (kernel, plan) = (Rule::new(&optimizer).unwrap(), optimizer.plan(&[]));
                    let len = 133;
                    let mut states = vec![vec![0.0; len]; optimizer.states()];
                    states[0] = noise(1, len);
                    let mut expected: Vec<Vec<f64>> =
                        states.iter().map(|state| state.iter().map(|&x| f64::from(x)).collect()).collect();
                    for t in 1..=4 {
                        let rate = 0.01 / t as f32;
                        let gradient = noise(10 + t, len);
                        let mut scalars = plan.step_scalars(rate, u64::from(t) - 1);
                        scalars.extend(clip_norm.map(|_| FACTOR));
                        kernel.step(&scalars, &gradient, &mut views(&mut states));
                        let clip = clip_norm.map_or(1.0, |_| f64::from(FACTOR));
                        let rate = f64::from(rate);
                        for (i, &g) in gradient.iter().enumerate() {
                            let mut element: Vec<f64> = expected.iter().map(|state| state[i]).collect();
                            element[0] -= element[0] * 0.1 * if decay == Decay::Scaled { rate } else { 1.0 };
                            exact(&mut element, f64::from(g) * clip, rate, t as i32);
                            if ema.is_some() {
                                let last = element.len() - 1;
                                let keep = if t == 1 { 0.0 } else { 0.75 };
                                element[last] = keep * element[last] + (1.0 - keep) * element[0];
                            }
                            expected.iter_mut().zip(element).for_each(|(state, value)| state[i] = value);
                        }
                    }
                    for (actual, expected) in states.iter().zip(&expected) {
                        assert_close(actual, expected, 1e-5, &format!("{isa:?} {} {decay:?}", optimizer.rule.name));
                    }
                }
            }
        });
    }

    #[test]
    fn matrices_go_where_they_are_told() {
        let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
        let optimizer = Optimizer { ema, clip_norm: Some(1.0), ..Optimizer::of(optimizers::find("muon").unwrap()) };
        let optimizer = Optimizer { weight_decay: 0.1, ..optimizer };
        on_each_isa(|isa| {
            let mut states = states(3, 1500);
            let before = states.clone();
            let (gradient, direction) = (noise(4, 1500), noise(5, 1500));
            let rule = Rule::new(&optimizer).unwrap();
            rule.step_along(&numbers(&optimizer, 3), &gradient, Some(&direction), &mut views(&mut states));
            let close = |actual: &[f32], what: &str, expected: &dyn Fn(usize) -> f64| {
                let expected: Vec<f64> = (0..1500).map(expected).collect();
                assert_close(actual, &expected, 1e-6, &format!("{isa:?} {what}"));
            };
            let at = |state: usize, i: usize| f64::from(before[state][i]);
            let weight = |i: usize| at(0, i) * (1.0 - 0.01 * 0.1) - 0.01 * f64::from(direction[i]);
            close(&states[0], "weights", &weight);
            close(&states[1], "momentum", &|i| 0.95 * at(1, i) + 0.05 * f64::from(FACTOR * gradient[i]));
            close(&states[2], "average", &|i| 0.75 * at(2, i) + 0.25 * weight(i));
        });
    }

    #[test]
    fn every_rule_has_a_kernel() {
        for (name, optimizer) in optimizers() {
            assert!(Rule::of_formulas(&optimizer).is_some(), "{name}");
        }
    }
}
