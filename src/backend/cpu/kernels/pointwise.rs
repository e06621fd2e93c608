//! Pointwise expressions, evaluated a block of elements at a time: each step is one loop over
//! registers that stay in the first-level cache, so that interpreting it costs a branch a block.

use super::activation::tanh_at;
use super::dropout::{self, Mask};
use super::exp::exp;
use super::isa::{madd, multiversion};
use crate::graph::expression::{Expression, Formulas, Id, Step};

/// Elements of a block.
const BLOCK: usize = 128;
/// Blocks of a program that are alive at one time.
const REGISTERS: usize = 16;

/// Where an input comes from.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Numbers; fewer than there are results repeat.
    Values(&'a [f32]),
    /// One number for all results.
    Value(f32),
    /// The factors of a dropout from this element of its tensor on.
    Mask(Mask, u64),
}

/// An expression whose steps know their registers.
#[derive(Debug, Clone)]
pub struct Program {
    steps: Vec<(Step, usize)>,
    results: Vec<usize>,
}

impl Program {
    /// Deals registers out to the steps of an expression; `None` where it takes more than there are.
    pub fn new(expression: &Expression) -> Option<Self> {
        Self::of(expression.steps(), &[expression.steps().len() - 1])
    }

    /// As [`Program::new`], of several functions.
    pub fn of_all(formulas: &Formulas) -> Option<Self> {
        Self::of(formulas.steps(), formulas.results())
    }

    fn of(steps: &[Step], results: &[Id]) -> Option<Self> {
        let mut last_use: Vec<usize> = (0..steps.len()).collect();
        for (id, step) in steps.iter().enumerate() {
            step.operands().for_each(|operand| last_use[operand] = id);
        }
        results.iter().for_each(|&result| last_use[result] = steps.len());
        let mut free: Vec<usize> = (0..REGISTERS).rev().collect();
        let mut register = vec![0; steps.len()];
        let mut dealt = Vec::with_capacity(steps.len());
        for (id, step) in steps.iter().enumerate() {
            // A step writes where none of its operands lies, so that it need not be told that they are apart.
            register[id] = free.pop()?;
            let mut operands: Vec<usize> = step.operands().filter(|operand| last_use[*operand] == id).collect();
            operands.dedup();
            free.extend(operands.iter().map(|operand| register[*operand]));
            dealt.push((step.renumbered(|operand| register[operand]), register[id]));
        }
        Some(Self { steps: dealt, results: results.iter().map(|&result| register[result]).collect() })
    }

    /// `out[i] = f(inputs[0][i], inputs[1][i], ..)`.
    pub fn run(&self, inputs: &[Input], out: &mut [f32]) {
        debug_assert!(inputs.iter().all(|input| match input {
            Input::Values(values) => out.len().is_multiple_of(values.len()),
            Input::Value(_) | Input::Mask(..) => true,
        }));
        evaluate(self, inputs, &mut [out]);
    }

    /// As [`Program::run`], of several functions, whose results have one length.
    pub fn run_all(&self, inputs: &[Input], outs: &mut [&mut [f32]]) {
        assert!(outs.len() == self.results.len() && outs.iter().all(|out| out.len() == outs[0].len()));
        evaluate(self, inputs, outs);
    }
}

/// A block of an input, from an element of the result on.
#[inline(always)]
fn load(input: &Input, first: usize, to: &mut [f32]) {
    match *input {
        Input::Values(&[value]) | Input::Value(value) => to.fill(value),
        Input::Values(values) => {
            // Most are as long as the result, or are longer than a block.
            let mut at = if first < values.len() { first } else { first % values.len() };
            let mut rest = to;
            while !rest.is_empty() {
                let count = rest.len().min(values.len() - at);
                let (now, later) = rest.split_at_mut(count);
                now.copy_from_slice(&values[at..at + count]);
                (rest, at) = (later, 0);
            }
        }
        Input::Mask(mask, start) => {
            to.fill(1.0);
            dropout::apply_in_place(&mask, start + first as u64, to);
        }
    }
}

/// `ln x` within 2 ulp of normal numbers; minus infinity for what is smaller, NaN below zero.
///
/// `x = m 2^e` with `sqrt(1/2) <= m < sqrt(2)`, and Cephes' polynomial of `logf` (S. Moshier 1992).
#[inline(always)]
fn log<const FMA: bool>(x: f32) -> f32 {
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    /// The bits of `sqrt(1/2)`: what lies below counts to the next lower power of two.
    const ROOT: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_sub(ROOT);
    let exponent = ((bits as i32) >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(ROOT)) - 1.0;
    let square = m * m;
    let mut p = P[0];
    for coefficient in &P[1..] {
        p = madd::<FMA>(p, m, *coefficient);
    }
    // ln 2 in two parts, the first with few bits.
    let low = madd::<FMA>(exponent, -2.121_944_4e-4, p * m * square);
    let low = madd::<FMA>(square, -0.5, low);
    let result = madd::<FMA>(exponent, 0.693_359_4, m + low);
    let result = if x < f32::MIN_POSITIVE { f32::NEG_INFINITY } else { result };
    let result = if x < 0.0 { f32::NAN } else { result };
    // Infinity and NaN are themselves.
    if x <= f32::MAX { result } else { x }
}

/// `ln(1 + x)`: what rounding takes from `1 + x` is given back as a factor (Kahan).
#[inline(always)]
fn log1p<const FMA: bool>(x: f32) -> f32 {
    let sum = 1.0 + x;
    let rest = sum - 1.0;
    let result = log::<FMA>(sum) * (x / rest);
    if rest == 0.0 || sum > f32::MAX { x } else { result }
}

/// The normal distribution function within 1.5e-7: Abramowitz & Stegun 7.1.26 of the tail.
#[inline(always)]
fn normal_cdf<const FMA: bool>(x: f32) -> f32 {
    const P: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / madd::<FMA>(z, 0.327_591_1, 1.0);
    let mut p = P[0];
    for coefficient in &P[1..] {
        p = madd::<FMA>(p, t, *coefficient);
    }
    let tail = 0.5 * p * t * exp::<FMA>(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Loops over a block, written out at each step: a closure would be compiled for the baseline
/// instruction set where it is not inlined.
macro_rules! each {
    ($registers:ident, $to:ident, |$x:ident = $a:ident| $value:expr) => {{
        if let Ok([to, a]) = $registers.get_disjoint_mut([$to, $a]) {
            for (to, &mut $x) in to.iter_mut().zip(a) {
                *to = $value;
            }
        }
    }};
    ($registers:ident, $to:ident, |$x:ident = $a:ident, $y:ident = $b:ident| $value:expr) => {{
        if let Ok([to, a, b]) = $registers.get_disjoint_mut([$to, $a, $b]) {
            for ((to, &mut $x), &mut $y) in to.iter_mut().zip(a).zip(b) {
                *to = $value;
            }
        } else if let Ok([to, a]) = $registers.get_disjoint_mut([$to, $a]) {
            // Both operands are one.
            for (to, &mut $x) in to.iter_mut().zip(a) {
                let $y = $x;
                *to = $value;
            }
        }
    }};
}

#[inline(always)]
fn evaluate_generic<const FMA: bool>(program: &Program, inputs: &[Input], outs: &mut [&mut [f32]]) {
    let mut registers = [[0.0; BLOCK]; REGISTERS];
    let len = outs[0].len();
    for first in (0..len).step_by(BLOCK) {
        let count = BLOCK.min(len - first);
        for &(step, to) in &program.steps {
            match step {
                Step::Input(number) => load(&inputs[number], first, &mut registers[to][..count]),
                Step::Constant(value) => registers[to] = [value; BLOCK],
                Step::Add(a, b) => each!(registers, to, |x = a, y = b| x + y),
                Step::Multiply(a, b) => each!(registers, to, |x = a, y = b| x * y),
                Step::Reciprocal(a) => each!(registers, to, |x = a| 1.0 / x),
                Step::Sqrt(a) => each!(registers, to, |x = a| x.sqrt()),
                Step::Exp(a) => each!(registers, to, |x = a| exp::<FMA>(x)),
                Step::Log1p(a) => each!(registers, to, |x = a| log1p::<FMA>(x)),
                Step::Tanh(a) => each!(registers, to, |x = a| tanh_at::<FMA>(x)),
                Step::NormalCdf(a) => each!(registers, to, |x = a| normal_cdf::<FMA>(x)),
                Step::Less(a, b) => each!(registers, to, |x = a, y = b| if x < y { 1.0 } else { 0.0 }),
                Step::Max(a, b) => each!(registers, to, |x = a, y = b| if x < y { y } else { x }),
                Step::Min(a, b) => each!(registers, to, |x = a, y = b| if y < x { y } else { x }),
            }
        }
        for (out, &result) in outs.iter_mut().zip(&program.results) {
            out[first..first + count].copy_from_slice(&registers[result][..count]);
        }
    }
}

multiversion! {
    fn evaluate(program: &Program, inputs: &[Input], outs: &mut [&mut [f32]]) = evaluate_generic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::cpu::kernels::{
            activation,
            isa::tests::{noise, on_each_isa},
        },
        graph::ops::Activation,
    };

    fn run(expression: &Expression, inputs: &[&[f32]], len: usize) -> Vec<f32> {
        let mut out = vec![7.0; len];
        let inputs: Vec<Input> = inputs.iter().map(|values| Input::Values(values)).collect();
        Program::new(expression).unwrap().run(&inputs, &mut out);
        out
    }

    #[test]
    fn activations_are_those_that_have_kernels_of_their_own() {
        let own = ["gelu", "relu", "silu", "tanh"].map(|name| (name, activation::own(name).unwrap()));
        on_each_isa(|isa| {
            for len in [1, 7, 128, 129, 1001] {
                let x: Vec<f32> = noise(1, len).iter().map(|x| 8.0 * x).collect();
                let dy = noise(2, len);
                for (name, (forward, backward)) in own {
                    let expression = Activation::named(name).unwrap().expression();
                    let (mut y, mut dx) = (vec![0.0; len], vec![0.0; len]);
                    forward(&x, &mut y);
                    backward(&x, &dy, &mut dx);
                    let near = |ours: &[f32], theirs: &[f32]| {
                        ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0))
                    };
                    assert!(near(&run(&expression, &[&x], len), &y), "{isa:?} {name} {len}");
                    assert!(near(&run(&expression.gradient(0), &[&dy, &x], len), &dx), "{isa:?} {name}' {len}");
                }
            }
        });
    }

    /// In double precision, from the definitions of Keras' documentation.
    fn exact(name: &str, x: f64) -> f64 {
        let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
        let hard = (x + 3.0).clamp(0.0, 6.0) / 6.0;
        match name {
            "sigmoid" => 1.0 / (1.0 + (-x).exp()),
            "relu6" => x.clamp(0.0, 6.0),
            "leaky_relu" => x.max(0.2 * x),
            "elu" => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            "softplus" => softplus,
            "hard_sigmoid" => hard,
            "hard_silu" => x * hard,
            "mish" => x * softplus.tanh(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn activations_are_as_keras_defines_them() {
        let x: Vec<f32> = (-24_000..=24_000).map(|i| i as f32 / 1000.0).collect();
        let ones = vec![1.0; x.len()];
        on_each_isa(|isa| {
            for rule in &crate::graph::activations::ACTIVATIONS[4..] {
                let expression = Activation::named(rule.name).unwrap().expression();
                let (y, slope) =
                    (run(&expression, &[&x], x.len()), run(&expression.gradient(0), &[&ones, &x], x.len()));
                for ((&x, y), slope) in x.iter().zip(y).zip(slope) {
                    let at = f64::from(x);
                    let wanted = exact(rule.name, at);
                    let error = (f64::from(y) - wanted).abs();
                    assert!(error <= 4e-7 * wanted.abs().max(1.0), "{isa:?} {}({x}) = {y}, not {wanted}", rule.name);
                    let numeric = (exact(rule.name, at + 1e-6) - exact(rule.name, at - 1e-6)) / 2e-6;
                    // At a kink a slope is one of two.
                    let kink = [-3.0, 0.0, 3.0, 6.0].contains(&x);
                    let error = (f64::from(slope) - numeric).abs();
                    assert!(kink || error <= 2e-6, "{isa:?} {}'({x}) = {slope}, not {numeric}", rule.name);
                }
            }
        });
    }

    #[test]
    fn at_kinks_the_slopes_are_tensorflows() {
        let slope =
            |name: &str, x: f32| run(&Activation::named(name).unwrap().expression().gradient(0), &[&[1.0], &[x]], 1)[0];
        assert_eq!([slope("relu", 0.0), slope("relu6", 0.0), slope("relu6", 6.0)], [0.0; 3]);
        assert_eq!([slope("leaky_relu", 0.0), slope("elu", 0.0), slope("softplus", 0.0)], [0.2, 1.0, 0.5]);
    }

    #[test]
    fn shorter_inputs_repeat() {
        let product = Expression::new(2, |x| &x[0] * &x[1]);
        let (a, b) = (noise(1, 3 * 77), noise(2, 77));
        let expected: Vec<f32> = a.iter().enumerate().map(|(i, a)| a * b[i % 77]).collect();
        assert_eq!(run(&product, &[&a, &b], a.len()), expected);
    }

    #[test]
    fn logarithms() {
        on_each_isa(|isa| {
            let expression = Expression::new(1, |x| x[0].log1p());
            let x: Vec<f32> = (0..200_000).map(|i| 1e-30 * 1.000_7_f32.powi(i)).filter(|x| x.is_finite()).collect();
            for (&x, y) in x.iter().zip(run(&expression, &[&x], x.len())) {
                let wanted = f64::from(x).ln_1p();
                assert!(
                    (f64::from(y) - wanted).abs() <= 3e-7 * wanted.abs(),
                    "{isa:?} ln(1 + {x}) = {y}, not {wanted}"
                );
            }
            let ends = run(&expression, &[&[-1.0, -2.0, f32::INFINITY, f32::NAN]], 4);
            assert!(ends[0] == f32::NEG_INFINITY && ends[1].is_nan() && ends[2] == f32::INFINITY && ends[3].is_nan());
        });
    }

    #[test]
    fn a_nan_stays_one() {
        for rule in crate::graph::activations::ACTIVATIONS {
            let expression = Activation::named(rule.name).unwrap().expression();
            assert!(run(&expression, &[&[f32::NAN]], 1)[0].is_nan(), "{}", rule.name);
        }
    }
}
