//! What a newcomer meets first: the binary in an empty folder, experiments by name, completion in shells, pages for `man`.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn vitx(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
    command.current_dir(folder).env("NO_COLOR", "1").env_remove("VITX_DATA_DIR").args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that succeeds prints.
fn shown(folder: &Path, arguments: &[&str]) -> String {
    let output = vitx(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Says what a test does not see here. Not by `eprintln`, which is only shown when a test fails.
fn skipped(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

#[test]
fn what_new_writes_runs_at_once() {
    let root = tempfile::tempdir().unwrap();
    let said = shown(root.path(), &["new", "my first"]);
    assert!(said.ends_with("Next: cd 'my first' && vitx run\n"), "{said}");
    let first = root.path().join("my first");
    let quick = ["--set", "train.epochs=1", "--set", "data.train_limit=200", "--set", "data.test_limit=50"];
    let run = shown(&first, &[&["run", "-p", "depth=1"], &quick[..]].concat());
    assert!(run.contains("in runs/experiment-") && run.contains("Test accuracy: "), "{run}");
    assert!(shown(&first, &["check"]).contains("model `vit` is fine"));
    assert!(shown(&first, &["summary"]).contains("Total parameters: 40,042"));
    let sweep = shown(&first, &["sweep", "-p", "depth=1,2", "--dry-run"]);
    assert!(sweep.contains("depth"), "{sweep}");
    // From elsewhere, by its folder.
    assert!(shown(root.path(), &["check", "my first"]).contains("experiment.yaml: model `vit` is fine"));

    assert!(shown(root.path(), &["new", "keras", "--from", "cifar100"]).contains("vitx data fetch cifar100"));
    let summary = shown(&root.path().join("keras"), &["summary"]);
    assert!(summary.contains("Total parameters: 21,759,012"), "{summary}");

    for (class, shade) in [("dark", 20), ("light", 220)] {
        fs::create_dir_all(root.path().join("photos").join(class)).unwrap();
        for number in 0..20 {
            let picture = image::GrayImage::from_pixel(20, 16, image::Luma([shade + number]));
            picture.save(root.path().join(format!("photos/{class}/{number}.png"))).unwrap();
        }
    }
    shown(root.path(), &["new", "own", "--from", "folder", "--path", "photos"]);
    let small =
        ["-p", "image_size=16", "-p", "width=8", "--set", "train.epochs=3", "--set", "augmentation=[random_flip]"];
    let run = shown(&root.path().join("own"), &[&["run"], &small[..]].concat());
    assert!(run.contains("8 test images") && run.contains("Test accuracy: "), "{run}");
    // Without a folder, its place is marked, and what comes of it says so.
    let said = shown(root.path(), &["new", "later", "--from", "folder"]);
    assert!(said.contains("put the folder of your pictures into later/experiment.yaml, at `path`"), "{said}");
    let refused = vitx(&root.path().join("later"), &["run"]);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("FOLDER"), "{}", text(&refused.stderr));
}

#[test]
fn experiments_are_known_by_name_in_any_folder() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let list: serde_json::Value = serde_json::from_str(&shown(root, &["experiments", "--format", "json"])).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"digits_vit") && names.contains(&"recipes/cifar100_hybrid_100"), "{names:?}");
    let table = shown(root, &["experiments"]);
    assert_eq!(table.lines().count(), 1 + names.len(), "a line for each: {table}");
    assert!(table.lines().all(|line| line.len() < 240 && line.trim_end() == line), "{table}");
    for name in &names {
        assert!(table.contains(name), "{table}");
        let checked = vitx(root, &["check", name]);
        let said = text(&checked.stderr);
        // The weights of a fine-tuning are files of the user's.
        assert!(checked.status.success() || said.contains("cannot read"), "{name}: {said}");
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
    assert_eq!(shown(root, &["experiments", "digits_vit"]), fs::read_to_string(own).unwrap());
    let quick = ["-p", "depth=1", "--set", "train.epochs=1", "--set", "data.train_limit=200"];
    assert!(shown(root, &[&["run", "digits_vit"], &quick[..]].concat()).contains("in runs/digits_vit-"));
    assert!(shown(root, &["bench", "step", "digits_vit", "--steps", "1", "--batch", "2"]).contains("ms/step"));
    assert!(shown(root, &["graph", "digits_vit", "--stage", "syntax"]).contains("patches"));
    assert!(shown(root, &["summary", "zoo/resnet20"]).contains("Total parameters"));
    shown(root, &["data", "show", "recipes/digits", "--augmented", "2", "-o", "sheet.png"]);
    let dry = ["--set", "data.name=digits", "-p", "image_size=8", "-p", "patch_size=2,4", "--dry-run"];
    assert!(
        shown(root, &[&["sweep", "sweep_patch_size", "--set", "augmentation.flip=false"], &dry[..]].concat())
            .contains("patch_size")
    );

    // A file goes before what is carried, and that is said.
    fs::write(root.join("digits_vit.yaml"), "model: m.vitx\ndata: { name: digits }\n").unwrap();
    fs::write(root.join("m.vitx"), "model tiny { flatten dense(num_classes) }\n").unwrap();
    let output = vitx(root, &["check", "digits_vit"]);
    assert_eq!(text(&output.stdout), "digits_vit.yaml: model `tiny` is fine\n");
    assert!(text(&output.stderr).starts_with("`digits_vit.yaml` is read, not what the binary carries"));
    assert_eq!(text(&vitx(root, &["check", "digits_vit.yaml"]).stderr), "");
}

#[test]
fn names_of_nothing_are_explained() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir(root.join("photos")).unwrap();
    shown(root, &["new", "begun"]);
    let mistakes: &[&[&str]] = &[
        &["run"],
        &["check"],
        &["run", "digts_vit"],
        &["sweep", "digits_vot.yaml"],
        &["summary", "zoo/resnet21.vitx"],
        &["run", "nothing"],
        &["run", "photos"],
        &["experiments", "digits"],
        &["new", "begun"],
        &["new", "other", "--path", "photos"],
        &["new", "other", "--from", "folder", "--path", "photos"],
    ];
    let explained = mistakes.iter().map(|arguments| {
        let output = vitx(root, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        format!("$ vitx {}\n{}", arguments.join(" "), text(&output.stderr))
    });
    let all = explained.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(all.replace(&root.canonicalize().unwrap().display().to_string(), "ROOT"));
}

/// Runs a script in a shell; nothing where there is no such shell.
fn in_shell(shell: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env("TERM", "dumb").env("HOME", folder);
    match command.output() {
        Ok(output) => Some(text(&output.stdout) + &text(&output.stderr)),
        Err(_) => {
            skipped(&format!("completion is not tried in {shell}, which is not installed"));
            None
        }
    }
}

#[test]
fn shells_complete_commands_options_and_values() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for (shell, file) in [("bash", "vitx.bash"), ("zsh", "_vitx"), ("fish", "vitx.fish"), ("powershell", "vitx.ps1")] {
        let script = shown(root, &["completions", shell]);
        assert!(script.contains("experiments"), "{shell}");
        fs::write(root.join(file), script).unwrap();
    }
    // The word to complete, and what it becomes.
    let words =
        [("vitx experim", "experiments"), ("vitx sweep --strat", "--strategy"), ("vitx summary --format j", "json")];
    for (line, whole) in words {
        let count = line.split(' ').count() - 1;
        let script = format!(
            "source ./vitx.bash; COMP_WORDS=({line}); COMP_CWORD={count}; _vitx vitx \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        if let Some(found) = in_shell("bash", &["--norc", "-c", &script], root) {
            assert_eq!(found.trim(), whole, "bash: {line}");
        }
        let script = format!("source vitx.fish; complete -C '{line}'");
        if let Some(found) = in_shell("fish", &["--no-config", "-c", &script], root) {
            assert_eq!(found.split(['\t', '\n']).next(), Some(whole), "fish: {line}: {found}");
        }
        // A terminal in which the key is pressed. What is then run says how it was called.
        let script = format!(
            "zmodload zsh/zpty; zpty z zsh -f -i\n\
             zpty -w z \"PS1=; fpath=($PWD \\$fpath); autoload -Uz compinit; compinit -u -D; \
             vitx() {{ print -r -- \\\"<<\\$*>>\\\" }}; echo rea''dy\"\n\
             while zpty -r z got; do [[ $got == *ready* ]] && break; done\n\
             zpty -w z $'{line}\\t'\n\
             while zpty -r z got; do print -r -- \"$got\"; [[ $got == *\\>\\>* && $got != *print* ]] && break; done; zpty -d z"
        );
        if let Some(found) = in_shell("timeout", &["120", "zsh", "-f", "-c", &script], root)
            && !found.contains("zsh")
        {
            let wanted = format!("<<{} >>", line.replace(line.rsplit(' ').next().unwrap(), whole)).replace("vitx ", "");
            assert!(found.replace(" >>", ">>").contains(&wanted.replace(" >>", ">>")), "zsh: {line}: {found}");
        }
    }
}

#[test]
fn pages_for_man_have_no_mistakes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let said = shown(root, &["man", "man1"]);
    let mut names: Vec<String> = fs::read_dir(root.join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(said, format!("wrote {} pages into man1\n", names.len()));
    assert!(names.contains(&"vitx-bench-step.1".to_owned()) && names.contains(&"vitx.1".to_owned()), "{names:?}");
    let page = fs::read_to_string(root.join("man1/vitx-run.1")).unwrap();
    assert!(page.contains(".SH EXAMPLES\n.nf\nvitx run digits_vit\n"), "{page}");
    for name in &names {
        let page = fs::read_to_string(root.join("man1").join(name)).unwrap();
        assert!(!page.contains("EXAMPLES-"), "{name}");
        let lint =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(root.join("man1").join(name)).output();
        match lint {
            Ok(lint) => {
                // Pages of a release have a version, not a day.
                let found = text(&lint.stdout);
                let found: Vec<&str> = found.lines().filter(|line| !line.contains(" date")).collect();
                assert!(found.is_empty(), "{}", found.join("\n"));
            }
            Err(_) => return skipped("the pages for man are not looked at by mandoc, which is not installed"),
        }
    }
}

/// PyPI and crates.io show the README, where nothing relative leads anywhere.
#[test]
fn the_readme_leads_to_places_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blob = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");
    let raw = blob.replace("github.com", "raw.githubusercontent.com").replace("/blob", "");
    let inline = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let defined = readme.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let defined: Vec<(&str, &str)> = defined.collect();
    let mut own = 0;
    for address in inline.chain(defined.iter().map(|(_, address)| *address)) {
        assert!(address.starts_with("https://"), "{address} is relative");
        let Some(path) = address.strip_prefix(blob).or_else(|| address.strip_prefix(raw.as_str())) else { continue };
        own += 1;
        let (path, place) = path.split_once('#').map_or((path, None), |(path, place)| (path, Some(place)));
        assert!(root.join(path).exists(), "{path} is not there");
        let Some(place) = place else { continue };
        // As GitHub makes the name of a place of its heading.
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let named = |heading: &str| heading.chars().filter(kept).collect::<String>().to_lowercase().replace(' ', "-");
        let text = fs::read_to_string(root.join(path)).unwrap();
        let mut headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
        assert!(headings.any(|heading| named(heading.trim()) == place), "{path} has no heading {place}");
    }
    assert!(own > 15, "{own}");
    // A label that nothing defines is shown as it is.
    for label in readme.split('[').skip(1).filter_map(|rest| Some(rest.split_once(']')?.0)) {
        let is_path = label.ends_with(".md") || label.contains(".md#") || label.starts_with("LICENSE");
        assert!(!is_path || defined.iter().any(|(known, _)| *known == label), "[{label}] is not defined");
    }
}
