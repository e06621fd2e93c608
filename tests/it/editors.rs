//! `editors/vitx.tmLanguage.json`: what editors colour is what the language has.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use vitx::model::layers::catalogue;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn grammar_file() -> PathBuf {
    root().join("editors/vitx.tmLanguage.json")
}

/// The words of the language, as its own grammar has them.
fn keywords() -> Vec<String> {
    let grammar = fs::read_to_string(root().join("grammar/vitx.pest")).unwrap();
    let word = |line: &str| {
        let (rule, text) = line.split_once("= @{ ")?;
        let is_word = rule.trim_end().ends_with("_word") || ["keyword", "boolean"].contains(&rule.trim_end());
        is_word.then(|| {
            text.split('"')
                .skip(1)
                .step_by(2)
                .filter(|word| word.chars().all(char::is_alphabetic))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
    };
    grammar.lines().filter_map(word).flatten().collect()
}

#[test]
fn layers_are_those_of_the_tables() {
    let names: Vec<String> = catalogue().into_iter().map(|layer| layer.name).collect();
    let list = names.join("|");
    let mut text = fs::read_to_string(grammar_file()).unwrap();
    let grammar: Value = serde_json::from_str(&text).unwrap();
    let layer = grammar["repository"]["layer"]["match"].as_str().unwrap();
    let kept = layer.trim_start_matches(r"\b(?:").trim_end_matches(r")\b");
    if kept != list && std::env::var_os("VITX_UPDATE").is_some() {
        text = text.replace(kept, &list);
        fs::write(grammar_file(), &text).unwrap();
    }
    let grammar: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        grammar["repository"]["layer"]["match"],
        format!(r"\b(?:{list})\b"),
        "VITX_UPDATE=1 writes the list anew"
    );
    assert!(grammar["repository"]["call"]["begin"].as_str().unwrap().starts_with(&format!(r"\b(?:({list})|")));
    // What package.json names is there.
    let package: Value =
        serde_json::from_str(&fs::read_to_string(root().join("editors/package.json")).unwrap()).unwrap();
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    let contributes = &package["contributes"];
    let files = [
        &contributes["languages"][0]["configuration"],
        &contributes["grammars"][0]["path"],
        &contributes["yamlValidation"][0]["url"],
    ];
    for file in files {
        let text = fs::read_to_string(root().join("editors").join(file.as_str().unwrap())).unwrap();
        serde_json::from_str::<Value>(&text).unwrap();
    }
}

/// Pieces of texts with their scopes, by the library that VS Code has; nothing where it is not at hand.
fn coloured(texts: &[String]) -> Option<Vec<Vec<(String, String)>>> {
    let Some(folder) = std::env::var_os("VITX_TEXTMATE") else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the grammar for editors is not run, VITX_TEXTMATE is not set to a folder with npm's vscode-textmate"
        );
        return None;
    };
    let mut node = Command::new("node");
    node.arg(root().join("tests/support/textmate.js"))
        .arg(grammar_file())
        .arg(Path::new(&folder).canonicalize().unwrap());
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    node.stdin.take().unwrap().write_all(serde_json::to_string(texts).unwrap().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The scopes of each piece that is this word.
fn scopes<'a>(pieces: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    pieces.iter().filter(|(piece, _)| piece.trim() == word).map(|(_, scopes)| scopes.as_str()).collect()
}

#[test]
fn words_and_layers_are_coloured_as_such() {
    let words = keywords();
    assert!(
        words.len() > 14
            && ["model", "repeat", "shared", "true"].iter().all(|word| words.contains(&(*word).to_owned())),
        "{words:?}"
    );
    let layers: Vec<String> = catalogue().into_iter().map(|layer| layer.name).collect();
    let of_words = words.iter().map(|word| format!("model m {{\n    {word} thing\n}}\n"));
    let of_layers =
        layers.iter().map(|name| format!("model m {{\n    {name}\n    {name}(1, {{ {name} }}) -> {name}\n}}\n"));
    let texts: Vec<String> = of_words.chain(of_layers).collect();
    let Some(all) = coloured(&texts) else { return };
    for (word, pieces) in words.iter().zip(&all) {
        let scopes = scopes(pieces, word);
        let is_keyword = |scopes: &&str| {
            ["keyword", "storage", "constant.language"].iter().any(|kind| scopes.contains(&format!(" {kind}.")))
        };
        assert!(!scopes.is_empty() && scopes.iter().all(is_keyword), "{word}: {pieces:?}");
    }
    for (name, pieces) in layers.iter().zip(&all[words.len()..]) {
        let scopes = scopes(pieces, name);
        assert!(
            scopes.len() == 4 && scopes.iter().all(|scopes| scopes.ends_with("support.function.layer.vitx")),
            "{name}: {pieces:?}"
        );
    }
}

#[test]
fn names_are_told_from_layers_by_where_they_stand() {
    let text = "use \"blocks.vitx\"\n// dense\nmodel vit(dropout = 0.1, width = 1_000) {\n    dropout(dropout, rate = dropout)\n    \
                norm: own_norm(1e-6)\n    repeat own x3\n    let skip = \"a\\\"b\" // end\n    dense(num_classes)\n    for\n}\n";
    let Some(all) = coloured(&[text.to_owned()]) else { return };
    let of = |word: &str| -> Vec<String> {
        let last = |scopes: &&str| scopes.rsplit(' ').next().unwrap().trim_end_matches(".vitx").to_owned();
        scopes(&all[0], word).iter().map(last).collect()
    };
    assert_eq!(of("dropout"), ["variable.parameter", "support.function.layer", "variable.other", "variable.other"]);
    assert_eq!(of("vit"), ["entity.name.function.definition"]);
    assert_eq!(of("norm"), ["entity.name.label"]);
    assert_eq!(of("own_norm"), ["entity.name.function.call"]);
    assert_eq!(of("skip"), ["variable.other.definition"]);
    assert_eq!(of("num_classes"), ["variable.language"]);
    assert_eq!(of("x"), ["keyword.operator.times"]);
    assert_eq!([of("0.1"), of("1_000"), of("1e-6"), of("3")].concat(), ["constant.numeric"; 4]);
    assert_eq!(of("\\\""), ["constant.character.escape"]);
    assert_eq!(of("// dense"), ["comment.line.double-slash"]);
    assert_eq!(of("for"), ["invalid.illegal.reserved"]);
}

#[test]
fn shipped_models_have_nothing_invalid() {
    let mut files = vec![root().join("grammar/prelude.vitx")];
    let mut folders: Vec<PathBuf> =
        ["experiments", "templates", "tests/support"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "vitx" => files.push(path),
                _ => {}
            }
        }
    }
    assert!(files.len() > 25, "{files:?}");
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let Some(all) = coloured(&texts) else { return };
    for (file, pieces) in files.iter().zip(&all) {
        let wrong: Vec<_> = pieces.iter().filter(|(_, scopes)| scopes.contains("invalid")).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
        // Every bracket has found its other: what is outside of all has one scope or two.
        let last = pieces.iter().rfind(|(piece, _)| !piece.trim().is_empty()).unwrap();
        assert!(last.1.split(' ').count() <= 3, "{}: {last:?}", file.display());
        let plain: Vec<_> = pieces
            .iter()
            .filter(|(piece, scopes)| {
                !piece.trim().is_empty() && scopes.rsplit(' ').next().unwrap().starts_with("source")
            })
            .collect();
        assert!(plain.is_empty(), "{}: no colour: {plain:?}", file.display());
    }
}
