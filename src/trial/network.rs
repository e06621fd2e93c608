use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::names::NETWORK;
use crate::{
    dsl::Value,
    files::{
        FileError,
        kept::{self, Kept},
    },
    model::Architecture,
};

/// What a layer calls the tensor that no layer makes.
const IMAGES: &str = "images";

/// `model.json`: the layers of the network that is trained, as `vitx graph --format json` lists them. Of what the file
/// says, this is what is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Of the model, as its text says.
    pub name: String,
    /// `[height, width, channels]`.
    pub image_shape: [usize; 3],
    /// The length of the logits.
    pub num_classes: usize,
    /// Each after those that it depends on.
    pub layers: Vec<NetworkLayer>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkLayer {
    /// Of the instance: blocks, then the layer's own name.
    pub path: String,
    /// The layer's name in the language.
    pub kind: String,
    /// All of them, defaults included.
    pub arguments: BTreeMap<String, Value>,
    /// Paths of the layers whose outputs it takes, or `images`.
    pub inputs: Vec<String>,
    /// For one image.
    pub output_shape: Vec<usize>,
}

impl Kept for Network {
    fn fault(&self) -> Option<String> {
        self.inputs().err()
    }
}

impl Network {
    /// That of a trial; `None` for one that has not begun, or that a former version began.
    ///
    /// # Errors
    /// A file that is broken.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        kept::read(&folder.join(NETWORK))
    }

    /// Keeps that of a trial, with all that its listing says.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(folder: &Path, architecture: &Architecture) -> Result<(), FileError> {
        kept::write(&folder.join(NETWORK), &architecture.listing())
    }

    /// The tensors that each layer takes, by number: 0 is the images, `i + 1` the output of layer `i`.
    ///
    /// # Errors
    /// A layer that takes what no layer before it gives.
    pub fn inputs(&self) -> Result<Vec<Vec<usize>>, String> {
        let mut numbers: HashMap<&str, usize> = HashMap::from([(IMAGES, 0)]);
        let mut inputs = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let number = |name: &String| {
                let number = numbers.get(name.as_str()).copied();
                number.ok_or_else(|| format!("`{}` takes `{name}`, which is no layer before it", layer.path))
            };
            inputs.push(layer.inputs.iter().map(number).collect::<Result<_, _>>()?);
            if numbers.insert(&layer.path, index + 1).is_some() {
                return Err(format!("it has two layers `{}`", layer.path));
            }
        }
        Ok(inputs)
    }
}

impl NetworkLayer {
    /// `units = 16, activation = "gelu"`.
    pub fn arguments_text(&self) -> String {
        self.arguments.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    }
}

impl From<&Architecture> for Network {
    fn from(architecture: &Architecture) -> Self {
        let listing = architecture.listing();
        let layer = |layer: &crate::model::LayerListing| NetworkLayer {
            path: layer.path.to_owned(),
            kind: layer.kind.to_owned(),
            arguments: layer.arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            inputs: layer.inputs.iter().map(|input| (*input).to_owned()).collect(),
            output_shape: layer.output_shape.clone(),
        };
        Self {
            name: listing.name.to_owned(),
            image_shape: listing.image_shape,
            num_classes: listing.num_classes,
            layers: listing.layers.iter().map(layer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::{Definition, Overrides},
        model::ImageSpec,
    };

    #[test]
    fn what_is_written_is_read_back_and_checked() {
        let definition = Definition::read("experiments/digits_vit.yaml".as_ref(), &Overrides::default()).unwrap();
        let image = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };
        let architecture = definition.architecture(&image).unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Network::read(folder.path()).unwrap(), None);
        Network::write(folder.path(), &architecture).unwrap();
        let network = Network::read(folder.path()).unwrap().unwrap();
        assert_eq!(network, Network::from(&architecture));
        assert_eq!(network.inputs().unwrap()[0], [0]);
        let mut wrong = network.clone();
        wrong.layers[1].inputs[0] = "elsewhere".into();
        let path = &network.layers[1].path;
        assert_eq!(wrong.fault().unwrap(), format!("`{path}` takes `elsewhere`, which is no layer before it"));
        let mut wrong = network.clone();
        wrong.layers[1].path = network.layers[0].path.clone();
        assert!(wrong.fault().unwrap().contains("two layers"));
    }
}
