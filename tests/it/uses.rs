//! Models that use the blocks of other files.

use std::{fs, path::Path};

use vitx::{
    dsl::{Source, format},
    experiment::{Definition, Overrides},
    model::{ImageSpec, elaborate},
};

use crate::support::{succeed, vitx};

const DIGITS: ImageSpec = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };

const MODEL: &str = "use \"parts/blocks.vitx\"
use \"head.vitx\"

model m(dim = 8) {
    patches(4)
    encoder(dim)
    head
}
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn files() -> tempfile::TempDir {
    folder(&[
        ("m.vitx", MODEL),
        ("head.vitx", "// The end.\nblock head {\n    global_average_pool\n    dense(num_classes)\n}\n"),
        (
            "parts/blocks.vitx",
            "use \"norm.vitx\"\nuse \"../head.vitx\"\n\nblock encoder(dim) {\n    dense(dim)\n    norm\n}\n",
        ),
        ("parts/norm.vitx", "block norm {\n    layer_norm(1e-3)\n}\n"),
        ("m.yaml", "model: m.vitx\ndata: { name: digits }\ntrain: { epochs: 1, batch_size: 8 }\n"),
    ])
}

fn rendered(report: &dyn miette::Diagnostic, folder: &Path) -> String {
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut out, report).expect("writing to a string");
    let out = out.replace(&folder.display().to_string(), "FOLDER");
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn refused(folder: &Path) -> String {
    match Source::read_model(&folder.join("m.vitx")) {
        Ok(source) => rendered(&elaborate(&source, &Default::default(), &DIGITS).unwrap_err(), folder),
        Err(error) => rendered(&error, folder),
    }
}

#[test]
fn blocks_of_other_files() {
    let folder = files();
    let source = Source::read_model(&folder.path().join("m.vitx")).unwrap();
    let model = elaborate(&source, &Default::default(), &DIGITS).unwrap();
    let paths: Vec<&str> = model.layers().iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(
        paths,
        ["patches", "encoder/dense", "encoder/norm/layer_norm", "head/global_average_pool", "head/dense"]
    );
    // The file itself is formatted, without those that it uses.
    let own = Source::read(&folder.path().join("m.vitx")).unwrap();
    assert_eq!(format(&own).unwrap(), MODEL);
    let loose = Source::new("m", "use   \"a.vitx\"  use \"b.vitx\" // why\n\n\nuse \"c.vitx\" block b { } // end");
    let formatted = format(&loose).unwrap();
    assert_eq!(formatted, "use \"a.vitx\"\nuse \"b.vitx\" // why\nuse \"c.vitx\"\n\nblock b {} // end\n");
    assert_eq!(format(&Source::new("m", formatted.clone())).unwrap(), formatted);
    succeed(vitx(folder.path(), &["check", "m.vitx"]));
}

#[test]
fn a_trial_keeps_them_and_is_told_apart_by_them() {
    let folder = files();
    let path = folder.path().join("m.yaml");
    let read = || Definition::read(&path, &Overrides::default()).unwrap();
    let definition = read();
    let trial = folder.path().join("trial");
    definition.write(&trial).unwrap();
    let identity = definition.identity();
    fs::write(folder.path().join("parts/norm.vitx"), "block norm {\n    layer_norm(1e-2)\n}\n").unwrap();
    assert_ne!(read().identity(), identity);
    fs::remove_dir_all(folder.path().join("parts")).unwrap();
    let kept = Definition::of_trial(&trial).unwrap();
    assert_eq!(kept.identity(), identity);
    assert_eq!(kept.architecture(&DIGITS).unwrap().text(), definition.architecture(&DIGITS).unwrap().text());
    // It can be read as a model, too, wherever it lies.
    let again = Source::read_model(&trial.join("model.vitx")).unwrap();
    assert_eq!(again.text, definition.source.text);
}

#[test]
fn mistakes_are_shown_in_their_files() {
    let mut all = String::new();
    for (file, text) in [
        ("parts/norm.vitx", "// A norm.\n\nblock norm {\n    layer_nrm(1e-3)\n}\n"),
        ("parts/norm.vitx", "block norm {\n    dense(2\n}\n"),
        ("parts/norm.vitx", "block norm {\n    take(3)\n    take(1)\n}\n"),
        ("parts/norm.vitx", "block norm {\n    gelu\n}\n\nblock encoder {\n    gelu\n}\n"),
        ("parts/norm.vitx", "use \"blocks.vitx\"\nblock norm {\n    gelu\n}\n"),
        ("parts/norm.vitx", "model norm {\n    gelu\n}\n"),
        ("m.vitx", "use \"missing.vitx\"\nmodel m { flatten dense(num_classes) }\n"),
        ("m.vitx", "model m {\n    use \"missing.vitx\"\n    flatten\n    dense(num_classes)\n}\n"),
        ("m.vitx", "use blocks\nmodel m { flatten dense(num_classes) }\n"),
    ] {
        let folder = files();
        fs::write(folder.path().join(file), text).unwrap();
        all += &format!("==== {file}: {}\n{}\n", text.escape_debug(), refused(folder.path()));
    }
    let text = Source::new("<text>", MODEL);
    all += &format!(
        "==== no file\n{}",
        rendered(&elaborate(&text, &Default::default(), &DIGITS).unwrap_err(), Path::new("?"))
    );
    insta::assert_snapshot!(all);
}
