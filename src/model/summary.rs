use super::Architecture;

/// One line of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub path: String,
    pub kind: &'static str,
    /// For one image.
    pub output_shape: Vec<usize>,
    pub parameters: u64,
    /// Of matrix products in a forward pass over one image, a multiply-add counting two.
    pub flops: u64,
}

/// What Keras' `Model.summary()` shows, and the work per image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub rows: Vec<Row>,
    pub parameters: u64,
    pub flops: u64,
}

impl Architecture {
    /// Layers, shapes, parameters and work.
    pub fn summary(&self) -> Summary {
        let rows: Vec<Row> = self
            .layers()
            .iter()
            .map(|node| Row {
                path: node.path.clone(),
                kind: node.kind,
                output_shape: node.layer.output_shape(),
                parameters: node.layer.parameters().iter().map(|parameter| parameter.len() as u64).sum(),
                flops: node.layer.flops(),
            })
            .collect();
        let parameters = rows.iter().map(|row| row.parameters).sum();
        let flops = rows.iter().map(|row| row.flops).sum();
        Summary { rows, parameters, flops }
    }
}
