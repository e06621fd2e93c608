//! luminal's primitives over run-time shapes: the words in which decompositions are written.

use luminal::{
    op::{self, Operator},
    prelude::ShapeTracker,
};

use super::{Builder, Value};

/// A tensor seen through a luminal `ShapeTracker`: expanded, permuted, sliced or padded.
#[derive(Debug, Clone)]
pub struct View {
    value: Value,
    tracker: ShapeTracker,
    shape: Vec<usize>,
}

impl From<&Value> for View {
    fn from(value: &Value) -> Self {
        Self { value: value.clone(), tracker: value.tracker(), shape: value.shape.clone() }
    }
}

impl View {
    /// A new axis along which the tensor repeats.
    pub fn expand(mut self, axis: usize, length: usize) -> Self {
        self.tracker.expand(axis, length.into());
        self.shape.insert(axis, length);
        self
    }

    /// Repeats over all leading axes that `shape` has and the view lacks.
    pub fn broadcast(mut self, shape: &[usize]) -> Self {
        let missing = shape.len() - self.shape.len();
        for (axis, &length) in shape[..missing].iter().enumerate() {
            self = self.expand(axis, length);
        }
        self
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]` of this one.
    pub fn permute(mut self, axes: &[usize]) -> Self {
        self.tracker.permute(axes);
        self.shape = axes.iter().map(|&axis| self.shape[axis]).collect();
        self
    }

    /// `length` entries of an axis from `start` on.
    pub fn slice(mut self, axis: usize, start: usize, length: usize) -> Self {
        let ranges: Vec<_> = (0..self.shape.len())
            .map(|i| if i == axis { (start.into(), (start + length).into()) } else { (0.into(), i32::MAX.into()) })
            .collect();
        self.tracker.slice(&ranges);
        self.shape[axis] = length;
        self
    }

    /// Zeros before and after an axis.
    pub fn pad(mut self, axis: usize, before: usize, after: usize) -> Self {
        let ranges: Vec<_> = (0..self.shape.len())
            .map(|i| if i == axis { (before.into(), after.into()) } else { (0.into(), 0.into()) })
            .collect();
        self.tracker.pad(&ranges);
        self.shape[axis] += before + after;
        self
    }
}

/// Primitive nodes. Binary operands have equal logical shapes; unary operands are contiguous,
/// because luminal's unary operators ignore views.
impl Builder {
    pub(crate) fn constant(&mut self, value: f32, shape: &[usize]) -> View {
        let dyn_map: *const _ = &self.graph.dyn_map;
        let node = self.graph.add_op(op::Constant(op::ConstantValue::Float(value), dyn_map)).finish();
        let dims: Vec<_> = shape.iter().map(|&dim| dim.into()).collect();
        View {
            value: Value { node, output: 0, shape: vec![1] },
            tracker: ShapeTracker::fake(&dims),
            shape: shape.to_vec(),
        }
    }

    fn view_op(&mut self, operator: impl Operator + 'static, inputs: &[&View], shape: Vec<usize>) -> Value {
        let views: Vec<(&Value, ShapeTracker)> = inputs.iter().map(|view| (&view.value, view.tracker)).collect();
        let node = self.add_viewed(operator, &views);
        Value { node, output: 0, shape }
    }

    fn binary(&mut self, operator: impl Operator + 'static, a: View, b: View) -> Value {
        assert_eq!(a.shape, b.shape, "{operator:?}");
        self.view_op(operator, &[&a, &b], a.shape.clone())
    }

    pub(crate) fn prim_add(&mut self, a: impl Into<View>, b: impl Into<View>) -> Value {
        self.binary(op::Add, a.into(), b.into())
    }

    pub(crate) fn prim_mul(&mut self, a: impl Into<View>, b: impl Into<View>) -> Value {
        self.binary(op::Mul, a.into(), b.into())
    }

    pub(crate) fn prim_less_than(&mut self, a: impl Into<View>, b: impl Into<View>) -> Value {
        self.binary(op::LessThan, a.into(), b.into())
    }

    pub(crate) fn prim_sub(&mut self, a: impl Into<View>, b: impl Into<View>) -> Value {
        let b = self.prim_affine(b, -1.0, 0.0);
        self.prim_add(a, &b)
    }

    /// `scale * x + offset`.
    pub(crate) fn prim_affine(&mut self, x: impl Into<View>, scale: f32, offset: f32) -> Value {
        let x = x.into();
        let shape = x.shape.clone();
        let scale = self.constant(scale, &shape);
        let product = self.prim_mul(x, scale);
        if offset == 0.0 {
            return product;
        }
        let offset = self.constant(offset, &shape);
        self.prim_add(&product, offset)
    }

    pub(crate) fn prim_sum(&mut self, x: impl Into<View>, axis: usize) -> Value {
        let x = x.into();
        let mut shape = x.shape.clone();
        shape.remove(axis);
        self.view_op(op::SumReduce(axis), &[&x], shape)
    }

    pub(crate) fn prim_max(&mut self, x: impl Into<View>, axis: usize) -> Value {
        let x = x.into();
        let mut shape = x.shape.clone();
        shape.remove(axis);
        self.view_op(op::MaxReduce(axis), &[&x], shape)
    }

    pub(crate) fn prim_contiguous(&mut self, x: impl Into<View>) -> Value {
        let x = x.into();
        let shape = x.shape.clone();
        self.view_op(op::Contiguous, &[&x], shape)
    }

    fn unary(&mut self, operator: impl Operator + 'static, x: &Value) -> Value {
        self.view_op(operator, &[&x.into()], x.shape.clone())
    }

    pub(crate) fn prim_recip(&mut self, x: &Value) -> Value {
        self.unary(op::Recip, x)
    }

    pub(crate) fn prim_sqrt(&mut self, x: &Value) -> Value {
        self.unary(op::Sqrt, x)
    }

    pub(crate) fn prim_sin(&mut self, x: &Value) -> Value {
        self.unary(op::Sin, x)
    }

    pub(crate) fn prim_exp(&mut self, x: &Value) -> Value {
        let scaled = self.prim_affine(x, std::f32::consts::LOG2_E, 0.0);
        self.unary(op::Exp2, &scaled)
    }

    pub(crate) fn prim_ln(&mut self, x: &Value) -> Value {
        let log2 = self.unary(op::Log2, x);
        self.prim_affine(&log2, std::f32::consts::LN_2, 0.0)
    }

    /// `[m, k] x [k, n]`, written so that luminal's batched matmul pattern finds it.
    pub(crate) fn prim_matmul(&mut self, a: impl Into<View>, b: impl Into<View>) -> Value {
        let (a, b): (View, View) = (a.into(), b.into());
        let (m, n) = (a.shape[0], b.shape[1]);
        // The pattern wants real leading axes, so `a` is made contiguous as [1, m, k].
        let (mut a, b) = (self.prim_contiguous(a), self.prim_contiguous(b.permute(&[1, 0])));
        a.shape.insert(0, 1);
        let a = View::from(&a).expand(2, n);
        let b = View::from(&b).expand(0, m).expand(0, 1);
        let product = self.prim_mul(a, b);
        let mut sum = self.prim_sum(&product, 3);
        sum.shape = vec![m, n];
        sum
    }

    /// `[batch, m, k] x [batch, k, n]` views.
    pub(crate) fn prim_batched_matmul(&mut self, a: View, b: View) -> Value {
        let (m, n) = (a.shape[1], b.shape[2]);
        let product = self.prim_mul(a.expand(2, n), b.permute(&[0, 2, 1]).expand(1, m));
        self.prim_sum(&product, 3)
    }
}
