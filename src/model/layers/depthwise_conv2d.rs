use super::{Argument, Default, Inputs, Kind, LayerKind, activation, conv2d::Convolution, initializers, windows};

/// `depthwise_conv2d(kernel_size, strides, padding, depth_multiplier, dilation, activation, use_bias)`.
pub const KIND: LayerKind = LayerKind {
    name: "depthwise_conv2d",
    meaning: "a learned kernel for each channel moves over the image",
    shape: "`[h, w, c]` to `[h/strides, w/strides, c * depth_multiplier]`",
    source: "`keras.layers.DepthwiseConv2D`, with `padding = same` where nothing is said",
    inputs: Inputs::Current,
    arguments: &[
        Argument::required("kernel_size", Kind::Sizes),
        Argument::optional("strides", Kind::Sizes, Default::Int(1)),
        Argument::optional("padding", Kind::Padding, Default::Word("same")),
        Argument::optional("depth_multiplier", Kind::Size, Default::Int(1)),
        Argument::optional("dilation", Kind::Sizes, Default::Int(1)),
        Argument::optional("activation", activation::WORD, Default::Word("none")),
        Argument::optional("use_bias", Kind::Bool, Default::Bool(true)),
        initializers::KERNEL,
    ],
    build: |_, shapes, arguments| {
        let [height, width, channels] = windows::image("depthwise_conv2d", shapes)?;
        let ([down, across], times) = (arguments.pair("kernel_size")?, arguments.size("depth_multiplier"));
        let stored = [down, across, channels, times];
        let kernel = [down, across, 1, channels.saturating_mul(times)];
        Ok(Box::new(Convolution::new([height, width, channels], stored, kernel, channels, arguments)?))
    },
};
