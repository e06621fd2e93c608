//! The shipped models and the diagnostics, as snapshots.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vitx::{
    dsl::{Diagnostics, Source, Value, parse, syntax_text},
    graph::{Builder, Initializer, operation},
    model::{Architecture, ImageSpec, elaborate},
};

use crate::support::wait::PATIENCE;

const CIFAR: ImageSpec = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };

fn check(text: &str) -> Result<Architecture, Diagnostics> {
    elaborate(&Source::new("model.vitx", text), &BTreeMap::new(), &CIFAR)
}

/// A diagnostic as a terminal without colour shows it.
fn shown(text: &str) -> String {
    let error = check(text).expect_err("the model has an error");
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut out, &error).expect("writing to a string");
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn shipped_models() {
    for (name, num_classes, image) in
        [("cifar100_vit", 100, (32, 3)), ("cifar10_vit", 10, (32, 3)), ("digits_vit", 10, (8, 1))]
    {
        let path = format!("{}/experiments/{name}.vitx", env!("CARGO_MANIFEST_DIR"));
        let source = Source::new(format!("{name}.vitx"), std::fs::read_to_string(path).unwrap());
        let data = ImageSpec { height: image.0, width: image.0, channels: image.1, num_classes };
        let architecture = elaborate(&source, &BTreeMap::new(), &data).unwrap();
        insta::assert_snapshot!(format!("{name}_syntax"), syntax_text(&parse(&source).unwrap()));
        insta::assert_snapshot!(format!("{name}_model"), architecture.text());
        let mut builder = Builder::for_training();
        let network = architecture.lower(&mut builder, 3);
        assert_eq!(network.logits.shape, [3, num_classes]);
        let lowered: usize = builder.parameters.iter().map(|parameter| parameter.value.len()).sum();
        assert_eq!(lowered as u64, architecture.summary().parameters);
    }
}

#[test]
fn the_seed_has_its_parameters() {
    let path = format!("{}/experiments/cifar100_vit.vitx", env!("CARGO_MANIFEST_DIR"));
    let architecture = check(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(architecture.summary().parameters, 21_759_012);
    assert_eq!(architecture.summary().flops / 1_000_000, 402);
}

#[test]
fn branches_merge() {
    let model = "model net {
        patches(4)
        patch_encoder(8)
        let left = dense(6) -> gelu
        let right = { layer_norm dense(6) }
        concat(left, right, axis = 1)
        let sum = add(left, right)
        sum
        global_average_pool
        dense(num_classes)
    }";
    insta::assert_snapshot!(check(model).unwrap().text());
}

#[test]
fn a_user_replaces_a_standard_block() {
    let model = "block transformer_block(units) { dense(units) }
        model net { patches(4) patch_encoder(8) repeat transformer_block(8) x 2 flatten dense(num_classes) }";
    assert_eq!(check(model).unwrap().layers().iter().filter(|layer| layer.kind == "attention").count(), 0);
}

/// The paths of the layers of a model.
fn paths(body: &str) -> String {
    let text = format!("block b {{ gelu }} model net {{ patches(4) {body} global_average_pool dense(num_classes) }}");
    let model = check(&text).unwrap_or_else(|error| panic!("{body}: {error:?}"));
    let inner = &model.layers()[1..model.layers().len() - 2];
    inner.iter().map(|layer| layer.path.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn names_of_braces_are_levels() {
    for (body, expected) in [
        ("att: residual { dense(48) }", "att/dense att/add"),
        ("mix: { gelu dense(9) }", "mix/gelu mix/dense"),
        ("enc: repeat ×2 { gelu }", "enc0/gelu enc1/gelu"),
        (
            "enc: repeat ×2 { att: residual { norm: layer_norm } gelu }",
            "enc0/att/norm enc0/att/add enc0/gelu enc1/att/norm enc1/att/add enc1/gelu",
        ),
        ("let b = { dense(9) } let c = { dense(9) } add(b, c)", "b/dense c/dense add"),
        ("let q = dense(9) -> gelu q", "q/dense q/gelu"),
        ("head: dense(9) -> gelu", "head/dense head/gelu"),
        ("let a = gelu let q = a -> dense(9) q", "a q"),
        ("enc: repeat b ×2", "enc0/gelu enc1/gelu"),
        ("enc: repeat dense(3) ×2", "enc0 enc1"),
        ("outer: { inner: { dense(3) } dense(3) }", "outer/inner/dense outer/dense"),
        // Names belong to their braces.
        ("residual { let a = gelu add(a, a) } residual { let a = gelu add(a, a) }", "a0 add0 add1 a1 add2 add3"),
        ("residual { in: dense(48) } residual { in: dense(48) }", "in0 add0 in1 add1"),
        ("residual { norm1: layer_norm } residual { norm2: layer_norm }", "norm1 add0 norm2 add1"),
        // In a repeat they are numbered.
        ("repeat ×2 { let a = gelu add(a, a) }", "a0 add0 a1 add1"),
        ("repeat ×2 { norm: layer_norm norm1: layer_norm }", "norm0 norm1_0 norm1 norm1_1"),
        ("repeat ×2 { att: residual { norm: layer_norm } }", "att0/norm att0/add att1/norm att1/add"),
        ("repeat ×2 { repeat ×2 { norm: layer_norm } }", "norm0 norm1 norm2 norm3"),
        // Without names nothing has a level.
        ("repeat ×2 { gelu residual { gelu } }", "gelu0 gelu1 add0 gelu2 gelu3 add1"),
        ("repeat dense(3) ×1", "dense0"),
        // A name is that of the one layer that arithmetic is, or a level of those in it.
        ("let x = gelu x * x + 1", "x add"),
        ("let x = gelu let y = -x y", "x y"),
        ("gate: dense(9) * (dense(9) -> sigmoid)", "gate/dense0 gate/dense1 gate/sigmoid gate/multiply"),
        ("repeat (gelu * 2) ×2", "gelu0 multiply0 gelu1 multiply1"),
    ] {
        assert_eq!(paths(body), expected, "{body}");
    }
}

#[test]
fn arithmetic_is_a_layer() {
    let text = "model net(alpha = 0.5) {
        patches(8)
        let h = dense(16)
        let gates = { global_average_pool dense(16) sigmoid }
        let y = -(h * gates + h / 4 - 2 * alpha)
        residual { layer_scale drop_path(0.1) }
        let x = { position_embedding(zeros) elu(alpha = 2) dense(16) }
        let z = multiply(h, y, gates) * x
        maximum(gelu(z), y - 1)
        (dense(8) -> silu) * dense(8)
        global_average_pool
        dense(num_classes)
    }";
    insta::assert_snapshot!(check(text).unwrap().text());
}

#[test]
fn numbers_stay_numbers() {
    let text = "model net(dim = 8) { let half = (dim * 2 - 4) / -2 flatten dense(-half * 3) dense(num_classes) }";
    assert_eq!(check(text).unwrap().layers()[1].layer.output_shape(), [18]);
}

/// Random streams are addressed by paths: what is added to a network changes no draw of the rest.
#[test]
fn a_layer_that_is_added_leaves_the_draws_of_the_others_alone() {
    let draws = |extra: &str| {
        let text = format!(
            "model net {{ patches(8) stem: dense(16) {extra} drop: dropout(0.1) mlp([16, 16], dropout = 0.2) \
             residual {{ drop_path(0.3) }} flatten dense(num_classes) }}"
        );
        let mut builder = Builder::for_training();
        check(&text).unwrap().lower(&mut builder, 2);
        let starts = builder.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.address()));
        let graph = &builder.graph;
        let operations = graph.graph.node_indices().filter_map(|node| operation(graph, node));
        let masks = operations.filter(|operation| ["dropout", "drop_path"].contains(&operation.name()));
        (starts.collect::<BTreeMap<_, _>>(), masks.map(|mask| format!("{:?}", mask.attributes())).collect::<Vec<_>>())
    };
    let (starts, masks) = draws("");
    let (more_starts, more_masks) = draws("extra: { dropout(0.5) dense(16) }");
    assert_eq!((masks.len(), more_masks.len()), (4, 5));
    assert_eq!(masks, more_masks[1..]);
    assert!(more_starts.contains_key("extra/dense/kernel"));
    assert!(starts.iter().all(|(name, address)| more_starts[name] == *address));
    let different: std::collections::BTreeSet<&String> = more_masks.iter().collect();
    assert_eq!(different.len(), 5);
}

/// What a model says of its images holds in its blocks, and by whatever it was set.
#[test]
fn blocks_see_the_models_own_sizes() {
    let text = "block s { scale(1 / image_size) scale(channels) scale(num_classes) }
        model m(image_size = 16, channels = 3, num_classes = 200) { patches(4) s global_average_pool dense(num_classes) }";
    let scales = |overrides: &[(&str, Value)]| {
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let model = elaborate(&Source::new("m.vitx", text), &overrides, &CIFAR).unwrap();
        let scales = model.layers().iter().filter(|layer| layer.kind == "scale");
        scales.map(|layer| layer.arguments_text()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scales(&[]), "factor = 0.0625 factor = 3 factor = 200");
    assert_eq!(scales(&[("image_size", Value::Int(8))]), "factor = 0.125 factor = 3 factor = 200");
}

/// Height and width of images may differ, whether the model or the data set says what they are.
#[test]
fn an_image_size_of_two_sides() {
    let own =
        "model m(image_size = [24, 40]) { let [h, w] = image_size patches([h / 4, w / 8]) flatten dense(num_classes) }";
    assert_eq!(check(own).unwrap().image_shape(), [24, 40, 3]);
    let overrides = BTreeMap::from([("image_size".to_owned(), Value::List(vec![Value::Int(8), Value::Int(16)]))]);
    let set = elaborate(&Source::new("m.vitx", own), &overrides, &CIFAR).unwrap();
    assert_eq!(set.image_shape(), [8, 16, 3]);
    let data = ImageSpec { height: 12, width: 32, ..CIFAR };
    let taken = "model m { let [h, w] = image_size require h < w, \"wide\" flatten dense(num_classes) }";
    let taken = elaborate(&Source::new("m.vitx", taken), &BTreeMap::new(), &data).unwrap();
    assert_eq!(taken.image_shape(), [12, 32, 3]);
}

/// A file's own block stands for itself where the file calls it, and for nothing else.
#[test]
fn standard_blocks_mean_the_standard_layers() {
    let own =
        "block mlp(dim, hidden) { dense(hidden) dense(dim) } block attention { relu } block layer_norm(e) { tanh }
        block take { silu }";
    let body = "patches(4) dense(64) class_token transformer_block(4, 16, [64]) take_class_token dense(num_classes)";
    let plain = check(&format!("model m {{ {body} }}")).unwrap();
    let with = check(&format!("{own} model m {{ {body} }}")).unwrap();
    assert_eq!(with.text(), plain.text());
    let called = check(&format!("{own} model m {{ flatten mlp(8, 4) attention dense(num_classes) }}")).unwrap();
    let kinds: Vec<&str> = called.layers().iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds, ["flatten", "dense", "dense", "relu", "dense"]);
}

#[test]
fn whole_floats_are_whole_numbers() {
    let model = "model m(dim = 64, ratio = 1.5, depth = 2, image_size = 16.0) {
        patches(8.0 / 2) patch_encoder(dim * ratio) repeat mlp([dim * ratio, dim * 0.5 * 3]) ×(depth * 1.0)
        reshape([96.0, 16]) transpose([1.0, 0.0]) take(0.0) dense(num_classes) }";
    let set = BTreeMap::from([("dim".to_owned(), Value::Float(64.0)), ("depth".to_owned(), Value::Float(2.0))]);
    let floats = elaborate(&Source::new("m.vitx", model), &set, &CIFAR).unwrap();
    assert_eq!(floats.text(), check(model).unwrap().text());
    assert_eq!(floats.image_shape(), [16, 16, 3]);
    assert!(floats.text().contains("units = [96, 96]"), "{}", floats.text());
    let halves = check("model m { flatten dense(3.5) repeat relu ×(1.5) dense(num_classes) }").unwrap_err();
    assert_eq!(halves.len(), 2);
}

/// Warnings of a model that is fine.
fn warned(text: &str) -> String {
    let model = check(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    for warning in model.warnings() {
        handler.render_report(&mut out, warning).expect("writing to a string");
    }
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let text = "block enc(dim, rate = 0.1) {
    dense(dim)
}
block spare(n) { helper(n) }
block helper(n) { dense(n) }
model m(dropout = 0.1, ratio = 2, dim = 8, act = \"gelu\", image_size = 32) {
    patches(4)
    let half = dim / ratio
    let side = { gelu }
    repeat enc(dim, rate = dropout) ×2
    repeat enc(dim) ×0
    global_average_pool
    dense(num_classes)
}";
    insta::assert_snapshot!("warning_no_effect", warned(text));
    assert_eq!(check(text).unwrap().unread(), ["dropout", "ratio", "act"]);
    let lost = "model m { patches(4) let x = { gelu } relu x flatten dense(num_classes) }";
    insta::assert_snapshot!("warning_lost", warned(lost));
    // What only a repeat of nothing uses is used: another count is near.
    let none = "model m(rate = 0.1, n = 0, w = 4, act = \"relu\") { flatten let x = w * 2
        repeat { dropout(rate) dense(x, activation = act) } ×n let y = { relu } add(y, {}) dense(num_classes) }";
    assert_eq!(warned(none), "");
    for name in ["cifar100_vit", "cifar10_vit", "digits_vit"] {
        let path = format!("{}/experiments/{name}.vitx", env!("CARGO_MANIFEST_DIR"));
        let model = std::fs::read_to_string(path).unwrap();
        let data = ImageSpec { num_classes: 100, height: 8, width: 8, channels: 3 };
        assert!(elaborate(&Source::new("m", model), &BTreeMap::new(), &data).unwrap().warnings().is_empty());
    }
}

/// The loss applies softmax itself, wherever the other one stands.
#[test]
fn activations_of_the_logits() {
    insta::assert_snapshot!(
        "diagnostic_softmax",
        shown("model m { flatten dense(num_classes, activation = softmax) }")
    );
    insta::assert_snapshot!("warning_activation", warned("model m { flatten mlp([64, num_classes]) }"));
    for body in [
        "flatten dense(num_classes) softmax",
        "flatten out: dense(num_classes, softmax) dropout(0.1)",
        "flatten { dense(num_classes) -> softmax }",
        "flatten b",
        "flatten let x = dense(num_classes, softmax) let y = dense(num_classes, softmax) add(x, y)",
        "patches(4) dense(num_classes, softmax) global_average_pool",
        "flatten mlp([num_classes], activation = softmax) reshape([num_classes])",
    ] {
        let text = format!("block b {{ dense(num_classes) repeat softmax ×1 }} model m {{ {body} }}");
        assert!(check(&text).unwrap_err().problems().iter().all(|problem| problem.code() == "vitx::logits"), "{body}");
    }
    for body in [
        "flatten dense(num_classes)",
        "patches(4) dense(8) transpose([1, 0]) softmax transpose([1, 0]) global_average_pool dense(num_classes)",
        "flatten dense(num_classes) residual { softmax }",
        "patches(4) dense(num_classes, activation = relu) global_average_pool",
    ] {
        assert_eq!(warned(&format!("model m {{ {body} }}")), "", "{body}");
    }
}

/// Tokens that start alike and that nothing tells apart stay alike.
#[test]
fn tokens_start_apart() {
    let token = |call: &str| {
        let model = check(&format!("model m {{ patches(4) {call} take_class_token dense(num_classes) }}")).unwrap();
        model.layers()[1].layer.parameters().swap_remove(0)
    };
    assert_eq!(token("class_token").initializer, Initializer::Zeros);
    assert_eq!(token("class_token").stored_shape, [1, 48]);
    assert_eq!(token("class_token(initializer = normal)").initializer, Initializer::TruncatedNormal { stddev: 0.02 });
    assert_eq!(token("class_token(4)").initializer, Initializer::TruncatedNormal { stddev: 0.02 });
    assert_eq!(token("class_token(count = 4)").stored_shape, [4, 48]);
    let text = "model m { patches(4) repeat class_token ×4 take_class_token dense(num_classes) }";
    insta::assert_snapshot!("warning_equal_tokens", warned(text));
    for fine in ["class_token class_token take_class_token", "class_token(5) global_average_pool"] {
        assert_eq!(warned(&format!("model m {{ patches(4) {fine} dense(num_classes) }}")), "", "{fine}");
    }
    assert_ne!(warned("model m { patches(4) class_token(2, zeros) global_average_pool dense(num_classes) }"), "");
}

#[test]
fn diagnostics() {
    let cases = [
        ("syntax", "model net { dense(3 }"),
        ("unknown_layer", "model net { dence(3) }"),
        ("unknown_argument", "model net { flatten dense(unit = 100) }"),
        ("unknown_parameter", "model net(width = 3) { flatten dense(widht) }"),
        ("wrong_type", "model net { flatten dense(\"a\") dropout(2) dense(100, activation = gleu) }"),
        ("missing_argument", "model net { flatten dense }"),
        ("too_many_arguments", "model net { flatten dense(100, gelu, true, 4, 5) }"),
        ("shapes", "model net { patches(4) let a = dense(4) let b = dense(5) add(a, b) flatten dense(100) }"),
        ("patch_size", "model net { patches(5) flatten dense(100) }"),
        ("max_pool2d", "model net { max_pool2d(2, padding = vaild) max_pool2d([2, 2, 2]) flatten dense(100) }"),
        ("max_pool2d_window", "model net { max_pool2d([3, 40]) flatten dense(100) }"),
        ("max_pool2d_of_tokens", "model net { patches(4) max_pool2d flatten dense(100) }"),
        ("residual", "model net { flatten residual { dense(4) } dense(100) }"),
        ("recursion", "block a { b } block b { a } model net { a flatten dense(100) }"),
        ("repeat", "model net { repeat flatten ×1000000000 dense(100) }"),
        (
            "repeats_in_repeats",
            "block a { repeat ×9999 { } } model net { repeat ×9999 { repeat a x 9999 } flatten dense(100) }",
        ),
        ("too_large", "model net { flatten dense(4000000000) dense(100) }"),
        ("output", "model net { flatten dense(10) }"),
        ("no_model", "block a { flatten }"),
        ("two_models", "model a { flatten dense(100) } model b { flatten dense(100) }"),
        ("no_value", "model a(width) { flatten dense(width) dense(100) }"),
        ("division", "model a(width = 1 / 0) { flatten dense(width) dense(100) }"),
        ("inside_a_standard_block", "model a { flatten transformer_block(4, key_dim = 2, units = [3]) dense(100) }"),
        ("same_label", "model a { flatten head: dense(3) head: dense(100) }"),
        (
            "way",
            "block merge(h, w, dim) {\n    reshape([h / 2, 2, w / 2, 2, dim])\n}\nblock stage(h, dim) {\n    merge(h, w = h, dim = dim)\n    dense(dim)\n}\nmodel a {\n    patches(4)\n    dense(9)\n    repeat stage(8, 9) ×12\n    stage(9, 9)\n    stage(7, 9)\n    flatten dense(100)\n}",
        ),
        (
            "way_of_repeats",
            "block deep(n) { repeat { take(n) relu } ×2 }\nmodel a {\n    reshape([16, 16, 12])\n    repeat deep(3) ×2\n    flatten dense(100)\n}",
        ),
        ("way_of_names", "block b { relu dence(3) }\nmodel a { flatten\n repeat b ×3\n x: { b }\n dense(100) }"),
        (
            "argument_of_a_standard_block",
            "model a(dim = 64) {\n    patches(4) dense(dim)\n    repeat transformer_block(4, key_dim = dim / 3, units = [128, dim], dropout = 1) ×8\n    flatten dense(100)\n}",
        ),
        (
            "units_of_a_standard_block",
            "model a {\n    patches(4) dense(64)\n    repeat transformer_block(4, key_dim = 16, units = [128, 32]) ×8\n    flatten dense(100)\n}",
        ),
        (
            "units_in_a_residual",
            "block gated(n) {\n    residual {\n        layer_norm\n        dense(n, activation = silu)\n        dropout(0.1)\n    }\n}\nmodel a {\n    patches(4)\n    gated(64)\n    flatten dense(100)\n}",
        ),
        (
            "shape_in_a_residual",
            "model a {\n    patches(4)\n    residual { global_average_pool }\n    flatten dense(100)\n}",
        ),
        (
            "standard_block_without_arguments",
            "model a { patches(4) repeat transformer_block ×3 attention flatten dense(100) }",
        ),
        (
            "number_in_a_flow",
            "model a(dim = 8) {\n    flatten\n    let half = dim\n    -> dense(half)\n    dense(100)\n}",
        ),
        (
            "defined_below",
            "model a(dim = depth * 32, depth = 2) {\n    flatten\n    dense(wide)\n    let wide = dim\n    add(x, x)\n    let x = { relu }\n    dense(100)\n}",
        ),
        (
            "bounds_of_numbers",
            "model a {\n    patches(4294967296) layer_norm(1e-60) scale(1e300) mlp([]) mlp([4, 4294967296]) flatten dense(100)\n}",
        ),
        ("tokens_at_the_end", "model a { patches(4) dense(100) }"),
        ("image_size_as_text", "model a(dim = 3, image_size = \"32\") { flatten dense(100) }"),
        ("same_label_of_braces", "model a { flatten\n att: residual { relu }\n att: { relu }\n dense(100) }"),
        ("label_of_a_tensor", "model a { flatten let x = { relu }\n y: x\n dense(100) }"),
        ("tensor_with_arguments", "model a { flatten let x = { relu }\n x(4)\n dense(100) }"),
        ("one_argument_at_most", "model a { patches(4, 4) flatten(1) dense(100) }"),
        ("block_like_a_layer", "block dense(units) { dense(units) } model a { flatten dense(100) }"),
        (
            "unused_block",
            "block spare(n) { dence(n) dense(n, unit = 3) repeat reluu ×n } model a { flatten dense(100) }",
        ),
        ("unused", "model a { let x = { dense(4) -> relu } let y = { relu } flatten dense(100) }"),
        ("repeat_zero", "model a { repeat dence ×0 flatten dense(100) }"),
        ("same_block", "block a { relu }\nblock a { gelu }\nmodel m(x = 1, x = 2) { a flatten dense(100) }"),
        ("tensor_as_value", "model a { let x = { relu } flatten dense(x) dense(100) }"),
        ("value_as_layer", "model a(x = 3) { x flatten dense(100) }"),
        (
            "arithmetic",
            "model a {\n let b = 9223372036854775807 + 1\n let c = \"a\" * 2\n let d = 1e308 * 10\n let e = -true\n flatten dense(100)\n}",
        ),
        (
            "arithmetic_of_tensors",
            "model a {\n patches(4)\n let x = dense(8)\n let y = dense(9)\n let a = x * y\n let b = x % 2\n let c = x / 0\n let d = x + [1]\n let e = x * (1 / 0)\n dense(x * 2)\n flatten dense(100)\n}",
        ),
        ("long_arithmetic", &format!("model a {{ flatten let x = dense(100) x{} }}", " + x".repeat(65))),
        ("numbers", "model a { let b = 99999999999999999999 let c = 1e999 flatten dense(100) }"),
        ("deep_lists", "model a { let b = [[[[[[[[[[1]]]]]]]]]] flatten dense(100) }"),
        ("brackets", "model a { flatten dense(100]\n}\n)"),
        ("string", "model a {\n dense(10, activation = \"gelu)\n flatten dense(100) }"),
        ("take", "model a { patches(4) class_token take(65) dense(100) }"),
        (
            "concat",
            "model a { patches(4) let x = { dense(4) } let y = { take(0) } concat(x, y, axis = 1) flatten dense(100) }",
        ),
        (
            "shift",
            "model a {\n let a = shift(32)\n let b = shift([1, -2], axis = [0, -3])\n let c = roll([1, 2, 3, 4])\n let d = roll([1, 2], axis = 3)\n let e = roll([1, 2], axis = [0, 1, 2])\n let f = shift(1, axis = [])\n let g = shift(1, axis = last)\n let h = shift(0.5)\n flatten dense(100)\n}",
        ),
        (
            "slice",
            "model a {\n let a = slice(32)\n let b = slice(-33)\n let c = slice(1, 32)\n let d = slice([1, 2], [0, -2], axis = [-1, 0])\n let e = pad([1, 2], 1, axis = 0)\n let f = pad(-1)\n let g = pad(1, [1, 2, 3, 4])\n let h = pad(4000000000, axis = 2)\n flatten dense(100)\n}",
        ),
        (
            "reduce",
            "model a {\n let a = reduce_mean([0, 1, 2])\n let b = reduce_max(3)\n let c = reduce_max([1, -2])\n let d = reduce_mean(axis = max)\n let e = softmax(axis = 3)\n let f = max(axis = 0)\n let g = group_norm(2)\n let h = group_norm(0)\n let x = flatten\n let i = weighted_sum(x, x, normalization = l2)\n let y = patches(4)\n let j = weighted_sum(x, y)\n flatten dense(100)\n}",
        ),
        (
            "positions",
            "model a {\n let a = { patches([4, 8]) position_embedding(kind = sinusoidal_2d) }\n let b = { patches(4) dense(6) position_embedding(kind = sinusoidal_2d) }\n let c = { patches(4) position_embedding(zeros, sinusoidal) }\n flatten dense(100)\n}",
        ),
        ("reshape", "model a { reshape([31, 33, 3]) transpose([0, 0]) flatten dense(100) }"),
        ("tokens", "model a { attention(2, 8) flatten class_token dense(100) }"),
        ("image_size_of_three", "model a(image_size = [8, 8, 3]) { flatten dense(100) }"),
        ("image_size_of_nothing", "model a(image_size = [8, 0]) { flatten dense(100) }"),
        ("image_size", "model a(image_size = 0) { flatten dense(100) }"),
        ("too_few_classes", "model a(num_classes = 3) { flatten dense(3) }"),
        ("control_characters", "model a { \u{1b}[2J flatten \u{202e} dense(100) }"),
        ("all_errors", "model a { patches(5) dense(x) dence(3) dense }"),
    ];
    for (name, text) in cases {
        insta::assert_snapshot!(format!("diagnostic_{name}"), shown(text));
    }
}

#[test]
fn unknown_overrides_are_refused() {
    let overrides = BTreeMap::from([("detph".to_owned(), Value::Int(3))]);
    let source = Source::new("m.vitx", "model m(depth = 2) { flatten dense(num_classes) }");
    let error = elaborate(&source, &overrides, &CIFAR).unwrap_err();
    assert_eq!(error.problems()[0].message(), "model `m` has no parameter `detph`");
}

/// A line that no terminal is wide enough for is not shown; where the mistake stands, is.
#[test]
fn long_lines() {
    let shown = shown(&format!("model a {{ {} dence(3) flatten dense(100) }}", "relu ".repeat(9_000)));
    assert_eq!(shown.lines().filter(|line| line.len() > 200).count(), 0, "{shown}");
    assert!(shown.contains("`dence`") && shown.contains("model.vitx:1:45012: not known"), "{shown}");
    let most = "model a { flatten ".to_owned() + &"relu ".repeat(10_001) + "dense(100) }";
    assert!(check(&most).unwrap_err().to_string().contains("more than 10000 layers"));
}

/// A piece of text as often as a file may hold it, between others.
fn full(before: &str, piece: &str, after: &str) -> String {
    let tokens = |text: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut last = ' ';
        let begins = |c: char| {
            let begins = !(c.is_whitespace() || word(c) && word(last));
            last = c;
            begins
        };
        text.chars().map(begins).filter(|begins| *begins).count()
    };
    let bytes = ((1 << 20) - before.len() - after.len()) / piece.len();
    let words = (99_900 - tokens(before) - tokens(after)) / tokens(piece).max(1);
    before.to_owned() + &piece.repeat(bytes.min(words)) + after
}

/// Texts that ask for much more work than their length suggests. What they take is counted, not timed, by the checks
/// themselves; a text that escaped the counts would take hours, or all memory.
#[test]
fn every_text_is_answered_soon() {
    let names = |from: &str, count: usize| -> String { (0..count).map(|i| format!("{from}{i} ")).collect() };
    let lets: String = (0..10_000).map(|i| format!("let a{i} = 1\n")).collect();
    let list = |item: &str, count: usize| vec![item; count].join(",");
    let numbered = |name: &str, count: usize, value: &str| -> String {
        (0..count).map(|i| format!("{name}{i}{value}")).collect::<Vec<_>>().join(",")
    };
    let long = "n".repeat(240);
    let texts = [
        // Values that double, nest, or are long and read often.
        format!("model m {{ let a = [1] {} dense(a) }}", "let a = [a, a]\n".repeat(60)),
        format!("model m {{ let a = [1] {} dense(a) }}", "let a = [a]\n".repeat(20_000)),
        format!(
            "model m {{ let a = [{}] repeat ×10000 {{ let b = a let c = b let d = c }} dense(a) }}",
            "1,".repeat(4000)
        ),
        format!("model m {{ let a = \"{}\" repeat ×10000 {{ let b = a let c = b }} dense(a) }}", "x".repeat(500_000)),
        format!("model m {{ repeat ×10000 {{ let b = 1{} }} }}", "+1".repeat(40_000)),
        (0..60).map(|i| format!("block b{i}(x) {{ b{}([x, x]) }}\n", i + 1)).collect::<String>() + "model m { b0(1) }",
        // Scopes with many names, opened often.
        format!("model m {{ {lets} {} }}", "{}\n".repeat(10_000)),
        format!("model m {{ {lets} {} }}", "residual { relu }".repeat(10_000)),
        // Many misspelt names, and many to compare them with.
        format!(
            "{} model m {{ {} }}",
            names("block block", 5_000).replace(' ', " {}").replace("block{}", "block "),
            names("blokc", 5_000)
        ),
        format!("model m {{ {lets} {} }}", names("let b = b", 5_000)),
        // Much to expand.
        "model m { repeat ×10000 { repeat ×10000 { repeat ×10000 { } } } }".into(),
        (0..60).map(|i| format!("block b{i} {{ b{0} b{0} }}\n", i + 1)).collect::<String>()
            + "block b60 { } model m { b0 }",
        (0..15_000).map(|i| format!("block b{i} {{ b{} }}\n", i + 1)).collect::<String>() + "model m { b0 }",
        format!("model m {{ let x = {{ flatten }} add({}x) }}", "x, ".repeat(40_000)),
        format!("model m {{ flatten {} }}", "dense(4294967295) ".repeat(20_000)),
        full("", "-", ""),
        full("model m { let x = ", "- ", "1 }"),
        // Layers of many layers, and calls with many parameters.
        format!("model m {{ patches(4) repeat mlp([{}]) ×2000 }}", list("1", 4090)),
        format!("block b({}) {{ }} model m {{ repeat b ×9000 }}", numbered("p", 9000, " = 1")),
        format!("block b({}) {{ }} model m {{ b({}) }}", numbered("p", 16_000, ""), numbered("p", 16_000, " = 1")),
        format!("block b({}) {{ }} model m {{ b({}) }}", numbered("p", 16_000, ""), numbered("q", 16_000, " = 1")),
        format!("model m({}) {{ flatten dense(100) }}", numbered("p", 24_000, " = 1")),
        // Paths as long as they can be.
        (0..60).map(|i| format!("block {long}{i} {{ {long}{} }}\n", i + 1)).collect::<String>()
            + &format!("block {long}60 {{ relu }} model m {{ flatten repeat {long}0 ×9000 }}"),
        format!("block {0} {{ }} model m {{ repeat {0} ×9000 }}", "x".repeat(500_000)),
        // Mistakes at every place, in lines and without any, and such that show much of the text.
        full("model m { ", "a ", "}"),
        full("model m {\n", "#\n", "}"),
        full("model m {\n", "a(1,)=\n", "}"),
        full("model m(", "=,", ") {}"),
        full("block b { ", "dence ", "} model m { b b b b }"),
        format!("model m {{ flatten {} }}", format!("{}dence\n", "relu ".repeat(190)).repeat(300)),
        format!("model m {{ flatten residual {{\n{} dense(3) }} dense(100) }}", "relu\n".repeat(9000)),
        format!("model m {{ flatten let x = {{ dense(3) }} add({}x) }}", "{}, ".repeat(20_000)),
        // Longer than a hand writes.
        full("model m { ", "relu ", "}"),
        "relu ".repeat(200_000),
        format!("model m {{ {} }}", "// x\n".repeat(200_000)),
        format!("model m {{ let a = {} }}", "9".repeat(1_000_000)),
        "model m { ".repeat(5_000),
        "\"\n".repeat(500_000),
    ];
    for text in texts {
        let start = std::time::Instant::now();
        let shown = &text[..text.floor_char_boundary(60)];
        if let Err(error) = check(&text) {
            let mut out = String::new();
            miette::GraphicalReportHandler::new().render_report(&mut out, &error).expect("writing to a string");
            assert!(out.len() < 400_000, "{} bytes about {shown}", out.len());
        }
        // The longest take half a second here; what would not end takes hours.
        assert!(start.elapsed() < PATIENCE, "{:?} for {shown}", start.elapsed());
    }
}

#[test]
fn what_is_too_large_says_so() {
    let message = |text: &str| check(text).unwrap_err().to_string();
    let many = "model m { patches(4) repeat mlp([1, 1, 1]) ×3334 }";
    assert_eq!(message(many), "the network has more than 10000 layers");
    let fits = "model m { flatten repeat mlp([1, 1, 1]) ×3332 dense(100) }";
    assert!(check(fits).is_ok());
    let within = "model m { patches(1) mlp([3000000, 3]) global_average_pool dense(100) }";
    assert_eq!(message(within), "`mlp` needs a tensor of 3072000000 elements; at most 2147483647 are allowed");
    let heads = "model m { patches(1) attention(1000000, 3) global_average_pool dense(100) }";
    assert_eq!(message(heads), "`attention` needs a tensor of 3072000000 elements; at most 2147483647 are allowed");
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "(".repeat(100_000),
        "[".repeat(100_000),
        "model a { ".repeat(50_000),
        format!("model a {{ {} }}", "residual { ".repeat(50_000)),
    ] {
        assert!(check(&text).is_err());
    }
}

/// A model or diagnostics, which can be shown.
fn answer(bytes: Vec<u8>) {
    let checked = Source::from_bytes("random", bytes).and_then(|source| elaborate(&source, &BTreeMap::new(), &CIFAR));
    if let Err(error) = checked {
        let mut out = String::new();
        miette::GraphicalReportHandler::new().render_report(&mut out, &error).expect("writing to a string");
        assert!(!out.trim().is_empty());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        answer(bytes);
    }

    /// A shipped model with pieces of it cut out, doubled, or replaced by noise: most of it parses.
    #[test]
    fn damaged_models_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..6), any::<bool>()), 1..6),
    ) {
        let mut bytes = include_bytes!("../../experiments/cifar10_vit.vitx").to_vec();
        for (at, length, noise, doubled) in edits {
            let start = at.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            let piece = bytes[start..end].to_vec();
            bytes.splice(start..end, if doubled { [piece.clone(), noise, piece].concat() } else { noise });
        }
        answer(bytes);
    }

    #[test]
    fn random_words_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "model", "block", "a", "b", "{", "}", "(", ")", "[", "]", "dense", "patches", "repeat", "×", "x", "3", "-", "/", "0",
        "residual", "let", "=", ",", "flatten", "transformer_block", "\"", "//", "\n", ":", "->", "1e9", "attention", "concat",
        "as", "i", "if", "else", "and", "not", "==", "<", "require", "shape", "max", "true", "norm", "shared", "frozen", "b({", "})",
    ]), 0..60)) {
        let _ = check(&words.join(" "));
        let _ = check(&format!("block a(b, i) {{ b i }} model m(norm = dense(3)) {{ patches(4) {} }}", words.join(" ")));
    }
}
