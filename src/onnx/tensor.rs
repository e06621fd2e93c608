use std::borrow::Cow;

use super::messages::{DimensionProto, FLOAT, INT64, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};

/// A length of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// Known.
    Fixed(usize),
    /// So many times the batch, which is not known.
    Batch(usize),
}

impl Dim {
    /// The length, where it is known.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(length),
            Self::Batch(_) => None,
        }
    }

    /// The length of some axes that are one; `None` where two of them are of the batch.
    pub fn product(lengths: &[Self]) -> Option<Self> {
        lengths.iter().try_fold(Self::Fixed(1), |product, length| match (product, *length) {
            (Self::Fixed(a), Self::Fixed(b)) => Some(Self::Fixed(a * b)),
            (Self::Fixed(a), Self::Batch(b)) | (Self::Batch(a), Self::Fixed(b)) => Some(Self::Batch(a * b)),
            (Self::Batch(_), Self::Batch(_)) => None,
        })
    }

    fn message(self) -> DimensionProto {
        match self {
            Self::Fixed(length) => DimensionProto { dim_value: Some(length as i64), dim_param: None },
            Self::Batch(1) => DimensionProto { dim_value: None, dim_param: Some("batch".into()) },
            Self::Batch(times) => DimensionProto { dim_value: None, dim_param: Some(format!("{times}*batch")) },
        }
    }
}

impl From<usize> for Dim {
    fn from(length: usize) -> Self {
        Self::Fixed(length)
    }
}

/// A tensor of a graph that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Of the value in the graph.
    pub name: String,
    /// Lengths of its axes.
    pub shape: Vec<Dim>,
}

impl Tensor {
    /// How many axes it has.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The length of its last axis, where that is known.
    pub fn last(&self) -> Option<usize> {
        self.shape.last().and_then(|dim| dim.fixed())
    }

    /// Whether it has one element.
    pub(super) fn is_one(&self) -> bool {
        self.shape.iter().all(|dim| *dim == Dim::Fixed(1))
    }

    /// As an input or output of the graph, of float32.
    pub(super) fn message(&self) -> ValueInfoProto {
        let shape = TensorShapeProto { dim: self.shape.iter().map(|dim| dim.message()).collect() };
        let tensor = TensorTypeProto { elem_type: Some(FLOAT), shape: Some(shape) };
        ValueInfoProto { name: Some(self.name.clone()), kind: Some(TypeProto { tensor_type: Some(tensor) }) }
    }
}

/// The elements of a constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<'a> {
    /// float32
    Floats(Cow<'a, [f32]>),
    /// int64
    Integers(Vec<i64>),
}

/// A constant of the graph: a weight, or a number of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Initializer<'a> {
    /// Of the value in the graph.
    pub name: String,
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Data<'a>,
}

impl Initializer<'_> {
    /// `TensorProto.DataType`
    pub(super) fn data_type(&self) -> i32 {
        match self.data {
            Data::Floats(_) => FLOAT,
            Data::Integers(_) => INT64,
        }
    }

    /// Its elements, little-endian as this machine is.
    pub(super) fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.data {
            #[cfg(target_endian = "little")]
            Data::Floats(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            #[cfg(not(target_endian = "little"))]
            Data::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into(),
            Data::Integers(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into(),
        }
    }

    /// How many bytes they are.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => size_of_val(&values[..]),
            Data::Integers(values) => size_of_val(&values[..]),
        }
    }
}
