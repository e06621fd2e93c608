use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, ParameterSpec, last_axis, volume};
use crate::graph::{Builder, Initializer, Value, expression::Expression, ops::Operand};

/// `group_norm(groups = 32, epsilon = 1e-3)`: mean 0 and variance 1 over all places and over the channels of a group, for
/// each image, then a learned scale and offset of each channel: Wu & He 2018. `groups = -1` makes each channel a group,
/// which is instance normalization.
pub const KIND: LayerKind = LayerKind {
    name: "group_norm",
    meaning: "mean 0 and variance 1 of groups of channels of each image, then a learned scale and offset; -1 groups: of each channel",
    shape: "any to itself",
    source: "`keras.layers.GroupNormalization`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::optional("groups", Kind::Int, Default::Int(32)),
        Argument::optional("epsilon", Kind::Positive, Default::Float(1e-3)),
    ],
    build: |_, shapes, arguments| {
        let (shape, channels) = last_axis("group_norm", shapes)?;
        let asked = arguments.int("groups");
        let groups = if asked == -1 { channels } else { usize::try_from(asked).unwrap_or(0) };
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Misfit::new(
                format!("{channels} channels cannot be split into {asked} groups of one size"),
                format!("needs a divisor of {channels}, or -1"),
            )
            .blame("groups"));
        }
        Ok(Box::new(GroupNorm { shape, groups, epsilon: arguments.number("epsilon") }))
    },
};

#[derive(Debug)]
struct GroupNorm {
    shape: Vec<usize>,
    groups: usize,
    epsilon: f32,
}

impl GroupNorm {
    fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Of x `[images, places, channels]` the mean of each group, divided by its channels, at each of them: `[images,
    /// channels]`.
    fn share_of_mean(&self, builder: &mut Builder, x: &Value) -> Value {
        let (images, channels) = (x.shape[0], self.channels());
        let mean = builder.mean(x, 1);
        if self.groups == channels {
            return mean;
        }
        let in_groups = builder.reshape(&mean, &[images, self.groups, channels / self.groups]);
        let mean = builder.mean(&in_groups, 2);
        let spread = builder.spread(&mean, 2, channels / self.groups);
        builder.reshape(&spread, &[images, channels])
    }
}

impl Layer for GroupNorm {
    fn output_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let channels = [self.channels()];
        vec![
            ParameterSpec::plain("gamma", &channels, Initializer::Ones),
            ParameterSpec::plain("beta", &channels, Initializer::Zeros),
        ]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let (channels, epsilon) = (self.channels(), self.epsilon);
        let x = builder.reshape(&inputs[0], &[inputs[0].shape[0], volume(&self.shape) / channels, channels]);
        // As many times a share as a group has channels is the mean.
        let count = (channels / self.groups) as f32;
        let mean = self.share_of_mean(builder, &x);
        let distance = Expression::new(2, |x| {
            let centred = &x[0] - &x[1] * count;
            &centred * &centred
        });
        let square = builder.pointwise("square", distance, &[(&x, Operand::Whole), (&mean, Operand::PerImage)]);
        let variance = self.share_of_mean(builder, &square);
        let norm = Expression::new(5, |x| {
            (&x[0] - &x[1] * count) * (&x[2] * count + epsilon).sqrt().reciprocal() * &x[3] + &x[4]
        });
        let operands = [
            (&x, Operand::Whole),
            (&mean, Operand::PerImage),
            (&variance, Operand::PerImage),
            (&parameters[0], Operand::Shared),
            (&parameters[1], Operand::Shared),
        ];
        let y = builder.pointwise(KIND.name, norm, &operands);
        builder.reshape(&y, &inputs[0].shape)
    }
}
