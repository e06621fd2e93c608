use std::{fmt, sync::LazyLock};

use serde_json::Value as Json;

use super::{
    Rule,
    export::Described,
    import::Config,
    library,
    rule::Name,
    sizes::{efficientnet_lite0, flax_vit, resnet, swin, vit},
};

/// What a library calls the tensors of a layer, and how it stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours, which is Keras'.
    Vitx,
    /// PyTorch's: `weight [out, in, window..]`.
    Torch,
    /// Flax': the order of axes is ours, and a name's parts are divided by `/`.
    Flax,
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
            Self::Flax => Some(match ours {
                "kernel" => "/kernel",
                "bias" | "beta" => "/bias",
                "gamma" => "/scale",
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
    /// The files by which its library makes the network, or why it cannot.
    pub described: Result<Describe, &'static str>,
}

/// Makes the files by which a library makes a network: their names and what they hold.
type Describe = fn(&Described) -> Vec<(&'static str, Json)>;

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
    pub fn number(&self, pointers: &[&str]) -> Option<i64> {
        let network = self.config.network.as_ref()?;
        pointers.iter().find_map(|pointer| network.pointer(pointer)?.as_i64())
    }

    /// How often a block is repeated.
    pub fn repeats(&self, of: impl Fn(usize) -> String) -> i64 {
        (0..).take_while(|&index| (self.shape)(&of(index)).is_some()).count() as i64
    }
}

const VIT_SIGNATURE: &[&str] = &["embed/kernel", "class_token/token", "encoder0/layer_norm0/gamma"];
const SCALED_SIGNATURE: &[&str] = &["embed/kernel", "class_token/token", "encoder0/layer_scale0/gamma"];

const SWIN_SIGNATURE: &[&str] = &["embed/conv2d/kernel", "stage0/layer0/attention/relative_positions/embeddings"];

const FLAX: &str = "the programs of the authors are written for their own files: --format timm is read by more";

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
        described: Err(
            "timm's DINOv2 has no last layer on the class token and the mean of the others: --format hf writes it",
        ),
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
        described: Ok(library::hf_dinov2),
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
        described: Ok(library::timm_resnet),
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
        described: Ok(library::timm_vit),
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
        described: Ok(library::timm_efficientnet_lite0),
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
        described: Ok(library::timm_swin),
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
        described: Err("--format timm writes Swin"),
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
        described: Ok(library::hf_vit),
    },
    Family {
        library: "jax",
        about: "`.npz` files of the authors of the ViT (google-research/vision_transformer)",
        dialect: Dialect::Flax,
        prefixes: &["", "opt/target/"],
        // The layer in front of the last one, which the published networks for ImageNet are without.
        besides: &["pre_logits/*", "opt/target/pre_logits/*", "opt/state/*"],
        lines: include_str!("families/jax_vit.names"),
        model: "deit_tiny",
        text: include_str!("../../experiments/zoo/deit_tiny.vitx"),
        signature: VIT_SIGNATURE,
        params: flax_vit,
        described: Err(FLAX),
    },
    Family {
        library: "jax",
        about: "`.npz` files of big_vision, of a ViT with a class token",
        dialect: Dialect::Flax,
        prefixes: &["params/", ""],
        besides: &[],
        lines: include_str!("families/jax_big_vision.names"),
        model: "deit_tiny",
        text: include_str!("../../experiments/zoo/deit_tiny.vitx"),
        signature: VIT_SIGNATURE,
        params: flax_vit,
        described: Err(FLAX),
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
