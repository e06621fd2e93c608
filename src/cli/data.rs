use std::{path::PathBuf, process::ExitCode};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use miette::miette;

use super::{
    augmented::Sheet,
    console::{Console, bytes_bar},
    folder_args::FolderArgs,
    out, output,
};
use crate::data::{
    self, BatchPlace, Contents, DataError, DataOptions, Loaded, Pipeline, Statistics, fetch, locate, names::shown,
    picture, sources,
};

/// Fetches data sets, and shows what is in them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx data fetch cifar100
  vitx data info
  vitx data info image_folder --path photos
  vitx data info image_folder --path photos --test-split 0.2
  vitx data show image_folder --path photos --classes 8 -o sheet.png
  vitx data show digits --image-size 24 --patches 6 -o patches.png
  vitx data show experiments/cifar100_vit.yaml --augmented 8 -o augmented.png
  vitx data show cifar100 --augmented 8 --set 'augmentation=[random_flip, rand_augment]' -o augmented.png")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Fetch(FetchArgs),
    Info(InfoArgs),
    Show(ShowArgs),
}

/// Downloads a data set; a download that broke off is continued
#[derive(Debug, clap::Args)]
struct FetchArgs {
    /// Data set, e.g. cifar100
    name: String,
    /// Folder of data sets to put it in [default: VITX_DATA_DIR, or the user's cache]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Takes the files from here instead of from their publishers; checksums hold all the same
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Place, sizes, images of each class, and what is left out, of a data set; or all data sets
#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// Data set
    name: Option<String>,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Height and width that the images of `image_folder` are to be resized to
    #[arg(long)]
    image_size: Option<usize>,
    #[command(flatten)]
    folder: FolderArgs,
}

/// Draws an image beside its patches, or images as training sees them
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Data set; with --augmented, an experiment (.yaml) too
    name: String,
    /// Height and width of a patch, in pixels of the resized image
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1024))]
    patches: u32,
    /// Height and width that the image is resized to [default: 72; with --augmented, as the model or the data have it]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    image_size: Option<u32>,
    /// Draws eight images as they are, and as training sees them in so many epochs
    #[arg(long, value_name = "EPOCHS", conflicts_with = "patches", value_parser = clap::value_parser!(u32).range(1..=64))]
    augmented: Option<u32>,
    /// Draws so many training images of each class, a column for each, of twenty classes from --index on
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["patches", "augmented"], value_parser = clap::value_parser!(u32).range(1..=64))]
    classes: Option<u32>,
    /// Sets a key of the experiment, e.g. `--set 'augmentation=[random_flip, rand_augment]'`
    #[arg(long, value_name = "KEY=VALUE", requires = "augmented")]
    set: Vec<String>,
    /// Which image of the training split, or which class
    #[arg(long, default_value_t = 0)]
    index: usize,
    /// The picture to write (PNG); `-` for standard output
    #[arg(short, long)]
    output: PathBuf,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.what {
        What::Fetch(args) => run_fetch(args)?,
        What::Info(args) => info(args)?,
        What::Show(args) => show(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_fetch(args: &FetchArgs) -> miette::Result<()> {
    let console = Console::new();
    let source = sources::find(&args.name)?;
    let options = DataOptions { data_dir: args.data_dir.clone(), ..DataOptions::default() };
    match source.describe(&options) {
        Err(DataError::NotFound { .. }) => {}
        Err(_) if source.remote().is_empty() => {}
        Err(error) => return Err(error.into()),
        Ok(spec) => {
            let place = spec.place.map_or("built in".to_owned(), |place| format!("in {}", place.display()));
            console.line(&format!("{} is here already, {place}", source.name()));
            return Ok(());
        }
    }
    if source.remote().is_empty() {
        return Err(miette!(
            help = "these can be fetched: cifar10, cifar100, mnist, fashion_mnist",
            "`{}` is nothing that can be fetched",
            source.name()
        ));
    }
    let root = locate::roots(&options)?
        .into_iter()
        .next()
        .ok_or_else(|| miette!(help = "name one with --data-dir", "there is no folder to put data sets in"))?;
    let bar = bytes_bar();
    fetch::fetch(source.remote(), &root, args.mirror.as_deref(), &mut |name, done, total| {
        if bar.message() != name {
            bar.set_message(name.to_owned());
        }
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let spec = source.describe(&DataOptions { data_dir: Some(root), ..DataOptions::default() })?;
    let place = spec.place.unwrap_or_default();
    console.line(&format!(
        "{}: {} training and {} test images in {}",
        spec.name,
        spec.train,
        spec.test,
        place.display()
    ));
    Ok(())
}

fn info(args: &InfoArgs) -> miette::Result<()> {
    let console = Console::new();
    let options = DataOptions { image_size: args.image_size, ..args.folder.options(args.data_dir.clone()) };
    let Some(name) = &args.name else {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["data set", "about", "place"]);
        for source in sources::all() {
            let place = match source.describe(&options) {
                Ok(spec) => spec.place.map_or("built in".to_owned(), |place| place.display().to_string()),
                Err(DataError::NotFound { .. }) => format!("not here: vitx data fetch {}", source.name()),
                Err(_) if source.remote().is_empty() => "--path FOLDER".to_owned(),
                Err(error) => error.to_string(),
            };
            table.add_row([source.name().to_owned(), source.about().to_owned(), place]);
        }
        console.line(&table.to_string());
        return Ok(());
    };
    let source = sources::find(name)?;
    let Contents { place, images, formats, classes, validates, notes, broken } = source.contents(&options)?;
    let place = place.map_or("built in".to_owned(), |place| shown(place.as_os_str()));
    console.line(&format!("{}: {}", source.name(), source.about()));
    console.line(&format!("place: {place}"));
    console.line(&format!("images: {images}"));
    if !formats.is_empty() {
        let formats: Vec<String> = formats.iter().map(|(format, count)| format!("{count} {format}")).collect();
        console.line(&format!("formats: {}", formats.join(", ")));
    }
    let splits: &[(usize, &str)] =
        if validates { &[(0, "training"), (1, "validation"), (2, "test")] } else { &[(0, "training"), (2, "test")] };
    let sum = |split: usize| classes.iter().map(|(_, counts)| counts[split]).sum::<usize>();
    let sums: Vec<String> = splits.iter().map(|&(split, name)| format!("{name}: {}", sum(split))).collect();
    console.line(&format!("{}, classes: {}", sums.join(", "), classes.len()));
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["class"].into_iter().chain(splits.iter().map(|split| split.1)));
    for (name, counts) in &classes {
        table.add_row([name.clone()].into_iter().chain(splits.iter().map(|&(split, _)| counts[split].to_string())));
    }
    for column in 1..=splits.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    console.line(&table.to_string());
    for note in &notes {
        console.line(note);
    }
    broken.map_or(Ok(()), |broken| Err(broken.into()))
}

/// Height and width that an image is resized to where it is drawn beside its patches.
const IMAGE_SIZE: u32 = 72;

/// The same of a contact sheet, of pictures that are larger or of several sizes.
const CONTACT_SIZE: u32 = 96;

/// Classes of a contact sheet, side by side.
const CLASSES: usize = 20;

/// Draws some training images of each class.
fn contact_sheet(args: &ShowArgs, count: usize) -> miette::Result<()> {
    // Photographs of many sizes are drawn at one; what has one size is drawn at it, if it is small.
    let size = args.image_size.unwrap_or(CONTACT_SIZE) as usize;
    let options = DataOptions { model_size: Some([size; 2]), ..args.folder.options(args.data_dir.clone()) };
    let set = data::load(&args.name, &options)?;
    let own = (set.height, set.width);
    let to = if args.image_size.is_some() { (size, size) } else { own };
    // Bytes become bytes again: any mean and variance will do.
    let statistics = Statistics { mean: vec![127.5; set.channels], variance: vec![64.0 * 64.0; set.channels] };
    let pipeline = Pipeline::new(&statistics, own, set.channels, to);
    let names = set.class_names.iter().skip(args.index).take(CLASSES);
    let shown: Vec<&String> = names.collect();
    if shown.is_empty() {
        let help = format!("the first is 0, the last {}", set.class_names.len() - 1);
        return Err(miette!(help = help, "there is no class {}", args.index));
    }
    let mut columns = Vec::new();
    for class in args.index..args.index + shown.len() {
        let of_class = set.train.labels.iter().zip(0_u32..).filter(|(label, _)| **label as usize == class);
        let indices: Vec<u32> = of_class.map(|(_, index)| index).take(count).collect();
        let mut loaded = Loaded::default();
        pipeline.batch(&set.train, &indices, BatchPlace::default(), None, &mut loaded)?;
        columns.push(loaded.images);
    }
    output::write(&args.output, &output::png(&picture::sheet(&columns, pipeline.levels(), pipeline.size()))?)?;
    let say = if output::is_standard(&args.output) { out::note } else { out::line };
    say(&format!("Training images of {}, from left to right:", set.name));
    shown.iter().for_each(|name| say(&format!("  {name}")));
    match set.class_names.len() - args.index - shown.len() {
        0 => {}
        more => say(&format!("and {more} more classes: --index {}", args.index + shown.len())),
    }
    Ok(())
}

fn show(args: &ShowArgs) -> miette::Result<()> {
    if let Some(epochs) = args.augmented {
        let sheet = Sheet {
            name: &args.name,
            set: &args.set,
            epochs,
            index: args.index,
            image_size: args.image_size.map(|size| size as usize),
            data_dir: args.data_dir.clone(),
            folder: &args.folder,
            output: &args.output,
        };
        return sheet.draw();
    }
    if let Some(count) = args.classes {
        return contact_sheet(args, count as usize);
    }
    let (size, patch_size) = (args.image_size.unwrap_or(IMAGE_SIZE) as usize, args.patches as usize);
    if !size.is_multiple_of(patch_size) {
        let sizes: Vec<String> =
            (1..=size).filter(|patch| size.is_multiple_of(*patch)).map(|patch| patch.to_string()).collect();
        return Err(miette!(
            help = format!("patch sizes that divide {size}: {}", sizes.join(", ")),
            "patches of {patch_size} do not fill an image of {size}"
        ));
    }
    // As a model of that size has it.
    let options = DataOptions { model_size: Some([size; 2]), ..args.folder.options(args.data_dir.clone()) };
    let set = data::load(&args.name, &options)?;
    let count = set.train.len();
    if args.index >= count {
        return Err(miette!(
            help = format!("the first is 0, the last {}", count - 1),
            "there is no image {}",
            args.index
        ));
    }
    let image = set.height * set.width * set.channels;
    let mut decoded = Vec::new();
    let pixels = set.train.image(args.index, image, &mut decoded)?;
    let picture = picture::patches(pixels, (set.height, set.width), set.channels, size, patch_size);
    output::write(&args.output, &output::png(&picture)?)?;
    let class = &set.class_names[set.train.labels[args.index] as usize];
    // Where the picture itself goes to standard output, nothing else does.
    let say = if output::is_standard(&args.output) { out::note } else { out::line };
    say(&format!("Image {} of {}, class {class}", args.index, set.name));
    say(&format!("Image size: {size} X {size}"));
    say(&format!("Patch size: {patch_size} X {patch_size}"));
    say(&format!("Patches per image: {}", (size / patch_size).pow(2)));
    say(&format!("Elements per patch: {}", patch_size * patch_size * set.channels));
    Ok(())
}
