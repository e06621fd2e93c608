use super::{Inputs, Layer, LayerKind, ParameterSpec, tokens};
use crate::graph::{Builder, Initializer, Value};

/// `class_token`: a learned token in front of the others, Dosovitskiy et al. 2020. It starts at
/// zero, as theirs. `take_class_token` takes it out again.
pub const KIND: LayerKind = LayerKind {
    name: "class_token",
    inputs: Inputs::Current,
    arguments: &[],
    build: |shapes, _| {
        let (tokens, dim) = tokens("class_token", shapes)?;
        Ok(Box::new(ClassToken { tokens, dim }))
    },
};

#[derive(Debug)]
struct ClassToken {
    tokens: usize,
    dim: usize,
}

impl Layer for ClassToken {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.tokens + 1, self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("token", &[1, self.dim], Initializer::Zeros)]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let token = builder.expand(&parameters[0], inputs[0].shape[0]);
        builder.concat(&[&token, &inputs[0]], 1)
    }
}
