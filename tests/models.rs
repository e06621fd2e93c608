//! The shipped models and the diagnostics, as snapshots.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vitx::{
    dsl::{Diagnostics, Source, Value, parse, syntax_text},
    graph::Builder,
    model::{Architecture, ImageSpec, elaborate},
};

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

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(source) = Source::from_bytes("random", bytes) {
            let _ = elaborate(&source, &BTreeMap::new(), &CIFAR);
        }
    }

    #[test]
    fn random_words_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "model", "block", "a", "b", "{", "}", "(", ")", "[", "]", "dense", "patches", "repeat", "×", "x", "3", "-", "/", "0",
        "residual", "let", "=", ",", "flatten", "transformer_block", "\"", "//", "\n", ":", "->", "1e9", "attention", "concat",
    ]), 0..60)) {
        let _ = check(&words.join(" "));
        let _ = check(&format!("model m {{ patches(4) {} }}", words.join(" ")));
    }
}
