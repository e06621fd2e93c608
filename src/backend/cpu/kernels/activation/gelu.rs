//! GELU, exactly `x · Φ(x)` (Hendrycks & Gimpel 2016), sixteen elements at a time.
//!
//! `Φ(-|x|) = e^(-x²/2) · P(1 / (1 + c|x|))`, the form of Abramowitz & Stegun 7.1.26, with a
//! polynomial of degree 6 fitted by Lawson's method to an error of 1e-8. The exponential is also
//! what the density needs, so that the slope costs one exponential, not two.

use crate::backend::cpu::kernels::{
    exp::exp2,
    vector::{self, Vector, groups, vectorised},
};

/// The `c` of the fit.
const BEND: f32 = 0.39;
/// `P`, highest power first; the constant is 0.
const TAIL: [f32; 6] = [0.053_846_706, -0.258_242_52, 0.375_166_5, -0.016_634_05, 0.194_436_24, 0.151_427_12];
/// `1 / sqrt(2π)`
const DENSITY: f32 = 0.398_942_3;

/// `Φ(x)` and `e^(-x²/2)`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn normal<V: Vector>(x: V) -> (V, V) {
    // SAFETY: what the caller vouches for.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let bell = exp2(x.mul(x).mul(V::splat(-0.5 * std::f32::consts::LOG2_E)));
        let k = x.abs().mul_add(V::splat(BEND), one).reciprocal();
        let mut p = V::splat(TAIL[0]);
        p = p.mul_add(k, V::splat(TAIL[1]));
        p = p.mul_add(k, V::splat(TAIL[2]));
        p = p.mul_add(k, V::splat(TAIL[3]));
        p = p.mul_add(k, V::splat(TAIL[4]));
        p = p.mul_add(k, V::splat(TAIL[5]));
        let tail = p.mul(k).mul(bell);
        (one.zero_below(x, zero).sub(tail.with_sign_of(x)), bell)
    }
}

/// # Safety
/// `len` elements at both pointers; and as [`Vector`].
#[inline(always)]
unsafe fn forward<V: Vector>(len: usize, x: *const f32, y: *mut f32) {
    for (i, count) in groups(len) {
        // SAFETY: what the caller vouches for.
        unsafe {
            let x = vector::load::<V>(x.add(i), count, 0.0);
            vector::store(x.mul(normal(x).0), y.add(i), count);
        }
    }
}

/// # Safety
/// `len` elements at all pointers; and as [`Vector`].
#[inline(always)]
unsafe fn backward<V: Vector>(len: usize, x: *const f32, dy: *const f32, dx: *mut f32) {
    for (i, count) in groups(len) {
        // SAFETY: what the caller vouches for.
        unsafe {
            let x = vector::load::<V>(x.add(i), count, 0.0);
            let (phi, bell) = normal(x);
            let slope = x.mul(V::splat(DENSITY)).mul_add(bell, phi);
            vector::store(vector::load::<V>(dy.add(i), count, 0.0).mul(slope), dx.add(i), count);
        }
    }
}

#[inline(always)]
unsafe fn forward_generic<V: Vector>(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    // SAFETY: as long as that.
    unsafe { forward::<V>(x.len(), x.as_ptr(), y.as_mut_ptr()) }
}

#[inline(always)]
unsafe fn backward_generic<V: Vector>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dy.len() && x.len() == dx.len());
    // SAFETY: as long as that.
    unsafe { backward::<V>(x.len(), x.as_ptr(), dy.as_ptr(), dx.as_mut_ptr()) }
}

#[inline(always)]
unsafe fn backward_in_place_generic<V: Vector>(x: &[f32], dy: &mut [f32]) {
    assert_eq!(x.len(), dy.len());
    let pointer = dy.as_mut_ptr();
    // SAFETY: as long as that, and each element is read before it is written.
    unsafe { backward::<V>(x.len(), x.as_ptr(), pointer, pointer) }
}

vectorised! {
    /// `y = gelu(x)`, with an absolute error of at most 1.5e-7 · max(1, |x|).
    pub fn gelu(x: &[f32], y: &mut [f32]) = forward_generic;
    /// `dx = dy · gelu'(x)`.
    pub fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) = backward_generic;
    /// `dy = dy · gelu'(x)`.
    pub fn gelu_backward_in_place(x: &[f32], dy: &mut [f32]) = backward_in_place_generic;
}
