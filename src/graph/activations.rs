//! The activations: a name, what it is, and a formula each. Everything else follows from the formula.
//!
//! A new activation is one entry of [`ACTIVATIONS`].

use super::expression::{Expression, Term};

/// An activation of the language.
#[derive(Debug)]
pub struct Activation {
    /// As Keras calls it.
    pub name: &'static str,
    /// Of its gradient's operator.
    pub gradient_name: &'static str,
    /// In a line.
    pub about: &'static str,
    /// Names and defaults of its numbers.
    pub numbers: &'static [(&'static str, f64)],
    /// What it computes the same as.
    pub source: &'static str,
    formula: fn(&Term, &[f32]) -> Term,
}

impl Activation {
    /// Its function of one scalar, with these numbers.
    pub fn expression(&self, numbers: &[f32]) -> Expression {
        Expression::new(1, |x| (self.formula)(&x[0], numbers))
    }
}

macro_rules! activations {
    ($($name:literal, $about:literal, [$($number:literal = $default:literal),*], $formula:expr;)*) => {
        /// All activations.
        pub static ACTIVATIONS: &[Activation] = &[$(Activation {
            name: $name,
            gradient_name: concat!($name, "_gradient"),
            about: $about,
            numbers: &[$(($number, $default)),*],
            source: concat!("`keras.activations.", $name, "`"),
            formula: $formula,
        }),*];

        /// What an `activation` argument may say.
        pub const WORDS: &[&str] = &["none", $($name,)* "softmax"];
    };
}

fn relu(x: &Term) -> Term {
    x.max(&x.constant(0.0))
}

/// `x` where it is negative, else 0. At 0 it has the slope that it has below.
fn negative_part(x: &Term) -> Term {
    x.constant(0.0).min(x)
}

/// `ln(1 + e^x)` without overflow. The larger of x and -x has the slope of -x at 0.
fn softplus(x: &Term) -> Term {
    let magnitude = x.max(&(x * -1.0));
    relu(x) + (magnitude * -1.0).exp().log1p()
}

fn relu6(x: &Term) -> Term {
    relu(x).min(&x.constant(6.0))
}

fn hard_sigmoid(x: &Term) -> Term {
    relu6(&(x + 3.0)) * (1.0 / 6.0)
}

activations! {
    "gelu", "x Φ(x), exactly, by erf: Hendrycks & Gimpel 2016", [], |x, _| x * x.normal_cdf();
    "relu", "max(x, 0)", [], |x, _| relu(x);
    "silu", "x sigmoid(x), also called swish", [], |x, _| x * x.sigmoid();
    "tanh", "the hyperbolic tangent", [], |x, _| x.tanh();
    "sigmoid", "1 / (1 + e^-x)", [], |x, _| x.sigmoid();
    "relu6", "min(max(x, 0), 6)", [], |x, _| relu6(x);
    "leaky_relu", "x above 0, negative_slope x below", ["negative_slope" = 0.2],
        |x, numbers| relu(x) + negative_part(x) * numbers[0];
    "elu", "x above 0, alpha (e^x - 1) below: Clevert et al. 2016", ["alpha" = 1.0],
        |x, numbers| relu(x) + (negative_part(x).exp() - x.constant(1.0)) * numbers[0];
    "softplus", "ln(1 + e^x)", [], |x, _| softplus(x);
    "hard_sigmoid", "relu6(x + 3) / 6", [], |x, _| hard_sigmoid(x);
    "hard_silu", "x relu6(x + 3) / 6: Howard et al. 2019", [], |x, _| x * hard_sigmoid(x);
    "mish", "x tanh(softplus(x)): Misra 2020", [], |x, _| x * softplus(x).tanh();
}
