//! `config.json` of timm and transformers: that by which they make the network of weights.

use serde_json::{Map, Value as Json, json};

use super::export::Described;

/// What stands in `config.json` of timm: the name of the function that makes the network, and its arguments, which need not be
/// those of the network that the name is of.
fn timm(described: &Described, architecture: &str, first: &str, last: &str, args: Json, fixed_size: bool) -> Json {
    let about = described.about;
    let [height, width, channels] = about.image;
    let [mean, deviation] = &about.normalization;
    let mut args = match args {
        Json::Object(args) => args,
        _ => Map::new(),
    };
    if channels != 3 {
        args.insert("in_chans".into(), channels.into());
    }
    json!({
        "architecture": architecture,
        "num_classes": about.classes.len(),
        "model_args": args,
        "label_names": about.classes,
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [channels, height, width],
            "fixed_input_size": fixed_size,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": about.crop_mode,
            "mean": mean,
            "std": deviation,
            "num_classes": about.classes.len(),
            "pool_size": null,
            "first_conv": first,
            "classifier": last,
        },
    })
}

pub fn timm_vit(described: &Described) -> Vec<(&'static str, Json)> {
    let [image, patch, dim, depth, heads] =
        ["image_size", "patch_size", "dim", "depth", "num_heads"].map(|name| described.number(name));
    let architecture = match dim {
        384 => "vit_small_patch16_224",
        768 => "vit_base_patch16_224",
        1024 => "vit_large_patch16_224",
        _ => "vit_tiny_patch16_224",
    };
    let args = json!({ "img_size": image, "patch_size": patch, "embed_dim": dim, "depth": depth, "num_heads": heads });
    vec![("config.json", timm(described, architecture, "patch_embed.proj", "head", args, true))]
}

pub fn timm_swin(described: &Described) -> Vec<(&'static str, Json)> {
    let [image, patch, window, dim] = ["image_size", "patch_size", "window", "dim"].map(|name| described.number(name));
    let args = json!({
        "img_size": image, "patch_size": patch, "window_size": window, "embed_dim": dim,
        "depths": described.list("depths"), "num_heads": described.list("heads"),
    });
    let architecture = "swin_tiny_patch4_window7_224";
    vec![("config.json", timm(described, architecture, "patch_embed.proj", "head.fc", args, true))]
}

pub fn timm_resnet(described: &Described) -> Vec<(&'static str, Json)> {
    let width = described.number("width");
    let depths = ["depth1", "depth2", "depth3", "depth4"].map(|name| described.number(name));
    let architecture = match (described.number("expansion"), depths) {
        (1, [3, 4, 6, 3]) => "resnet34",
        (1, _) => "resnet18",
        (_, [3, 4, 23, 3]) => "resnet101",
        (_, [3, 8, 36, 3]) => "resnet152",
        _ => "resnet50",
    };
    let widths = [1, 2, 4, 8].map(|times| times * width);
    let args = json!({ "layers": depths, "channels": widths });
    vec![("config.json", timm(described, architecture, "conv1", "fc", args, false))]
}

pub fn timm_efficientnet_lite0(described: &Described) -> Vec<(&'static str, Json)> {
    vec![("config.json", timm(described, "tf_efficientnet_lite0", "conv_stem", "classifier", json!({}), false))]
}

/// What stands beside weights of transformers: `config.json` with what is of one kind of network, and how images are made
/// ready.
fn hf(described: &Described, class: &str, kind: &str, own: Json) -> Vec<(&'static str, Json)> {
    let about = described.about;
    let [height, width, channels] = about.image;
    let [mean, deviation] = &about.normalization;
    let mut config = Map::new();
    let numbered = about.classes.iter().enumerate();
    let ids: Map<String, Json> = numbered.clone().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let labels: Map<String, Json> = numbered.map(|(id, name)| (name.clone(), json!(id))).collect();
    let [image, patch, dim, depth, heads] =
        ["image_size", "patch_size", "dim", "depth", "num_heads"].map(|name| described.number(name));
    let common = json!({
        "architectures": [class], "model_type": kind, "image_size": image, "patch_size": patch,
        "num_channels": channels, "hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads,
        "hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": true, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "id2label": ids, "label2id": labels,
    });
    for part in [common, own] {
        if let Json::Object(part) = part {
            config.extend(part);
        }
    }
    let images = json!({
        "image_processor_type": "ViTImageProcessor", "do_resize": true, "size": { "height": height, "width": width },
        // Bilinear.
        "resample": 2, "do_rescale": true, "rescale_factor": 1.0 / 255.0, "do_normalize": true, "image_mean": mean,
        "image_std": deviation,
    });
    vec![("preprocessor_config.json", images), ("config.json", Json::Object(config))]
}

pub fn hf_vit(described: &Described) -> Vec<(&'static str, Json)> {
    hf(described, "ViTForImageClassification", "vit", json!({ "intermediate_size": 4 * described.number("dim") }))
}

pub fn hf_dinov2(described: &Described) -> Vec<(&'static str, Json)> {
    let own = json!({ "mlp_ratio": 4, "use_swiglu_ffn": false, "drop_path_rate": 0.0 });
    hf(described, "Dinov2ForImageClassification", "dinov2", own)
}
