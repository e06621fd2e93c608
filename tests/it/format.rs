//! The formatter: what it writes, that it writes it again, and that it loses nothing.

use std::{fs, io::Write, path::Path, process::Command};

use proptest::prelude::*;
use vitx::dsl::{Source, format, parse, syntax_text};

fn formatted(text: &str) -> String {
    format(&Source::new("model.vitx", text)).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The tree, and the comments in any order: one within an expression moves before it.
fn meaning(text: &str) -> (String, Vec<String>) {
    let tree = syntax_text(&parse(&Source::new("model.vitx", text)).unwrap_or_else(|error| panic!("{error}: {text}")));
    let (mut comments, tree): (Vec<String>, Vec<String>) =
        tree.lines().map(str::to_owned).partition(|line| line.starts_with("comment "));
    comments.sort();
    (tree.join("\n"), comments)
}

fn assert_formats(text: &str) -> String {
    let once = formatted(text);
    assert_eq!(meaning(text), meaning(&once), "{text}\n---\n{once}");
    assert_eq!(formatted(&once), once, "{text}");
    once
}

#[test]
fn shipped_models_are_in_the_standard_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["experiments", "grammar"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "vitx") {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(formatted(&text), text, "{}", path.display());
                count += 1;
            }
        }
    }
    assert!(count >= 4);
    let every = include_str!("../support/language.vitx");
    assert_eq!(formatted(every), every);
}

#[test]
fn every_construct() {
    let text = "// A model.\n\n\n// Of mine.\nmodel   net(width=3,depth = 2 // how deep\n, units=[1,2,3,]){patches( 4 ) ;;
        // before
        patch_encoder(8) // after
        let left=dense(6)->gelu


        let right = { layer_norm dense( // units
          6, activation = \"gelu\") // right
          // last
        }
        head : concat(left,right,axis=1); repeat transformer_block(num_heads=2,key_dim=(width+1)*2 // loose
          -1,units=units) x depth
        repeat { residual{dense(8)} } * (depth - 1)
        repeat × 2 { dropout(0.1) } flatten dense(num_classes, activation = \"a rather long string that takes much room\", bias = true, more = [width * 2, -width % 3]) {}
        { // empty
        }
        }
        // end of net
        block b { } // trailing\n// the end";
    insta::assert_snapshot!(assert_formats(text));
}

#[test]
fn empty_files_and_bare_comments() {
    assert_eq!(assert_formats(""), "");
    assert_eq!(assert_formats("  \n\n"), "");
    assert_eq!(assert_formats("// a\n\n\n// b  "), "// a\n\n// b\n");
    assert_eq!(assert_formats("block a{}//x"), "block a {} //x\n");
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1", "2.5", "1e-6", "1_000", "true", "\"a b\"", "width", "dense", "[]", "x", "relu()", "{}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let comment = prop::sample::select(vec!["", " ", "\n", " // why\n", "\n// own line\n", "\n\n// apart\n\n"]);
        let list = prop::collection::vec((inner.clone(), comment.clone()), 1..5);
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "->", "and", "or", "<=", "!="]),
                inner.clone(),
                comment.clone()
            )
                .prop_map(|(a, op, b, c)| format!("{a}{c}{op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("(not ({a}))")),
            (inner.clone(), inner.clone(), inner.clone(), comment.clone())
                .prop_map(|(a, b, c, d)| format!("if ({a}) {{ f({b}) }} else if n {{{d} {c} }} else {{{d}}}")),
            (inner.clone(), inner.clone(), comment.clone())
                .prop_map(|(a, b, c)| format!("if ({a}) {{ {b}; {c} let [a, b] = x; require (n),{c} \"no\" }}")),
            (list.clone(), any::<bool>()).prop_map(|(list, comma)| {
                let items: Vec<String> = list.into_iter().map(|(a, c)| format!("{c}{a}")).collect();
                format!("[{}{}]", items.join(","), if comma { "," } else { "" })
            }),
            (list.clone(), any::<bool>()).prop_map(|(list, named)| {
                let name = if named { "units = " } else { "" };
                let items: Vec<String> = list.into_iter().map(|(a, c)| format!("{name}{a}{c}")).collect();
                format!("layer({})", items.join(" , "))
            }),
            list.clone().prop_map(|list| {
                let items: Vec<String> = list.into_iter().map(|(a, c)| format!("first({a}){c}")).collect();
                format!("residual {{ {} }}", items.join("\n"))
            }),
            (list, comment.clone()).prop_map(|(list, end)| {
                let items: Vec<String> = list.into_iter().map(|(a, c)| format!("{c} let y = {a};")).collect();
                format!("{{ {} {end} }}", items.join(" "))
            }),
            (inner.clone(), comment.clone()).prop_map(|(a, c)| format!("repeat layer({a}){c} x 3")),
            (inner, comment).prop_map(|(a, c)| format!("repeat ×(n){c} as i {{ layer({a}) }}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn meaning_stays_and_the_second_time_changes_nothing(
        values in prop::collection::vec(expression(), 1..4),
        end in prop::sample::select(vec!["", "// end", "\n\n// end\n"]),
    ) {
        let statements: Vec<String> = values.iter().map(|value| format!("let y = {value}")).collect();
        let text = format!("model net(width = {}) {{ {} }} {end}", values[0], statements.join("\n"));
        if parse(&Source::new("model.vitx", text.as_str())).is_ok() {
            assert_formats(&text);
        }
    }
}

#[test]
fn the_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.vitx");
    let text = "model m{flatten dense(num_classes)}";
    fs::write(&path, text).unwrap();
    fs::write(folder.path().join("bad.vitx"), "model m { dense( }").unwrap();
    let vitx = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
        command.current_dir(folder.path()).env("NO_COLOR", "1").args(arguments).output().unwrap()
    };
    let out = |output: &std::process::Output| String::from_utf8(output.stdout.clone()).unwrap();

    let checked = vitx(&["fmt", "--check", "--diff", "m.vitx"]);
    assert_eq!(checked.status.code(), Some(1));
    insta::assert_snapshot!("check_and_diff", out(&checked));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // A difference alone is no change either.
    let shown = vitx(&["fmt", "--diff", "m.vitx"]);
    assert!(shown.status.success() && out(&shown).contains("+    flatten"), "{}", out(&shown));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // A file with mistakes is named and stays; the others are formatted.
    let all = vitx(&["fmt", "."]);
    assert_eq!(all.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&all.stderr).contains("bad.vitx"));
    assert_eq!(fs::read_to_string(folder.path().join("bad.vitx")).unwrap(), "model m { dense( }");
    let formatted = "model m {\n    flatten\n    dense(num_classes)\n}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), formatted);
    assert!(vitx(&["fmt", "--check", "m.vitx"]).status.success());

    let mut child = Command::new(env!("CARGO_BIN_EXE_vitx"))
        .args(["fmt", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(out(&child.wait_with_output().unwrap()), formatted);
}
