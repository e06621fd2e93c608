//! What holds between the rooms of `src`: which may import which, which types have a name, and who knows the files of a
//! trial. docs/ARCHITECTURE.md says why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room, and those that it may import: all of them stand above it.
const ROOMS: &[(&str, &str)] = &[
    // What is about no subject of ours: each is one file, or nearly.
    ("printable", ""),
    ("random", ""),
    ("folders", ""),
    ("diagram", ""),
    ("download", ""),
    ("memory", ""),
    ("threads", "memory"),
    ("files", ""),
    ("metrics", ""),
    ("choice", ""),
    // From text to a network.
    ("dsl", "printable diagram"),
    ("onnx", ""),
    ("graph", "onnx random threads"),
    ("model", "dsl graph diagram"),
    ("passes", "graph onnx diagram"),
    // `model` for the `ImageSpec` that a data set has and a network is checked on, `dsl` for the values that the options of a
    // transform have.
    ("data", "dsl model choice random folders memory threads download"),
    // `data` for the images that the CUDA engine keeps, and makes the batches of.
    ("backend", "graph passes data metrics choice random folders threads diagram"),
    // From a trial to a table.
    // `backend` for the tensors that an engine is given.
    ("weights", "graph backend files download printable"),
    ("trial", "dsl model data backend files metrics random"),
    ("train", "data backend trial files metrics printable"),
    // `graph` for the lowering that an engine is made of, `passes` and `onnx` for the network that is exported.
    (
        "experiment",
        "dsl onnx graph model passes data backend weights trial train files folders metrics download choice memory random \
     threads",
    ),
    ("report", "dsl data trial experiment files choice printable random"),
    ("tracking", "trial experiment files report printable random"),
    (
        "cli",
        "dsl graph model passes data backend trial train experiment report tracking weights files metrics choice printable random \
         diagram memory threads",
    ),
];

/// Rooms that may name a crate which the others leave to them.
const ONLY: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    // The graph is luminal's, and the reference backend runs it.
    ("luminal", &["graph", "passes", "backend"]),
];

/// Types of one room that share a name, and why. A backend of ours is a room of its own.
const SHARED: &[(&str, &str, &str)] = &[
    ("cli", "Args", "of one subcommand each, as every file of the room has them"),
    ("backend/cpu", "Call", "one is a step of a draft, the other what a kernel is given"),
    ("backend/cpu", "Program", "one is of a single expression"),
    ("backend/cuda", "Epilogue", "one is of a product, the other of a pointwise kernel"),
    ("backend/cuda", "Tensor", "one is of the program, the other of the table of the update"),
    ("graph", "Step", "one is of an expression, the other what a rule knows of the training's step"),
    ("graph", "Activation", "one is a row of the table, the other the operator"),
];

/// One file of the sources, as code alone: comments, texts and tests are blank.
struct Code {
    room: String,
    path: PathBuf,
    text: String,
    code: String,
}

fn sources() -> Vec<Code> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    // What a file declares for tests alone, as a file or a folder beside it.
    let tested: Vec<PathBuf> = paths
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap().replace("#[cfg(all(test, unix))]", "#[cfg(test)]");
            let stem = path.file_stem().unwrap();
            let folder = if stem == "mod" || stem == "lib" {
                path.parent().unwrap().to_owned()
            } else {
                path.with_extension("")
            };
            let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
                let (_, name) = rest.lines().next()?.split_once("mod ")?;
                name.strip_suffix(';').map(str::to_owned)
            });
            declared.map(|name| folder.join(name)).collect::<Vec<_>>()
        })
        .collect();
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(&root).unwrap().to_owned();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
        let is_test = tested.iter().any(|module| path.starts_with(module) || path.with_extension("") == *module);
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub(super) mod ", "#[cfg(all(test"]
            .iter()
            .filter_map(|begin| text.find(begin))
            .min();
        let end = if is_test { 0 } else { tests.unwrap_or(text.len()) };
        let (text, code) = (text[..end].to_owned(), code(&text[..end]));
        Code { room: first.trim_end_matches(".rs").to_owned(), path: relative, text, code }
    };
    paths.into_iter().map(read).collect()
}

/// The text without what is in comments and in quotes.
fn code(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let raw = ["r\"", "r#\"", "r##\""].iter().find(|begin| rest.starts_with(**begin));
        let before_name = code.chars().last().is_some_and(|last| last.is_alphanumeric() || last == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let (Some(begin), false) = (raw, before_name) {
            let end = begin[1..].chars().rev().collect::<String>();
            begin.len() + rest[begin.len()..].find(&end).unwrap() + end.len()
        } else if next == '"' {
            let mut escaped = false;
            let is_end = |(_, c): &(usize, char)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            };
            1 + rest[1..].char_indices().find(is_end).unwrap().0 + 1
        } else if let Some(literal) =
            ["'\"'", "'\\\"'", "b'\"'", "'\\''", "'\\\\'"].iter().find(|c| rest.starts_with(**c))
        {
            literal.len()
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

/// The first names of all paths that begin with `crate::`, in groups as well.
fn imported(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !c.is_whitespace() => {
                    found.insert(name(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn groups_are_read() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n    e::{self, f},\n};\nlet x = crate::g::h(); // crate::no\nlet y = \"crate::no\";";
    assert_eq!(imported(&code(text)), ["a", "d", "e", "g"].map(String::from).into());
}

#[test]
fn rooms_import_what_they_may() {
    let order: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let rooms: Vec<(&str, Vec<&str>)> =
        ROOMS.iter().map(|(room, may)| (*room, may.split_whitespace().collect())).collect();
    for (place, (room, may)) in rooms.iter().enumerate() {
        for other in may {
            assert!(order[..place].contains(other), "`{room}` may not use `{other}`, which does not stand above it");
        }
    }
    let mut wrong = Vec::new();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Code { room, path, code, .. } in sources().iter().filter(|file| !["lib", "main"].contains(&&file.room[..])) {
        let Some((_, may)) = rooms.iter().find(|(name, _)| name == room) else {
            wrong.push(format!("src/{}: the room `{room}` is not in the table", path.display()));
            continue;
        };
        let imports = imported(code);
        for other in imports.iter().filter(|other| *other != room && !may.contains(&other.as_str())) {
            wrong.push(format!("src/{}: `{room}` uses `crate::{other}`; it may use {may:?}", path.display()));
        }
        used.entry(room.clone()).or_default().extend(imports);
        for (library, rooms) in ONLY {
            if !rooms.contains(&room.as_str()) && code.contains(&format!("{library}::")) {
                wrong.push(format!("src/{}: `{library}` is left to {rooms:?}", path.display()));
            }
        }
    }
    for (room, may) in &rooms {
        for other in may.iter().filter(|other| !used.get(*room).is_some_and(|used| used.contains(**other))) {
            wrong.push(format!("the table allows `{other}` to `{room}`, which does not use it"));
        }
    }
    assert!(wrong.is_empty(), "docs/ARCHITECTURE.md, and the table in tests/rooms.rs:\n{}", wrong.join("\n"));
}

#[test]
fn no_two_types_of_a_room_have_one_name() {
    let mut types: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for Code { room, path, code, .. } in &sources() {
        let second = path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned());
        let house = match second {
            Some(backend) if room == "backend" && ["cpu", "cuda"].contains(&&backend[..]) => {
                format!("{room}/{backend}")
            }
            _ => room.clone(),
        };
        for line in code.lines().filter_map(|line| line.strip_prefix("pub ")) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            if let (Some("struct" | "enum" | "trait" | "type"), Some(name)) = (words.next(), words.next()) {
                types.entry((house.clone(), name.to_owned())).or_default().push(path.display().to_string());
            }
        }
    }
    let is_shared = |room: &str, name: &str| SHARED.iter().any(|(r, n, _)| (*r, *n) == (room, name));
    let twice: Vec<String> = types
        .iter()
        .filter(|((room, name), files)| files.len() > 1 && !is_shared(room, name))
        .map(|((room, name), files)| format!("{room}: `{name}` in {}", files.join(", ")))
        .collect();
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

#[test]
fn the_files_of_a_trial_are_known_to_one_room() {
    let names = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/trial/names.rs")).unwrap();
    let names: Vec<&str> = names.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.len() > 15 && names.contains(&"config.yaml"), "{names:?}");
    let mut wrong = Vec::new();
    for Code { path, text, .. } in sources().iter().filter(|file| file.path != Path::new("trial/names.rs")) {
        for name in names.iter().filter(|name| name.contains('.') && text.contains(&format!("\"{name}\""))) {
            wrong.push(format!("src/{} spells \"{name}\"", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files that have grown beyond what one subject needs: shown, not refused.
#[test]
fn long_files_are_listed() {
    const MOST: usize = 400;
    for Code { path, text, .. } in &sources() {
        let lines = text.lines().count();
        if lines > MOST {
            println!("src/{} has {lines} lines, more than {MOST}", path.display());
        }
    }
}
