//! Networks for other programs: every network of the zoo, and every operator, by onnxruntime.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use prost::Message;
use serde_json::{Value as Json, json};
use vitx::{
    backend::{Backend, Batch, EngineOptions, Precision, Regions, StateTensor},
    dsl::Value,
    graph::{Builder, Network, losses::Loss, optimizers::Optimizer},
    onnx::{Header, messages::ModelProto},
    passes::{Lowering, OnnxExport, onnx},
};

use crate::{
    networks,
    support::{shown, skipped, succeed, vitx},
    zoo::network,
};

/// Images of a batch.
const BATCH: usize = 3;

/// Values of a network of the zoo that make it small.
fn small(name: &str) -> Vec<(&'static str, Value)> {
    let int = |name, value| (name, Value::Int(value));
    match name {
        "wide_resnet_28_10" => vec![int("depth", 10), int("widen", 1)],
        "resnet20" => vec![int("width", 8)],
        "resnet18" | "resnet_speedrun" => vec![int("width", 16)],
        "deit_tiny" | "cct_7_3x1" | "hybrid" | "cait" | "sl_vit" => vec![int("depth", 2), int("dim", 48)],
        "mlp_mixer" => vec![int("depth", 2), int("dim", 24)],
        "gmlp" | "convmixer" => vec![int("depth", 2), int("dim", 24)],
        "convnext" => vec![int("dim", 12)],
        "swin" => vec![int("dim", 24)],
        "dinov2" => vec![int("patch_size", 8), int("dim", 48), int("depth", 2)],
        _ => Vec::new(),
    }
}

/// Numbers between -1 and 1.
fn noise(seed: usize, index: usize) -> f32 {
    ((index as f32 * 0.731 + seed as f32 * 1.93).sin() * 43.7).sin()
}

/// A case of onnx_check.py in a folder: a network with weights that are not those it begins with, its ONNX file, and its
/// logits by the cpu backend.
fn case(
    folder: &Path,
    name: &str,
    lowering: impl Fn(&mut Builder, usize) -> Network + Send + Sync + Clone + 'static,
    export: &OnnxExport,
) -> Json {
    let options = EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 3,
        threads: 1,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let mut engine = Backend::Cpu.engine(Box::new(lowering.clone()), options).unwrap();
    let mut weights: Vec<StateTensor> = engine.weights().unwrap();
    for (seed, tensor) in weights.iter_mut().enumerate() {
        // Those that begin as one number: biases, factors, statistics of batches, tokens.
        if tensor.data.iter().all(|value| *value == tensor.data[0]) {
            tensor.data.iter_mut().enumerate().for_each(|(index, value)| *value += 0.2 * noise(seed, index));
        }
    }
    engine.load_state(&weights).unwrap();

    let mut builder = Builder::new();
    let network = lowering(&mut builder, BATCH);
    let (shape, classes) = (network.images.shape.clone(), network.logits.last());
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|index| 127.5 + 127.5 * noise(7, index)).collect();
    let channels = network.images.last();
    let [mean, deviation] = export.scales.clone().unwrap_or([vec![0.0; channels], vec![1.0; channels]]);
    let scaled = pixels.iter().enumerate().map(|(index, pixel)| {
        let channel = index % channels;
        (pixel - mean[channel]) / deviation[channel]
    });
    let scaled: Vec<f32> = scaled.collect();
    engine.evaluate(&Batch { images: &scaled, labels: &[0, 1, 2], mixed: None }).unwrap();

    let by_name: HashMap<&str, &[f32]> = weights.iter().map(|tensor| (&tensor.name[..], &tensor.data[..])).collect();
    let lowering: &Lowering = &lowering;
    let bytes = onnx(lowering, |name| by_name.get(name).copied(), export).unwrap();
    let (given, shape) = match export.channels_first && shape.len() == 4 {
        true => {
            let [height, width] = [shape[1], shape[2]];
            let mut given = Vec::with_capacity(pixels.len());
            for image in pixels.chunks_exact(height * width * channels) {
                for channel in 0..channels {
                    given.extend(image.iter().skip(channel).step_by(channels));
                }
            }
            (given, vec![BATCH, channels, height, width])
        }
        false => (pixels, shape),
    };
    let at = |extension: &str| folder.join(format!("{}.{extension}", name.replace([' ', '/'], "_")));
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    fs::write(at("onnx"), bytes).unwrap();
    fs::write(at("images"), floats(&given)).unwrap();
    fs::write(at("logits"), floats(engine.logits())).unwrap();
    json!({
        "file": at("onnx"), "images": at("images"), "shape": shape, "logits": at("logits"), "classes": classes,
        "static": export.batch.is_some(),
    })
}

fn export(channels_first: bool) -> OnnxExport {
    let header = Header {
        name: "network".into(),
        producer_name: "vitx".into(),
        producer_version: "0".into(),
        metadata: Vec::new(),
    };
    OnnxExport { batch: None, channels_first, scales: None, probabilities: false, header }
}

/// Has all cases checked by the interpreter that `VITX_ONNX_PYTHON` names, which has `onnx` and `onnxruntime`.
fn check(python: &std::ffi::OsStr, folder: &Path, cases: &[Json]) {
    let list = folder.join("cases.json");
    fs::write(&list, json!(cases).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/onnx_check.py");
    let output = Command::new(python).arg(script).arg(&list).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), cases.len());
    for result in results {
        println!("{result}");
        assert!(result["difference"].as_f64().unwrap() <= 1e-4, "{result}");
    }
}

/// An interpreter of Python that has `onnx` and `onnxruntime`.
fn python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("VITX_ONNX_PYTHON");
    if python.is_none() {
        skipped("VITX_ONNX_PYTHON names no Python with onnx and onnxruntime");
    }
    python
}

#[test]
fn every_network_of_the_zoo_has_its_logits_in_onnxruntime() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/zoo");
    let mut names: Vec<String> = fs::read_dir(zoo)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".vitx").map(str::to_owned))
        .collect();
    names.sort();
    let cases: Vec<Json> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let scales = Some([vec![125.3, 123.0, 113.9], vec![63.0, 62.1, 66.7]]);
            let batch = (number % 4 == 3).then_some(BATCH);
            let probabilities = number % 3 == 1;
            let how = OnnxExport { batch, scales, probabilities, ..export(number % 5 != 4) };
            let architecture = std::sync::Arc::new(network(name, 32, 10, &small(name)));
            case(folder.path(), name, move |builder, batch| architecture.lower(builder, batch), &how)
        })
        .collect();
    assert!(cases.len() >= 13);
    check(&python, folder.path(), &cases);
}

#[test]
fn every_operator_has_its_results_in_onnxruntime() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for (name, apply) in networks::OPERATORS {
        // Odd numbers, and even ones, which make images of two channels.
        for sizes in [[5, 7], [6, 8]] {
            let name = format!("{name} {}", sizes[0]);
            let scales = Some([vec![127.5; sizes[1]], vec![75.0; sizes[1]]]);
            let lowering = move |builder: &mut Builder, batch| networks::network(builder, batch, sizes, apply);
            cases.push(case(folder.path(), &name, lowering, &OnnxExport { scales, ..export(false) }));
        }
    }
    check(&python, folder.path(), &cases);
}

fn refused(output: &Output, folder: &Path) -> String {
    assert!(!output.status.success(), "{}", shown(output));
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  │ ", " ").replace("\n        ", " ");
    let folder = folder.canonicalize().unwrap().display().to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(&folder, "FOLDER")
}

/// A trial of the embedded digits, whose weights other programs read.
#[test]
fn a_trial_is_exported() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let quick = ["--set", "train.epochs=1", "--set", "data.train_limit=100", "--set", "data.test_limit=50"];
    let run = ["run", "digits_vit.yaml", "--output", "trial", "--backend", "cpu", "--threads", "1"];
    succeed(vitx(folder, &[&run[..], &quick].concat()));

    let said = succeed(vitx(folder, &["export", "trial"]));
    let line = said.lines().next().unwrap();
    let (line, size) = line.rsplit_once(", ").unwrap();
    assert_eq!(line, "trial/model.onnx: images [batch, 1, 8, 8] of 0 to 255 to logits [batch, 10]");
    assert!(size.ends_with(" MB"), "{size}");
    let bytes = fs::read(folder.join("trial/model.onnx")).unwrap();
    let model = ModelProto::decode(&bytes[..]).unwrap();
    let metadata: HashMap<String, String> =
        model.metadata_props.iter().map(|entry| (entry.key.clone().unwrap(), entry.value.clone().unwrap())).collect();
    assert_eq!(metadata["class_names"], r#"["0","1","2","3","4","5","6","7","8","9"]"#);
    let keys = ["vitx.run", "vitx.model", "vitx.data", "vitx.epoch", "vitx.ema", "image_size", "data_size", "images"];
    insta::assert_snapshot!(keys.map(|key| format!("{key}: {}", metadata[key])).join("\n"));
    assert_eq!(metadata["vitx.version"], env!("CARGO_PKG_VERSION"));

    // The same bytes again, over the old file, and on standard output.
    succeed(vitx(folder, &["export", "trial"]));
    assert_eq!(fs::read(folder.join("trial/model.onnx")).unwrap(), bytes);
    let output = vitx(folder, &["export", "trial", "-o", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == bytes, "{} bytes", output.stdout.len());

    // The weights are those that are tested.
    succeed(vitx(folder, &["export", "trial", "--format", "safetensors", "-o", "weights.safetensors"]));
    let [own, best] =
        ["weights.safetensors", "trial/best.safetensors"].map(|name| fs::read(folder.join(name)).unwrap());
    let (_, header) = safetensors::SafeTensors::read_metadata(&own).unwrap();
    let about: Json = serde_json::from_str(&header.metadata().as_ref().unwrap()["vitx"]).unwrap();
    assert_eq!(about["class_names"][3], "3");
    let [own, best] = [&own, &best].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
    assert_eq!(own.len(), best.len());
    for (name, tensor) in best.iter() {
        assert_eq!(own.tensor(name).unwrap(), tensor, "{name}");
    }

    let mut all = Vec::new();
    for arguments in [
        &["export", "trial", "-o", "none/model.onnx"][..],
        &["export", "trial", "-o", "trial"],
        &["export", "trial", "--batch", "0"],
        &["export", "trial", "--format", "pickle"],
        &["export", "none"],
    ] {
        all.push(refused(&vitx(folder, arguments).output().unwrap(), folder));
    }
    fs::remove_file(folder.join("trial/best.safetensors")).unwrap();
    all.push(refused(&vitx(folder, &["export", "trial"]).output().unwrap(), folder));
    assert_eq!(fs::read(folder.join("trial/model.onnx")).unwrap(), bytes, "the old file stays");
    insta::assert_snapshot!("what_is_refused", all.join("\n"));
}
