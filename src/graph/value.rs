use luminal::prelude::{NodeIndex, ShapeTracker};

/// One tensor of the graph: an output of a node, and its shape (row-major, batch first where there
/// is a batch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Makes the tensor.
    pub node: NodeIndex,
    /// Which of the node's outputs it is, from 0.
    pub output: u8,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
}

/// The two ends of a network on a graph: images `[batch, height, width, channels]` and logits
/// `[batch, num_classes]`.
#[derive(Debug, Clone)]
pub struct Network {
    /// Normalised, channels last.
    pub images: Value,
    /// Before softmax.
    pub logits: Value,
}

impl Value {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when some dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows when all axes but the last are merged.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    pub(crate) fn tracker(&self) -> ShapeTracker {
        tracker(&self.shape)
    }
}

/// The contiguous luminal tracker of a shape. luminal holds six dimensions at most, and a graph
/// edge only needs the extent of a contiguous tensor, so more dimensions are merged into one.
pub(crate) fn tracker(shape: &[usize]) -> ShapeTracker {
    let dims = if shape.len() > 6 { vec![shape.iter().product()] } else { shape.to_vec() };
    ShapeTracker::new(&dims.into_iter().map(Into::into).collect::<Vec<_>>())
}
