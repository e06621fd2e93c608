//! Orders of axes. Images of ours have their channels last, those of ONNX' convolutions second. A convolution is written
//! between two transposes; here neighbours cancel, and what acts element by element is written on the side of a transpose
//! that its operands come from, so that a chain of convolutions has none inside.

use super::{Attribute, Data, Dim, Initializer, Tensor, Writer};

/// The permutation that undoes another.
fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; permutation.len()];
    for (to, &from) in permutation.iter().enumerate() {
        inverse[from] = to;
    }
    inverse
}

fn permuted<T: Copy>(shape: &[T], permutation: &[usize]) -> Vec<T> {
    permutation.iter().map(|&axis| shape[axis]).collect()
}

/// From channels second to channels last.
fn channels_last(rank: usize) -> Vec<usize> {
    std::iter::once(0).chain(2..rank).chain([1]).collect()
}

/// A reshape of a transposed tensor as one of the tensor that it is transposed of: the shape there, and the permutation to
/// the shape that is asked for. `None` where axes are merged that do not lie side by side there.
fn regrouped(from: &[Dim], permutation: &[usize], to: &[Dim]) -> Option<(Vec<Dim>, Vec<usize>)> {
    // The batch as a number that no length has as a factor.
    const BATCH: u128 = 2_147_483_647;
    let number = |dim: Dim| match dim {
        Dim::Fixed(length) => length as u128,
        Dim::Batch(times) => times as u128 * BATCH,
    };
    // Axes of both with the same elements, as few as go together: where each group ends.
    let (mut groups, mut at) = (Vec::new(), (0, 0));
    while at.0 < from.len() && at.1 < to.len() {
        let begin = at;
        let mut products = (number(from[at.0]), number(to[at.1]));
        at = (at.0 + 1, at.1 + 1);
        while products.0 != products.1 {
            if products.0 < products.1 {
                products.0 *= number(*from.get(at.0)?);
                at.0 += 1;
            } else {
                products.1 *= number(*to.get(at.1)?);
                at.1 += 1;
            }
        }
        groups.push((begin.0..at.0, begin.1..at.1));
    }
    // What is left has length 1.
    let (own, theirs) = groups.last_mut()?;
    (own.end, theirs.end) = (from.len(), to.len());
    let in_order =
        |own: &std::ops::Range<usize>| permutation[own.clone()].windows(2).all(|pair| pair[1] == pair[0] + 1);
    if !groups.iter().all(|(own, _)| in_order(own)) {
        return None;
    }
    groups.sort_by_key(|(own, _)| permutation[own.start]);
    let order: Vec<usize> = groups.into_iter().flat_map(|(_, theirs)| theirs).collect();
    Some((permuted(to, &order), inverse(&order)))
}

/// The elements of a tensor in another order of its axes.
fn reordered(values: &[f32], shape: &[usize], permutation: &[usize]) -> Vec<f32> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let (lengths, strides) = (permuted(shape, permutation), permuted(&strides, permutation));
    let mut result = Vec::with_capacity(values.len());
    let mut index = vec![0; lengths.len()];
    for _ in 0..values.len() {
        result.push(values[index.iter().zip(&strides).map(|(at, stride)| at * stride).sum::<usize>()]);
        for axis in (0..lengths.len()).rev() {
            index[axis] += 1;
            if index[axis] < lengths[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    result
}

impl<'a> Writer<'a> {
    /// A weight in another form, if the tensor is one.
    fn form(
        &mut self,
        x: &Tensor,
        shape: &[Dim],
        change: impl FnOnce(&Initializer) -> Option<Vec<f32>>,
    ) -> Option<Tensor> {
        let initializer = self.initializers.get(&x.name)?;
        let values = match (change(initializer), &initializer.data) {
            (Some(values), _) => values.into(),
            (None, Data::Floats(values)) => values.clone(),
            (None, Data::Integers(_)) => return None,
        };
        let shape: Vec<usize> = shape.iter().filter_map(|dim| dim.fixed()).collect();
        let weight = self.derived.get(&x.name).unwrap_or(&x.name).clone();
        // The same form of the same weight is there once.
        let same = |form: &&String| {
            self.derived[*form] == weight
                && self.initializers.get(*form).is_some_and(|other| {
                    other.shape == shape && matches!(&other.data, Data::Floats(others) if *others == values)
                })
        };
        if let Some(form) = self.derived.keys().find(same) {
            let shape = shape.iter().map(|&length| length.into()).collect();
            return Some(Tensor { name: form.clone(), shape });
        }
        let name = self.unique(format!("{weight}/reordered"));
        self.derived.insert(name.clone(), weight);
        Some(self.initializer(Initializer { name, shape, data: Data::Floats(values) }))
    }

    /// Axis `i` of the result is axis `permutation[i]` of the tensor.
    pub fn transpose(&mut self, x: &Tensor, permutation: &[usize]) -> Tensor {
        let (x, permutation) = match self.transposed.get(&x.name) {
            Some((from, first)) => (from.clone(), permuted(first, permutation)),
            None => (x.clone(), permutation.to_vec()),
        };
        if permutation.iter().enumerate().all(|(to, &from)| to == from) {
            return x;
        }
        let shape = permuted(&x.shape, &permutation);
        let of_weight = |weight: &Initializer| match &weight.data {
            Data::Floats(values) => Some(reordered(values, &weight.shape, &permutation)),
            Data::Integers(_) => None,
        };
        if let Some(form) = self.form(&x, &shape, of_weight) {
            return form;
        }
        let order: Vec<usize> = permutation.iter().copied().filter(|&axis| x.shape[axis] != Dim::Fixed(1)).collect();
        let y = if order.is_sorted() {
            self.reshape(&x, &shape)
        } else {
            let perm = Attribute::ints("perm", permutation.iter().copied());
            self.node("Transpose", &[&x], vec![perm], &shape)
        };
        if y.name != x.name {
            self.transposed.insert(y.name.clone(), (x, permutation));
        }
        y
    }

    /// The same elements in the same order under another shape.
    pub fn reshape(&mut self, x: &Tensor, shape: &[Dim]) -> Tensor {
        if x.shape == shape {
            return x.clone();
        }
        if let Some(form) = self.form(x, shape, |_| None) {
            return form;
        }
        // Of a transposed tensor, where axes that are merged or split lie side by side in the other as well: there.
        if let Some((from, permutation)) = self.transposed.get(&x.name).cloned()
            && let Some((inner, back)) = regrouped(&x.shape, &permutation, shape)
        {
            let reshaped = self.reshape(&from, &inner);
            return self.transpose(&reshaped, &back);
        }
        // One length may be left open: that of the batch.
        let lengths: Vec<i64> = shape.iter().map(|dim| dim.fixed().map_or(-1, |length| length as i64)).collect();
        let lengths = self.integers(lengths);
        self.node("Reshape", &[x, &lengths], Vec::new(), shape)
    }

    /// What is computed element by element. Operands have the shape of the result, or its last axes, or length 1 along
    /// some; `compute` is given them in an order of axes of its own, and the shape of the result in that order.
    pub fn elementwise(
        &mut self,
        operands: &[Tensor],
        shape: &[Dim],
        compute: impl FnOnce(&mut Self, &[Tensor], &[Dim]) -> Tensor,
    ) -> Tensor {
        let whole = |x: &&Tensor| x.shape == shape;
        let permutations: Vec<Option<&Vec<usize>>> = operands
            .iter()
            .filter(whole)
            .map(|x| self.transposed.get(&x.name).map(|(_, permutation)| permutation))
            .collect();
        let permutation = match permutations.split_first() {
            Some((Some(first), others)) if others.iter().all(|other| *other == Some(first)) => (*first).clone(),
            _ => return compute(self, operands, shape),
        };
        let before = inverse(&permutation);
        let operands: Vec<Tensor> = operands
            .iter()
            .map(|x| {
                if x.is_one() {
                    return x.clone();
                }
                let missing = shape.len() - x.rank();
                let full: Vec<Dim> = std::iter::repeat_n(Dim::Fixed(1), missing).chain(x.shape.clone()).collect();
                let full = self.reshape(x, &full);
                self.transpose(&full, &before)
            })
            .collect();
        let y = compute(self, &operands, &permuted(shape, &before));
        self.transpose(&y, &permutation)
    }

    /// What changes the length of an axis, and nothing of the others: on the side of the transpose that all operands come
    /// from, where they do. `compute` is given them, the number of the axis there, and the shape of the result there.
    fn along(
        &mut self,
        operands: &[Tensor],
        axis: usize,
        length: Dim,
        compute: impl FnOnce(&mut Self, &[Tensor], usize, &[Dim]) -> Tensor,
    ) -> Tensor {
        let with = |shape: &[Dim], axis: usize| {
            let mut shape = shape.to_vec();
            shape[axis] = length;
            shape
        };
        let source = |x: &Tensor| self.transposed.get(&x.name).cloned();
        let sources: Vec<(Tensor, Vec<usize>)> = operands.iter().filter_map(source).collect();
        match sources.first().cloned() {
            Some((first, permutation))
                if sources.len() == operands.len() && sources.iter().all(|(_, other)| *other == permutation) =>
            {
                let sources: Vec<Tensor> = sources.into_iter().map(|(from, _)| from).collect();
                let axis = permutation[axis];
                let y = compute(self, &sources, axis, &with(&first.shape, axis));
                self.transpose(&y, &permutation)
            }
            _ => compute(self, operands, axis, &with(&operands[0].shape, axis)),
        }
    }

    /// Tensors one after the other along an axis, whose lengths are known.
    pub fn concat(&mut self, operands: &[Tensor], axis: usize) -> Tensor {
        let length = operands.iter().filter_map(|x| x.shape[axis].fixed()).sum::<usize>();
        self.along(operands, axis, length.into(), |writer, x, axis, shape| {
            let inputs: Vec<&Tensor> = x.iter().collect();
            writer.node("Concat", &inputs, vec![Attribute::int("axis", axis as i64)], shape)
        })
    }

    /// `length` entries of an axis from `start` on.
    pub fn slice(&mut self, x: &Tensor, axis: usize, start: usize, length: usize) -> Tensor {
        if start == 0 && x.shape[axis] == Dim::Fixed(length) {
            return x.clone();
        }
        self.along(std::slice::from_ref(x), axis, length.into(), |writer, x, axis, shape| {
            let [start, end, axis] = [start, start + length, axis].map(|number| writer.integers([number as i64]));
            writer.node("Slice", &[&x[0], &start, &end, &axis], Vec::new(), shape)
        })
    }

    /// Zeros before and after the entries of an axis, whose length is known.
    pub fn pad(&mut self, x: &Tensor, axis: usize, before: usize, after: usize) -> Tensor {
        if before + after == 0 {
            return x.clone();
        }
        let length = x.shape[axis].fixed().unwrap_or(0) + before + after;
        self.along(std::slice::from_ref(x), axis, length.into(), |writer, x, axis, shape| {
            let mut pads = vec![0; 2 * shape.len()];
            (pads[axis], pads[shape.len() + axis]) = (before as i64, after as i64);
            let pads = writer.integers(pads);
            writer.node("Pad", &[&x[0], &pads], Vec::new(), shape)
        })
    }

    /// The mean over an axis, which disappears.
    pub fn mean(&mut self, x: &Tensor, axis: usize) -> Tensor {
        self.reduced(x, axis, |writer, x, axis, shape| {
            let attributes = vec![Attribute::ints("axes", [axis]), Attribute::int("keepdims", 0)];
            writer.node("ReduceMean", &[x], attributes, shape)
        })
    }

    /// The sum over an axis, which disappears.
    pub fn sum(&mut self, x: &Tensor, axis: usize) -> Tensor {
        self.reduced(x, axis, |writer, x, axis, shape| {
            let axes = writer.integers([axis as i64]);
            writer.node("ReduceSum", &[x, &axes], vec![Attribute::int("keepdims", 0)], shape)
        })
    }

    /// What makes an axis disappear, on the side of a transpose that the tensor comes from.
    fn reduced(
        &mut self,
        x: &Tensor,
        axis: usize,
        reduce: impl FnOnce(&mut Self, &Tensor, usize, &[Dim]) -> Tensor,
    ) -> Tensor {
        let without = |shape: &[Dim], axis: usize| [&shape[..axis], &shape[axis + 1..]].concat();
        let Some((from, permutation)) = self.transposed.get(&x.name).cloned() else {
            return reduce(self, x, axis, &without(&x.shape, axis));
        };
        let gone = permutation[axis];
        let y = reduce(self, &from, gone, &without(&from.shape, gone));
        let left: Vec<usize> =
            permutation.iter().filter(|&&of| of != gone).map(|&of| of - usize::from(of > gone)).collect();
        self.transpose(&y, &left)
    }

    /// What takes and gives channels second, of channels last: a convolution, a pool, a normalization of channels.
    /// `shape` is that of the result, with channels last.
    pub fn channels_second(
        &mut self,
        x: &Tensor,
        shape: &[Dim],
        compute: impl FnOnce(&mut Self, &Tensor, &[Dim]) -> Tensor,
    ) -> Tensor {
        let last = channels_last(x.rank());
        let second = inverse(&last);
        let x = self.transpose(x, &second);
        let y = compute(self, &x, &permuted(shape, &second));
        self.transpose(&y, &last)
    }

    /// Whether it is images with channels last that are transposed of such with channels second.
    pub fn has_channels_second(&self, x: &Tensor) -> bool {
        x.rank() == 4 && self.transposed.get(&x.name).is_some_and(|(_, permutation)| *permutation == channels_last(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(writer: Writer, output: &Tensor) -> Vec<String> {
        let finished = writer.finish(&[("y", output)]);
        finished.nodes.iter().filter_map(|node| node.op_type.clone()).collect()
    }

    #[test]
    fn elements_follow_their_axes() {
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let moved = reordered(&values, &[2, 3, 4], &[2, 0, 1]);
        // moved[k, i, j] = values[i, j, k]
        for (i, j, k) in [(0, 0, 0), (1, 2, 3), (1, 0, 2), (0, 2, 1)] {
            assert_eq!(moved[(k * 2 + i) * 3 + j], values[(i * 3 + j) * 4 + k]);
        }
        assert_eq!(inverse(&[2, 0, 1]), [1, 2, 0]);
        assert_eq!(channels_last(4), [0, 2, 3, 1]);
    }

    #[test]
    fn neighbours_cancel_and_what_is_between_moves() {
        let mut writer = Writer::new(&["y"]);
        let shape = [Dim::Batch(1), 5.into(), 7.into(), 3.into()];
        let x = writer.input("x", &shape);
        let conv = |writer: &mut Writer, x: &Tensor| {
            writer.channels_second(x, &shape, |writer, x, shape| writer.node("Conv", &[x], Vec::new(), shape))
        };
        let a = conv(&mut writer, &x);
        let gamma = writer.weight("gamma", &[3], vec![1.0, 2.0, 3.0]);
        let b = writer.elementwise(&[a.clone(), gamma], &shape, |writer, x, _| writer.binary("Mul", &x[0], &x[1]));
        let c = conv(&mut writer, &b);
        let d = writer.elementwise(&[a, c], &shape, |writer, x, _| writer.binary("Add", &x[0], &x[1]));
        let e = writer.reshape(&d, &[Dim::Batch(1), 35.into(), 3.into()]);
        let mean = writer.mean(&e, 1);
        assert_eq!(mean.shape, [Dim::Batch(1), 3.into()]);
        let finished = writer.finish(&[("y", &mean)]);
        let names: Vec<&str> = finished.nodes.iter().filter_map(|node| node.op_type.as_deref()).collect();
        assert_eq!(names, ["Transpose", "Conv", "Mul", "Conv", "Add", "Reshape", "ReduceMean"]);
        // The factor lies along the second axis, by its own name.
        let gamma = finished.initializers.iter().find(|initializer| initializer.name == "gamma").unwrap();
        assert_eq!(gamma.shape, [1, 3, 1, 1]);
        assert_eq!(finished.outputs[0].name, "y");
        assert_eq!(finished.nodes.last().unwrap().output, ["y"]);
    }

    #[test]
    fn reshapes_of_transposed_tensors_are_reshapes_of_the_others() {
        let dims = |lengths: &[usize]| {
            let rest = lengths.iter().map(|&length| Dim::Fixed(length));
            std::iter::once(Dim::Batch(1)).chain(rest).collect::<Vec<_>>()
        };
        let moved =
            |from: &[usize], permutation: &[usize], to: &[usize]| regrouped(&dims(from), permutation, &dims(to));
        // Pixels as tokens, and back.
        assert_eq!(moved(&[5, 7, 3], &[0, 2, 3, 1], &[35, 3]), Some((dims(&[3, 35]), vec![0, 2, 1])));
        assert_eq!(moved(&[35, 3], &[0, 2, 1], &[5, 7, 3]), Some((dims(&[3, 5, 7]), vec![0, 2, 3, 1])));
        // With an axis of length 1 more, and less.
        assert_eq!(moved(&[5, 7, 3], &[0, 2, 3, 1], &[35, 3, 1]), Some((dims(&[3, 1, 35]), vec![0, 3, 1, 2])));
        assert_eq!(moved(&[35, 6, 1], &[0, 3, 1, 2], &[5, 7, 6]), Some((dims(&[6, 5, 7]), vec![0, 2, 3, 1])));
        // Channels that are merged with pixels lie elsewhere.
        assert_eq!(moved(&[5, 7, 3], &[0, 2, 3, 1], &[5, 21]), None);
        assert_eq!(moved(&[5, 7, 3], &[0, 2, 3, 1], &[105]), None);
        // Windows of the batch.
        let windows = [Dim::Batch(4), 9.into(), 3.into()];
        let images = [Dim::Batch(1), 4.into(), 9.into(), 3.into()];
        assert_eq!(regrouped(&images, &[0, 1, 3, 2], &windows).unwrap().0, [Dim::Batch(4), 3.into(), 9.into()]);
    }

    #[test]
    fn a_transpose_that_moves_ones_alone_is_a_reshape() {
        let mut writer = Writer::new(&["y"]);
        let x = writer.input("x", &[Dim::Batch(1), 1.into(), 1.into(), 3.into()]);
        let y = writer.transpose(&x, &[0, 3, 1, 2]);
        assert_eq!(operators(writer, &y), ["Reshape"]);
    }

    #[test]
    fn an_input_that_is_the_output_is_copied() {
        let mut writer = Writer::new(&["y", "z"]);
        let x = writer.input("x", &[Dim::Batch(1)]);
        let twice = writer.unary("Relu", &x);
        let finished = writer.finish(&[("y", &twice), ("z", &twice)]);
        let outputs: Vec<&str> = finished.nodes.iter().map(|node| &node.output[0][..]).collect();
        assert_eq!(outputs, ["y", "z"]);
        assert_eq!(finished.nodes[1].input, ["y"]);
    }
}
