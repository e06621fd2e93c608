use super::{LANES, Vector};

/// An array, for the compiler to vectorise as it can. Products are rounded before they are added.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn map(self, f: impl Fn(usize, f32) -> f32) -> Self {
        let mut out = self.0;
        for (lane, x) in out.iter_mut().enumerate() {
            *x = f(lane, *x);
        }
        Self(out)
    }

    #[inline(always)]
    fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] = f(lanes[lane], lanes[lane + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

// SAFETY: callers have pointers that are valid for what is touched.
impl Vector for Portable {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has a pointer to sixteen floats.
        unsafe { Self(from.cast::<[f32; LANES]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has a pointer to sixteen floats.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: as `store`.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self {
        let mut lanes = [fill; LANES];
        // SAFETY: the caller has a pointer to `count` floats; `lanes` has sixteen.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count.min(LANES)) };
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller has a pointer to `count` floats; a vector has sixteen.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count.min(LANES)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.map(|lane, x| x + other.0[lane])
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.map(|lane, x| x - other.0[lane])
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.map(|lane, x| x * other.0[lane])
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        self.map(|lane, x| x * factor.0[lane] + term.0[lane])
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        self.map(|lane, x| if other.0[lane] > x { other.0[lane] } else { x })
    }

    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        self.map(|_, x| x - x.floor())
    }

    #[inline(always)]
    unsafe fn times_power_of_two(self, exponent: Self) -> Self {
        self.map(|lane, x| match exponent.0[lane] {
            exponent if exponent < -126.0 => 0.0,
            exponent => x * f32::from_bits(((exponent.floor() as i32).wrapping_add(127) as u32) << 23),
        })
    }

    #[inline(always)]
    unsafe fn zero_below(self, x: Self, bound: Self) -> Self {
        self.map(|lane, value| if x.0[lane] < bound.0[lane] { 0.0 } else { value })
    }

    #[inline(always)]
    unsafe fn keep(self, bits: u16) -> Self {
        self.map(|lane, x| if bits >> lane & 1 == 1 { x } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn with_sign_of(self, other: Self) -> Self {
        self.map(|lane, x| x.copysign(other.0[lane]))
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(|_, x| x.abs())
    }

    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        self.map(|_, x| 1.0 / x)
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.fold(|a, b| a + b)
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        self.fold(|a, b| if b > a { b } else { a })
    }
}
