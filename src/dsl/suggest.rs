/// The candidate most like a misspelt name, if any is close enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names are short; a longer one is no misspelling, and the distance is quadratic in the length.
    if name.len() > 64 {
        return None;
    }
    let folded = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (candidate, strsim::damerau_levenshtein(&folded, &candidate.to_lowercase())))
        .filter(|(candidate, distance)| {
            let shorter = name.len().min(candidate.len());
            *distance <= (shorter / 3).max(1) && *distance < shorter.max(2)
                || shorter >= 4 && (candidate.contains(name) || name.contains(candidate))
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
