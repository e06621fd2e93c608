/// The candidate most like a misspelt name, if any is close enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names are short; a longer one is no misspelling, and the distance is quadratic in the length.
    if name.len() > 64 {
        return None;
    }
    let folded = name.to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let shorter = name.len().min(candidate.len());
            let part = shorter >= 4 && (candidate.contains(name) || name.contains(candidate));
            let most = (shorter / 3).max(1);
            // Names whose lengths differ by more are further apart than that.
            if !part && name.len().abs_diff(candidate.len()) > most {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&folded, &candidate.to_lowercase());
            (part || distance <= most && distance < shorter.max(2)).then_some((candidate, distance))
        })
        .min_by_key(|(_, distance)| *distance)
        .map(|(candidate, _)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_misspellings_only() {
        let names = ["dense", "dropout", "layer_norm", "global_average_pool"];
        assert_eq!(nearest("dence", names), Some("dense"));
        assert_eq!(nearest("LayerNorm", names), Some("layer_norm"));
        assert_eq!(nearest("average_pool", names), Some("global_average_pool"));
        assert_eq!(nearest("banana", names), None);
    }
}
