//! How kernels start, by name: `dense(64, kernel = he_normal)`. Names, numbers and formulas are those of
//! `keras.initializers`; a scheme is a line here.

use super::{Argument, Default, Kind};
use crate::{
    dsl::{Value, parse_layer},
    graph::Initializer,
};

/// The argument of layers with kernels: all of their parameters that are called `kernel` start so.
pub const KERNEL: Argument = Argument::optional("kernel", Kind::Initializer, Default::Word("glorot_uniform"));

/// Keras' correction of the deviation of a normal distribution that is cut off at two deviations.
const CUT: f64 = 0.879_625_661_034_239_8;

/// A way to start.
#[derive(Debug)]
pub struct Scheme {
    /// As the argument `kernel` writes it.
    pub name: &'static str,
    /// The formula, with its source.
    pub about: &'static str,
    /// Its numbers with their defaults.
    pub numbers: &'static [(&'static str, f64)],
    /// For a kernel of these fans.
    make: fn(&[f64], Fans) -> Initializer,
}

/// How many values a value of a kernel's output is made of, and how many it is part of.
#[derive(Debug, Clone, Copy)]
struct Fans {
    input: usize,
    output: usize,
}

macro_rules! scheme {
    ($name:literal, $about:literal, [$($numbers:tt)*], $make:expr) => {
        Scheme { name: $name, about: $about, numbers: &[$($numbers)*], make: $make }
    };
}

/// All of them, by name.
pub const SCHEMES: &[Scheme] = &[
    scheme!("constant", "one value", [("value", 0.0)], |x, _| Initializer::Constant { value: x[0] as f32 }),
    scheme!("glorot_normal", "deviation sqrt(2 / (fan_in + fan_out)): Glorot & Bengio 2010", [], |_, fans| {
        normal(2.0 / (fans.input + fans.output) as f64)
    }),
    scheme!("glorot_uniform", "within sqrt(6 / (fan_in + fan_out)): Glorot & Bengio 2010", [], |_, fans| {
        Initializer::GlorotUniform { fan_in: fans.input, fan_out: fans.output }
    }),
    scheme!("he_normal", "deviation sqrt(2 / fan_in): He et al. 2015", [], |_, fans| normal(2.0 / fans.input as f64)),
    scheme!("he_uniform", "within sqrt(6 / fan_in): He et al. 2015", [], |_, fans| uniform(2.0 / fans.input as f64)),
    scheme!("lecun_normal", "deviation sqrt(1 / fan_in): LeCun et al. 1998", [], |_, fans| {
        normal(1.0 / fans.input as f64)
    }),
    scheme!("lecun_uniform", "within sqrt(3 / fan_in): LeCun et al. 1998", [], |_, fans| {
        uniform(1.0 / fans.input as f64)
    }),
    scheme!("ones", "all 1", [], |_, _| Initializer::Ones),
    scheme!("random_uniform", "uniform between two bounds", [("minval", -0.05), ("maxval", 0.05)], |x, _| {
        Initializer::Between { low: x[0] as f32, high: x[1] as f32 }
    }),
    scheme!("truncated_normal", "normal around 0, cut off at two deviations", [("stddev", 0.05)], |x, _| {
        Initializer::TruncatedNormal { stddev: x[0] as f32 }
    }),
    scheme!("zeros", "all 0", [], |_, _| Initializer::Zeros),
];

/// A normal distribution of a variance, cut off at two deviations, as `keras.initializers.VarianceScaling`.
fn normal(variance: f64) -> Initializer {
    Initializer::TruncatedNormal { stddev: (variance.sqrt() / CUT) as f32 }
}

/// A uniform distribution of a variance.
fn uniform(variance: f64) -> Initializer {
    Initializer::Uniform { limit: (3.0 * variance).sqrt() as f32 }
}

/// The scheme of a name.
pub fn scheme(name: &str) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|scheme| scheme.name == name)
}

/// The names of all, as a diagnostic lists them.
pub fn names() -> String {
    SCHEMES.iter().map(|scheme| scheme.name).collect::<Vec<_>>().join(", ")
}

/// A scheme with its numbers, as an argument has it: `truncated_normal(0.02)`.
#[derive(Debug)]
pub struct Start {
    scheme: &'static Scheme,
    numbers: Vec<f64>,
}

impl Start {
    /// # Errors
    /// What is wrong with the text of the argument.
    pub fn of(text: &str) -> Result<Self, String> {
        let expected = || format!("one of {}", names());
        let (name, given) = parse_layer(text).ok_or_else(expected)?;
        let scheme = scheme(&name).ok_or_else(expected)?;
        let mut numbers: Vec<f64> = scheme.numbers.iter().map(|(_, number)| *number).collect();
        let takes = || match scheme.numbers {
            [] => format!("`{name}` takes no numbers"),
            some => {
                let known: Vec<String> = some.iter().map(|(name, number)| format!("{name} = {number}")).collect();
                format!("`{name}({})`", known.join(", "))
            }
        };
        for (index, (key, value)) in given.into_iter().enumerate() {
            let place = match key {
                Some(key) => scheme.numbers.iter().position(|(own, _)| *own == key),
                None => Some(index).filter(|index| *index < numbers.len()),
            };
            let number = match value {
                Value::Int(number) => Some(number as f64),
                Value::Float(number) => Some(number),
                _ => None,
            };
            let number = number.filter(|number| (*number as f32).is_finite());
            let (Some(place), Some(number)) = (place, number) else { return Err(takes()) };
            numbers[place] = number;
        }
        let negative = scheme.name == "truncated_normal" && numbers[0] < 0.0;
        let crossed = scheme.name == "random_uniform" && numbers[0] > numbers[1];
        if negative || crossed { Err(takes()) } else { Ok(Self { scheme, numbers }) }
    }

    /// For a kernel as Keras stores it. Fans are those of `keras.src.initializers.compute_fans`, where all axes but the
    /// last two count as a receptive field.
    pub fn of_kernel(&self, stored_shape: &[usize]) -> Initializer {
        let (input, output) = super::fans(stored_shape);
        (self.scheme.make)(&self.numbers, Fans { input: input.max(1), output: output.max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(text: &str, shape: &[usize]) -> Vec<f32> {
        let mut values = vec![0.0; shape.iter().product()];
        Start::of(text).unwrap().of_kernel(shape).fill(7, 3, &mut values);
        values
    }

    /// The deviation and the bound of a kernel [3, 3, 32, 64], by the formulas of keras/src/initializers/random_initializers.py.
    #[test]
    fn schemes_have_the_moments_of_their_formulas() {
        let (fan_in, fan_out) = (3.0 * 3.0 * 32.0, 3.0 * 3.0 * 64.0_f64);
        for (text, variance, bound) in [
            ("glorot_uniform", 2.0 / (fan_in + fan_out), (6.0 / (fan_in + fan_out)).sqrt()),
            ("he_uniform", 2.0 / fan_in, (6.0 / fan_in).sqrt()),
            ("lecun_uniform", 1.0 / fan_in, (3.0 / fan_in).sqrt()),
            ("glorot_normal", 2.0 / (fan_in + fan_out), 2.0 / CUT * (2.0 / (fan_in + fan_out)).sqrt()),
            ("he_normal", 2.0 / fan_in, 2.0 / CUT * (2.0 / fan_in).sqrt()),
            ("lecun_normal", 1.0 / fan_in, 2.0 / CUT * (1.0 / fan_in).sqrt()),
            ("truncated_normal(0.02)", (0.02 * CUT).powi(2), 0.04),
            ("truncated_normal(stddev = 1)", CUT.powi(2), 2.0),
            ("random_uniform", 0.1_f64.powi(2) / 12.0, 0.05),
        ] {
            let values = started(text, &[3, 3, 32, 64]);
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
            let found = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 0.03 * variance.sqrt(), "{text}: mean {mean}");
            assert!((found / variance - 1.0).abs() < 0.03, "{text}: variance {found}, not {variance}");
            let most = values.iter().fold(0.0_f64, |most, v| most.max(f64::from(v.abs())));
            assert!(most <= bound * 1.000_001 && most > bound * 0.97, "{text}: within {most}, not {bound}");
        }
        assert!(started("zeros", &[2, 3]).iter().all(|v| *v == 0.0));
        assert!(started("ones", &[2, 3]).iter().all(|v| *v == 1.0));
        assert!(started("constant(0.5)", &[2, 3]).iter().all(|v| *v == 0.5));
        let between = started("random_uniform(2, maxval = 3)", &[40, 40]);
        assert!(between.iter().all(|v| (2.0..=3.0).contains(v)));
        assert!((between.iter().sum::<f32>() / 1600.0 - 2.5).abs() < 0.03);
        assert!(SCHEMES.is_sorted_by_key(|scheme| scheme.name));
    }

    #[test]
    fn what_is_no_scheme_is_refused() {
        for (text, expected) in [
            ("he_norm", "one of constant, glorot_normal, "),
            ("he_normal(1)", "`he_normal` takes no numbers"),
            ("truncated_normal(mean = 1)", "`truncated_normal(stddev = 0.05)`"),
            ("truncated_normal(-1)", "`truncated_normal(stddev = 0.05)`"),
            ("truncated_normal(1, 2)", "`truncated_normal(stddev = 0.05)`"),
            ("random_uniform(1)", "`random_uniform(minval = -0.05, maxval = 0.05)`"),
            ("constant(1e300)", "`constant(value = 0)`"),
            ("3", "one of constant, "),
        ] {
            let message = Start::of(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
