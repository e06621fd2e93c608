use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, ParameterSpec, tokens};
use crate::graph::{Builder, Initializer, Value};

/// `class_token(count = 1, initializer = auto)`: learned tokens in front of the others, Dosovitskiy et
/// al. 2020. One starts at zero, as theirs. Several would stay equal if they started so: they start
/// from a normal distribution, as registers do (Darcet et al. 2024). `take_class_token` takes the
/// first one out again.
pub const KIND: LayerKind = LayerKind {
    name: "class_token",
    meaning: "puts learned tokens in front of the others; one starts at zero, several at random",
    shape: "`[tokens, dim]` to `[tokens + count, dim]`",
    source: "ViT, Dosovitskiy et al. 2021",
    inputs: Inputs::Current,
    arguments: &[
        Argument::optional("count", Kind::Size, Default::Int(1)),
        Argument::optional("initializer", Kind::Choice(&["auto", "zeros", "normal"]), Default::Word("auto")),
    ],
    build: |_, shapes, arguments| {
        let (tokens, dim) = tokens("class_token", shapes)?;
        let count = arguments.size("count");
        let normal = match arguments.word("initializer") {
            "normal" => true,
            "zeros" => false,
            _ => count > 1,
        };
        let initializer = if normal { Initializer::TruncatedNormal { stddev: STDDEV } } else { Initializer::Zeros };
        Ok(Box::new(ClassToken { count, tokens, dim, initializer }))
    },
};

/// Of tokens that start at random, as in ViT.
const STDDEV: f32 = 0.02;

#[derive(Debug)]
struct ClassToken {
    count: usize,
    tokens: usize,
    dim: usize,
    initializer: Initializer,
}

impl Layer for ClassToken {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.tokens.saturating_add(self.count), self.dim]
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        vec![ParameterSpec::plain("token", &[self.count, self.dim], self.initializer)]
    }

    fn equal_tokens(&self) -> usize {
        if self.initializer == Initializer::Zeros { self.count } else { 0 }
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let token = builder.expand(&parameters[0], inputs[0].shape[0]);
        builder.concat(&[&token, &inputs[0]], 1)
    }
}
