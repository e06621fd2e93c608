//! Trains the small ViT on the embedded digits for one epoch, as `vitx run` does, and reads the result:
//! `cargo run --release --example train_one_epoch`.

use std::path::Path;

use vitx::{
    backend::Backend,
    experiment::{
        Definition, Overrides,
        training::{self, Outcome},
    },
    files::make_folder,
    metrics::Means,
    train::Observer,
    trial::{Lock, history::Epoch},
};

/// Watches a training. The progress bar of `vitx run` is another one.
struct Printed;

impl Observer for Printed {
    fn start(&mut self, description: &str) {
        println!("{description}");
    }

    fn step(&mut self, _done: usize, _steps: usize, _means: &Means) {}

    fn epoch(&mut self, epoch: &Epoch, epochs: u32) {
        println!("epoch {} of {epochs}: loss {:.3}", epoch.epoch, epoch.loss);
    }
}

fn main() -> miette::Result<()> {
    // An experiment with some of its keys changed, as by `--set train.epochs=1`.
    let changes = Overrides { set: vec!["train.epochs=1".into()], ..Overrides::default() };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
    let definition = Definition::read(&file, &changes)?.with(&[])?;

    // A trial is a directory, complete in itself; one process at a time may write to it.
    let folder = std::env::temp_dir().join(format!("vitx-example-{}", std::process::id()));
    make_folder(&folder)?;
    let lock = Lock::take(&folder)?;
    definition.write(&folder)?;

    let options = training::Options { backend: Backend::Cpu, ..training::Options::default() };
    match training::run(&lock, &options, &mut Printed)? {
        Outcome::Finished(result) | Outcome::FinishedBefore(result) => {
            println!("test accuracy: {:.1}%", 100.0 * result.test_accuracy);
        }
        Outcome::Interrupted | Outcome::Paused => println!("not finished: the directory has all to continue from"),
    }
    println!("everything is in {}", folder.display());
    Ok(())
}
