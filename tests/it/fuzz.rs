//! Whatever a file or an argument holds, it is read or refused: no panic, in bounded time, and what is written again means
//! the same. Texts that are valid are changed at random, in ways that come again by a seed.
//!
//! In `cargo test` each takes a moment. `VITX_FUZZ_SECONDS=300 cargo test --test it fuzz:: -- --ignored --nocapture` searches for
//! so long in each, `VITX_FUZZ_SEED` begins elsewhere. What breaks is kept in a file, and named.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use vitx::{
    backend::StateTensor,
    data::{self, DataOptions},
    dsl::{Source, Value, format, parse, syntax_text},
    experiment::{Definition, Experiment, overrides, sweep},
    model::{ImageSpec, elaborate},
    trial::{self, checkpoint, history},
};

/// How long one case may take, in a build of tests on a machine that does much else.
const LONGEST: Duration = Duration::from_secs(20);

/// Numbers that look random and come again (Steele, Lea, Flood: SplitMix).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 12 };
        start..length.min(start + self.below(most + 1))
    }
}

/// What breaks readers of texts.
const PIECES: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    ":",
    "=",
    "->",
    "x ",
    "×",
    "*",
    "//",
    "\n",
    "\r\n",
    "\t",
    "\"",
    "\\",
    "'",
    "#",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "? ",
    "|",
    ">",
    "%",
    "0",
    "1",
    "-1",
    "4096",
    "4294967296",
    "9223372036854775808",
    "1e999",
    "1e-45",
    "0.1",
    ".5",
    "NaN",
    "inf",
    "true",
    "null",
    "~",
    "é",
    "\u{1f600}",
    "\u{202e}",
    "\u{0}",
    "\u{feff}",
    "\u{1b}[31m",
    "repeat",
    "let y = ",
    "model",
    "block",
    "residual",
    " as i",
    "if a > 1 { ",
    " } else { ",
    " and not ",
    "require ",
    "use \"a\" ",
    "let f = shared dense(8) ",
    "frozen ",
    "frozen { ",
    "body = { ",
    "let [h, w, _] = shape ",
    "max(2, 3)",
    "dense(8)",
    "num_classes",
    "concat",
    "train",
    "epochs",
    "params",
    "sweep",
    "<<: ",
    "log(1e-4, 1e-2, 5)",
    "int(2, 12)",
    "1..=8:2",
];

/// What breaks readers of bytes.
const WORDS: &[&[u8]] = &[
    &[0],
    &[0xff],
    &[0x80],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff; 4],
    &[0xff; 8],
    &[0; 8],
    &[0, 0, 0, 1],
    &[1, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

/// Changes bytes in a few places, by pieces of themselves, of others, and of what breaks things.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if !bytes.is_empty() => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1 << random.below(8);
            }
            1 => drop(bytes.drain(random.range(bytes.len()))),
            2 => {
                let piece = bytes[random.range(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = random.of(others);
                let piece = other[random.range(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => bytes.truncate(at),
            5 => {
                // One number for another.
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let start = (at..bytes.len()).find(|at| is_digit(&bytes[*at])).unwrap_or(at);
                let end = (start..bytes.len()).find(|at| !is_digit(&bytes[*at])).unwrap_or(bytes.len());
                bytes.splice(start..end, random.of(words).iter().copied());
            }
            6 => {
                let word = random.of(words);
                let end = bytes.len().min(at + word.len());
                bytes.splice(at..end, word.iter().copied());
            }
            _ => drop(bytes.splice(at..at, random.of(words).iter().copied())),
        }
    }
    bytes.truncate(1 << 16);
}

/// Hands changed copies of `corpus` to `read`, which must neither panic nor take long, `moment` long or as the
/// environment says.
fn fuzz(name: &str, corpus: &[Vec<u8>], words: &[&[u8]], long: bool, read: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = match long {
        true => Duration::from_secs(number("VITX_FUZZ_SECONDS").unwrap_or(60)),
        false => Duration::from_millis(700),
    };
    let seed = number("VITX_FUZZ_SEED").unwrap_or(2026);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < time {
        let mut random = Random(seed.wrapping_mul(1 << 32).wrapping_add(count));
        let mut bytes = random.of(corpus).clone();
        if count >= corpus.len() as u64 {
            mutate(&mut random, &mut bytes, corpus, words);
        } else {
            bytes.clone_from(&corpus[count as usize]);
        }
        count += 1;
        let clock = Instant::now();
        let panicked = catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_err();
        let elapsed = clock.elapsed();
        if panicked || elapsed > LONGEST {
            let path = std::env::temp_dir().join(format!("vitx-fuzz-{name}-{seed}-{count}"));
            fs::write(&path, &bytes).unwrap();
            let how = if panicked { "panics".to_owned() } else { format!("takes {elapsed:?}") };
            panic!("{name} {how} on {}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
        }
    }
    if long {
        println!("{name}: {count} cases");
    }
}

fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let ours = paths.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    ours.map(|path| fs::read(path).unwrap()).collect()
}

fn pieces() -> Vec<&'static [u8]> {
    PIECES.iter().map(|piece| piece.as_bytes()).collect()
}

fn texts(name: &str, corpus: &[Vec<u8>], long: bool, read: impl Fn(&str)) {
    fuzz(name, corpus, &pieces(), long, |bytes| read(&String::from_utf8_lossy(bytes)));
}

/// What a text says, its comments aside.
fn meaning(source: &Source) -> String {
    let tree = syntax_text(&parse(source).unwrap_or_else(|error| panic!("{error}")));
    let lines: Vec<&str> = tree.lines().filter(|line| !line.starts_with("comment ")).collect();
    lines.join("\n")
}

fn models(long: bool) {
    let mut corpus = [files("experiments", "vitx"), files("grammar", "vitx")].concat();
    corpus.extend([
        b"model m(a = 1) { let y = { dense(a) gelu } add(y, dense(1)) flatten dense(num_classes) }".to_vec(),
        b"// c\nblock b(n, m = [1, 2,]) { residual { dense(n) -> dropout(0.1) } // d\n}\nmodel m { repeat b(3) x 4 flatten }".to_vec(),
        include_bytes!("../support/language.vitx").to_vec(),
        b"// a\nuse \"a.vitx\"\nuse \"b.vitx\" // b\n\nblock c { gelu }\nuse \"d\"\n\n\n//// file \"e\"\nmodel m { c flatten }".to_vec(),
        b"model m { repeat { residual{dense(8)} } * (2 - 1 % 3) head : concat(take(0), take(1), axis = -1) \"s\" }".to_vec(),
    ]);
    let digits = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };
    texts("models", &corpus, long, |text| {
        let source = Source::new("model.vitx", text);
        if let Ok(formatted) = format(&source) {
            let again = Source::new("model.vitx", formatted.clone());
            assert_eq!(meaning(&source), meaning(&again), "{formatted}");
            assert_eq!(format(&again).unwrap(), formatted);
        }
        match elaborate(&source, &Default::default(), &digits) {
            Ok(architecture) => {
                let _ = (architecture.text(), architecture.summary());
            }
            Err(diagnostics) => drop(format!("{:?}", miette::Report::from(diagnostics))),
        }
    });
}

fn experiments(long: bool) {
    let corpus = files("experiments", "yaml");
    let texts_of = |experiment: &Experiment| serde_yaml::to_string(experiment).unwrap();
    texts("experiments", &corpus, long, |text| match Experiment::parse("e.yaml", text) {
        Ok(experiment) => {
            let written = texts_of(&experiment);
            let again = Experiment::parse("e.yaml", &written).unwrap_or_else(|error| panic!("{error}:\n{written}"));
            assert_eq!(texts_of(&again), written);
        }
        Err(error) => drop(format!("{:?}", miette::Report::from(error))),
    });
}

fn arguments(long: bool) {
    let corpus: Vec<Vec<u8>> = [
        "depth=2",
        "units=[1, [2, 3], 4]",
        "rate=0.1",
        "name=\"a b\"",
        "path=/a/b.png",
        "flip=true",
        "x=-1e-5",
        "train.optimizer.learning_rate=3e-4",
        "data.path=./a",
        "train.schedule.kind=constant",
        "augmentation.flip=false",
        "patch_size=4,6,8",
        "depth=4..=8:2",
        "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    let experiment =
        Experiment::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/digits_vit.yaml"))).unwrap();
    texts("arguments", &corpus, long, |text| {
        if let Ok((name, value)) = Value::parse_assignment(text) {
            let written = format!("{name}={value}");
            let (_, again) = Value::parse_assignment(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            assert!(again.same(&value), "{written}: {value:?}, {again:?}");
        }
        if let Err(error) = overrides::apply(&experiment, text) {
            let _ = format!("{:?}", miette::Report::from(error));
        }
        if let Err(error) = sweep::Axis::parse(text) {
            let _ = format!("{:?}", miette::Report::from(error));
        }
    });
}

fn checkpoints(long: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let tensor = |name: &str, shape: &[usize]| StateTensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: vec![0.5; shape.iter().product()],
    };
    let tensors = [tensor("a/kernel", &[3, 2]), tensor("optimizer/m/a/kernel", &[1]), tensor("b", &[])];
    checkpoint::save(&path, &checkpoint::Progress::default(), &tensors).unwrap();
    let corpus = [fs::read(&path).unwrap()];
    let words: Vec<&[u8]> = pieces().into_iter().chain(WORDS.iter().copied()).collect();
    fuzz("checkpoints", &corpus, &words, long, |bytes| {
        fs::write(&path, bytes).unwrap();
        if let Ok((_, tensors)) = checkpoint::load(&path) {
            assert!(tensors.iter().all(|tensor| tensor.data.len() == tensor.shape.iter().product::<usize>()));
        }
        let _ = checkpoint::progress(&path);
    });
}

/// The text files of a run's directory.
fn directories(long: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/digits_vit.yaml"));
    Definition::read(path, &Default::default()).unwrap().write(folder.path()).unwrap();
    let mut corpus = vec![fs::read(folder.path().join("config.yaml")).unwrap()];
    corpus.extend([
        br#"{"height": 8, "width": 8, "channels": 1, "statistics": {"mean": [0.3], "variance": [0.1]}, "class_names": ["0", "1"]}"#.to_vec(),
        br#"{"test_loss": 0.5, "test_accuracy": 0.9, "test_top_5_accuracy": 1.0, "best_epoch": 2, "best_val_loss": 0.4, "best_val_accuracy": 0.9, "best_val_top_5_accuracy": 1.0, "epochs": 3, "parameters": 100, "flops": 1000, "seconds": 1.5, "images_per_second": 10.0, "peak_memory_bytes": null}"#.to_vec(),
        b"{\"epoch\":1,\"loss\":2.0,\"accuracy\":0.1,\"top_5_accuracy\":0.5,\"learning_rate\":0.001,\"seconds\":1.0,\"images_per_second\":9.0,\"loader_wait_seconds\":0.0}\n".to_vec(),
        br#"{"kind": "nan", "reason": "the loss is NaN"}"#.to_vec(),
        br#"{"reason": "behind", "epochs": 3}"#.to_vec(),
        br#"{"trials": ["a1b2c3"]}"#.to_vec(),
        br#"[["depth", 2], ["train.optimizer.learning_rate", 0.001]]"#.to_vec(),
        br#"{"parameters":1,"flops":1,"epoch_seconds":1.0,"first_seconds":0.1,"memory_bytes":1000,"threads":2}"#.to_vec(),
    ]);
    let names = [
        "config.yaml",
        "input.json",
        "result.json",
        "metrics.jsonl",
        "failure.json",
        "stopped.json",
        "until.json",
        "trials.json",
        "variant.json",
        "prediction.json",
        "model.vitx",
    ];
    texts("directories", &corpus, long, |text| {
        let here = folder.path();
        for name in names {
            fs::write(here.join(name), text).unwrap();
        }
        if let Ok(definition) = Definition::of_trial(here) {
            let _ = (definition.identity(), definition.input(here));
        }
        let _ = (trial::RunResult::read(here), trial::Failure::read(here), trial::Stopped::read(here));
        let _ = (trial::Until::read(here), history::read(here));
        let _ = (sweep::Trials::read(here), trial::variant::read(here), trial::Prediction::read(here));
    });
}

/// `uint8` arrays as Python 2 pickles them, with labels and names.
fn pickled(images: u8, labels: &[u8]) -> Vec<u8> {
    let mut file = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04\
        K\x00\x85U\x01b\x87Rq\x05(K\x01K"
        .to_vec();
    file.push(images);
    file.extend(b"M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    file.extend((u32::from(images) * 3072).to_le_bytes());
    file.extend(vec![9; usize::from(images) * 3072]);
    file.extend(b"tbU\x06labels](");
    labels.iter().for_each(|label| file.extend([b'K', *label]));
    file.extend(b"eU\x0blabel_names](");
    (0..10).for_each(|_| file.extend(b"U\x01a"));
    file.extend(b"eu.");
    file
}

/// Each file of a data set changed while the others are as they should be.
fn sets(long: bool) {
    let idx = |sizes: &[u32], elements: usize| {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend((0..elements).map(|at| (at % 10) as u8));
        bytes
    };
    let gz = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut writer, bytes).unwrap();
        writer.finish().unwrap()
    };
    let (images, labels) = (idx(&[3, 28, 28], 3 * 784), idx(&[3], 3));
    let record: Vec<u8> = (0..3073).map(|at| (at % 10) as u8).collect();
    let picture = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 77]));
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let binary: Vec<String> =
        (1..=5).map(|batch| format!("data_batch_{batch}.bin")).chain(["test_batch.bin".into()]).collect();
    let python: Vec<String> = (1..=5)
        .map(|batch| format!("data_batch_{batch}"))
        .chain(["test_batch".into(), "batches.meta".into()])
        .collect();
    let of = |names: &[String], content: &[u8]| -> Vec<(String, Vec<u8>)> {
        names.iter().map(|name| (name.clone(), content.to_vec())).collect()
    };
    let mut mnist = Vec::new();
    for (name, content) in [("images-idx3", &images), ("labels-idx1", &labels)] {
        mnist.push((format!("train-{name}-ubyte"), content.clone()));
        mnist.push((format!("t10k-{name}-ubyte.gz"), gz(content)));
    }
    let pictures =
        [("png", image::ImageFormat::Png), ("jpg", image::ImageFormat::Jpeg), ("webp", image::ImageFormat::WebP)];
    let mut folders = Vec::new();
    for (extension, format) in pictures {
        folders.push((format!("train/a/x.{extension}"), picture(format)));
        folders.push((format!("test/a/x.{extension}"), picture(format)));
    }
    let sets = [
        ("mnist", mnist),
        ("cifar10", of(&binary, &record)),
        ("cifar10", of(&python, &pickled(2, &[1, 7]))),
        ("image_folder", folders),
    ];
    for (name, files) in sets {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in &files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let whole = || {
            let root = Some(folder.path().to_owned());
            let options = match name {
                "image_folder" => DataOptions { path: root, ..DataOptions::default() },
                _ => DataOptions { data_dir: root, ..DataOptions::default() },
            };
            let described = data::describe(name, &options);
            let loaded = data::load(name, &options);
            if let (Ok(described), Ok(loaded)) = (&described, &loaded) {
                assert_eq!((described.train, described.test), (loaded.train.len(), loaded.test.len()));
            }
            loaded.is_ok()
        };
        assert!(whole(), "{name}: {:?}", files.iter().map(|(file, _)| file).collect::<Vec<_>>());
        // The last of the bytes says which file it is: so a case is one text that can be kept.
        let corpus: Vec<Vec<u8>> =
            files.iter().enumerate().map(|(index, (_, content))| [&content[..], &[index as u8]].concat()).collect();
        fuzz(name, &corpus, WORDS, long, |bytes| {
            let Some((last, content)) = bytes.split_last() else { return };
            let (file, own) = &files[usize::from(*last) % files.len()];
            let path = folder.path().join(file);
            fs::write(&path, content).unwrap();
            whole();
            fs::write(path, own).unwrap();
        });
    }
}

macro_rules! tests {
    ($($function:ident $quick:ident $long:ident)*) => {$(
        #[test]
        fn $quick() {
            $function(false);
        }

        #[test]
        #[ignore = "searches for a minute, or for VITX_FUZZ_SECONDS"]
        fn $long() {
            $function(true);
        }
    )*};
}

tests! {
    models models_are_read_or_refused models_are_read_or_refused_for_long
    experiments experiments_are_read_or_refused experiments_are_read_or_refused_for_long
    arguments arguments_are_read_or_refused arguments_are_read_or_refused_for_long
    checkpoints checkpoints_are_read_or_refused checkpoints_are_read_or_refused_for_long
    directories directories_are_read_or_refused directories_are_read_or_refused_for_long
    sets data_sets_are_read_or_refused data_sets_are_read_or_refused_for_long
}
