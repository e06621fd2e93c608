//! `train.image_size`: smaller images in some epochs (progressive resizing).

use super::{Definition, ExperimentError, schema::Fault};
use crate::{
    dsl::Value,
    model::{Architecture, ImageSpec, LayerNode, own_image_size},
};

/// `[epoch, size]`: from an epoch on, counted from 0, the side of training images in pixels.
pub type ImageSizes = Vec<(u32, usize)>;

const KEY: &str = "train.image_size";

/// What cannot be, whatever the network.
pub(super) fn fault(sizes: &ImageSizes, epochs: u32) -> Option<Fault> {
    let (&(first, _), &(last, _)) = (sizes.first()?, sizes.last()?);
    let problem = if first != 0 {
        format!("`{KEY}` begins with epoch {first}: the first is 0")
    } else if let Some(pair) = sizes.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        format!("`{KEY}` has epoch {} after epoch {}", pair[1].0, pair[0].0)
    } else if last >= epochs {
        format!("`{KEY}` has epoch {last}, which is not trained: `train.epochs` is {epochs}, and the first epoch is 0")
    } else if let Some((_, size)) = sizes.iter().find(|(_, size)| !(1..=4096).contains(size)) {
        format!("`{KEY}` has images of {size} pixels; they have 1 to 4096")
    } else {
        return None;
    };
    let help = "pairs of an epoch and a size, e.g. `[[0, 20], [4, 32]]`: 20 pixels in the first four epochs, then 32";
    Some(Fault { key: KEY.into(), message: problem, help: Some(help.into()) })
}

/// The sizes of an experiment as a training takes them.
pub fn of_epochs(definition: &Definition) -> Vec<(u32, (usize, usize))> {
    definition.experiment.train.image_size.iter().map(|&(epoch, size)| (epoch, (size, size))).collect()
}

/// The network on each of the other sizes that an experiment trains on, in the order of their first epochs. `image` is what
/// the data set has, `whole` the network on images of their own size.
///
/// # Errors
/// [`ExperimentError::ImageSize`]: images that are no squares or larger than the network's own, or a network whose
/// parameters depend on the size of images.
pub fn networks(
    definition: &Definition,
    image: &ImageSpec,
    whole: &Architecture,
) -> Result<Vec<Architecture>, ExperimentError> {
    let [height, width, _] = whole.image_shape();
    let (mut networks, mut known) = (Vec::new(), vec![height]);
    for &(_, size) in &definition.experiment.train.image_size {
        let refuse = |message: String, help: &str| ExperimentError::ImageSize { message, help: help.to_owned() };
        if height != width {
            let message = format!("`{KEY}` is the side of a square, and the network takes images of {height}x{width}");
            return Err(refuse(message, "set `image_size` of the model, or leave the key out"));
        }
        if size > height {
            let message = format!("`{KEY}` has images of {size} pixels, more than the network's own {height}");
            return Err(refuse(message, "evaluation is at the network's own size, which is the largest"));
        }
        if known.contains(&size) {
            continue;
        }
        known.push(size);
        let network = at_size(definition, image, size).map_err(|error| {
            let message = format!("`{KEY}`: the network cannot be on images of {size} pixels: {error}");
            refuse(message, "take another size, or a network that takes it: `vitx check` shows the place")
        })?;
        if let Some(difference) = difference(whole, &network) {
            let message = format!("`{KEY}`: {difference} on images of {height} pixels and of {size}");
            let help = "one set of parameters serves all sizes: take a network whose layers do not depend on the size, e.g. \
                        convolutions with `global_average_pool` before the head, and no position embedding";
            return Err(refuse(message, help));
        }
        networks.push(network);
    }
    Ok(networks)
}

/// The network on square images of a size.
fn at_size(definition: &Definition, image: &ImageSpec, size: usize) -> Result<Architecture, ExperimentError> {
    let mut definition = definition.clone();
    let (source, params) = (&definition.source, &mut definition.experiment.params);
    if own_image_size(source, params).is_some() {
        params.insert("image_size".into(), Value::Int(size as i64));
    }
    definition.architecture(&ImageSpec { height: size, width: size, ..*image })
}

/// How the parameters of two networks of one text differ, if they do.
fn difference(whole: &Architecture, other: &Architecture) -> Option<String> {
    let layer = |node: &LayerNode| format!("`{}` (`{}`)", node.path, node.kind);
    for (ours, theirs) in whole.layers().iter().zip(other.layers()) {
        if (&ours.path, ours.kind) != (&theirs.path, theirs.kind) {
            return Some(format!("{} and {} stand in one place,", layer(ours), layer(theirs)));
        }
        let (ours_of, theirs_of) = (ours.parameters(), theirs.parameters());
        if ours_of.len() != theirs_of.len() {
            return Some(format!("{} has other parameters", layer(ours)));
        }
        for (one, another) in ours_of.iter().zip(&theirs_of) {
            if one.name != another.name || one.shape != another.shape {
                let (name, shape, other) = (&one.name, &one.shape, &another.shape);
                return Some(format!("{} has a `{name}` of {shape:?} and of {other:?}", layer(ours)));
            }
        }
    }
    (whole.layers().len() != other.layers().len()).then(|| "the network has not as many layers".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::experiment::Overrides;

    const SQUARE: ImageSpec = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };

    /// The networks of a model on so large images.
    fn of(model: &str, sizes: &str, image: &ImageSpec) -> Result<Vec<Architecture>, ExperimentError> {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!("model: m.vitx\ndata: {{ name: digits }}\ntrain: {{ image_size: {sizes} }}\n");
        fs::write(folder.path().join("e.yaml"), yaml).unwrap();
        fs::write(folder.path().join("m.vitx"), model).unwrap();
        let definition = Definition::read(&folder.path().join("e.yaml"), &Overrides::default())?;
        let whole = definition.architecture(image)?;
        networks(&definition, image, &whole)
    }

    const POOLED: &str = "model m { conv2d(6, 3, strides = 2) relu global_average_pool dense(num_classes) }";

    #[test]
    fn networks_of_other_sizes_have_the_same_parameters() {
        let sizes = |model: &str, text: &str| -> Vec<[usize; 3]> {
            of(model, text, &SQUARE).unwrap().iter().map(Architecture::image_shape).collect()
        };
        assert_eq!(sizes(POOLED, "[[0, 4], [2, 6], [3, 4], [5, 8]]"), [[4, 4, 1], [6, 6, 1]]);
        assert!(sizes(POOLED, "[]").is_empty() && sizes(POOLED, "[[0, 8]]").is_empty());
        // Where the model sets the size itself, that is what changes.
        let own = POOLED.replace("model m", "model m(image_size = 16)");
        assert_eq!(sizes(&own, "[[0, 12], [1, 16]]"), [[12, 12, 1]]);
    }

    #[test]
    fn what_cannot_be_is_explained() {
        let flat = "model m { conv2d(6, 3) flatten dense(num_classes) }";
        let tokens = "model m { patches(2) dense(8) position_embedding global_average_pool dense(num_classes) }";
        let narrow = ImageSpec { width: 6, ..SQUARE };
        let wrong = [
            (POOLED, "[[1, 4]]", &SQUARE),
            (POOLED, "[[0, 4], [0, 8]]", &SQUARE),
            (POOLED, "[[0, 4], [10, 8]]", &SQUARE),
            (POOLED, "[[0, 0]]", &SQUARE),
            (POOLED, "[0, 4]", &SQUARE),
            (POOLED, "4", &SQUARE),
            (POOLED, "[[0, 9]]", &SQUARE),
            (POOLED, "[[0, 4]]", &narrow),
            (flat, "[[0, 4]]", &SQUARE),
            (tokens, "[[0, 4]]", &SQUARE),
            (tokens, "[[0, 5]]", &SQUARE),
        ];
        let explained = wrong.map(|(model, sizes, image)| {
            let error = format!("{:?}", miette::Report::new(of(model, sizes, image).unwrap_err()));
            // Files lie where this test put them.
            let name = |line: &str| line.find("e.yaml:").map_or(line.to_owned(), |at| format!("   ╭─[{}", &line[at..]));
            error.lines().map(name).collect::<Vec<_>>().join("\n")
        });
        insta::assert_snapshot!(explained.join("\n"));
        assert!(!Path::new("e.yaml").exists());
    }
}
