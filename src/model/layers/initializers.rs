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
    /// What is one of some words, of which the first is the default: behind the numbers.
    pub words: &'static [(&'static str, &'static [&'static str])],
    /// For a kernel of these fans. The numbers, then the places of the words in their lists.
    make: fn(&[f64], Fans) -> Initializer,
}

/// How many values a value of a kernel's output is made of, and how many it is part of; the kernel as a matrix.
#[derive(Debug, Clone, Copy)]
struct Fans {
    input: usize,
    output: usize,
    /// Of all axes but the last.
    rows: usize,
    columns: usize,
}

macro_rules! scheme {
    ($name:literal, $about:literal, [$($numbers:tt)*], $make:expr) => {
        scheme!($name, $about, [$($numbers)*], [], $make)
    };
    ($name:literal, $about:literal, [$($numbers:tt)*], [$($words:tt)*], $make:expr) => {
        Scheme { name: $name, about: $about, numbers: &[$($numbers)*], words: &[$($words)*], make: $make }
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
    scheme!(
        "orthogonal",
        "orthogonal columns, or rows, of length `gain`: Saxe et al. 2014",
        [("gain", 1.0)],
        |x, fans| { Initializer::Orthogonal { gain: x[0] as f32, rows: fans.rows, columns: fans.columns } }
    ),
    scheme!("random_normal", "normal around 0", [("stddev", 0.05)], |x, _| Initializer::Normal { stddev: x[0] as f32 }),
    scheme!("random_uniform", "uniform between two bounds", [("minval", -0.05), ("maxval", 0.05)], |x, _| {
        Initializer::Between { low: x[0] as f32, high: x[1] as f32 }
    }),
    scheme!("truncated_normal", "normal around 0, cut off at two deviations", [("stddev", 0.05)], |x, _| {
        Initializer::TruncatedNormal { stddev: x[0] as f32 }
    }),
    scheme!(
        "variance_scaling",
        "variance `scale` over the fan of `mode`: He et al. 2015",
        [("scale", 1.0)],
        [
            ("mode", &["fan_in", "fan_out", "fan_avg"]),
            ("distribution", &["truncated_normal", "untruncated_normal", "uniform"])
        ],
        |x, fans| {
            let fan = match x[1] as usize {
                0 => fans.input as f64,
                1 => fans.output as f64,
                _ => (fans.input + fans.output) as f64 / 2.0,
            };
            let variance = x[0] / fan;
            match x[2] as usize {
                0 => normal(variance),
                1 => Initializer::Normal { stddev: variance.sqrt() as f32 },
                _ => uniform(variance),
            }
        }
    ),
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
        let words = scheme.words.iter().map(|_| 0.0);
        let mut numbers: Vec<f64> = scheme.numbers.iter().map(|(_, number)| *number).chain(words).collect();
        let names: Vec<&str> =
            scheme.numbers.iter().map(|(name, _)| *name).chain(scheme.words.iter().map(|(name, _)| *name)).collect();
        let takes = || {
            let numbers = scheme.numbers.iter().map(|(name, number)| format!("{name} = {number}"));
            let words = scheme.words.iter().map(|(name, words)| format!("{name} = {}", words.join(" | ")));
            let known: Vec<String> = numbers.chain(words).collect();
            if known.is_empty() {
                format!("`{name}` takes no numbers")
            } else {
                format!("`{name}({})`", known.join(", "))
            }
        };
        for (index, (key, value)) in given.into_iter().enumerate() {
            let place = match key {
                Some(key) => names.iter().position(|own| *own == key),
                None => Some(index).filter(|index| *index < numbers.len()),
            };
            let words =
                place.and_then(|place| place.checked_sub(scheme.numbers.len())).map(|word| scheme.words[word].1);
            let number = match (value, words) {
                (Value::Int(number), None) => Some(number as f64),
                (Value::Float(number), None) => Some(number),
                (Value::Str(word), Some(words)) => words.iter().position(|known| *known == word).map(|at| at as f64),
                _ => None,
            };
            let number = number.filter(|number| (*number as f32).is_finite());
            let (Some(place), Some(number)) = (place, number) else { return Err(takes()) };
            numbers[place] = number;
        }
        let negative = match scheme.name {
            "truncated_normal" | "random_normal" => numbers[0] < 0.0,
            "variance_scaling" => numbers[0] <= 0.0,
            _ => false,
        };
        let crossed = scheme.name == "random_uniform" && numbers[0] > numbers[1];
        if negative || crossed { Err(takes()) } else { Ok(Self { scheme, numbers }) }
    }

    /// For a kernel as Keras stores it. Fans are those of `keras.src.initializers.compute_fans`, where all axes but the
    /// last two count as a receptive field.
    pub fn of_kernel(&self, stored_shape: &[usize]) -> Initializer {
        let (input, output) = super::fans(stored_shape);
        let columns = stored_shape.last().copied().unwrap_or(1);
        let rows = super::volume(stored_shape) / columns.max(1);
        (self.scheme.make)(&self.numbers, Fans { input: input.max(1), output: output.max(1), rows, columns })
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
            ("variance_scaling", 1.0 / fan_in, 2.0 / CUT * (1.0 / fan_in).sqrt()),
            ("variance_scaling(2, \"fan_out\")", 2.0 / fan_out, 2.0 / CUT * (2.0 / fan_out).sqrt()),
            (
                "variance_scaling(3, mode = \"fan_avg\", distribution = \"uniform\")",
                6.0 / (fan_in + fan_out),
                (18.0 / (fan_in + fan_out)).sqrt(),
            ),
        ] {
            let values = started(text, &[3, 3, 32, 64]);
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
            let found = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 0.03 * variance.sqrt(), "{text}: mean {mean}");
            assert!((found / variance - 1.0).abs() < 0.03, "{text}: variance {found}, not {variance}");
            let most = values.iter().fold(0.0_f64, |most, v| most.max(f64::from(v.abs())));
            assert!(most <= bound * 1.000_001 && most > bound * 0.97, "{text}: within {most}, not {bound}");
        }
        for (text, variance) in
            [("random_normal(0.02)", 0.0004), ("variance_scaling(distribution = \"untruncated_normal\")", 1.0 / fan_in)]
        {
            let values = started(text, &[3, 3, 32, 64]);
            let found = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((found / variance - 1.0).abs() < 0.03, "{text}: variance {found}, not {variance}");
            // Beyond two deviations lie 4.55 % of the values.
            let beyond = values.iter().filter(|v| f64::from(v.abs()) > 2.0 * variance.sqrt()).count();
            assert!((beyond as f64 / values.len() as f64 - 0.0455).abs() < 0.005, "{text}: {beyond}");
        }
        let columns = started("orthogonal(2)", &[2, 3, 4]);
        let product = |a: usize, b: usize| (0..6).map(|row| columns[4 * row + a] * columns[4 * row + b]).sum::<f32>();
        assert!((product(1, 1) - 4.0).abs() < 1e-5 && product(0, 3).abs() < 1e-5, "{columns:?}");
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
            ("random_normal(-1)", "`random_normal(stddev = 0.05)`"),
            ("orthogonal(\"fan_in\")", "`orthogonal(gain = 1)`"),
            ("variance_scaling(0)", "`variance_scaling(scale = 1, mode = fan_in | fan_out | fan_avg, distribution = "),
            ("variance_scaling(1, mode = \"fan\")", "`variance_scaling(scale = 1, mode = "),
            ("variance_scaling(mode = 1)", "`variance_scaling(scale = 1, mode = "),
            ("constant(1e300)", "`constant(value = 0)`"),
            ("3", "one of constant, "),
        ] {
            let message = Start::of(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
