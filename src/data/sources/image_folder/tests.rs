use std::{fs, path::PathBuf};

use image::{Rgb, RgbImage};
use miette::Diagnostic;

use super::super::super::{DataError, DataOptions, Subset, contents, describe, load, load_subset};

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
        assert_eq!((validation.labels[0], validation.pixels[0]), (0, 99));
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
    assert!(set.test.pixels[..48].iter().all(|value| (110..=145).contains(value)), "{:?}", &set.test.pixels[..48]);
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
    assert_eq!((split.labels.to_vec(), split.pixels[0]), (vec![0, 1], 240));
    folder.picture("test/new/0.png", (8, 8), 1);
    let error = folder.shown(&part(&folder, &classes).unwrap_err());
    assert!(error.starts_with("DIR/test/new: the run knows no class `new`"), "{error}");
}
