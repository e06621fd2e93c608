//! The graphs of the shipped models, as `vitx graph` prints them.

use std::process::Command;

fn graph(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vitx"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("graph")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn forward_and_training_graphs_of_every_shipped_model() {
    for model in ["cifar100_vit", "cifar10_vit", "digits_vit"] {
        let file = format!("experiments/{model}.vitx");
        for stage in ["forward", "training"] {
            let text = graph(&[&file, "--stage", stage, "--batch", "2", "--param", "depth=1"]);
            insta::assert_snapshot!(format!("{model}_{stage}"), text);
        }
    }
}

#[test]
fn every_form_has_every_node_and_edge() {
    let form = |format| graph(&["experiments/digits_vit.vitx", "--stage", "training", "--format", format]);
    let text = form("text");
    let listing: serde_json::Value = serde_json::from_str(&form("json")).unwrap();
    let nodes = listing["nodes"].as_array().unwrap();
    assert_eq!(text.lines().count(), nodes.len() + 1);
    let (dot, mermaid) = (form("dot"), form("mermaid"));
    assert_eq!(dot.matches("[label=").count(), nodes.len());
    let inputs: usize = nodes.iter().map(|node| node["inputs"].as_array().unwrap().len()).sum();
    assert_eq!(dot.matches(" -> ").count(), inputs);
    // Mermaid draws 500 arrows and 50,000 characters.
    assert!(inputs > 500);
    assert!(mermaid.matches(" --> ").count() <= 500 && mermaid.len() <= 50_000, "{mermaid}");
    assert!(mermaid.matches("[\"").count() > 100 && mermaid.contains("--format dot draws all"), "{mermaid}");
}

#[test]
fn pictures_of_every_shipped_model_can_be_drawn() {
    for model in ["cifar100_vit", "cifar10_vit", "digits_vit"] {
        for stage in ["syntax", "model", "forward", "training", "program"] {
            for backend in ["cpu", "cuda"] {
                let file = format!("experiments/{model}.yaml");
                let picture = graph(&[&file, "--stage", stage, "--format", "mermaid", "--backend", backend]);
                let fits = picture.matches(" --> ").count() <= 500 && picture.len() <= 50_000;
                assert!(fits, "{model} {stage}: {} bytes", picture.len());
            }
        }
    }
}

#[test]
fn every_stage_has_every_form() {
    for stage in ["syntax", "model", "forward", "training", "program"] {
        // An experiment stands for its model.
        for file in ["experiments/digits_vit.vitx", "experiments/digits_vit.yaml"] {
            let form = |format| {
                let arguments = [file, "--stage", stage, "--format", format, "--num-classes", "10", "--channels", "1"];
                graph(&arguments)
            };
            serde_json::from_str::<serde_json::Value>(&form("json")).unwrap();
            let (dot, mermaid) = (form("dot"), form("mermaid"));
            assert!(dot.starts_with("digraph {") && dot.trim_end().ends_with('}'), "{dot}");
            assert!(mermaid.starts_with("flowchart TB"), "{mermaid}");
            let (arrows, drawn) = (dot.matches(" -> ").count(), mermaid.matches(" --> ").count());
            assert!(arrows >= 1, "{stage}: {dot}");
            assert!(if arrows > 500 { drawn <= 500 } else { drawn == arrows }, "{stage}: {drawn} of {arrows}");
        }
    }
    insta::assert_snapshot!(
        "digits_vit_model_mermaid",
        graph(&["experiments/digits_vit.yaml", "--format", "mermaid", "--param", "depth=1"])
    );
}

#[test]
fn programs_list_every_kernel_call() {
    let model = "experiments/digits_vit.vitx";
    let text = graph(&[model, "--stage", "program", "--batch", "2", "--param", "depth=1"]);
    insta::assert_snapshot!("digits_vit_program", text);
    let json = graph(&[model, "--stage", "program", "--batch", "2", "--param", "depth=1", "--format", "json"]);
    let listing: serde_json::Value = serde_json::from_str(&json).unwrap();
    let steps: usize =
        listing["regions"].as_array().unwrap().iter().map(|region| region["steps"].as_array().unwrap().len()).sum();
    assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), steps);
}

#[test]
fn cuda_programs_are_shown_without_a_device() {
    let model = "experiments/digits_vit.vitx";
    let of = |precision, format, regions| {
        let shape = ["--batch", "2", "--param", "depth=1", "--format", format, "--regions", regions];
        let cuda = ["--stage", "program", "--backend", "cuda", "--precision", precision];
        graph(&[&[model][..], &cuda, &shape].concat())
    };
    for precision in ["f32", "bf16"] {
        insta::assert_snapshot!(format!("digits_vit_cuda_program_{precision}"), of(precision, "text", "off"));
    }
    let (text, json) = (of("bf16", "text", "auto"), of("bf16", "json", "auto"));
    let listing: serde_json::Value = serde_json::from_str(&json).unwrap();
    // Phases of regions stand below their calls.
    let calls = text.lines().filter(|line| !line.starts_with("    "));
    assert_eq!(listing["calls"].as_array().unwrap().len() + 1, calls.count());
    insta::assert_snapshot!("digits_vit_cuda_program_regions", text);
}

#[test]
fn only_backends_with_programs_show_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_vitx"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["graph", "experiments/digits_vit.vitx", "--stage", "program", "--backend", "reference"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the reference backend has no program to show"));
}

/// No batch and no size is a panic, and what does not fit says what would.
#[test]
fn programs_that_do_not_fit_are_refused() {
    let refused = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vitx"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["graph", "experiments/cifar100_vit.vitx", "--stage", "program"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let (assumed, error) = error.split_at(error.find('×').unwrap());
        assert!(assumed.starts_with("assumed images of 3 channels and 100 classes"), "{assumed}");
        error.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    };
    let message = refused(&["--backend", "cuda", "--batch", "65536"]);
    let of = "× with a batch of 65536, the output of `attention_gradient` after `transformer_block";
    let needs = "/attention/query/kernel` needs 2415919104 elements; the cuda backend takes at most 2147483647; \
                 the largest batch that fits is 58254";
    assert!(message.starts_with(of) && message.ends_with(needs), "{message}");
    let message = refused(&["--backend", "cuda", "--batch", "24", "--param", "num_heads=10000"]);
    assert!(message.ends_with("the largest batch that fits is 23"), "{message}");
    let wide = ["--backend", "cuda", "--batch", "4", "--param", "num_heads=40000", "--param", "depth=4"];
    assert!(refused(&wide).ends_with("not even a batch of 1 fits"), "{}", refused(&wide));
    // What it says fits, fits.
    let fits = ["--stage", "program", "--backend", "cuda", "--batch", "23", "--param", "num_heads=10000"];
    assert!(graph(&[&["experiments/cifar100_vit.vitx"], &fits[..]].concat()).starts_with("program batch 23"));
}
