use super::super::Parameter;

/// Parameters by a word or by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// What the words stand for, for documentation and help.
    pub const WORDS: [(&'static str, &'static str); 3] = [
        ("bias", "parameters whose name ends in `bias`"),
        ("norm", "`gamma` and `beta` of normalizations"),
        ("1d", "parameters of one dimension or none"),
    ];

    /// `bias`, `norm`, `1d`, or a name in which `*` stands for any characters and `?` for one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As an experiment writes it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is a word, which may mean no parameter of a network.
    pub fn is_word(&self) -> bool {
        Self::WORDS.iter().any(|(word, _)| *word == self.0)
    }

    /// Whether it means a parameter.
    pub fn has(&self, parameter: &Parameter) -> bool {
        self.fits(&parameter.name, &parameter.shape)
    }

    /// Whether it means a tensor of this name and shape.
    pub fn fits(&self, name: &str, shape: &[usize]) -> bool {
        let last = name.rsplit('/').next().unwrap_or_default();
        match self.0.as_str() {
            "bias" => last == "bias",
            "norm" => matches!(last, "gamma" | "beta"),
            "1d" => shape.len() <= 1,
            text => matches(text.as_bytes(), name.as_bytes()),
        }
    }
}

/// Whether a name fits a pattern. Each `*` takes as little as it can; only the last need be taken back.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // After the last star: where it is, and where the name went on.
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((star, taken)) = back else { return false };
                back = Some((star, taken + 1));
                (p, n) = (star + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let fits = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*", ""),
            ("head/*", "head/kernel"),
            ("*/k*l", "a/b/kernel"),
            ("a?c", "abc"),
            ("*a*b", "xaxbab"),
            ("", ""),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("head/*", "head"), ("a?c", "ac"), ("*a", "ab"), ("head", "head/kernel"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
