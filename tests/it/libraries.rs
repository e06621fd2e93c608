//! Weights by the names of other libraries, read and written: what is read of a file is written to the bit, and timm and
//! transformers load what is written.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, process::Command};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value as Json, json};
use vitx::{
    backend::StateTensor,
    dsl::Value,
    model::Architecture,
    weights::{
        Head, Names, Request, Table,
        export::{About, Foreign, export},
    },
};

use crate::{
    support::{shown, skipped, vitx},
    zoo::network,
};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// What a network finds in a table.
fn found(architecture: &Architecture, table: &Table) -> Vec<StateTensor> {
    let listing = architecture.listing();
    let tensors = listing.layers.iter().flat_map(|layer| &layer.tensors);
    let parameters: Vec<_> = tensors.map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    let request = Request {
        parameters: &parameters,
        last_layer: architecture.last_layer(),
        names: &Names::Auto,
        head: Head::Keep,
        missing: &[],
        unexpected: &[],
        resizes_positions: false,
    };
    request.find(Path::new("fixture"), table).unwrap().tensors
}

/// A file of a library's, with the network that it is of: its name in the zoo, the side of its images, its sizes.
type Case = (&'static str, &'static str, &'static str, usize, Vec<(&'static str, Value)>);

fn cases() -> Vec<Case> {
    let of =
        |sizes: &[(&'static str, i64)]| sizes.iter().map(|(name, size)| (*name, Value::Int(*size))).collect::<Vec<_>>();
    let vit = of(&[("patch_size", 2), ("dim", 12), ("depth", 2), ("num_heads", 3)]);
    let list = |sizes: [i64; 4]| Value::List(sizes.map(Value::Int).into());
    let swin = vec![("dim", Value::Int(4)), ("depths", list([2; 4])), ("heads", list([1, 2, 2, 4]))];
    let resnet = |[one, two, three, four]: [i64; 4], expansion| {
        let depths = [("depth1", one), ("depth2", two), ("depth3", three), ("depth4", four)];
        of(&[&[("width", 4), ("expansion", expansion)][..], &depths].concat())
    };
    vec![
        ("timm_vit", "timm", "deit_tiny", 8, vit.clone()),
        ("timm_swin", "timm", "swin", 32, swin),
        ("timm_resnet", "timm", "resnet50", 37, resnet([2, 1, 3, 1], 4)),
        ("timm_basic_resnet", "timm", "resnet50", 37, resnet([1, 2, 1, 1], 1)),
        ("hf_vit", "hf", "deit_tiny", 8, vit.clone()),
        ("hf_dinov2", "hf", "dinov2", 8, vit),
    ]
}

/// Shapes and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A fixture's tensors without what it is checked by, and what was made of what a network finds in them.
fn there_and_back((file, library, model, side, sizes): &Case) -> (Tensors, Foreign) {
    let table = Table::read(&fixture(&format!("{file}.safetensors"))).unwrap();
    let names = table.names().filter(|name| !["images", "logits"].contains(name));
    let tensors = names.map(|name| {
        let (shape, values) = table.get(name).unwrap();
        (name.to_owned(), (shape.to_vec(), values.to_vec()))
    });
    let tensors: BTreeMap<_, _> = tensors.collect();
    let alone = Table::of(tensors.iter().map(|(name, (shape, values))| (name.clone(), shape.clone(), values.clone())));
    let weights = found(&network(model, *side, 5, sizes), &alone);
    let about = About {
        image: [*side, *side, 3],
        classes: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
        normalization: [vec![0.5, 0.4, 0.3], vec![0.25, 0.5, 0.5]],
        crop_mode: "squash",
    };
    (tensors, export(library, &weights, &about).unwrap_or_else(|reason| panic!("{file}: {reason}")))
}

#[test]
fn what_is_read_is_written_to_the_bit() {
    for case in cases() {
        let (tensors, foreign) = there_and_back(&case);
        // transformers' token for what is masked, which nothing here reads.
        let read = tensors.iter().filter(|(name, _)| !name.ends_with("mask_token"));
        let read: BTreeMap<_, _> = read.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        assert_eq!(foreign.tensors.keys().collect::<Vec<_>>(), read.keys().collect::<Vec<_>>(), "{}", case.0);
        for (name, tensor) in &read {
            assert!(foreign.tensors[name] == *tensor, "{}: {name}", case.0);
        }
        let params: Vec<String> = foreign.params.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(foreign.model, case.2, "{params:?}");
    }
}

/// The reason names the library that has the network, or what is another.
#[test]
fn what_no_library_has_is_told() {
    let case = cases().into_iter().find(|case| case.0 == "hf_dinov2").unwrap();
    let table = Table::read(&fixture("hf_dinov2.safetensors")).unwrap();
    let kept = table.names().filter(|name| !["images", "logits"].contains(name));
    let alone = Table::of(kept.map(|name| {
        let (shape, values) = table.get(name).unwrap();
        (name.to_owned(), shape.to_vec(), values.to_vec())
    }));
    let weights = found(&network(case.2, case.3, 5, &case.4), &alone);
    let about =
        About { image: [8, 8, 3], classes: Vec::new(), normalization: [Vec::new(), Vec::new()], crop_mode: "squash" };
    let refused = |library: &str, weights: &[StateTensor]| export(library, weights, &about).unwrap_err();
    assert!(refused("timm", &weights).contains("--format hf writes it"));
    let mut other = weights.clone();
    other.push(StateTensor { name: "adapter/kernel".into(), shape: vec![1], data: vec![0.0] });
    assert_eq!(refused("hf", &other), "`adapter/kernel` has no name there");
}

/// The real network, of which timm's folder gives the reference logits of two photographs, and of noise at another size.
#[test]
fn efficientnet_lite0_comes_back() {
    let Some(folder) = std::env::var_os("VITX_PRETRAINED_DIR") else {
        return skipped("VITX_PRETRAINED_DIR names no folder of pretrained weights");
    };
    let folder = Path::new(&folder);
    let table = Table::read(&folder.join("model.safetensors")).unwrap();
    let architecture = network("efficientnet_lite0", 224, 1000, &[("stem_strides", Value::Int(2))]);
    let about = About {
        image: [224, 224, 3],
        classes: (0..1000).map(|class| class.to_string()).collect(),
        normalization: [vec![0.5; 3], vec![0.5; 3]],
        crop_mode: "squash",
    };
    let foreign = export("timm", &found(&architecture, &table), &about).unwrap();
    assert_eq!(foreign.tensors.len(), table.names().count());
    for (name, (shape, values)) in &foreign.tensors {
        assert!(table.get(name).unwrap() == (&shape[..], &values[..]), "{name}");
    }
    let Some(python) = python() else { return };
    let out = tempfile::tempdir().unwrap();
    write(out.path(), &foreign);
    let script = "import sys, timm, torch; from safetensors.torch import load_file; \
                  net = timm.create_model('local-dir:' + sys.argv[1], pretrained=True).eval(); \
                  ref = load_file(sys.argv[2]); \
                  torch.no_grad().__enter__(); \
                  print(max(float((net(ref[k].permute(0, 3, 1, 2)) - ref[k + '_logits']).abs().max() \
                  / ref[k + '_logits'].abs().max()) for k in ('photos', 'noise')))";
    let reference = folder.join("reference.safetensors");
    let output = Command::new(python).args(["-c", script]).arg(out.path()).arg(reference).output().unwrap();
    let difference: f64 =
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{}", shown(&output)));
    println!("{difference}");
    assert!(difference <= 1e-4, "{difference}");
}

/// Writes a folder as `vitx export` does.
fn write(folder: &Path, foreign: &Foreign) {
    let views = foreign.tensors.iter().map(|(name, (shape, values))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).unwrap())
    });
    let about = Some([("format".to_owned(), "pt".to_owned())].into());
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, about).unwrap()).unwrap();
    for (name, file) in &foreign.files {
        fs::write(folder.join(name), file.to_string()).unwrap();
    }
}

/// An interpreter of Python that has timm and transformers.
fn python() -> Option<OsString> {
    let python = std::env::var_os("VITX_TIMM_PYTHON");
    if python.is_none() {
        skipped("VITX_TIMM_PYTHON names no Python with timm and transformers");
    }
    python
}

/// timm and transformers make the networks of the folders that are written, and find the logits of the fixtures.
#[test]
fn the_libraries_load_what_is_written() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for case in cases() {
        let (_, foreign) = there_and_back(&case);
        let folder = folder.path().join(case.0);
        fs::create_dir(&folder).unwrap();
        write(&folder, &foreign);
        let reference = fixture(&format!("{}.safetensors", case.0));
        all.push(json!({ "library": case.1, "folder": folder, "reference": reference }));
    }
    let list = folder.path().join("cases.json");
    fs::write(&list, json!(all).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/library_check.py");
    let output = Command::new(python).arg(script).arg(&list).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), all.len());
    for result in results {
        println!("{result}");
        assert!(result["difference"].as_f64().unwrap() <= 1e-4, "{result}");
    }
}

/// A training, its folder for timm, and a training from that; what is no network of the library's is refused with the
/// layer that is another.
#[test]
fn a_trained_network_leaves_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/zoo/deit_tiny.vitx");
    let text = fs::read_to_string(zoo).unwrap();
    fs::write(folder.join("vit.vitx"), &text).unwrap();
    fs::write(folder.join("relu.vitx"), text.replace("gelu", "relu")).unwrap();
    let run = |arguments: &[&str]| vitx(folder, arguments).output().unwrap();
    let succeed = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{}", shown(&output));
        shown(&output)
    };
    for model in ["vit", "relu"] {
        let experiment = format!(
            "model: {model}.vitx\nparams: {{ image_size: 8, patch_size: 4, dim: 12, depth: 2, num_heads: 3 }}\n\
             data: {{ name: digits, train_limit: 200, test_limit: 100 }}\ntrain: {{ epochs: 1, batch_size: 50 }}\n"
        );
        fs::write(folder.join(format!("{model}.yaml")), experiment).unwrap();
        succeed(&["run", &format!("{model}.yaml"), "--backend", "cpu", "-o", model]);
    }
    let told = succeed(&["export", "vit", "--format", "timm", "-o", "left"]);
    assert!(told.contains("by the names of timm"), "{told}");
    insta::assert_snapshot!(fs::read_to_string(folder.join("left/config.json")).unwrap());
    succeed(&["export", "vit", "--format", "hf"]);
    for back in ["left/model.safetensors", "vit/hf/model.safetensors"] {
        let name = &back.replace('/', "_");
        let keep = "init.freeze=[\"enc*\"]";
        succeed(&["run", "vit.yaml", "--backend", "cpu", "-o", name, "--init", back, "--set", keep]);
        let tensor = |trial: &str| {
            let bytes = fs::read(folder.join(trial).join("best.safetensors")).unwrap();
            SafeTensors::deserialize(&bytes).unwrap().tensor("encoder1/attention/key/kernel").unwrap().data().to_vec()
        };
        assert_eq!(tensor("vit"), tensor(name));
    }
    succeed(&["run", "digits_vit.yaml", "--backend", "cpu", "-o", "other", "--set", "train.epochs=1"]);
    let refused = [
        &["export", "relu", "--format", "timm"][..],
        &["export", "other", "--format", "timm"],
        &["export", "vit", "--format", "timm", "-o", "-"],
    ];
    let told = refused.map(|arguments| {
        let output = run(arguments);
        assert!(!output.status.success(), "{}", shown(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    insta::assert_snapshot!(told.join("\n"));
}
