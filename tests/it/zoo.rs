//! The networks of `experiments/zoo`: each has the parameters that its source counts.

use std::{collections::BTreeMap, path::Path, process::Command};

use safetensors::SafeTensors;
use vitx::{
    backend::{Backend, Batch, Engine, EngineOptions, Precision, Regions},
    dsl::{Source, Value},
    graph::{
        losses::Loss,
        optimizers::{Optimizer, Pattern},
    },
    model::{Architecture, ImageSpec, elaborate},
    weights::{Head, Names, Request, Table},
};

use crate::keras::floats;

/// A network of the zoo, for images of so many pixels a side.
pub fn network(name: &str, side: usize, classes: usize, with: &[(&str, Value)]) -> Architecture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/zoo/{name}.vitx"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut values: BTreeMap<String, Value> =
        with.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    values.insert("image_size".to_owned(), Value::Int(side as i64));
    let data = ImageSpec { height: side, width: side, channels: 3, num_classes: classes };
    elaborate(&Source::new(format!("{name}.vitx"), text), &values, &data)
        .unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
}

/// All, and those that are learned.
fn counts(architecture: &Architecture) -> (u64, u64) {
    let summary = architecture.summary();
    (summary.parameters, summary.learned)
}

macro_rules! size {
    ($name:literal, $side:literal px, $classes:literal classes $(, $key:ident = $value:literal)* $(,)? => $learned:literal) => {{
        let values: &[(&str, Value)] = &[$((stringify!($key), Value::Int($value))),*];
        assert_eq!(counts(&network($name, $side, $classes, values)).1, $learned, $name);
    }};
}

#[test]
fn parameters_are_those_of_the_sources() {
    // He et al. 2016, table 6: 0.27 M.
    size!("resnet20", 32 px, 10 classes => 269_722);
    // ResNet-18 of kuangliu/pytorch-cifar: 11,173,962 with ten classes.
    size!("resnet18", 32 px, 10 classes => 11_173_962);
    // WRN-28-10 of 100 classes, as counted from its authors' code.
    size!("wide_resnet_28_10", 32 px, 100 classes => 36_536_884);
    // keras.applications
    size!("resnet50v2", 72 px, 100 classes => 23_724_260);
    assert_eq!(counts(&network("resnet50v2", 32, 100, &[])).0, 23_769_700);
    assert_eq!(counts(&network("mobilenet_v2", 32, 100, &[])).0, 2_386_084);
    size!("convnext", 224 px, 100 classes, stem_size = 4 => 27_897_028);
    // timm
    size!("swin", 224 px, 1000 classes, patch_size = 4, window = 7 => 28_288_354);
    size!("deit_tiny", 224 px, 1000 classes, patch_size = 16 => 5_717_416);
    size!("deit_tiny", 224 px, 1000 classes, patch_size = 16, dim = 768, num_heads = 12 => 86_567_656);
    size!("resnet50", 224 px, 1000 classes => 25_557_032);
    size!("resnet50", 224 px, 1000 classes, depth1 = 2, depth2 = 2, depth3 = 2, depth4 = 2, expansion = 1 => 11_689_512);
    // transformers' `Dinov2Model` of dinov2-small, without its mask token, and a head of 768 channels.
    size!("dinov2", 518 px, 100 classes => 22_133_092);
    size!("efficientnet_lite0", 224 px, 1000 classes, stem_strides = 2 => 4_652_008);
    size!("convmixer", 224 px, 1000 classes, dim = 768, depth = 32, kernel_size = 7, patch_size = 7 => 21_110_248);
    size!(
        "mlp_mixer", 224 px, 1000 classes,
        patch_size = 16, dim = 512, tokens_dim = 256, channels_dim = 2048 => 18_528_264
    );
    size!("gmlp", 224 px, 1000 classes, patch_size = 16, dim = 256, depth = 30 => 19_422_656);
    // SHI-Labs/Compact-Transformers: 3.76 M for 10 classes, with a bias more of 256 in each layer: 3,760,139.
    size!("cct_7_3x1", 32 px, 10 classes => 3_758_347);
    // crisostomi/cifar100-speedrun: 2.8 M.
    size!("resnet_speedrun", 32 px, 100 classes => 2_800_704);
    // timm's cait_xxs24_224 and cait_xxs36_224.
    size!("cait", 224 px, 1000 classes, patch_size = 16 => 11_956_264);
    size!("cait", 224 px, 1000 classes, patch_size = 16, depth = 36 => 17_299_720);
    // aanna0701/SPT_LSA_ViT, its `ViT` with is_SPT and is_LSA, as counted from its text.
    size!("sl_vit", 32 px, 100 classes => 2_747_248);
    // Counted here.
    size!("hybrid", 32 px, 100 classes => 5_497_252);
}

/// An engine of a network with the weights of a file, all of which find their parameters.
fn with_weights(architecture: Architecture, path: &Path, unexpected: &[&str]) -> (Box<dyn Engine>, String) {
    let listing = architecture.listing();
    let tensors = listing.layers.iter().flat_map(|layer| &layer.tensors);
    let parameters: Vec<_> = tensors.map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    let unexpected: Vec<Pattern> = unexpected.iter().map(|text| Pattern::new(*text)).collect();
    let request = Request {
        parameters: &parameters,
        last_layer: architecture.last_layer(),
        names: &Names::Auto,
        head: Head::Keep,
        missing: &[],
        unexpected: &unexpected,
        resizes_positions: false,
    };
    let matched = request.find(path, &Table::read(path).unwrap()).unwrap();
    assert_eq!(matched.taken, parameters.len());
    let options = EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 1,
        threads: 2,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    let mut engine = Backend::Cpu.engine(lowering, options).unwrap();
    engine.load_state(&matched.tensors).unwrap();
    (engine, matched.names)
}

fn assert_logits(what: &str, engine: &mut dyn Engine, pixels: &[f32], labels: &[u32], expected: &[f32]) {
    engine.evaluate(&Batch { images: pixels, labels, mixed: None }).unwrap();
    for (ours, theirs) in engine.logits().iter().zip(expected) {
        assert!((ours - theirs).abs() <= 1e-4 * (1.0 + theirs.abs()), "{what}: {ours}, not {theirs}");
    }
}

/// EfficientNet-Lite0 with timm's weights gives timm's logits. `VITX_PRETRAINED_DIR` has `model.safetensors`, in timm's form,
/// and `reference.safetensors`: `photos`, `photos_logits`, `noise`, `noise_logits`.
#[test]
fn efficientnet_lite0_as_timm_has_it() {
    let Some(folder) = std::env::var_os("VITX_PRETRAINED_DIR") else {
        eprintln!("skipped: VITX_PRETRAINED_DIR names no folder of pretrained weights");
        return;
    };
    let reference = std::fs::read(Path::new(&folder).join("reference.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&reference).unwrap();
    for (images, side) in [("photos", 224), ("noise", 96)] {
        let architecture = network("efficientnet_lite0", side, 1000, &[("stem_strides", Value::Int(2))]);
        let (mut engine, names) = with_weights(architecture, &Path::new(&folder).join("model.safetensors"), &[]);
        assert_eq!(names, "timm");
        let logits = floats(&reference, &format!("{images}_logits"));
        assert_logits(images, engine.as_mut(), &floats(&reference, images), &[285, 967], &logits);
    }
}

/// timm's and transformers' ViT and Swin with random weights; see `tests/fixtures/weights/make_weights.py`.
#[test]
fn transformers_as_timm_and_transformers_have_them() {
    let int = Value::Int;
    let list = |sizes: [i64; 4]| Value::List(sizes.map(Value::Int).into());
    let vit = [("patch_size", int(2)), ("dim", int(12)), ("depth", int(2)), ("num_heads", int(3))];
    let swin = [("dim", int(4)), ("depths", list([2; 4])), ("heads", list([1, 2, 2, 4]))];
    for (file, library, model, side, sizes) in [
        ("timm_vit", "timm", "deit_tiny", 8, &vit[..]),
        ("hf_vit", "hf", "deit_tiny", 8, &vit[..]),
        ("timm_swin", "timm", "swin", 32, &swin[..]),
        ("hf_swin", "hf", "swin", 32, &[&swin[..], &[("window", int(2))]].concat()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/weights/{file}.safetensors"));
        let architecture = network(model, side, 5, sizes);
        let (mut engine, names) = with_weights(architecture, &path, &["images", "logits"]);
        assert_eq!(names, library);
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let [images, logits] = ["images", "logits"].map(|name| floats(&tensors, name));
        assert_logits(file, engine.as_mut(), &images, &[0, 1], &logits);
    }
}

/// Weights by the names of the ViT's authors, whose logits are timm's, which reads their files too.
#[test]
fn archives_of_jax_as_timm_reads_them() {
    let int = Value::Int;
    let vit = [("patch_size", int(2)), ("dim", int(12)), ("depth", int(2)), ("num_heads", int(3))];
    for file in ["jax_vit", "jax_big_vision"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
        let path = folder.join(format!("{file}.npz"));
        let (mut engine, names) = with_weights(network("deit_tiny", 8, 5, &vit), &path, &[]);
        assert_eq!(names, "jax");
        let bytes = std::fs::read(folder.join(format!("{file}_logits.safetensors"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let [images, logits] = ["images", "logits"].map(|name| floats(&tensors, name));
        assert_logits(file, engine.as_mut(), &images, &[0, 1], &logits);
        // Heads and all sizes are told by the shapes alone.
        let table = vitx::weights::Table::read(&path).unwrap();
        let imported = vitx::weights::import::import(&table, &Default::default()).unwrap();
        let found: Vec<(&str, String)> =
            imported.params.iter().skip(1).map(|(name, value)| (*name, value.to_string())).collect();
        let params: Vec<(&str, String)> = vit.iter().map(|(name, value)| (*name, value.to_string())).collect();
        assert_eq!((imported.library, imported.model, found), ("jax", "deit_tiny", params), "{file}");
    }
}

/// transformers' `Dinov2ForImageClassification` and timm's `ResNet` with random weights, also of few units in a stage.
#[test]
fn dinov2_and_resnets_as_their_libraries_have_them() {
    let of =
        |sizes: &[(&'static str, i64)]| sizes.iter().map(|(name, size)| (*name, Value::Int(*size))).collect::<Vec<_>>();
    let dinov2 = of(&[("patch_size", 2), ("dim", 12), ("depth", 2), ("num_heads", 3)]);
    let resnet = |depths: [i64; 4], expansion| {
        let [one, two, three, four] = depths;
        of(&[
            ("width", 4),
            ("depth1", one),
            ("depth2", two),
            ("depth3", three),
            ("depth4", four),
            ("expansion", expansion),
        ])
    };
    for (file, library, model, side, params) in [
        ("hf_dinov2", "hf", "dinov2", 8, dinov2),
        ("timm_resnet", "timm", "resnet50", 37, resnet([2, 1, 3, 1], 4)),
        ("timm_basic_resnet", "timm", "resnet50", 37, resnet([1, 2, 1, 1], 1)),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/weights/{file}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (mut engine, names) = with_weights(network(model, side, 5, &params), &path, &["images", "logits"]);
        assert_eq!(names, library);
        let [images, logits] = ["images", "logits"].map(|name| floats(&tensors, name));
        let best = |row: &[f32]| (0..5_u32).max_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize])).unwrap();
        let classes = [best(&logits[..5]), best(&logits[5..])];
        assert_logits(file, engine.as_mut(), &images, &classes, &logits);
        // What the file is of is found by its names and shapes.
        let config = vitx::weights::import::Config {
            network: Some(
                serde_json::json!({ "num_attention_heads": 3, "pretrained_cfg": { "input_size": [3, side, side] } }),
            ),
            images: None,
        };
        let table = vitx::weights::Table::read(&path).unwrap();
        let imported = vitx::weights::import::import(&table, &config).unwrap();
        let found: Vec<(&str, String)> =
            imported.params.iter().skip(1).map(|(name, value)| (*name, value.to_string())).collect();
        let params: Vec<(&str, String)> = params.iter().map(|(name, value)| (*name, value.to_string())).collect();
        assert_eq!((imported.library, imported.model, found), (library, model, params), "{file}");
    }
}

/// Every experiment that is shipped can be planned: its keys are known, and its network fits its images.
#[test]
fn all_experiments_are_fine() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "vitx") {
                let command =
                    if path.extension().is_some_and(|extension| extension == "vitx") { "check" } else { "summary" };
                let output = Command::new(env!("CARGO_BIN_EXE_vitx")).arg(command).arg(&path).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && !said.contains('⚠'), "{}: {said}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}
