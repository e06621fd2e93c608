use super::{
    Argument, Arguments, Default, Inputs, Kind, Layer, LayerKind, Misfit, ParameterSpec,
    activation::{self, Function},
    flops, glorot, initializers, windows,
};
use crate::graph::{Builder, Initializer, Operation, Value, ops};

/// `conv2d(filters, kernel_size, strides, padding, groups, dilation, activation, use_bias)`.
pub const KIND: LayerKind = LayerKind {
    name: "conv2d",
    meaning: "a learned kernel moves over the image: each pixel becomes a linear map of its neighbourhood",
    shape: "`[h, w, c]` to `[h/strides, w/strides, filters]`",
    source: "`keras.layers.Conv2D`, with `padding = same` where nothing is said",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("filters", Kind::Size),
        Argument::required("kernel_size", Kind::Sizes),
        Argument::optional("strides", Kind::Sizes, Default::Int(1)),
        Argument::optional("padding", Kind::Padding, Default::Word("same")),
        Argument::optional("groups", Kind::Size, Default::Int(1)),
        Argument::optional("dilation", Kind::Sizes, Default::Int(1)),
        Argument::optional("activation", activation::WORD, Default::Word("none")),
        Argument::optional("use_bias", Kind::Bool, Default::Bool(true)),
        initializers::KERNEL,
    ],
    build: |_, shapes, arguments| {
        let [height, width, channels] = windows::image("conv2d", shapes)?;
        let (filters, groups) = (arguments.size("filters"), arguments.size("groups"));
        for (what, count) in [("channels of the image", channels), ("filters", filters)] {
            if !count.is_multiple_of(groups) {
                return Err(Misfit::new(
                    format!("the {count} {what} do not divide into {groups} groups"),
                    format!("{groups} groups"),
                )
                .blame("groups"));
            }
        }
        let [down, across] = arguments.pair("kernel_size")?;
        let kernel = [down, across, channels / groups, filters];
        Ok(Box::new(Convolution::new([height, width, channels], kernel, kernel, groups, arguments)?))
    },
};

/// A convolution with its bias and its activation.
#[derive(Debug)]
pub struct Convolution {
    from: [usize; 3],
    /// The kernel's shape as Keras has it.
    stored: [usize; 4],
    /// `[height, width, channels / groups, filters]`.
    kernel: [usize; 4],
    conv: ops::Conv2d,
    bias: bool,
    activation: Option<Function>,
}

impl Convolution {
    /// Of images by a kernel, which Keras stores as `stored`, with what convolutions have in common among their arguments.
    ///
    /// # Errors
    /// When the kernel has no room in the images.
    pub fn new(
        from @ [height, width, _]: [usize; 3],
        stored: [usize; 4],
        kernel: [usize; 4],
        groups: usize,
        arguments: &Arguments,
    ) -> Result<Self, Misfit> {
        let conv = windows::convolution(
            [height, width],
            [kernel[0], kernel[1]],
            arguments.pair("strides")?,
            arguments.padding("padding"),
            arguments.pair("dilation")?,
            groups,
        )?;
        let activation = Function::from_word(arguments.word("activation"));
        Ok(Self { from, stored, kernel, conv, bias: arguments.flag("use_bias"), activation })
    }

    fn batched(&self) -> [usize; 4] {
        let [height, width, channels] = self.from;
        [1, height, width, channels]
    }

    /// Whether it is a linear map of each pixel alone.
    fn is_dense(&self) -> bool {
        let ops::Conv2d { strides, padding, groups, .. } = self.conv;
        self.kernel[..2] == [1; 2] && strides == [1; 2] && padding == [[0; 2]; 2] && groups == 1
    }
}

impl Layer for Convolution {
    fn output_shape(&self) -> Vec<usize> {
        self.conv.output_shapes(&[&self.batched(), &self.kernel]).swap_remove(0).split_off(1)
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let kernel = ParameterSpec::plain("kernel", &self.stored, glorot(&self.stored));
        let kernel = match self.is_dense() {
            true => kernel.computed_as(&self.kernel[2..]),
            false => kernel.computed_as(&self.kernel),
        };
        let bias = ParameterSpec::plain("bias", &[self.kernel[3]], Initializer::Zeros);
        [kernel].into_iter().chain(self.bias.then_some(bias)).collect()
    }

    fn flops(&self) -> u64 {
        let shape = self.output_shape();
        let [height, width, channels, filters] = self.kernel;
        flops(&[2, shape[0], shape[1], height, width, channels, filters])
    }

    fn activation(&self) -> Option<Function> {
        self.activation
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], parameters: &[Value]) -> Value {
        let y = if self.is_dense() {
            builder.dense(&inputs[0], &parameters[0], parameters.get(1))
        } else {
            let operands: Vec<&Value> = inputs.iter().chain(parameters).collect();
            builder.apply_one(self.conv, &operands)
        };
        match self.activation {
            Some(function) => function.lower(builder, &y),
            None => y,
        }
    }
}
