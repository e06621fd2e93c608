//! Activation functions and their gradients, element by element.
//!
//! Gradients take the input `x` of the activation: `dx = dy · f'(x)`. The `_in_place` forms
//! overwrite `x` by `y`, or `dy` by `dx`.

mod gelu;

pub use gelu::{gelu, gelu_backward, gelu_backward_in_place};

use super::exp::exp;
use super::isa::{madd, multiversion};

#[inline(always)]
fn relu_at<const FMA: bool>(x: f32) -> f32 {
    // Not `max`: a NaN must stay one.
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn relu_slope<const FMA: bool>(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
fn relu6_at<const FMA: bool>(x: f32) -> f32 {
    let x = relu_at::<FMA>(x);
    if x > 6.0 { 6.0 } else { x }
}

#[inline(always)]
fn relu6_slope<const FMA: bool>(x: f32) -> f32 {
    if x > 0.0 && x < 6.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn silu_at<const FMA: bool>(x: f32) -> f32 {
    x * sigmoid::<FMA>(x)
}

#[inline(always)]
fn silu_slope<const FMA: bool>(x: f32) -> f32 {
    let s = sigmoid::<FMA>(x);
    s * madd::<FMA>(x, 1.0 - s, 1.0)
}

/// tanh within 3 ulp: Cephes' polynomial below 0.625, `1 - 2 / (e^2x + 1)` above.
#[inline(always)]
pub(super) fn tanh_at<const FMA: bool>(x: f32) -> f32 {
    let s = x * x;
    let p = madd::<FMA>(-5.704_988_7e-3, s, 2.063_908_8e-2);
    let p = madd::<FMA>(p, s, -5.373_971_6e-2);
    let p = madd::<FMA>(p, s, 1.333_144_2e-1);
    let p = madd::<FMA>(p, s, -3.333_328e-1);
    let near = madd::<FMA>(p * s, x, x);
    let far = (1.0 - 2.0 / (exp::<FMA>(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() > 0.625 { far } else { near }
}

#[inline(always)]
fn tanh_slope<const FMA: bool>(x: f32) -> f32 {
    let y = tanh_at::<FMA>(x);
    madd::<FMA>(-y, y, 1.0)
}

/// The four slice functions of an activation, from its value and slope at a point.
macro_rules! activation {
    ($name:literal, $bound:literal, $at:ident, $slope:ident, $forward:ident, $forward_in_place:ident, $backward:ident, $backward_in_place:ident) => {
        #[doc = concat!("`y = ", $name, "(x)`, ", $bound, ".")]
        pub fn $forward(x: &[f32], y: &mut [f32]) {
            #[inline(always)]
            fn generic<const FMA: bool>(x: &[f32], y: &mut [f32]) {
                assert_eq!(x.len(), y.len());
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = $at::<FMA>(x);
                }
            }
            multiversion! {
                fn run(x: &[f32], y: &mut [f32]) = generic;
            }
            run(x, y);
        }

        #[doc = concat!("`x = ", $name, "(x)`, ", $bound, ".")]
        pub fn $forward_in_place(x: &mut [f32]) {
            #[inline(always)]
            fn generic<const FMA: bool>(x: &mut [f32]) {
                for x in x {
                    *x = $at::<FMA>(*x);
                }
            }
            multiversion! {
                fn run(x: &mut [f32]) = generic;
            }
            run(x);
        }

        #[doc = concat!("`dx = dy · ", $name, "'(x)`.")]
        pub fn $backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
            #[inline(always)]
            fn generic<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
                assert!(x.len() == dy.len() && x.len() == dx.len());
                for ((dx, &x), dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = dy * $slope::<FMA>(x);
                }
            }
            multiversion! {
                fn run(x: &[f32], dy: &[f32], dx: &mut [f32]) = generic;
            }
            run(x, dy, dx);
        }

        #[doc = concat!("`dy = dy · ", $name, "'(x)`.")]
        pub fn $backward_in_place(x: &[f32], dy: &mut [f32]) {
            #[inline(always)]
            fn generic<const FMA: bool>(x: &[f32], dy: &mut [f32]) {
                assert_eq!(x.len(), dy.len());
                for (dy, &x) in dy.iter_mut().zip(x) {
                    *dy *= $slope::<FMA>(x);
                }
            }
            multiversion! {
                fn run(x: &[f32], dy: &mut [f32]) = generic;
            }
            run(x, dy);
        }
    };
}

activation!("relu", "exactly", relu_at, relu_slope, relu, relu_in_place, relu_backward, relu_backward_in_place);
activation!("relu6", "exactly", relu6_at, relu6_slope, relu6, relu6_in_place, relu6_backward, relu6_backward_in_place);
activation!(
    "silu",
    "`x / (1 + e^-x)` within 4 ulp",
    silu_at,
    silu_slope,
    silu,
    silu_in_place,
    silu_backward,
    silu_backward_in_place
);
activation!("tanh", "within 3 ulp", tanh_at, tanh_slope, tanh, tanh_in_place, tanh_backward, tanh_backward_in_place);

/// `y = f(x)`.
type Forward = fn(&[f32], &mut [f32]);
/// `dx = dy · f'(x)`, of x and dy.
type Backward = fn(&[f32], &[f32], &mut [f32]);

/// The kernels of an activation that has faster ones than its expression's.
pub fn own(name: &str) -> Option<(Forward, Backward)> {
    Some(match name {
        "gelu" => (gelu, gelu_backward),
        "relu" => (relu, relu_backward),
        "relu6" => (relu6, relu6_backward),
        "silu" => (silu, silu_backward),
        "tanh" => (tanh, tanh_backward),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::isa::tests::{noise, on_each_isa};

    /// By its Taylor series below 3, by the continued fraction of erfc above.
    fn erf_exact(x: f64) -> f64 {
        let t = x.abs();
        let scale = 2.0 / std::f64::consts::PI.sqrt();
        let value = if t < 3.0 {
            let (mut term, mut sum, mut n) = (t, t, 0.0);
            while term.abs() > 1e-20 {
                n += 1.0;
                term *= -t * t / n;
                sum += term / (2.0 * n + 1.0);
            }
            scale * sum
        } else {
            let mut fraction = t;
            for k in (1..=80).rev() {
                fraction = t + f64::from(k) / 2.0 / fraction;
            }
            1.0 - (-t * t).exp() / (fraction * std::f64::consts::PI.sqrt())
        };
        value.copysign(x)
    }

    fn ulps(actual: f32, exact: f64) -> f64 {
        let ulp = f64::from(actual.abs().next_up()) - f64::from(actual.abs());
        (f64::from(actual) - exact).abs() / ulp
    }

    fn points() -> Vec<f32> {
        (-120_000..=120_000).map(|i| i as f32 / 10_000.0).collect()
    }

    #[test]
    fn values() {
        let phi = |x: f64| 0.5 + 0.5 * erf_exact(x / std::f64::consts::SQRT_2);
        on_each_isa(|isa| {
            let x = points();
            let mut y = vec![0.0; x.len()];
            gelu(&x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let exact = f64::from(x) * phi(f64::from(x));
                assert!(
                    (f64::from(y) - exact).abs() <= 1.5e-7 * f64::from(x).abs().max(1.0),
                    "{isa:?} gelu({x}) = {y}"
                );
            }
            silu(&x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
                assert!(ulps(y, exact) <= 4.0, "{isa:?} silu({x}) = {y}");
            }
            tanh(&x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                assert!(ulps(y, f64::from(x).tanh()) <= 3.0, "{isa:?} tanh({x}) = {y}");
            }
            relu(&x, &mut y);
            assert!(x.iter().zip(&y).all(|(&x, &y)| y == x.max(0.0)));
            relu6(&x, &mut y);
            assert!(x.iter().zip(&y).all(|(&x, &y)| y == x.clamp(0.0, 6.0)));
            let wild = [-200.0, 200.0, f32::NAN];
            let mut out = [0.0; 3];
            for f in [gelu, silu, tanh, relu, relu6] {
                f(&wild, &mut out);
                assert!(out[0] <= 0.0 && out[0] >= -1.0 && out[1] >= 1.0 && out[2].is_nan(), "{isa:?} {out:?}");
            }
        });
    }

    #[test]
    fn slopes() {
        type Forward = fn(f64) -> f64;
        type Backward = fn(&[f32], &[f32], &mut [f32]);
        type InPlace = fn(&[f32], &mut [f32]);
        let cases: [(&str, Forward, Backward, InPlace); 3] = [
            (
                "gelu",
                |x| x * (0.5 + 0.5 * erf_exact(x / std::f64::consts::SQRT_2)),
                gelu_backward,
                gelu_backward_in_place,
            ),
            ("silu", |x| x / (1.0 + (-x).exp()), silu_backward, silu_backward_in_place),
            ("tanh", f64::tanh, tanh_backward, tanh_backward_in_place),
        ];
        on_each_isa(|isa| {
            for len in [1, 7, 33, 1001] {
                let x: Vec<f32> = noise(1, len).iter().map(|x| 6.0 * x).collect();
                let dy = noise(2, len);
                for (name, f, backward, in_place) in cases {
                    let mut dx = vec![0.0; len];
                    backward(&x, &dy, &mut dx);
                    for ((&x, &dy), &dx) in x.iter().zip(&dy).zip(&dx) {
                        let x = f64::from(x);
                        let slope = (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;
                        let error = (f64::from(dx) - f64::from(dy) * slope).abs();
                        assert!(error < 2e-6, "{isa:?} {name}'({x}): off by {error}");
                    }
                    let mut same = dy.clone();
                    in_place(&x, &mut same);
                    assert_eq!(dx, same, "{isa:?} {name}");
                }
            }
            let mut dy = [3.0; 4];
            relu_backward_in_place(&[-1.0, 0.0, 0.5, 2.0], &mut dy);
            assert_eq!(dy, [0.0, 0.0, 3.0, 3.0]);
            let mut dy = [3.0; 4];
            relu6_backward_in_place(&[-1.0, 0.0, 5.5, 6.5], &mut dy);
            assert_eq!(dy, [0.0, 0.0, 3.0, 0.0]);
        });
    }
}
