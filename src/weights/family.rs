use std::{fmt, sync::LazyLock};

use serde_json::Value;

use super::{Rule, import::Config, rule::Name};

/// What a library calls the tensors of a layer, and how it stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours, which is Keras'.
    Vitx,
    /// PyTorch's: `weight [out, in, window..]`.
    Torch,
}

impl Dialect {
    /// The end of a tensor's name, by ours.
    fn last(self, ours: &str) -> Option<&'static str> {
        match self {
            Self::Vitx => None,
            Self::Torch => Some(match ours {
                "kernel" | "gamma" => ".weight",
                "bias" | "beta" => ".bias",
                "moving_mean" => ".running_mean",
                "moving_variance" => ".running_var",
                _ => return None,
            }),
        }
    }
}

/// Networks whose parameters a library names alike.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The word for its library in `init.names`.
    pub library: &'static str,
    /// Which networks.
    pub about: &'static str,
    /// How its tensors are stored.
    pub dialect: Dialect,
    /// What may stand before all names.
    pub prefixes: &'static [&'static str],
    /// Tensors that such files have besides, and no network here takes: patterns.
    pub besides: &'static [&'static str],
    /// Lines of [`Rule`].
    lines: &'static str,
    /// The name of a network's text in `experiments/zoo` that has these parameters, and the text.
    pub model: &'static str,
    /// The text itself.
    pub text: &'static str,
    /// Parameters of ours by which a file is known.
    pub signature: &'static [&'static str],
    /// The parameters of the text, by what a file has.
    pub params: fn(&Facts) -> Result<Params, String>,
}

/// Values of a network's parameters, by name.
pub type Params = Vec<(&'static str, Param)>;

/// The value of a network's parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// One number.
    Number(i64),
    /// A list of them.
    List(Vec<i64>),
}

impl From<i64> for Param {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::List(numbers) => write!(f, "{numbers:?}"),
        }
    }
}

/// What is known of a file of weights.
pub struct Facts<'a> {
    /// The shape of the tensor that is a parameter of ours, as the file has it.
    pub shape: &'a dyn Fn(&str) -> Option<Vec<usize>>,
    /// What stands beside it.
    pub config: &'a Config,
}

impl Facts<'_> {
    /// A number of the network's config, by the first of these pointers that is one.
    fn number(&self, pointers: &[&str]) -> Option<i64> {
        let network = self.config.network.as_ref()?;
        pointers.iter().find_map(|pointer| network.pointer(pointer)?.as_i64())
    }

    /// How often a block is repeated.
    fn repeats(&self, of: impl Fn(usize) -> String) -> i64 {
        (0..).take_while(|&index| (self.shape)(&of(index)).is_some()).count() as i64
    }
}

/// ViT, by the shapes of its tensors. Heads leave no trace in these: 64 wide, as all that were published, or as the config
/// says.
fn vit(facts: &Facts) -> Result<Params, String> {
    let kernel = (facts.shape)("embed/kernel").filter(|shape| shape.len() == 4).ok_or("its patches are no squares")?;
    let tokens = (facts.shape)("position_embedding/embeddings").and_then(|shape| shape.iter().rev().nth(1).copied());
    let (dim, patch_size) = (kernel[0] as i64, kernel[2] as i64);
    let side = tokens.unwrap_or(1).saturating_sub(1).isqrt();
    if tokens != Some(side * side + 1) {
        return Err(format!("its position embeddings are of {tokens:?} tokens, not of a class token and a square"));
    }
    let hidden = (facts.shape)("encoder0/dense0/kernel").and_then(|shape| shape.first().copied());
    if hidden != Some(4 * kernel[0]) {
        return Err(format!("its feed-forward part is {hidden:?} wide, not four times {dim}"));
    }
    let named = facts.config.network.as_ref().and_then(|config| config.get("architecture")).and_then(Value::as_str);
    let given = facts.number(&["/num_attention_heads", "/model_args/num_heads"]);
    let published = (dim % 64 == 0 && (named.is_some() || facts.config.network.is_none())).then_some(dim / 64);
    let heads = given.or(published).filter(|heads| *heads > 0 && dim % heads == 0);
    let heads =
        heads.ok_or(format!("nothing tells how many heads {dim} channels are divided into: `config.json` may"))?;
    let depth = facts.repeats(|index| format!("encoder{index}/layer_norm0/gamma"));
    let image_size = side as i64 * patch_size;
    let sizes =
        [("image_size", image_size), ("patch_size", patch_size), ("dim", dim), ("depth", depth), ("num_heads", heads)];
    Ok(sizes.map(|(name, size)| (name, size.into())).into())
}

/// EfficientNet-Lite0, whose sizes are fixed; at the image size of the config.
fn efficientnet_lite0(facts: &Facts) -> Result<Params, String> {
    if (facts.shape)("stage6/first/conv2d1/kernel").is_none_or(|shape| shape[0] != 320) {
        return Err("it is wider or narrower than EfficientNet-Lite0".into());
    }
    let image_size = facts.number(&["/pretrained_cfg/input_size/1"]).unwrap_or(224);
    Ok(vec![("image_size", image_size.into()), ("stem_strides", 2.into())])
}

/// Swin of four stages, by the shapes of its tensors: offsets within a window are a table, whose columns are heads.
fn swin(facts: &Facts) -> Result<Params, String> {
    let kernel =
        (facts.shape)("embed/conv2d/kernel").filter(|shape| shape.len() == 4).ok_or("its patches are no squares")?;
    let table = |stage: usize| -> Option<[i64; 2]> {
        let shape = (facts.shape)(&format!("stage{stage}/layer0/attention/relative_positions/embeddings"))?;
        let &[offsets, heads] = &shape[..] else { return None };
        // Offsets of a window of n x n tokens are (2n - 1)^2.
        let side = offsets.isqrt();
        (side * side == offsets && side % 2 == 1).then_some([side.div_ceil(2) as i64, heads as i64])
    };
    let tables: Vec<[i64; 2]> = (0..4).map_while(table).collect();
    if tables.len() != 4 || (facts.shape)("stage4/layer0/layer_norm0/gamma").is_some() {
        return Err("it has not four stages of square windows".into());
    }
    let hidden = (facts.shape)("stage0/layer0/mlp/dense0/kernel").and_then(|shape| shape.first().copied());
    if hidden != Some(4 * kernel[0]) {
        return Err(format!("its feed-forward part is {hidden:?} wide, not four times {}", kernel[0]));
    }
    let depth = |stage: usize| facts.repeats(|index| format!("stage{stage}/layer{index}/layer_norm0/gamma"));
    Ok(vec![
        ("image_size", facts.number(&["/pretrained_cfg/input_size/1", "/image_size"]).unwrap_or(224).into()),
        ("patch_size", (kernel[2] as i64).into()),
        ("window", tables[0][0].into()),
        ("dim", (kernel[0] as i64).into()),
        ("depths", Param::List((0..4).map(depth).collect())),
        ("heads", Param::List(tables.iter().map(|[_, heads]| *heads).collect())),
    ])
}

/// ResNet, by the shapes of its tensors; at the image size of the config.
fn resnet(facts: &Facts) -> Result<Params, String> {
    let first = |stage: usize, tensor: &str| (facts.shape)(&format!("stage{stage}/first/body/{tensor}/kernel"));
    let width = first(1, "conv1").map_or(0, |shape| shape[0]);
    let expansion = first(1, "conv3").map_or(1, |_| 4);
    if first(1, "conv3").is_some_and(|shape| shape[0] != 4 * width) {
        return Err("its bottlenecks are not a quarter as wide as what they add to, as in a Wide ResNet".into());
    }
    if first(1, "conv2").is_none_or(|shape| shape[..2] != [width, width]) {
        return Err("its convolutions are in groups, as in a ResNeXt".into());
    }
    if first(4, "conv1").is_none_or(|shape| shape[0] != 8 * width) {
        return Err(format!("its last stage is not {} wide", 8 * width));
    }
    let depth = |stage: usize| 1 + facts.repeats(|unit| format!("stage{stage}/unit{unit}/body/conv1/kernel"));
    let image_size = facts.number(&["/pretrained_cfg/input_size/1"]).unwrap_or(224);
    Ok(vec![
        ("image_size", image_size.into()),
        ("width", (width as i64).into()),
        ("depth1", depth(1).into()),
        ("depth2", depth(2).into()),
        ("depth3", depth(3).into()),
        ("depth4", depth(4).into()),
        ("expansion", expansion.into()),
    ])
}

const VIT_SIGNATURE: &[&str] = &["embed/kernel", "class_token/token", "encoder0/layer_norm0/gamma"];
const SCALED_SIGNATURE: &[&str] = &["embed/kernel", "class_token/token", "encoder0/layer_scale0/gamma"];

const SWIN_SIGNATURE: &[&str] = &["embed/conv2d/kernel", "stage0/layer0/attention/relative_positions/embeddings"];

/// All families. A line of this table and a file of names add one.
pub static FAMILIES: &[Family] = &[
    // Before the other ViTs, whose tensors it has too.
    Family {
        library: "timm",
        about: "DINOv2 and other ViTs with layer scale, as `experiments/zoo/dinov2.vitx` has them",
        dialect: Dialect::Torch,
        prefixes: &["", "model."],
        besides: &["mask_token"],
        lines: include_str!("families/timm_vit.names"),
        model: "dinov2",
        text: include_str!("../../experiments/zoo/dinov2.vitx"),
        signature: SCALED_SIGNATURE,
        params: vit,
    },
    Family {
        library: "hf",
        about: "`Dinov2Model` and `Dinov2ForImageClassification` of transformers",
        dialect: Dialect::Torch,
        prefixes: &["dinov2.", ""],
        besides: &["*embeddings.mask_token"],
        lines: include_str!("families/hf_dinov2.names"),
        model: "dinov2",
        text: include_str!("../../experiments/zoo/dinov2.vitx"),
        signature: SCALED_SIGNATURE,
        params: vit,
    },
    Family {
        library: "timm",
        about: "ResNet, as `experiments/zoo/resnet50.vitx` has it (torchvision's have the same names)",
        dialect: Dialect::Torch,
        prefixes: &["", "model."],
        besides: &["*.num_batches_tracked"],
        lines: include_str!("families/timm_resnet.names"),
        model: "resnet50",
        text: include_str!("../../experiments/zoo/resnet50.vitx"),
        signature: &["stem/kernel", "stage1/first/body/conv1/kernel", "stage4/first/body/norm1/batch_norm/gamma"],
        params: resnet,
    },
    Family {
        library: "timm",
        about: "ViT and DeiT, as `experiments/zoo/deit_tiny.vitx` has them",
        dialect: Dialect::Torch,
        prefixes: &["", "model."],
        besides: &[],
        lines: include_str!("families/timm_vit.names"),
        model: "deit_tiny",
        text: include_str!("../../experiments/zoo/deit_tiny.vitx"),
        signature: VIT_SIGNATURE,
        params: vit,
    },
    Family {
        library: "timm",
        about: "EfficientNet-Lite, as `experiments/zoo/efficientnet_lite0.vitx` has it",
        dialect: Dialect::Torch,
        prefixes: &["", "model."],
        besides: &["*.num_batches_tracked"],
        lines: include_str!("families/timm_efficientnet_lite.names"),
        model: "efficientnet_lite0",
        text: include_str!("../../experiments/zoo/efficientnet_lite0.vitx"),
        signature: &["stem/conv2d/kernel", "head/conv2d/kernel", "stage6/first/conv2d1/kernel"],
        params: efficientnet_lite0,
    },
    Family {
        library: "timm",
        about: "Swin, as `experiments/zoo/swin.vitx` has it",
        dialect: Dialect::Torch,
        prefixes: &["", "model."],
        // Which row of the table is of which offset; masks: older files have them.
        besides: &["*.relative_position_index", "*.attn_mask"],
        lines: include_str!("families/timm_swin.names"),
        model: "swin",
        text: include_str!("../../experiments/zoo/swin.vitx"),
        signature: SWIN_SIGNATURE,
        params: swin,
    },
    Family {
        library: "hf",
        about: "`SwinForImageClassification` and `SwinModel`, as `experiments/zoo/swin.vitx` has them",
        dialect: Dialect::Torch,
        prefixes: &["swin.", ""],
        besides: &["*.relative_position_index"],
        lines: include_str!("families/hf_swin.names"),
        model: "swin",
        text: include_str!("../../experiments/zoo/swin.vitx"),
        signature: SWIN_SIGNATURE,
        params: swin,
    },
    Family {
        library: "hf",
        about: "`ViTForImageClassification`, `ViTModel` and DeiT of Hugging Face's transformers",
        dialect: Dialect::Torch,
        prefixes: &["vit.", "deit.", ""],
        besides: &["*pooler.dense.*", "vit.embeddings.mask_token", "embeddings.mask_token"],
        lines: include_str!("families/hf_vit.names"),
        model: "deit_tiny",
        text: include_str!("../../experiments/zoo/deit_tiny.vitx"),
        signature: VIT_SIGNATURE,
        params: vit,
    },
];

static RULES: LazyLock<Vec<Vec<Rule>>> = LazyLock::new(|| {
    // A test holds every line to its form: one that is none is left out here.
    let rules = |family: &Family| family.lines.lines().filter_map(|line| Rule::of_line(line).ok().flatten()).collect();
    FAMILIES.iter().map(rules).collect()
});

impl Family {
    /// The lines of this family.
    pub fn rules(&self) -> &'static [Rule] {
        let index = FAMILIES.iter().position(|family| std::ptr::eq(family.lines, self.lines));
        index.map_or(&[], |index| &RULES[index])
    }
}

/// What a dialect's rules call a parameter of ours; a prefix stands before those that do not say otherwise.
pub fn name_of(rules: &[Rule], dialect: Dialect, prefix: &str, parameter: &str) -> Option<Name> {
    let mut names = rules.iter().filter_map(|rule| rule.name(parameter, |last| dialect.last(last)));
    // `/x` is `x` whatever the prefix is.
    names.next().map(|name| match name.text.strip_prefix('/') {
        Some(text) => Name { text: text.to_owned(), ..name },
        None => Name { text: format!("{prefix}{}", name.text), ..name },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_read() {
        for (family, rules) in FAMILIES.iter().zip(&*RULES) {
            let lines = family.lines.lines().map(|line| Rule::of_line(line).unwrap()).filter(Option::is_some).count();
            assert_eq!((lines, rules), (rules.len(), &family.rules().to_vec()), "{}", family.about);
        }
    }

    #[test]
    fn prefixes_stand_before_what_has_none() {
        let family = FAMILIES.iter().find(|family| family.library == "hf" && family.model == "deit_tiny").unwrap();
        let name = |parameter: &str| name_of(family.rules(), family.dialect, "vit.", parameter).unwrap().text;
        assert_eq!(name("norm/gamma"), "vit.layernorm.weight");
        assert_eq!(name("classify/kernel"), "classifier.weight");
    }
}
