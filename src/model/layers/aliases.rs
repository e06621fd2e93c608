//! What layers and arguments are called in Keras, PyTorch and timm.

/// A name of another library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// The layer or block that it is here, and what to mind.
    Here(&'static str, &'static str),
    /// There is none like it, and what to do instead.
    Nothing(&'static str),
}

use Elsewhere::{Here, Nothing};

const CONVOLUTION: &str = "it takes its filters, not the channels of its input: `conv2d(filters, kernel_size)`";
const NO_CONVOLUTION: &str = "the convolutions are `conv2d` and `depthwise_conv2d`";
const NO_POOL: &str = "`reduce_max(axis = [0, 1])` of an image, `reduce_max(axis = 0)` of tokens";
const NO_RECURRENCE: &str = "there are no recurrent layers; `attention` mixes tokens";
const NO_MODEL: &str = "the network is the `model` of the file, and what trains it is in the experiment";

/// Lower case, without `_` and without what a library puts in front or behind.
const NAMES: &[(&[&str], Elsewhere)] = &[
    (&["layernormalization", "layernorm", "ln", "norm", "normlayer"], Here("layer_norm", "")),
    (
        &[
            "multiheadattention",
            "multiheadselfattention",
            "selfattention",
            "mha",
            "msa",
            "mhsa",
            "attn",
            "scaleddotproductattention",
        ],
        Here("attention", "`attention(num_heads, key_dim)`, of the current tensor with itself"),
    ),
    (
        &["linear", "fc", "fullyconnected", "lazylinear", "proj", "projection"],
        Here("dense", "it takes the size of its output, not of its input: `dense(units)`"),
    ),
    (
        &["head", "classifier", "output", "logits"],
        Here("dense", "`dense(num_classes)` ends a model; `head: dense(num_classes)` names it"),
    ),
    (
        &[
            "globalaveragepooling",
            "globalavgpool",
            "globalavgpooling",
            "adaptiveavgpool",
            "gap",
            "avgpool",
            "meanpool",
            "globalpool",
        ],
        Here("global_average_pool", ""),
    ),
    (
        &["concatenate", "cat", "hstack", "vstack", "concatenation"],
        Here("concat", "`concat(x, y, axis = 1)`, of tensors that `let` has named"),
    ),
    (
        &["addition", "sum", "plus"],
        Here("add", "`add(x, y)`, of tensors that `let` has named; `residual { .. }` adds a branch to its input"),
    ),
    (
        &["permute", "movedim", "swapaxes", "permutation"],
        Here("transpose", "`transpose([1, 0])`, counted from 0 without the batch"),
    ),
    (&["narrow", "crop", "cropping", "stridedslice", "dynamicslice"], Here("slice", "`slice(start, size, axis = 1)`")),
    (&["constantpad", "padding"], Here("pad", "`pad(before, after, axis = [0, 1])`, zeros")),
    (&["swish"], Here("silu", "")),
    (&["hardswish"], Here("hard_silu", "")),
    (&["gelutanh", "quickgelu", "geluapproximate"], Here("gelu", "it is the exact one")),
    (&["logsoftmax"], Here("softmax", "")),
    (&["activation"], Here("gelu", "each activation is a layer of its name: `gelu`, `relu`, `silu`, `sigmoid`, ..")),
    (&["view", "unflatten", "rearrange", "targetshape"], Here("reshape", "`reshape([64, 48])`, without the batch")),
    (&["ravel"], Here("flatten", "")),
    (&["rescaling"], Here("scale", "`scale(factor)`, times a number")),
    (&["mul", "times", "product"], Here("multiply", "`x * y`, or `multiply(x, y)`, of tensors that `let` has named")),
    (&["sub", "minus", "difference"], Here("subtract", "`x - y`, of tensors that `let` has named")),
    (&["div", "divide", "truediv"], Here("multiply", "`x / y`, of tensors that `let` has named")),
    (&["neg", "negative"], Here("scale", "`-x` of a tensor that `let` has named, or `scale(-1)`")),
    (
        &["mean", "reducemean"],
        Here("reduce_mean", "`reduce_mean(axis)`; `global_average_pool` is over all axes but the last"),
    ),
    (&["max", "amax", "reducemax"], Here("reduce_max", "`reduce_max(axis)`; `maximum(x, y)` is of tensors")),
    (&["min"], Here("minimum", "`minimum(x, y)`, of tensors")),
    (
        &["patchembed", "patchembedding", "patchembeddings", "patchify", "extractpatches", "createpatches"],
        Here("patches", "`patches(size)`, then `patch_encoder(dim)`"),
    ),
    (
        &["embedding", "embeddings", "positionalembedding", "posembed", "positionalencoding", "addpositionembs"],
        Here("position_embedding", "`patch_encoder(dim)` projects each patch first"),
    ),
    (
        &["sinepositionencoding", "sincospositionembedding", "sinusoidalpositionalencoding", "sinusoid"],
        Here("position_embedding", "`position_embedding(kind = sinusoidal)`"),
    ),
    (
        &["clstoken", "cls", "classtoken", "classembedding", "addclasstoken"],
        Here("class_token", "`take_class_token` takes it out again"),
    ),
    (&["getclstoken", "takecls", "select", "gather", "getitem"], Here("take", "`take(0)` is the first token")),
    (&["feedforward", "ffn", "ff", "mlpblock", "feedforwardnetwork"], Here("mlp", "`mlp([hidden, dim])`")),
    (
        &[
            "transformerencoderlayer",
            "transformerencoder",
            "transformerlayer",
            "transformer",
            "encoderlayer",
            "encoderblock",
            "encoder",
            "vitblock",
            "transformerblock",
        ],
        Here("transformer_block", "`transformer_block(num_heads, key_dim, units)`, repeated by `repeat .. ×depth`"),
    ),
    (&["dropout", "spatialdropout", "alphadropout"], Here("dropout", "")),
    (&["dense"], Here("dense", "")),
    (&["flatten"], Here("flatten", "")),
    (&["gelu"], Here("gelu", "")),
    (&["relu"], Here("relu", "")),
    (&["silu"], Here("silu", "")),
    (&["tanh"], Here("tanh", "")),
    (&["sigmoid"], Here("sigmoid", "")),
    (&["relu6"], Here("relu6", "")),
    (&["leakyrelu"], Here("leaky_relu", "")),
    (&["elu"], Here("elu", "")),
    (&["softplus"], Here("softplus", "")),
    (&["hardsigmoid"], Here("hard_sigmoid", "")),
    (&["hardsilu"], Here("hard_silu", "")),
    (&["mish"], Here("mish", "")),
    (&["softmax"], Here("softmax", "")),
    (&["reshape"], Here("reshape", "")),
    (&["add"], Here("add", "`add(x, y)`, of tensors that `let` has named")),
    (&["concat"], Here("concat", "")),
    (&["transpose"], Here("transpose", "")),
    (&["mlp"], Here("mlp", "")),
    (&["attention"], Here("attention", "")),
    (&["patches"], Here("patches", "")),
    (&["patchencoder"], Here("patch_encoder", "")),
    (&["conv", "convolution", "lazyconv"], Here("conv2d", CONVOLUTION)),
    (&["depthwiseconv", "depthwise"], Here("depthwise_conv2d", "")),
    (&["separableconv"], Nothing("it is two layers: `depthwise_conv2d(kernel_size)`, then `conv2d(filters, 1)`")),
    (&["convtranspose", "conv2dtranspose", "deconv", "upsampling", "upsample"], Nothing(NO_CONVOLUTION)),
    (&["zeropadding", "zeropad"], Here("zero_padding2d", "")),
    (&["batchnorm", "batchnormalization", "syncbatchnorm", "lazybatchnorm", "bn"], Here("batch_norm", "")),
    (
        &["unitnormalization", "spectralnormalization"],
        Nothing("the norms are `layer_norm`, `batch_norm`, `group_norm` and `rms_norm`"),
    ),
    (
        &["groupnorm", "groupnormalization"],
        Here("group_norm", "it takes its groups, not its channels: `group_norm(groups)`"),
    ),
    (&["instancenorm"], Here("group_norm", "`group_norm(groups = -1)`")),
    (&["scalarmix", "weightedadd", "fastnormalizedfusion"], Here("weighted_sum", "of tensors that `let` has named")),
    (
        &["shared"],
        Nothing("it stands behind a `let`, before a layer, a block or braces: `let encode = shared dense(64)`"),
    ),
    (
        &["frozen", "freeze", "stopgradient", "detach", "requiresgrad", "trainable", "nograd"],
        Nothing("what is not trained stands in `frozen { .. }`, or `frozen` before a layer"),
    ),
    (&["residual", "skip", "skipconnection"], Nothing("`residual { .. }` adds what stands in it to its input")),
    (&["repeat"], Nothing("layers are repeated by `repeat layer ×8` or `repeat ×8 { .. }`")),
    (&["rmsnorm", "rmsnormalization"], Here("rms_norm", "")),
    (&["affine"], Here("affine", "")),
    (&["seqpool", "sequencepool", "sequencepooling"], Here("sequence_pool", "")),
    (&["maxpool", "maxpooling"], Here("max_pool2d", "")),
    (&["averagepooling"], Here("average_pool2d", "")),
    (&["globalmaxpooling", "globalmaxpool", "adaptivemaxpool"], Here("reduce_max", NO_POOL)),
    (&["lstm", "gru", "rnn", "simplernn", "bidirectional", "timedistributed"], Nothing(NO_RECURRENCE)),
    (&["stochasticdepth"], Here("drop_path", "at the end of a `residual`")),
    (&["glu", "geglu", "swiglu"], Nothing("a gate is a product: `(dense(units) -> silu) * dense(units)`")),
    (&["identity"], Nothing("leave it out: a layer that does nothing is not needed")),
    (&["selu", "prelu", "softsign", "celu", "exponential"], Nothing("`vitx layers` lists the activations there are")),
    (
        &["sequential", "modulelist", "module", "functional", "net"],
        Nothing("statements follow each other: each takes what the one before gave"),
    ),
    (
        &["input", "inputlayer", "inputs", "inputshape"],
        Nothing("leave it out: a model takes the data set's images; a parameter `image_size` resizes them"),
    ),
    (
        &["compile", "fit", "crossentropyloss", "adamw", "adam", "sgd", "loss", "optimizer", "summary"],
        Nothing(NO_MODEL),
    ),
    (
        &[
            "randomflip",
            "randomrotation",
            "randomzoom",
            "randomcrop",
            "resizing",
            "resize",
            "normalize",
            "normalization",
            "centercrop",
            "randomtranslation",
            "randomcontrast",
        ],
        Nothing(
            "images are normed by the data set's statistics, resized to `image_size`, and changed by the experiment's `augmentation`",
        ),
    ),
    (
        &["dot", "matmul", "einsum", "bmm"],
        Nothing("tensors are merged element by element, `x + y` and `x * y`, and by `concat`"),
    ),
    (
        &["print", "len", "range", "int", "float", "list", "super", "self"],
        Nothing("a file says what the network is, and runs nothing"),
    ),
    (&["lambda"], Nothing("a layer of your own is a `block name(parameters) { layers }`")),
];

/// Arguments by their name here; both lower case, without `_`.
const ARGUMENTS: &[(&str, &[&str])] = &[
    (
        "units",
        &[
            "outfeatures",
            "outdim",
            "outputdim",
            "hiddendim",
            "hiddenfeatures",
            "hidden",
            "hiddenunits",
            "features",
            "filters",
            "outchannels",
            "size",
            "dim",
            "mlpdim",
            "dims",
            "width",
            "dimfeedforward",
            "numclasses",
        ],
    ),
    ("num_heads", &["heads", "numhead", "nhead", "nheads", "numattentionheads", "head"]),
    ("key_dim", &["headdim", "dimhead", "dim", "dmodel", "embeddim", "kdim", "headsize", "projectiondim", "keydims"]),
    ("value_dim", &["vdim", "valuedims"]),
    ("rate", &["p", "prob", "probability", "dropout", "droprate", "dropoutrate", "drop"]),
    ("dropout", &["p", "rate", "droprate", "dropoutrate", "drop", "attndrop", "attentiondropout", "projdrop"]),
    ("epsilon", &["eps", "layernormeps"]),
    ("use_bias", &["bias", "qkvbias", "usebiases"]),
    ("kernel", &["kernelinitializer", "initializer", "init", "weightinit", "kernelinit"]),
    ("activation", &["act", "actlayer", "nonlinearity", "fn", "activationfn", "hiddenact"]),
    ("size", &["patchsize", "patch", "kernelsize", "sizes", "patches"]),
    ("dim", &["projectiondim", "embeddim", "hiddendim", "dmodel", "outputdim", "units", "width"]),
    ("axis", &["dim", "concataxis", "along"]),
    ("shape", &["targetshape", "size", "outputshape", "newshape"]),
    ("permutation", &["dims", "perm", "axes", "order"]),
    ("factor", &["scale", "by", "multiplier", "alpha"]),
    ("filters", &["outchannels", "outfeatures", "channels", "features", "units"]),
    ("kernel_size", &["size", "ksize", "k", "window"]),
    ("pool_size", &["kernelsize", "size", "window"]),
    ("strides", &["stride", "step"]),
    ("dilation", &["dilationrate", "rate"]),
    ("depth_multiplier", &["channelmultiplier", "multiplier"]),
    ("index", &["i", "token", "position", "dim"]),
];

fn folded(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// What a layer of another library is here: `nn.LayerNorm`, `keras.layers.GlobalAveragePooling1D`.
pub fn elsewhere(name: &str) -> Option<Elsewhere> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let name = folded(name);
    let find = |name: &str| NAMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, meaning)| *meaning);
    let short = name.trim_end_matches("1d").trim_end_matches("2d").trim_end_matches("3d").trim_end_matches("layer");
    find(&name).or_else(|| find(short))
}

/// Whether an argument of another library says if a layer is trained: `trainable`, `requires_grad`.
pub fn says_trained(name: &str) -> bool {
    ["frozen", "trainable", "requiresgrad", "freeze"].contains(&folded(name).as_str())
}

/// Most arguments that are compared with names of other libraries.
const MOST_ARGUMENTS: usize = 32;

/// The argument that another library's name stands for, among those that a layer has.
pub fn argument_alias<'a>(name: &str, arguments: &[&'a str]) -> Option<&'a str> {
    // Layers have few; a block with more is the file's own.
    if arguments.len() > MOST_ARGUMENTS {
        return None;
    }
    let name = folded(name);
    let same = arguments.iter().find(|argument| folded(argument) == name);
    let known =
        |argument: &&&str| ARGUMENTS.iter().any(|(own, names)| own == *argument && names.contains(&name.as_str()));
    same.or_else(|| arguments.iter().find(known)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::{LAYERS, catalogue};

    /// Help never sends anybody to a layer or argument that is not there.
    #[test]
    fn names_are_those_of_layers() {
        let blocks = catalogue();
        for (names, meaning) in NAMES {
            if let Here(name, _) = meaning {
                assert!(blocks.iter().any(|block| block.name == *name), "{name} of {names:?}");
            }
        }
        let arguments: Vec<&str> =
            LAYERS.iter().flat_map(|layer| layer.arguments).map(|argument| argument.name).collect();
        for (name, _) in ARGUMENTS {
            assert!(arguments.contains(name), "{name}");
        }
    }

    #[test]
    fn names_of_other_libraries_are_known() {
        for (theirs, ours) in [
            ("LayerNormalization", "layer_norm"),
            ("nn.LayerNorm", "layer_norm"),
            ("layers.MultiHeadAttention", "attention"),
            ("nn.Linear", "dense"),
            ("keras.layers.Dense", "dense"),
            ("GlobalAveragePooling1D", "global_average_pool"),
            ("nn.AdaptiveAvgPool2d", "global_average_pool"),
            ("Concatenate", "concat"),
            ("torch.cat", "concat"),
            ("Permute", "transpose"),
            ("swish", "silu"),
            ("nn.SiLU", "silu"),
            ("GELU", "gelu"),
            ("nn.LeakyReLU", "leaky_relu"),
            ("nn.Hardswish", "hard_silu"),
            ("ReLU6", "relu6"),
            ("Flatten", "flatten"),
            ("nn.Dropout", "dropout"),
            ("PatchEmbed", "patches"),
            ("cls_token", "class_token"),
            ("Embedding", "position_embedding"),
            ("StochasticDepth", "drop_path"),
            ("torch.mul", "multiply"),
            ("nn.Conv2d", "conv2d"),
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_norm"),
            ("nn.BatchNorm1d", "batch_norm"),
            ("AveragePooling2D", "average_pool2d"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("GroupNormalization", "group_norm"),
            ("nn.InstanceNorm2d", "group_norm"),
            ("GlobalMaxPooling2D", "reduce_max"),
            ("tf.reduce_mean", "reduce_mean"),
            ("torch.narrow", "slice"),
            ("SinePositionEncoding", "position_embedding"),
        ] {
            assert!(
                matches!(elsewhere(theirs), Some(Here(name, _)) if name == ours),
                "{theirs}: {:?}",
                elsewhere(theirs)
            );
        }
        for theirs in ["nn.ConvTranspose2d", "SeparableConv2D", "UnitNormalization", "SwiGLU", "LSTM", "SELU"] {
            assert!(matches!(elsewhere(theirs), Some(Nothing(_))), "{theirs}: {:?}", elsewhere(theirs));
        }
        assert_eq!(elsewhere("banana"), None);
        assert_eq!(argument_alias("out_features", &["units", "activation"]), Some("units"));
        assert_eq!(argument_alias("eps", &["epsilon"]), Some("epsilon"));
        assert_eq!(argument_alias("p", &["rate"]), Some("rate"));
        assert_eq!(argument_alias("numHeads", &["num_heads"]), Some("num_heads"));
        assert_eq!(argument_alias("colour", &["units"]), None);
    }
}
