//! The parameters of our networks, by the shapes of the tensors of others and by what stands beside them.

use serde_json::Value;

use super::{
    family::{Facts, Param, Params},
    import::Config,
};

/// ViT, by the shapes of its tensors. Heads leave no trace in these: 64 wide, as all that were published, or as the config
/// says.
pub fn vit(facts: &Facts) -> Result<Params, String> {
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

/// ViT as Flax stores it: kernels `[.., in, out]`, and those of attention `[in, heads, out / heads]`.
pub fn flax_vit(facts: &Facts) -> Result<Params, String> {
    let torch = |ours: &str| -> Option<Vec<usize>> {
        let mut shape = (facts.shape)(ours)?;
        if ours.ends_with("/kernel") && shape.len() > 1 {
            shape.rotate_right(1);
            shape[1..].rotate_right(1);
        }
        Some(shape)
    };
    let heads = (facts.shape)("encoder0/attention/query/kernel").filter(|shape| shape.len() == 3).map(|shape| shape[1]);
    let heads = heads.ok_or("its attention has no kernels [in, heads, out]")?;
    let network = Some(serde_json::json!({ "num_attention_heads": heads }));
    vit(&Facts { shape: &torch, config: &Config { network, images: None } })
}

/// EfficientNet-Lite0, whose sizes are fixed; at the image size of the config.
pub fn efficientnet_lite0(facts: &Facts) -> Result<Params, String> {
    if (facts.shape)("stage6/first/conv2d1/kernel").is_none_or(|shape| shape[0] != 320) {
        return Err("it is wider or narrower than EfficientNet-Lite0".into());
    }
    let image_size = facts.number(&["/pretrained_cfg/input_size/1"]).unwrap_or(224);
    Ok(vec![("image_size", image_size.into()), ("stem_strides", 2.into())])
}

/// Swin of four stages, by the shapes of its tensors: offsets within a window are a table, whose columns are heads.
pub fn swin(facts: &Facts) -> Result<Params, String> {
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
pub fn resnet(facts: &Facts) -> Result<Params, String> {
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
