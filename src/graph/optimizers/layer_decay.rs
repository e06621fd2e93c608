//! Learning rates that are smaller the nearer a layer is to the image: `layer_decay` of BEiT and timm.

use crate::graph::Parameter;

/// How many blocks from the last layers each parameter is, in the network's order; `None` for a network without repeated
/// blocks. As `get_num_layer_for_vit` of BEiT counts: what stands before the first block is one step further than this, what
/// stands behind the last is 0 steps away. What stands between two blocks is with the one before.
pub fn distances(parameters: &[Parameter]) -> Option<Vec<i32>> {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    of_names(&names)
}

fn of_names(names: &[&str]) -> Option<Vec<i32>> {
    let block = |name: &str| -> Option<String> {
        let mut parts = name.split('/');
        let first = parts.next()?;
        // A block has layers, which have tensors.
        (parts.count() >= 2 && first.ends_with(|c: char| c.is_ascii_digit())).then(|| first.to_owned())
    };
    let last = names.iter().rposition(|name| block(name).is_some())?;
    let (mut steps, mut own, mut current) = (0, Vec::new(), None);
    for (at, name) in names.iter().enumerate() {
        match block(name) {
            Some(found) if current.as_ref() != Some(&found) => {
                steps += 1;
                current = Some(found);
            }
            None if at > last => steps = own[last] + 1,
            _ => {}
        }
        own.push(steps);
    }
    // Even where nothing stands behind the last block.
    let most = own[last] + 1;
    Some(own.into_iter().map(|steps| most - steps).collect())
}

#[cfg(test)]
mod tests {
    use super::of_names;

    #[test]
    fn blocks_are_counted_from_the_last_layers() {
        let names = [
            "embed/kernel",
            "position_embedding/embeddings",
            "encoder0/norm/gamma",
            "encoder0/attention/query/kernel",
            "encoder1/norm/gamma",
            "between/kernel",
            "encoder2/norm/gamma",
            "norm0/gamma",
            "classify/kernel",
        ];
        assert_eq!(of_names(&names).unwrap(), [4, 4, 3, 3, 2, 2, 1, 0, 0]);
        assert_eq!(of_names(&names[..7]).unwrap(), [4, 4, 3, 3, 2, 2, 1]);
        assert_eq!(of_names(&["dense0/kernel", "dense1/kernel"]), None);
    }
}
