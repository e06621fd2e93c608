use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Dialect, FAMILIES, Rule, Table, WeightsError,
    family::name_of,
    layout::{of_torch, same_but_for_joined_axes},
    positions,
    rule::Name,
};
use crate::{backend::StateTensor, graph::optimizers::Pattern, printable::first};

/// Whose names a file's tensors have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Names {
    /// Those that fit most parameters.
    #[default]
    Auto,
    /// The network's own, as checkpoints of vitx have them.
    Vitx,
    /// Those of a library, by its word in [`FAMILIES`].
    Library(String),
    /// As these lines say. Kernels are in PyTorch's order if a tensor's name ends in `.weight`, else in Keras'.
    Own(Vec<Rule>),
}

/// What becomes of the parameters of the last layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// They are taken from the file.
    #[default]
    Keep,
    /// They start as those of a new network.
    Reset,
    /// They are zero.
    Zero,
}

impl Head {
    /// Left out where an experiment is written.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which weights are wanted of a file.
#[derive(Debug)]
pub struct Request<'a> {
    /// Names and stored shapes of the network's parameters.
    pub parameters: &'a [(String, Vec<usize>)],
    /// The path of the layer that gives the logits.
    pub last_layer: &'a str,
    /// Whose names the file has.
    pub names: &'a Names,
    /// What becomes of the last layer.
    pub head: Head,
    /// Parameters that the file may lack: they start as those of a new network.
    pub missing: &'a [Pattern],
    /// Tensors that no parameter need take.
    pub unexpected: &'a [Pattern],
    /// Whether position embeddings of another square grid are resized.
    pub resizes_positions: bool,
}

/// What a file has for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// To be set; all other parameters start as those of a new network.
    pub tensors: Vec<StateTensor>,
    /// Whose names the file has, e.g. `timm`.
    pub names: String,
    /// How many parameters were taken from the file.
    pub taken: usize,
    /// Parameters of the last layer that the file was not asked for.
    pub head: Vec<String>,
    /// Parameters that the file lacks, as it was allowed to.
    pub missing: Vec<String>,
    /// Tensors of the file that no parameter takes.
    pub unexpected: Vec<String>,
    /// Position embeddings that were resized: tokens before and after.
    pub resized: Vec<(String, usize, usize)>,
}

/// One way to read the names of a file.
struct Reading<'a> {
    names: &'a str,
    dialect: Dialect,
    prefix: &'a str,
    /// `None` for the network's own names.
    rules: Option<&'a [Rule]>,
    besides: &'a [&'a str],
}

impl Reading<'_> {
    fn name(&self, parameter: &str) -> Option<Name> {
        match self.rules {
            Some(rules) => name_of(rules, self.dialect, self.prefix, parameter),
            None => Some(Name { text: format!("{}{parameter}", self.prefix), slice: None }),
        }
    }

    fn found(&self, request: &Request, table: &Table) -> usize {
        let there = |name: &str| self.name(name).is_some_and(|theirs| table.get(&theirs.text).is_some());
        request.parameters.iter().filter(|(name, _)| there(name)).count()
    }
}

impl Request<'_> {
    /// Finds the network's parameters among a file's tensors.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] for parameters that are missing, tensors that are left over, or shapes that differ, where
    /// that was not asked for.
    pub fn find(&self, path: &Path, table: &Table) -> Result<Matched, WeightsError> {
        let readings = self.readings(table);
        let counted = readings.iter().map(|reading| reading.found(self, table));
        // Of equals the first: names of our own before others.
        let best = readings.iter().zip(counted).reduce(|best, next| if next.1 > best.1 { next } else { best });
        let refuse = |problem: String, help: Option<String>| {
            let path: PathBuf = path.to_owned();
            Err(WeightsError::Mismatch { path, problem, help })
        };
        let Some((reading, 1..)) = best else {
            let theirs: Vec<&str> = table.names().collect();
            let ours: Vec<&str> = self.parameters.iter().map(|(name, _)| name.as_str()).collect();
            let problem = format!("has {}, where the network has {}", first(&theirs), first(&ours));
            let help = "vitx knows the names of timm and transformers for networks as those of `experiments/zoo`; for \
                        others, `init.names` is a list of layers: `{ \"stem\": \"conv1\", \"block{i}/dense\": \
                        \"blocks.{i}.fc\" }`";
            return refuse(problem, Some(help.into()));
        };
        let mut matched = Matched {
            tensors: Vec::new(),
            names: reading.names.to_owned(),
            taken: 0,
            head: Vec::new(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            resized: Vec::new(),
        };
        let (mut missing, mut shapes, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut advice: BTreeSet<&str> = BTreeSet::new();
        for (name, shape) in self.parameters {
            let theirs = reading.name(name);
            used.extend(theirs.iter().map(|theirs| theirs.text.clone()));
            let of_head = name.strip_prefix(self.last_layer).is_some_and(|rest| rest.starts_with('/'));
            if of_head && self.head != Head::Keep {
                if self.head == Head::Zero {
                    let data = vec![0.0; shape.iter().product()];
                    matched.tensors.push(StateTensor { name: name.clone(), shape: shape.clone(), data });
                }
                matched.head.push(name.clone());
                continue;
            }
            let Some((theirs, (their_shape, values))) = theirs.and_then(|theirs| {
                let tensor = table.get(&theirs.text)?;
                Some((theirs, tensor))
            }) else {
                match self.missing.iter().any(|pattern| pattern.fits(name, shape)) {
                    true => matched.missing.push(name.clone()),
                    false => missing.push(name.as_str()),
                }
                advice.extend(of_head.then_some(HEAD_ADVICE));
                continue;
            };
            match tensor(reading.dialect, &theirs, their_shape, values, shape) {
                Some(data) => {
                    matched.tensors.push(StateTensor { name: name.clone(), shape: shape.clone(), data });
                    matched.taken += 1;
                }
                None => {
                    let embeddings = name.contains("position") && name.ends_with("embeddings");
                    let resized = embeddings.then(|| of_grid(their_shape, values, shape)).flatten();
                    match resized.filter(|_| self.resizes_positions) {
                        Some((tokens, data)) => {
                            matched.tensors.push(StateTensor { name: name.clone(), shape: shape.clone(), data });
                            matched.resized.push((name.clone(), tokens, shape[0]));
                            matched.taken += 1;
                        }
                        None => {
                            let part = theirs.slice.map_or(String::new(), |(k, n)| format!(", part {k} of {n}"));
                            let text = &theirs.text;
                            let ours = if text == name { String::new() } else { format!("`{name}` ") };
                            let between = if ours.is_empty() { ", not" } else { " for" };
                            shapes.push(format!("`{text}` {their_shape:?}{part}{between} {ours}{shape:?}"));
                            advice.extend(of_head.then_some(HEAD_ADVICE));
                            advice.extend(embeddings.then_some(POSITION_ADVICE));
                        }
                    }
                }
            }
        }
        let known = |name: &str| {
            let besides = reading.besides.iter().map(|pattern| Pattern::new(*pattern));
            besides.chain(self.unexpected.iter().cloned()).any(|pattern| pattern.fits(name, &[0, 0]))
        };
        let over = table.names().filter(|name| !used.contains(*name));
        let (allowed, over): (Vec<&str>, Vec<&str>) = over.partition(|name| known(name));
        matched.unexpected = allowed.into_iter().map(str::to_owned).collect();
        let mut problems = Vec::new();
        if !missing.is_empty() {
            problems.push(format!("lacks {} of {}: {}", missing.len(), self.parameters.len(), first(&missing)));
            advice.insert("`missing: [..]` names parameters that may start anew");
        }
        if !over.is_empty() {
            problems.push(format!("has {} that no parameter takes: {}", over.len(), first(&over)));
            advice.insert("`unexpected: [..]` names tensors to leave aside");
        }
        if !shapes.is_empty() {
            let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
            problems.push(format!("has {}", first(&shapes)));
        }
        if problems.is_empty() {
            return Ok(matched);
        }
        let advice: Vec<&str> = advice.into_iter().collect();
        let problem = format!("{} (by the names of {})", problems.join("; it "), reading.names);
        refuse(problem, (!advice.is_empty()).then(|| format!("in `init`, {}", advice.join("; "))))
    }

    /// All ways to read the names that are asked for.
    fn readings<'a>(&'a self, table: &Table) -> Vec<Reading<'a>> {
        let own = Reading { names: "vitx", dialect: Dialect::Vitx, prefix: "", rules: None, besides: &["optimizer/*"] };
        let families = FAMILIES.iter().flat_map(|family| {
            let reading = |prefix: &&'static str| Reading {
                names: family.library,
                dialect: family.dialect,
                prefix,
                rules: Some(family.rules()),
                besides: family.besides,
            };
            family.prefixes.iter().map(reading)
        });
        match self.names {
            Names::Auto => [own].into_iter().chain(families).collect(),
            Names::Vitx => vec![own],
            Names::Library(library) => families.filter(|reading| reading.names == library).collect(),
            Names::Own(rules) => {
                let torch = table.names().any(|name| name.ends_with(".weight"));
                let dialect = if torch { Dialect::Torch } else { Dialect::Vitx };
                let besides: &[&str] = if torch { &["*.num_batches_tracked"] } else { &[] };
                vec![Reading { names: "init.names", dialect, prefix: "", rules: Some(rules), besides }]
            }
        }
    }
}

const HEAD_ADVICE: &str = "`head: reset` or `head: zero` starts the last layer anew";
const POSITION_ADVICE: &str = "`position: resize` resizes the position embeddings of a square grid to another";

/// The values of a parameter of this shape, if theirs can be that.
fn tensor(dialect: Dialect, name: &Name, shape: &[usize], values: &[f32], wanted: &[usize]) -> Option<Vec<f32>> {
    let (shape, values) = part(name.slice, shape, values)?;
    let (shape, values) = match dialect {
        Dialect::Torch if name.text.ends_with(".weight") => of_torch(&shape, values),
        Dialect::Torch | Dialect::Vitx | Dialect::Flax => (shape, values.to_vec()),
    };
    same_but_for_joined_axes(&shape, wanted).then_some(values)
}

/// One of equal parts along the first axis.
fn part<'a>(part: Option<(usize, usize)>, shape: &[usize], values: &'a [f32]) -> Option<(Vec<usize>, &'a [f32])> {
    let Some((index, count)) = part else { return Some((shape.to_vec(), values)) };
    let &[rows, ref rest @ ..] = shape else { return None };
    if rows % count != 0 {
        return None;
    }
    let len = values.len() / count;
    let shape = [rows / count].into_iter().chain(rest.iter().copied()).collect();
    Some((shape, &values[index * len..][..len]))
}

/// Position embeddings of one grid as those of another, with the tokens there were.
fn of_grid(shape: &[usize], values: &[f32], wanted: &[usize]) -> Option<(usize, Vec<f32>)> {
    let (&[tokens, dim] | &[1, tokens, dim]) = shape else { return None };
    let &[to, own] = wanted else { return None };
    if own != dim {
        return None;
    }
    Some((tokens, positions::resized(values, tokens, dim, to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a network of one encoder has: dim 4, 2 heads, patches of 2x2 of one channel, 4 of them, 3 classes.
    fn parameters() -> Vec<(String, Vec<usize>)> {
        let of = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
        let mut all = vec![
            of("embed/kernel", &[4, 4]),
            of("embed/bias", &[4]),
            of("class_token/token", &[1, 4]),
            of("position_embedding/embeddings", &[5, 4]),
        ];
        for part in ["query", "key", "value"] {
            all.push(of(&format!("encoder0/attention/{part}/kernel"), &[4, 2, 2]));
            all.push(of(&format!("encoder0/attention/{part}/bias"), &[2, 2]));
        }
        all.push(of("classify/kernel", &[4, 3]));
        all.push(of("classify/bias", &[3]));
        all
    }

    /// The same as timm has it, each number another.
    fn timm(classes: usize, tokens: usize) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let of = |name: &str, shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            (name.to_owned(), shape.to_vec(), (0..count).map(|x| x as f32 + name.len() as f32).collect())
        };
        vec![
            of("patch_embed.proj.weight", &[4, 1, 2, 2]),
            of("patch_embed.proj.bias", &[4]),
            of("cls_token", &[1, 1, 4]),
            of("pos_embed", &[1, tokens, 4]),
            of("blocks.0.attn.qkv.weight", &[12, 4]),
            of("blocks.0.attn.qkv.bias", &[12]),
            of("head.weight", &[classes, 4]),
            of("head.bias", &[classes]),
        ]
    }

    /// All that there is, by these names.
    fn request<'a>(parameters: &'a [(String, Vec<usize>)], names: &'a Names) -> Request<'a> {
        Request {
            parameters,
            last_layer: "classify",
            names,
            head: Head::Keep,
            missing: &[],
            unexpected: &[],
            resizes_positions: false,
        }
    }

    fn find(
        tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
        change: impl Fn(&mut Request),
    ) -> Result<Matched, WeightsError> {
        let parameters = parameters();
        let mut request = request(&parameters, &Names::Auto);
        change(&mut request);
        request.find(Path::new("model.safetensors"), &Table::of(tensors))
    }

    #[test]
    fn all_of_timms_tensors_find_their_parameters() {
        let matched = find(timm(3, 5), |_| {}).unwrap();
        assert_eq!((matched.names.as_str(), matched.taken), ("timm", parameters().len()));
        let of = |name: &str| &matched.tensors.iter().find(|tensor| tensor.name == name).unwrap().data;
        // [out, in] = [3, 4] from 11 on, transposed.
        assert_eq!(of("classify/kernel")[..4], [11.0, 15.0, 19.0, 12.0]);
        // The second third of 12 rows of 4 from 24 on, transposed.
        assert_eq!(of("encoder0/attention/key/kernel")[..5], [40.0, 44.0, 48.0, 52.0, 41.0]);
        assert_eq!(of("encoder0/attention/value/bias")[..], [30.0, 31.0, 32.0, 33.0]);
        assert_eq!(of("position_embedding/embeddings").len(), 20);
    }

    #[test]
    fn heads_and_positions_change_where_that_is_asked_for() {
        let matched = find(timm(7, 10), |request| {
            request.head = Head::Zero;
            request.resizes_positions = true;
        })
        .unwrap();
        assert_eq!(matched.head, ["classify/kernel", "classify/bias"]);
        assert_eq!(matched.resized, [("position_embedding/embeddings".to_owned(), 10, 5)]);
        let kernel = matched.tensors.iter().find(|tensor| tensor.name == "classify/kernel").unwrap();
        assert!(kernel.data.iter().all(|x| *x == 0.0));
        let reset = find(timm(7, 5), |request| request.head = Head::Reset).unwrap();
        assert!(!reset.tensors.iter().any(|tensor| tensor.name.starts_with("classify")));
        assert_eq!(reset.taken, parameters().len() - 2);
    }

    #[test]
    fn what_was_allowed_to_differ_may() {
        let mut tensors = timm(3, 5);
        tensors.retain(|(name, ..)| name != "cls_token");
        tensors.push(("extra.weight".into(), vec![1], vec![1.0]));
        let (missing, unexpected) = ([Pattern::new("class_token/*")], [Pattern::new("extra.*")]);
        let (parameters, names) = (parameters(), Names::Library("timm".into()));
        let request = Request { missing: &missing, unexpected: &unexpected, ..request(&parameters, &names) };
        let matched = request.find(Path::new("a"), &Table::of(tensors)).unwrap();
        assert_eq!(
            (matched.missing, matched.unexpected),
            (vec!["class_token/token".into()], vec!["extra.weight".into()])
        );
    }

    #[test]
    fn own_names_and_lines() {
        let own: Vec<_> = parameters()
            .into_iter()
            .map(|(name, shape)| {
                let values = vec![1.0; shape.iter().product()];
                (name, shape, values)
            })
            .collect();
        assert_eq!(find(own, |_| {}).unwrap().names, "vitx");
        let lines =
            ["embed: stem", "encoder{i}/attention/query: b{i}.q"].map(|line| Rule::of_line(line).unwrap().unwrap());
        let parameters = &parameters()[..2];
        let names = Names::Own(lines.to_vec());
        let table = Table::of([
            ("stem.weight".into(), vec![4, 4], (0..16).map(|x| x as f32).collect()),
            ("stem.bias".into(), vec![4], vec![0.0; 4]),
        ]);
        let matched = request(parameters, &names).find(Path::new("a"), &table).unwrap();
        assert_eq!(matched.tensors[0].data[..3], [0.0, 4.0, 8.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let told = |result: Result<Matched, WeightsError>| format!("{:?}", miette::Report::new(result.unwrap_err()));
        let without: Vec<_> = timm(3, 5).into_iter().filter(|(name, ..)| !name.contains("bias")).collect();
        let mut more = timm(3, 5);
        more.push(("norm.weight".into(), vec![4], vec![0.0; 4]));
        let mut turned = timm(3, 5);
        turned[6].1 = vec![4, 3];
        let other = vec![("conv1.weight".to_owned(), vec![1], vec![0.0])];
        let all = [
            told(find(timm(7, 10), |_| {})),
            told(find(without, |_| {})),
            told(find(more, |_| {})),
            told(find(turned, |_| {})),
            told(find(other, |_| {})),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
