//! Output that cannot be written, and paths that are given for it.
#![cfg(unix)]

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, PermissionsExt, symlink},
    process::Stdio,
};

use crate::support::{shown, succeed, vitx};

const MODEL: &str = "model t { flatten dense(num_classes) }\n";

/// A folder with a model, an experiment, a run and a sweep of it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.vitx"), MODEL).unwrap();
    let yaml = "model: t.vitx\ndata: { name: digits, train_limit: 64, test_limit: 64 }\ntrain: { epochs: 1 }\n";
    fs::write(folder.path().join("e.yaml"), yaml).unwrap();
    folder
}

/// Every command that prints a result, in a folder with a run `R` and a sweep `S`.
const COMMANDS: [&[&str]; 18] = [
    &["check", "t.vitx"],
    &["summary", "t.vitx"],
    &["graph", "t.vitx"],
    &["graph", "t.vitx", "--stage", "program", "--format", "json"],
    &["fmt", "--diff", "--check", "t.vitx"],
    &["data", "info"],
    &["data", "info", "digits"],
    &["data", "show", "digits", "--image-size", "8", "--patches", "4", "-o", "shown.png"],
    &["data", "show", "digits", "--image-size", "8", "--patches", "4", "-o", "-"],
    &["report", "S"],
    &["report", "S", "--format", "csv"],
    &["report", "S", "--format", "json"],
    &["report", "S", "--html", "-"],
    &["compare", "R", "R"],
    &["eval", "R"],
    &["predict", "R", "shown.png"],
    &["--help"],
    &["report", "--help"],
];

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let folder = folder();
    succeed(vitx(folder.path(), &["run", "e.yaml", "-o", "R", "--threads", "1"]));
    succeed(vitx(folder.path(), &["sweep", "e.yaml", "-o", "S", "--threads", "1", "-p", "train.batch_size=32"]));
    for arguments in COMMANDS {
        let usual = vitx(folder.path(), arguments).output().unwrap();
        assert!(!usual.stdout.is_empty(), "{arguments:?}: {}", shown(&usual));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = vitx(folder.path(), arguments).stdout(full).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("cannot write to standard output: No space left"), "{arguments:?}: {errors}");
        // A descriptor that can only be read.
        let output = vitx(folder.path(), arguments).stdout(File::open("/dev/null").unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", shown(&output));
        // A pipe that nobody reads.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = vitx(folder.path(), arguments).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!(output.status.code(), usual.status.code(), "{arguments:?}: {}", shown(&output));
        assert_eq!(output.stderr, usual.stderr, "{arguments:?}");
    }
}

/// A page without the addresses of trials: one that goes elsewhere knows no place that they could begin at.
fn without_links(page: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(page) else { return page.to_owned() };
    let mut parts = text.split("\"href\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
    rest.fold(first, |page, part| page + part).into_bytes()
}

#[test]
fn paths_of_output_keep_their_kind() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(vitx(folder.path(), &["sweep", "e.yaml", "-o", "S", "--threads", "1", "-p", "train.batch_size=32"]));
    let show = ["data", "show", "digits", "--image-size", "8", "--patches", "4", "-o"];
    for command in [&["report", "S", "--html"][..], &show[..]] {
        let with = |path: &str| vitx(folder.path(), &[command, &[path]].concat());
        succeed(with("fresh"));
        let expected = fs::read(at("fresh")).unwrap();
        let plain = without_links(&expected);
        fs::remove_file(at("fresh")).unwrap();
        fs::write(at("target"), "old").unwrap();
        fs::set_permissions(at("target"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("target", at("link")).unwrap();
        succeed(with("link"));
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read(at("target")).unwrap(), expected);
        assert_eq!(fs::metadata(at("target")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(at("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = at("pipe");
            move || fs::read(pipe).unwrap()
        });
        succeed(with("pipe"));
        assert_eq!(without_links(&reader.join().unwrap()), plain);
        assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
        fs::remove_file(at("pipe")).unwrap();
        // Standard output is a file here: it is written into, and has nothing else.
        for path in ["-", "/dev/stdout"] {
            let output = with(path).stdout(File::create(at("through")).unwrap()).output().unwrap();
            let through = fs::read(at("through")).unwrap();
            assert!(output.status.success() && without_links(&through) == plain, "{}", shown(&output));
        }
        let refused = with("S").output().unwrap();
        let text = shown(&refused);
        assert!(refused.status.code() == Some(1) && text.contains("`S`: it is a folder"), "{text}");
        assert!(text.contains("name a file in it"), "{text}");
        let refused = with("/dev/full").output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused));
    }
    // What is formatted is a file, or standard input.
    fs::write(at("odd.vitx"), MODEL.replace(" {", "  {")).unwrap();
    symlink("odd.vitx", at("link.vitx")).unwrap();
    succeed(vitx(folder.path(), &["fmt", "link.vitx"]));
    assert!(fs::symlink_metadata(at("link.vitx")).unwrap().is_symlink());
    assert!(!fs::read_to_string(at("odd.vitx")).unwrap().contains("  {"));
    let text = vitx(folder.path(), &["fmt", "/dev/stdin"]).stdin(File::open(at("t.vitx")).unwrap()).output().unwrap();
    assert!(fs::read_to_string(at("t.vitx")).is_ok(), "{}", shown(&text));
}

#[test]
fn folders_may_begin_with_a_dash_or_hold_spaces() {
    let folder = folder();
    fs::create_dir(folder.path().join("-data")).unwrap();
    let arguments = ["sweep", "e.yaml", "-o=-dash", "--data-dir=-data", "--threads", "1", "-p", "train.batch_size=32"];
    let text = succeed(vitx(folder.path(), &arguments));
    assert!(text.contains("Again at any time: vitx report ./-dash\n"), "{text}");
    let arguments = ["sweep", "e.yaml", "-o", "it's mine", "--threads", "1", "-p", "train.batch_size=32"];
    let text = succeed(vitx(folder.path(), &arguments));
    assert!(text.contains("Again at any time: vitx report 'it'\\''s mine'\n"), "{text}");
}
