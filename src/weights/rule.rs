use super::WeightsError;

/// One line of names: a pattern of ours, and what the same is called elsewhere.
///
/// `encoder{i}/layer_norm0: blocks.{i}.norm1` is of all tensors of a layer, whose last names a dialect translates;
/// `class_token/token = cls_token` is of one tensor. `{i}` stands for a number, on the right also `{i+1}`. `x[1/3]` is the
/// second of three equal parts of `x` along its first axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    ours: Vec<Part>,
    theirs: Vec<Part>,
    of_layer: bool,
    slice: Option<(usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A number by name, and what is added to it.
    Number(String, usize),
}

/// A tensor of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    /// Which of how many equal parts of it along the first axis.
    pub slice: Option<(usize, usize)>,
}

impl Rule {
    /// Reads a line; `None` for one that is empty or a comment (`#`).
    ///
    /// # Errors
    /// A line that is none.
    pub fn of_line(line: &str) -> Result<Option<Self>, WeightsError> {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (ours, theirs, of_layer) = match (text.split_once(" = "), text.split_once(": ")) {
            (Some((ours, theirs)), None) => (ours, theirs, false),
            (None, Some((ours, theirs))) => (ours, theirs, true),
            _ => {
                let problem = "it needs one ` = ` between tensors, or one `: ` between layers".into();
                return Err(WeightsError::Rule { line: line.trim().to_owned(), problem });
            }
        };
        Self::new(ours.trim(), theirs.trim(), of_layer).map(Some)
    }

    /// Of two patterns, of layers or of single tensors.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new(ours: &str, theirs: &str, of_layer: bool) -> Result<Self, WeightsError> {
        let problem = |problem: String| WeightsError::Rule { line: format!("{ours}: {theirs}"), problem };
        let (text, slice) = match theirs.strip_suffix(']').and_then(|theirs| theirs.rsplit_once('[')) {
            None => (theirs, None),
            Some((text, part)) => {
                let slice = part.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
                let slice = slice.filter(|(k, n): &(usize, usize)| k < n);
                (text, Some(slice.ok_or_else(|| problem(format!("`[{part}]` is no part such as `[0/3]`")))?))
            }
        };
        let (ours, theirs) = (parts(ours).map_err(&problem)?, parts(text).map_err(&problem)?);
        let known = |part: &Part| {
            let Part::Number(name, _) = part else { return true };
            ours.iter().any(|part| matches!(part, Part::Number(own, 0) if own == name))
        };
        if let Some(Part::Number(name, _)) = theirs.iter().find(|part| !known(part)) {
            return Err(problem(format!("nothing on the left tells `{{{name}}}`")));
        }
        if ours.iter().any(|part| matches!(part, Part::Number(_, 1..))) {
            return Err(problem("numbers are added to on the right alone".into()));
        }
        Ok(Self { ours, theirs, of_layer, slice })
    }

    /// What a parameter of ours is called, if this line says it. `last` translates the last part of a layer's tensor.
    pub fn name(&self, parameter: &str, last: impl Fn(&str) -> Option<&'static str>) -> Option<Name> {
        let (layer, of_layer) = parameter.rsplit_once('/')?;
        let subject = if self.of_layer { layer } else { parameter };
        let mut numbers: Vec<(&str, usize)> = Vec::new();
        let mut rest = subject;
        for part in &self.ours {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Number(name, _) => {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    let number = rest[..end].parse().ok()?;
                    match numbers.iter().find(|(own, _)| own == name) {
                        Some((_, before)) if *before != number => return None,
                        _ => numbers.push((name, number)),
                    }
                    rest = &rest[end..];
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let mut text = String::new();
        for part in &self.theirs {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Number(name, add) => {
                    let (_, number) = numbers.iter().find(|(own, _)| own == name)?;
                    text.push_str(&number.checked_add(*add)?.to_string());
                }
            }
        }
        if self.of_layer {
            text.push_str(last(of_layer)?);
        }
        Some(Name { text, slice: self.slice })
    }
}

/// `blocks.{i+1}.norm` as its parts.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let (inner, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        let (name, add) = match inner.split_once('+') {
            None => (inner, 0),
            Some((name, add)) => (name, add.trim().parse().map_err(|_| format!("`{add}` is no number to add"))?),
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{{{inner}}}` is no name of a number"));
        }
        parts.push(Part::Number(name.to_owned(), add));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    if parts.is_empty() {
        return Err("one side is empty".into());
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &str, parameter: &str) -> Option<String> {
        let last = |last: &str| (last == "kernel").then_some(".weight");
        let name = Rule::of_line(line).unwrap().unwrap().name(parameter, last)?;
        Some(format!("{}{}", name.text, name.slice.map_or(String::new(), |(k, n)| format!("[{k}/{n}]"))))
    }

    #[test]
    fn numbers_are_carried_over() {
        let layer = "stage{s}/inverted{j}/conv2d0: blocks.{s}.{j+1}.conv_pw";
        assert_eq!(name(layer, "stage3/inverted1/conv2d0/kernel").unwrap(), "blocks.3.2.conv_pw.weight");
        for other in
            ["stage3/inverted/conv2d0/kernel", "stage3/inverted1/conv2d0/bias", "stage3/inverted1/conv2d/kernel"]
        {
            assert_eq!(name(layer, other), None, "{other}");
        }
        assert_eq!(name("a/{i}/b: x{i}.q[0/3]", "a/12/b/kernel").unwrap(), "x12.q.weight[0/3]");
        assert_eq!(name("token/token = cls  # one tensor", "token/token").unwrap(), "cls");
        assert_eq!(name("a{i}/b{i}: x{i}", "a1/b2/kernel"), None);
        assert_eq!(Rule::of_line("  # nothing").unwrap(), None);
    }

    #[test]
    fn mistakes_are_explained() {
        let lines = [
            "a b",
            "a = b: c = d",
            "a{i: b",
            "a: b{j}",
            "a{i+1}: b{i}",
            "a: b[3/3]",
            "a: b[x]",
            "a{}: b",
            "a{i}: b{i+x}",
        ];
        let told = lines.map(|line| format!("{:?}", miette::Report::new(Rule::of_line(line).unwrap_err())));
        insta::assert_snapshot!(told.join("\n"));
    }
}
