//! Checks a model against what the data say of their images, and lists its layers:
//! `cargo run --example check_model`, or with a file of your own, `... -- my_model.vitx`.

use std::{collections::BTreeMap, path::Path};

use vitx::{
    dsl::{Source, Value},
    model::{ImageSpec, elaborate},
};

const MODEL: &str = "
model small_vit(depth = 2) {
    patches(size = 2)
    patch_encoder(dim = 16)
    repeat transformer_block(num_heads = 2, key_dim = 8, units = [32, 16]) × depth
    layer_norm
    flatten
    dense(num_classes)
}
";

fn main() -> miette::Result<()> {
    let source = match std::env::args().nth(1) {
        Some(file) => Source::read(Path::new(&file))?,
        None => Source::new("small_vit", MODEL),
    };

    // The data decide the sizes that a model does not: image size, channels, classes.
    let data = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };

    // A wrong model is an error with all its problems at once, each with its place. miette prints them.
    let model = elaborate(&source, &BTreeMap::new(), &data)?;
    println!("{}", model.text());
    println!("{} parameters", model.summary().parameters);

    // Parameters of a model are bound by name, as `--param depth=4` does. A name that it does not have is an error.
    let deeper = BTreeMap::from([("depth".to_owned(), Value::Int(4))]);
    match elaborate(&source, &deeper, &data) {
        Ok(model) => println!("{} with depth = 4", model.summary().parameters),
        Err(problems) => println!("it has no depth: {problems}"),
    }
    Ok(())
}
