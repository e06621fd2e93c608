use std::{fs, path::PathBuf};

use image::{Rgb, RgbImage};
use miette::Diagnostic;

use super::super::super::{DataError, DataOptions, Subset, contents, describe, fingerprint, load, load_subset};

/// A folder of pictures.
struct Folder(tempfile::TempDir);

impl Folder {
    /// Two classes, of each two pictures to train and one to test, 8x8.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (split, count) in [("train", 2), ("test", 1)] {
            for (class, value) in [("dark", 10), ("light", 240)] {
                for index in 0..count {
                    folder.picture(&format!("{split}/{class}/{index}.png"), (8, 8), value + index);
                }
            }
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn picture(&self, name: &str, (width, height): (u32, u32), value: u8) {
        RgbImage::from_pixel(width, height, Rgb([value; 3])).save(self.path(name)).unwrap();
    }

    fn write(&self, name: &str, text: &[u8]) {
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_dir_all(self.path(name)).unwrap();
    }

    fn options(&self) -> DataOptions {
        DataOptions { path: Some(self.0.path().to_owned()), ..DataOptions::default() }
    }

    /// An error with its help, the folder as DIR.
    fn shown(&self, error: &DataError) -> String {
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        format!("{error}\nhelp: {help}").replace(&self.0.path().display().to_string(), "DIR")
    }

    fn refused(&self, options: &DataOptions) -> String {
        let error = load("image_folder", options).unwrap_err();
        // Whether it is described or loaded.
        let described = describe("image_folder", options).err().map(|error| self.shown(&error));
        let shown = self.shown(&error);
        assert!(described.is_none_or(|described| described == shown));
        shown
    }
}

fn cut_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(9, 9).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let bytes = bytes.into_inner();
    bytes[..bytes.len() - 5].to_vec()
}

#[test]
fn all_broken_files_are_in_one_report_or_left_out() {
    let folder = Folder::new();
    folder.write("train/dark/cut.png", &cut_png());
    folder.write("train/light/page.jpg", b"<html>not found</html>");
    folder.write("test/dark/empty.webp", b"");
    fs::create_dir(folder.path("train/dark/folder.png")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", folder.path("train/dark/link.png")).unwrap();
        std::os::unix::fs::symlink("loop.png", folder.path("train/dark/loop.png")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path("train/dark/pipe.png"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
    }
    // What only decoding tells.
    let mut damaged = fs::read(folder.path("test/light/0.png")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xFF;
    folder.write("test/light/damaged.png", &damaged);
    let mut report = folder.refused(&folder.options());
    insta::with_settings!({ filters => vec![("is damaged: .*", "is damaged: (...)")] }, {
        insta::assert_snapshot!("broken", report);
    });
    report = folder.refused(&DataOptions { image_size: Some(8), ..folder.options() });
    assert_eq!(report.matches("\n  t").count(), 8, "{report}");

    let options = DataOptions { skip_broken: true, ..folder.options() };
    let (set, spec) = (load("image_folder", &options).unwrap(), describe("image_folder", &options).unwrap());
    assert_eq!((set.train.len(), set.test.len()), (4, 2));
    assert_eq!((spec.train, spec.test, &spec.notes), (4, 2, &set.notes));
    assert!(set.notes[0].starts_with("left out: 8 broken of 14 pictures: "), "{:?}", set.notes);
    // As if they had never been there.
    assert_eq!(set.train, load("image_folder", &Folder::new().options()).unwrap().train);
    let found = contents("image_folder", &folder.options()).unwrap();
    assert_eq!(folder.shown(&found.broken.unwrap()).matches("\n  t").count(), 8);

    for file in ["train/dark/0.png", "train/dark/1.png"] {
        folder.write(file, b"broken");
    }
    insta::assert_snapshot!("nothing_left", folder.refused(&options));
}

#[test]
fn a_long_report_is_cut() {
    let folder = Folder::new();
    for index in 0..30 {
        folder.write(&format!("train/dark/x{index:02}.png"), b"broken");
    }
    let report = folder.refused(&folder.options());
    assert!(report.starts_with("30 of 36 pictures") && report.contains("x19.png") && report.contains("and 10 more"));
    assert!(!report.contains("x20.png"));
}

#[test]
fn a_class_has_a_training_image() {
    let folder = Folder::new();
    folder.write("train/bitmaps/a.heic", b"");
    folder.write("train/bitmaps/b.HEIC", b"");
    folder.write("train/bitmaps/notes", b"");
    folder.picture("train/nested/inner/a.png", (8, 8), 1);
    fs::create_dir(folder.path("train/empty")).unwrap();
    folder.picture("test/bitmaps/a.png", (8, 8), 1);
    insta::assert_snapshot!("without_training_image", folder.refused(&folder.options()));
    for class in ["bitmaps", "nested", "empty"] {
        folder.remove(&format!("train/{class}"));
    }
    insta::assert_snapshot!("only_tested", folder.refused(&folder.options()));
    folder.remove("test/bitmaps");
    folder.remove("test/dark/");
    folder.remove("test/light/");
    folder.write("test/light/a.psd", b"");
    insta::assert_snapshot!("no_test_image", folder.refused(&folder.options()));
}

#[test]
fn what_is_left_out_is_counted_and_other_programs_are_not() {
    let folder = Folder::new();
    for name in ["train/dark/a.heic", "train/light/b.HEIC", "test/dark/c.heic", "test/light/t.txt", "train/dark/README"]
    {
        folder.write(name, b"");
    }
    folder.picture("train/dark/deep/a.png", (8, 8), 1);
    folder.picture("train/beside.png", (8, 8), 1);
    for system in ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information"] {
        folder.picture(&format!("train/{system}/a.png"), (8, 8), 1);
        folder.picture(&format!("train/dark/{system}/a.png"), (8, 8), 1);
        fs::create_dir_all(folder.path(system).join("x")).unwrap();
    }
    for system in ["Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"] {
        folder.write(&format!("train/dark/{system}"), b"");
    }
    fs::create_dir(folder.path("masks")).unwrap();
    let spec = describe("image_folder", &folder.options()).unwrap();
    assert_eq!((spec.class_names.join(" "), spec.train, spec.test), ("dark light".into(), 4, 2));
    insta::assert_snapshot!("left_out", spec.notes.join("\n"));
    let found = contents("image_folder", &folder.options()).unwrap();
    let counts = [("dark".to_owned(), [2, 0, 1]), ("light".to_owned(), [2, 0, 1])];
    assert_eq!((found.classes, found.notes, found.validates), (counts.to_vec(), spec.notes, false));
}

#[test]
fn each_split_is_used_for_what_it_is_called() {
    for name in ["val", "valid", "validation"] {
        let folder = Folder::new();
        folder.picture(&format!("{name}/dark/0.png"), (8, 8), 99);
        let mut set = load("image_folder", &folder.options()).unwrap();
        let spec = describe("image_folder", &folder.options()).unwrap();
        let (train, validation) = set.split_validation(0.25).unwrap();
        assert_eq!((train.len(), validation.len(), set.test.len()), (4, 1, 2));
        assert_eq!((validation.labels[0], validation.in_memory().unwrap()[0]), (0, 99));
        assert_eq!(spec.split(None, 0.25).unwrap(), (4, 1));
        assert_eq!(spec.split(Some(3), 0.25).unwrap(), (3, 1));
        set.limit(Some(3), None);
        let (train, validation) = set.split_validation(0.0).unwrap();
        assert_eq!((train.len(), validation.len()), (3, 1));
        assert!(set.notes[0].starts_with("validation: the 1 images of"), "{:?}", set.notes);
        // Alone it is tested.
        folder.remove("test");
        let set = load("image_folder", &folder.options()).unwrap();
        assert_eq!((set.validation.is_none(), set.test.len()), (true, 1));
        let test = load_subset("image_folder", &folder.options(), Subset::Test, &set.class_names, (8, 8));
        assert_eq!(test.unwrap().unwrap(), set.test);
    }
    let folder = Folder::new();
    folder.picture("val/dark/0.png", (8, 8), 99);
    folder.picture("valid/dark/0.png", (8, 8), 99);
    insta::assert_snapshot!("two_of_one_kind", folder.refused(&folder.options()));
}

#[test]
fn other_layouts_are_told_what_to_do() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let mut all = vec![folder.refused(&folder.options())];
    folder.picture("red/0.png", (8, 8), 1);
    folder.picture("blue/0.png", (8, 8), 1);
    all.push(folder.refused(&folder.options()));
    folder.picture("Train/red/0.png", (8, 8), 1);
    all.push(folder.refused(&folder.options()));
    folder.picture("archive/train/red/0.png", (8, 8), 1);
    all.push(folder.refused(&folder.options()));
    folder.picture("train/0.png", (8, 8), 1);
    all.push(folder.refused(&folder.options()));
    folder.picture("test/red/0.png", (8, 8), 1);
    all.push(folder.refused(&folder.options()));
    insta::assert_snapshot!("layouts", all.join("\n\n"));
}

#[test]
fn pictures_are_shrunk_to_the_model_and_enlarged_by_it() {
    let folder = Folder::new();
    let size = |image_size: Option<usize>, model_size: Option<usize>| {
        let model_size = model_size.map(|size| [size; 2]);
        let options = DataOptions { image_size, model_size, ..folder.options() };
        describe("image_folder", &options).map(|spec| (spec.width, spec.height)).map_err(|error| folder.shown(&error))
    };
    assert_eq!(size(None, None), Ok((8, 8)));
    assert_eq!(size(None, Some(24)), Ok((8, 8)));
    assert_eq!(size(None, Some(4)), Ok((4, 4)));
    let wide = DataOptions { model_size: Some([3, 6]), ..folder.options() };
    let found =
        |options: &DataOptions| describe("image_folder", options).map(|spec| (spec.width, spec.height)).unwrap();
    assert_eq!(found(&wide), (6, 3));
    assert_eq!(found(&DataOptions { image_size: Some(5), ..wide }), (5, 3));
    assert_eq!(size(Some(6), None), Ok((6, 6)));
    assert_eq!(size(Some(6), Some(4)), Ok((4, 4)));
    assert_eq!(size(Some(6), Some(24)), Ok((6, 6)));
    folder.picture("train/dark/other.png", (8, 12), 1);
    assert_eq!(size(None, Some(24)), Ok((24, 24)));
    insta::assert_snapshot!("mixed_sizes", size(None, None).unwrap_err());
    let found = contents("image_folder", &folder.options()).unwrap();
    assert!(found.images.starts_with("2 sizes, from 8 x 8 to 12 x 8; "), "{}", found.images);

    // Stripes of one pixel are grey from afar.
    let stripes = RgbImage::from_fn(32, 32, |x, _| Rgb([if x % 2 == 0 { 0 } else { 255 }; 3]));
    stripes.save(folder.path("test/dark/0.png")).unwrap();
    let set = load("image_folder", &DataOptions { model_size: Some([4; 2]), ..folder.options() }).unwrap();
    let pixels = &set.test.in_memory().unwrap()[..48];
    assert!(pixels.iter().all(|value| (110..=145).contains(value)), "{pixels:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = Folder::new();
    for (split, name) in [("train", b"caf\xE8"), ("train", b"caf\xE9"), ("test", b"caf\xE9")] {
        let class = folder.path(split).join(OsStr::from_bytes(name));
        fs::create_dir_all(&class).unwrap();
        RgbImage::new(8, 8)
            .save_with_format(class.join(OsStr::from_bytes(b"\xFF.png")), image::ImageFormat::Png)
            .unwrap();
    }
    let set = load("image_folder", &folder.options()).unwrap();
    assert_eq!(set.class_names, ["caf\\xE8", "caf\\xE9", "dark", "light"]);
    assert_eq!((set.train.len(), set.test.labels.to_vec()), (6, vec![1, 2, 3]));
    let test = load_subset("image_folder", &folder.options(), Subset::Test, &set.class_names, (8, 8)).unwrap().unwrap();
    assert_eq!(test, set.test);
}

/// The test images of a run, whatever has become of the folder's classes.
#[test]
fn labels_of_a_part_are_those_of_the_run() {
    let folder = Folder::new();
    let classes = ["light", "dark"].map(str::to_owned);
    let part = |folder: &Folder, classes: &[String]| {
        load_subset("image_folder", &folder.options(), Subset::Test, classes, (8, 8)).map(Option::unwrap)
    };
    let split = part(&folder, &classes).unwrap();
    assert_eq!((split.labels.to_vec(), split.in_memory().unwrap()[0]), (vec![0, 1], 240));
    folder.picture("test/new/0.png", (8, 8), 1);
    let error = folder.shown(&part(&folder, &classes).unwrap_err());
    assert!(error.starts_with("DIR/test/new: the run knows no class `new`"), "{error}");
}

/// What a share of each class tests, whether the classes lie in `train` or in the folder itself.
#[test]
fn a_share_of_each_class_tests() {
    let folder = Folder(tempfile::tempdir().unwrap());
    for (class, count) in [("many", 11), ("two", 2), ("one", 1)] {
        for index in 0..count {
            folder.picture(&format!("{class}/{index:02}.png"), (4, 4), index);
        }
    }
    let options = DataOptions { test_split: Some(0.25), ..folder.options() };
    let spec = describe("image_folder", &options).unwrap();
    assert_eq!((spec.class_names.join(" "), spec.train, spec.test), ("many one two".into(), 10, 4));
    assert_eq!(spec.notes, ["test: 4 images, a share of 0.25 of each class; the others are to train on"]);
    let set = load("image_folder", &options).unwrap();
    // 11 / 4 is nearest to 3; one of two; none of one.
    assert_eq!(set.test.labels[..], [0, 0, 0, 2]);
    let values = |split: &super::super::super::Split| -> Vec<(u32, u8)> {
        let pixels = split.in_memory().unwrap();
        let mut values: Vec<(u32, u8)> =
            split.labels.iter().enumerate().map(|(at, label)| (*label, pixels[at * 48])).collect();
        values.sort_unstable();
        values
    };
    let mut all = [values(&set.train), values(&set.test)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..11).map(|at| (0, at)).chain([(1, 0), (2, 0), (2, 1)]).collect::<Vec<_>>());
    // The same wherever it is asked for, and whatever else is there.
    let part = load_subset("image_folder", &options, Subset::Test, &set.class_names, (4, 4)).unwrap().unwrap();
    assert_eq!(part, set.test);
    let inner = Folder(tempfile::tempdir().unwrap());
    fs::rename(folder.0.path(), inner.path("train")).unwrap();
    let mut other = DataOptions { test_split: Some(0.25), ..inner.options() };
    assert_eq!(load("image_folder", &other).unwrap().test, set.test);
    let digest = |options: &DataOptions| fingerprint("image_folder", options, &Subset::ALL).unwrap().unwrap();
    let then = digest(&other);
    other.test_split = Some(0.5);
    assert_ne!(digest(&other).digest, then.digest);
    inner.picture("val/many/0.png", (4, 4), 99);
    let set = load("image_folder", &other).unwrap();
    assert_eq!((set.validation.unwrap().len(), set.test.len(), set.train.len()), (1, 7, 7));
    inner.picture("test/many/0.png", (4, 4), 99);
    let both = inner.refused(&other);
    inner.remove("test");
    inner.remove("val");
    inner.remove("train/many");
    inner.remove("train/two");
    insta::assert_snapshot!("shares", [both, inner.refused(&other)].join("\n\n"));
}

#[test]
fn folders_within_belong_to_the_class_or_are_classes() {
    use super::super::super::Nested;
    let folder = Folder::new();
    for (name, value) in [("train/dark/a/deep/0.png", 1), ("train/dark/a/1.png", 2), ("test/dark/a/1.png", 3)] {
        folder.picture(name, (8, 8), value);
    }
    folder.write("train/dark/a/notes.txt", b"");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path("train/dark"), folder.path("train/dark/a/circle")).unwrap();
    let with = |nested: Option<Nested>| DataOptions { nested, ..folder.options() };
    let spec = describe("image_folder", &with(None)).unwrap();
    assert_eq!((spec.train, spec.test, spec.notes.join("; ")), (4, 2, "left out: 2 folders".into()));
    let class = load("image_folder", &with(Some(Nested::Class))).unwrap();
    assert_eq!((class.class_names.join(" "), class.train.len(), class.test.len()), ("dark light".into(), 6, 3));
    assert_eq!(class.notes, ["left out: 1 file .txt"]);
    let path = load("image_folder", &with(Some(Nested::Path))).unwrap();
    assert_eq!(path.class_names, ["dark", "dark/a", "dark/a/deep", "light"]);
    assert_eq!((path.train.len(), path.test.labels.to_vec()), (6, vec![0, 1, 3]));
    let digests = [None, Some(Nested::Class), Some(Nested::Path)]
        .map(|nested| fingerprint("image_folder", &with(nested), &Subset::ALL).unwrap().unwrap().digest);
    assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    folder.remove("train/dark");
    folder.picture("train/dark/a/b/0.png", (8, 8), 1);
    insta::assert_snapshot!("nested", folder.refused(&with(None)));
    assert!(folder.refused(&with(Some(Nested::Path))).contains("these classes have no training folder"));
}

#[test]
fn a_table_names_pictures() {
    let folder = Folder::new();
    let table = |text: &str| {
        folder.write("labels.csv", text.as_bytes());
        DataOptions { csv: Some(folder.path("labels.csv")), path: None, ..folder.options() }
    };
    let rows = "\u{feff}Label, note, PATH, split
night,\"a, b\", train/dark/0.png, train
day,, train/light/1.png, Train
night,, train/dark/1.png, test
day,, test/light/0.png, valid
";
    let options = table(rows);
    let set = load("image_folder", &options).unwrap();
    assert_eq!((set.class_names.join(" "), set.train.len()), ("day night".into(), 2));
    assert_eq!((set.test.labels.to_vec(), set.test.in_memory().unwrap()[0]), (vec![1], 11));
    let validation = set.validation.as_ref().unwrap();
    assert_eq!((validation.labels.to_vec(), validation.in_memory().unwrap()[0]), (vec![0], 240));
    let part = load_subset("image_folder", &options, Subset::Test, &set.class_names, (8, 8)).unwrap().unwrap();
    assert_eq!(part, set.test);
    let digest = |options: &DataOptions| fingerprint("image_folder", options, &Subset::ALL).unwrap().unwrap();
    let then = digest(&options);
    let now = digest(&table(&rows.replace("night,, train/dark/1.png", "day,, train/dark/1.png")));
    assert!(then.changes(&now, &Subset::ALL).unwrap().starts_with("test: `night`"));
    // Without a test, validation is one; without splits, a share is.
    let set = load("image_folder", &table(&rows.replace("test\n", "train\n"))).unwrap();
    assert_eq!((set.train.len(), set.validation.is_none(), set.test.labels.to_vec()), (3, true, vec![0]));
    let plain = "path,label\n0.png,a\n1.png,a\n";
    let options = DataOptions { path: Some(folder.path("train/dark")), ..table(plain) };
    let share = DataOptions { test_split: Some(0.5), ..options.clone() };
    assert_eq!(load("image_folder", &share).unwrap().test.len(), 1);

    let mut refused = vec![folder.refused(&options)];
    for text in [
        "",
        "path,class\na,b\n",
        "path,label,split\n",
        "path,label,split\na.png,x,train\na.png,y,test\n,y,dev\nb.png,,train\nc.png,x\n",
        "path,label,split\ntrain/dark/0.png,x,test\n",
        "path,label,split\ntrain/dark/0.png,x,train\ntrain/dark/1.png,y,test\n",
        "path,label,split\ntrain/dark/0.png,x,train\n",
        "path,label,split\ntrain/dark/0.png,x,train\ngone.png,x,test\n",
    ] {
        refused.push(folder.refused(&table(text)));
    }
    insta::assert_snapshot!("tables", refused.join("\n\n"));
}

#[test]
fn grey_and_other_aspect_ratios() {
    use super::super::super::Fit;
    let folder = Folder(tempfile::tempdir().unwrap());
    for split in ["train", "test"] {
        // Dark at both ends, light in the middle.
        let picture =
            RgbImage::from_fn(24, 8, |x, _| if (8..16).contains(&x) { Rgb([250, 200, 100]) } else { Rgb([10; 3]) });
        picture.save(folder.path(&format!("{split}/a/0.png"))).unwrap();
    }
    let pixels = |channels, fit, size| {
        let options = DataOptions { channels: Some(channels), fit, model_size: Some(size), ..folder.options() };
        let set = load("image_folder", &options).unwrap();
        assert_eq!((set.channels, [set.height, set.width]), (channels, size));
        let part = load_subset("image_folder", &options, Subset::Test, &set.class_names, (set.height, set.width));
        assert_eq!(part.unwrap().unwrap(), set.test);
        set.test.in_memory().unwrap().to_vec()
    };
    // The middle, whole.
    assert_eq!(pixels(3, Fit::Crop, [8, 8]), [250, 200, 100].repeat(64));
    assert_eq!(pixels(3, Fit::Crop, [16, 16]), [250, 200, 100].repeat(256));
    // All of it, with black above and below.
    let padded = pixels(1, Fit::Pad, [12, 12]);
    let row = |at: usize| &padded[at * 12..][..12];
    assert_eq!([row(0), row(3), row(8), row(11)], [[0; 12]; 4]);
    assert!(row(5)[0] == 10 && row(5)[5] > 190 && row(5)[11] == 10, "{:?}", row(5));
    // Squashed, its ends are there too.
    let squashed = pixels(1, Fit::Squash, [8, 8]);
    assert!(squashed[0] == 10 && squashed[4] > 190 && squashed[7] == 10, "{squashed:?}");
    let odd = DataOptions { channels: Some(2), ..folder.options() };
    insta::assert_snapshot!("channels", folder.refused(&odd));
}

/// What does not lie in memory is the same: images, mean and variance, and the batches of them.
#[test]
fn pictures_are_decoded_when_they_are_needed() {
    use super::super::super::{Augmentation, Draws, Fit, Loader, Pipeline, Statistics};
    let folder = Folder::new();
    for index in 0..9_u8 {
        let picture =
            RgbImage::from_fn(9 + u32::from(index % 3), 7, |x, y| Rgb([x as u8 * 20, y as u8 * 30, index * 25]));
        picture
            .save(folder.path(&format!("train/{}/x{index}.jpg", ["dark", "light"][usize::from(index % 2)])))
            .unwrap();
    }
    let with = |in_memory| DataOptions {
        in_memory: Some(in_memory),
        model_size: Some([6, 5]),
        fit: Fit::Pad,
        ..folder.options()
    };
    let (mut memory, mut files) =
        (load("image_folder", &with(true)).unwrap(), load("image_folder", &with(false)).unwrap());
    assert!(files.train.in_memory().is_none() && files.test.in_memory().is_none());
    assert!(describe("image_folder", &with(false)).unwrap().streams);
    let part = load_subset("image_folder", &with(false), Subset::Test, &files.class_names, (6, 5)).unwrap().unwrap();
    assert_eq!(part, files.test);
    [&mut memory, &mut files].iter_mut().for_each(|set| set.limit(Some(12), None));
    let splits = [memory, files].map(|set| set.split_validation(0.3).unwrap());
    let statistics = splits.each_ref().map(|(train, _)| Statistics::of(train, 3).unwrap());
    assert_eq!(statistics[0], statistics[1]);
    let pipeline = Pipeline::new(&statistics[0], (6, 5), 3, (8, 6));
    let plan =
        serde_yaml::from_str::<Augmentation>("[random_flip, random_crop: 1, mixup]").unwrap().plan(pipeline.size());
    let batches = splits.each_ref().map(|(train, validation)| {
        assert_eq!((train.len(), validation.len()), (8, 4));
        [train, validation].map(|split| {
            let augmentation = Some((&*plan, Draws { seed: 5, epoch: 2, repeats: 1 }));
            let loader = Loader { pipeline: &pipeline, split, augmentation, workers: 3 };
            loader.run(&[3, 1, 0, 2], 3, |batches| {
                batches.map(Result::unwrap).map(|batch| (batch.images, batch.labels, batch.mixed)).collect::<Vec<_>>()
            })
        })
    });
    assert!(batches[0] == batches[1]);
    // One that is gone ends the batches with its name.
    let (train, _) = &splits[1];
    fs::write(folder.path("train/dark/x0.jpg"), b"").unwrap();
    fs::write(folder.path("train/dark/x2.jpg"), b"").unwrap();
    let loader = Loader { pipeline: &pipeline, split: train, augmentation: None, workers: 2 };
    let order: Vec<u32> = (0..train.len() as u32).collect();
    let error = loader.run(&order, 1, |batches| batches.find_map(Result::err).unwrap());
    insta::assert_snapshot!("gone", folder.shown(&error).replace("x2.jpg", "x0.jpg"));
    assert!(Statistics::of(train, 3).unwrap_err().to_string().contains(" of 8 pictures cannot be read"));
    // Images that are tested last are looked at first.
    folder.write("test/dark/late.png", &cut_png());
    assert!(folder.shown(&load("image_folder", &with(false)).unwrap_err()).contains("test/dark/late.png is cut off"));
}

fn encoded(value: u8, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(8, 8, Rgb([value; 3])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes an archive of files with their contents.
fn shard(folder: &Folder, name: &str, files: &[(&str, Vec<u8>)]) {
    let mut archive = tar::Builder::new(fs::File::create(folder.path(name)).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn shards_hold_pictures_and_their_labels() {
    use image::ImageFormat::{Jpeg, Png};
    let folder = Folder(tempfile::tempdir().unwrap());
    let long = format!("{}/0004", "deep".repeat(40));
    let text = |label: &str| label.as_bytes().to_vec();
    shard(
        &folder,
        "photos-train-0.tar",
        &[
            ("0001.png", encoded(10, Png)),
            ("0001.cls", text("10\n")),
            ("a.b/0002.seg.png", encoded(0, Png)),
            ("a.b/0002.cls", text("9")),
            ("a.b/0002.jpg", encoded(90, Jpeg)),
            ("0003.json", text("{}")),
        ],
    );
    shard(
        &folder,
        "photos-train-1.tar",
        &[(&format!("{long}.cls"), text("9")), (&format!("{long}.png"), encoded(40, Png))],
    );
    shard(&folder, "test/0.tar", &[("1.cls", text("9")), ("1.png", encoded(7, Png))]);
    shard(&folder, "others.tar", &[("1.cls", text("77")), ("1.png", encoded(7, Png))]);
    let set = load("webdataset", &folder.options()).unwrap();
    assert_eq!((set.name.as_str(), set.class_names.join(" ")), ("webdataset", "9 10".into()));
    let mut train: Vec<(u32, u8)> =
        set.train.labels.iter().copied().zip(set.train.in_memory().unwrap().iter().copied().step_by(192)).collect();
    train.sort_unstable();
    assert_eq!(train, [(0, 40), (0, 90), (1, 10)]);
    assert_eq!((set.test.labels.to_vec(), set.test.in_memory().unwrap()[0]), (vec![0], 7));
    // The same when they are decoded one by one, and as a part.
    let files = load("webdataset", &DataOptions { in_memory: Some(false), ..folder.options() }).unwrap();
    let mut decoded = Vec::new();
    for index in 0..3 {
        let own = files.train.image(index, 192, &mut decoded).unwrap().to_vec();
        assert_eq!(own, set.train.in_memory().unwrap()[index * 192..][..192]);
    }
    let part = load_subset("webdataset", &folder.options(), Subset::Test, &set.class_names, (8, 8)).unwrap().unwrap();
    assert_eq!(part, set.test);
    let digest = || fingerprint("webdataset", &folder.options(), &Subset::ALL).unwrap().unwrap();
    let then = digest();
    assert_eq!(then, digest());
    shard(&folder, "test/0.tar", &[("1.cls", text("9")), ("1.png", encoded(8, Png))]);
    assert_eq!(
        then.changes(&digest(), &Subset::ALL).unwrap(),
        "test: `9` has other pictures or names of files, 1 image as before"
    );
    let names: Vec<&str> = "a b c d e f g h i red blue".split(' ').collect();
    folder.write("classnames.txt", names.join("\n").as_bytes());
    assert_eq!(load("webdataset", &folder.options()).unwrap().class_names, ["blue", "red"]);
    folder.write("classnames.txt", b"a\nb");

    let refused = |folder: &Folder| folder.shown(&load("webdataset", &folder.options()).unwrap_err());
    let mut all = vec![refused(&folder)];
    fs::remove_file(folder.path("classnames.txt")).unwrap();
    shard(&folder, "test/0.tar", &[("1.png", encoded(8, Png)), ("2.png", cut_png()), ("2.cls", text(""))]);
    all.push(refused(&folder));
    shard(&folder, "test/0.tar", &[("1.png", cut_png()), ("1.cls", text("9"))]);
    all.push(refused(&folder));
    folder
        .write("test/0.tar", b"no archive, and longer than one of its heads, which has five hundred and twelve bytes");
    all.push(refused(&folder));
    all.push(refused(&Folder(tempfile::tempdir().unwrap())));
    insta::assert_snapshot!("shards", all.join("\n\n"));
}

/// Files that pyarrow wrote: `tests/fixtures/parquet/make_parquet.py`.
#[test]
fn parquet_files_of_the_hub() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet");
    let at = |name: &str| DataOptions {
        data_dir: Some(folder.path("cache/x").parent().unwrap().to_owned()),
        path: Some(fixtures.join(name)),
        ..DataOptions::default()
    };
    let of = |label: &str| DataOptions { label_column: Some(label.into()), ..at("hub") };
    let fine = load("parquet", &of("fine_label")).unwrap();
    // In the order of the metadata.
    assert_eq!(fine.class_names, ["willow", "apple", "bee"]);
    let values = |split: &crate::data::Split| -> Vec<(u32, u8)> {
        let pixels = split.in_memory().unwrap().iter().copied().step_by(192);
        let mut all: Vec<(u32, u8)> = split.labels.iter().copied().zip(pixels).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(values(&fine.train), [(0, 10), (0, 50), (1, 20), (1, 40), (2, 30), (2, 60)]);
    assert_eq!(values(&fine.test), [(1, 70), (2, 80)]);
    // From what was unpacked, by other labels, one by one, and as a part.
    let unpacked = || fs::read_dir(folder.path("cache/parquet/x").parent().unwrap()).unwrap().count();
    assert_eq!(unpacked(), 4);
    let coarse = load("parquet", &of("coarse_label")).unwrap();
    assert_eq!((coarse.class_names.join(" "), unpacked()), ("plants insects".into(), 4));
    let files = load("parquet", &DataOptions { in_memory: Some(false), ..of("fine_label") }).unwrap();
    let mut decoded = Vec::new();
    for index in 0..6 {
        let own = files.train.image(index, 192, &mut decoded).unwrap().to_vec();
        assert_eq!(own, fine.train.in_memory().unwrap()[index * 192..][..192]);
    }
    let part = load_subset("parquet", &of("fine_label"), Subset::Test, &fine.class_names, (8, 8)).unwrap().unwrap();
    assert_eq!(part, fine.test);
    let digest = |label: &str| fingerprint("parquet", &of(label), &Subset::ALL).unwrap().unwrap();
    assert_eq!(digest("fine_label"), digest("fine_label"));
    assert!(digest("fine_label").changes(&digest("coarse_label"), &Subset::ALL).is_some());
    // One file, of words, whose pictures are plain bytes.
    let plain = load("parquet", &DataOptions { test_split: Some(0.5), ..at("plain.parquet") }).unwrap();
    assert_eq!((plain.class_names.join(" "), plain.train.len(), plain.test.len()), ("cat dog".into(), 2, 2));
    // A file that is cut off while it is unpacked leaves nothing that would be taken for it.
    fs::write(folder.path("cut/train.parquet"), &fs::read(fixtures.join("plain.parquet")).unwrap()[..300]).unwrap();

    let refused = |options: &DataOptions| {
        folder.shown(&load("parquet", options).unwrap_err()).replace(&fixtures.display().to_string(), "FIXTURES")
    };
    let told = [
        refused(&at("hub")),
        refused(&of("label")),
        refused(&DataOptions { image_column: Some("picture".into()), ..of("fine_label") }),
        refused(&at("zstd.parquet")),
        refused(&at("absent.parquet")),
        refused(&at("labels.parquet")),
        refused(&at("none.parquet")),
        refused(&at("plain.parquet")),
        refused(&DataOptions { path: Some(folder.path("cut/x").parent().unwrap().to_owned()), ..at("") }),
        refused(&DataOptions { path: Some(folder.path("empty/x").parent().unwrap().to_owned()), ..at("") }),
        refused(&at("gone")),
    ];
    insta::assert_snapshot!("parquet", told.join("\n\n"));
}
