//! What a file of weights is a network of: its text, its parameters, and how its images are normalised.

use serde_json::Value;

use super::{
    Family, Table,
    family::{FAMILIES, Facts, Params, name_of},
};

/// What stands beside weights: `config.json` of timm or transformers, and transformers' `preprocessor_config.json`.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Of the network.
    pub network: Option<Value>,
    /// Of its images.
    pub images: Option<Value>,
}

/// A network of ours with parameters for a file of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Whose names the file has.
    pub library: &'static str,
    /// The name of the model's text in `experiments/zoo`.
    pub model: &'static str,
    /// The text.
    pub text: &'static str,
    /// Its parameters, in the order of the text.
    pub params: Params,
    /// Mean and deviation, one per channel, of pixels from 0 to 1.
    pub normalization: Option<[Vec<f64>; 2]>,
}

/// Finds the family of a file and what the network's parameters are.
///
/// # Errors
/// Why none is found, for people.
pub fn import(table: &Table, config: &Config) -> Result<Imported, String> {
    let mut why = None;
    for family in FAMILIES {
        for prefix in family.prefixes {
            let their_name = |ours: &str| Some(name_of(family.rules(), family.dialect, prefix, ours)?.text);
            let shape = |ours: &str| Some(table.get(&their_name(ours)?)?.0.to_vec());
            if family.signature.iter().any(|ours| shape(ours).is_none()) {
                continue;
            }
            let facts = Facts { shape: &shape, config };
            match (family.params)(&facts) {
                Ok(params) => return Ok(imported(family, params, config)),
                Err(reason) => why = Some(format!("it has the names of {}, but {reason}", family.library)),
            }
        }
    }
    Err(why.unwrap_or_else(|| {
        let known: Vec<String> =
            FAMILIES.iter().map(|family| format!("{}: {}", family.library, family.about)).collect();
        let names: Vec<&str> = table.names().take(6).collect();
        format!(
            "its names are those of no network that vitx knows ({}); it has {}, ..",
            known.join("; "),
            names.join(", ")
        )
    }))
}

fn imported(family: &Family, params: Params, config: &Config) -> Imported {
    let numbers =
        |value: &Value| value.as_array().map(|all| all.iter().filter_map(Value::as_f64).collect::<Vec<f64>>());
    let of = |value: &Option<Value>, path: &str| value.as_ref().and_then(|value| value.pointer(path)).and_then(numbers);
    let timm = of(&config.network, "/pretrained_cfg/mean").zip(of(&config.network, "/pretrained_cfg/std"));
    let hf = || of(&config.images, "/image_mean").zip(of(&config.images, "/image_std"));
    let normalization = timm.or_else(hf).map(|(mean, deviation)| [mean, deviation]);
    Imported { library: family.library, model: family.model, text: family.text, params, normalization }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(names: &[(&str, &[usize])]) -> Table {
        let of =
            |(name, shape): &(&str, &[usize])| ((*name).to_owned(), shape.to_vec(), vec![0.0; shape.iter().product()]);
        Table::of(names.iter().map(of))
    }

    fn timm() -> Table {
        zeros(&[
            ("cls_token", &[1, 1, 12]),
            ("patch_embed.proj.weight", &[12, 3, 2, 2]),
            ("pos_embed", &[1, 17, 12]),
            ("blocks.0.norm1.weight", &[12]),
            ("blocks.1.norm1.weight", &[12]),
            ("blocks.0.mlp.fc1.weight", &[48, 12]),
            ("head.weight", &[5, 12]),
        ])
    }

    #[test]
    fn sizes_are_read_from_shapes_and_heads_from_the_config() {
        let network = serde_json::json!({
            "architecture": "vit_x", "model_args": { "num_heads": 3 },
            "pretrained_cfg": { "input_size": [3, 8, 8], "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.25] }
        });
        let config = Config { network: Some(network), images: None };
        let imported = import(&timm(), &config).unwrap();
        let params = [("image_size", 8), ("patch_size", 2), ("dim", 12), ("depth", 2), ("num_heads", 3)];
        let params: Params = params.map(|(name, size)| (name, size.into())).into();
        assert_eq!((imported.library, imported.params), ("timm", params));
        assert_eq!(imported.normalization.unwrap(), [vec![0.5, 0.4, 0.3], vec![0.5, 0.5, 0.25]]);
    }

    #[test]
    fn sizes_of_swin_are_read_from_shapes_alone() {
        let mut names = vec![
            ("patch_embed.proj.weight".to_owned(), vec![6, 3, 4, 4]),
            ("layers.0.blocks.0.mlp.fc1.weight".to_owned(), vec![24, 6]),
        ];
        for (stage, (depth, offsets)) in [(2, 169), (3, 169), (4, 169), (2, 25)].into_iter().enumerate() {
            names.extend((0..depth).map(|layer| (format!("layers.{stage}.blocks.{layer}.norm1.weight"), vec![6])));
            let table = format!("layers.{stage}.blocks.0.attn.relative_position_bias_table");
            names.push((table, vec![offsets, stage + 2]));
        }
        let names: Vec<(&str, &[usize])> = names.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
        let imported = import(&zeros(&names), &Config::default()).unwrap();
        let params: Vec<String> = imported.params.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let expected = "image_size: 224, patch_size: 4, window: 7, dim: 6, depths: [2, 3, 4, 2], heads: [2, 3, 4, 5]";
        assert_eq!((imported.model, params.join(", ").as_str()), ("swin", expected));
    }

    #[test]
    fn what_is_not_known_is_told() {
        let without = import(&timm(), &Config::default()).unwrap_err();
        let other = import(&zeros(&[("conv1.weight", &[1])]), &Config::default()).unwrap_err();
        insta::assert_snapshot!([without, other].join("\n"));
    }
}
