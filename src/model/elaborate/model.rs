//! The model of a file: its parameters bound, its body followed, its output checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Elaborator, Naming, Tensor};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Definition, DefinitionKind, Span},
    },
    model::{
        Architecture, ImageSpec, LayerNode, MAX_PARAMETERS,
        evaluate::{Bound, Causes, Scope},
    },
};

/// The cause that the parameter at a position among those set from outside is.
fn bit(position: usize) -> Causes {
    u32::try_from(position).ok().and_then(|position| 1_u64.checked_shl(position)).unwrap_or(0)
}

/// The most that the side of an image, its channels and the classes may be.
const LARGEST_SIDE: i64 = 1 << 20;

/// Height and width, of one number or a list of two.
pub(super) fn extent(value: &Value) -> Option<[usize; 2]> {
    let side = |value: &Value| value.whole().filter(|side| (1..=LARGEST_SIDE).contains(side)).map(|side| side as usize);
    match value {
        Value::List(sides) => match &sides[..] {
            [height, width] => Some([side(height)?, side(width)?]),
            _ => None,
        },
        both => side(both).map(|side| [side; 2]),
    }
}

impl Elaborator<'_> {
    pub(super) fn model(&mut self, overrides: &BTreeMap<String, Value>, data: &ImageSpec) -> Option<Architecture> {
        let mut models = self.file.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Model);
        let Some(model) = models.next() else {
            if self.problems.is_empty() {
                // At its beginning, so that the file is named.
                let start = Span::new(0, 0);
                let problem = self.problem("vitx::model", "the file defines no model", start, "a `model` is missing");
                self.report(problem.help("begin with `model name { .. }`"));
            }
            return None;
        };
        for other in models {
            let problem =
                self.problem("vitx::model", "a file defines one model", other.name.span, "this is a second one");
            self.report(problem.label(model.name.span, "the first one"));
        }
        let size = |size: usize| Bound::Value(Value::Int(size as i64), 0);
        self.globals.insert(
            "image_size",
            match data.height == data.width {
                true => size(data.height),
                false => {
                    let sides = [data.height, data.width].map(|side| Value::Int(side as i64));
                    Bound::Value(Value::List(sides.to_vec()), 0)
                }
            },
        );
        self.globals.insert("channels", size(data.channels));
        self.globals.insert("num_classes", size(data.num_classes));
        for name in &self.file.unknown {
            self.globals.insert(name.as_str(), Bound::Unknown);
        }

        let (mut scope, bindings) = self.parameters(model, overrides);
        let declared: HashSet<&str> = model.parameters.iter().map(|parameter| parameter.name.text.as_str()).collect();
        for (index, name) in overrides.keys().enumerate() {
            if declared.contains(name.as_str()) {
                continue;
            }
            let known = model.parameters.iter().map(|parameter| parameter.name.text.as_str());
            let message = format!("model `{}` has no parameter `{name}`", model.name.text);
            let problem = self.problem("vitx::parameter", message, model.name.span, "this model").causes(bit(index));
            let problem = self.globals.suggest(problem, name, known);
            self.report(problem);
        }

        // In blocks, too, these are the model's.
        for name in ["image_size", "channels", "num_classes"] {
            if let Some(bound) = scope.get(name).cloned() {
                self.globals.insert(name, bound);
            }
        }

        let place = |name: &str, causes: Causes| {
            let parameter = model.parameters.iter().find(|parameter| parameter.name.text == name);
            // What was set from outside does not stand at the default.
            let default = parameter.and_then(|parameter| parameter.default.as_ref()).filter(|_| causes == 0);
            default.map(|default| default.span).or(parameter.map(|parameter| parameter.span)).unwrap_or(model.name.span)
        };
        let mut number = |name: &str, otherwise: usize| match scope.get(name) {
            Some(Bound::Value(value, causes))
                if value.whole().is_some_and(|value| (1..=LARGEST_SIDE).contains(&value)) =>
            {
                value.whole().map(|value| (value as usize, *causes))
            }
            Some(Bound::Value(value, causes)) => {
                let message = format!("`{name}` is {value}, not a whole number from 1 to {LARGEST_SIDE}");
                let label = format!("expected a whole number from 1 to {LARGEST_SIDE}");
                let problem = Problem::new("vitx::parameter", message).label(place(name, *causes), label);
                self.problems.push(problem.causes(*causes));
                None
            }
            _ => Some((otherwise, 0)),
        };
        let (channels, num_classes) = (number("channels", data.channels), number("num_classes", data.num_classes));
        let size = match scope.get("image_size") {
            Some(Bound::Value(value, causes)) => match extent(value) {
                Some([height, width]) => Some((height, width, *causes)),
                None => {
                    let wanted = format!("a whole number from 1 to {LARGEST_SIDE}, or a list of two: [height, width]");
                    let problem = Problem::new("vitx::parameter", format!("`image_size` is {value}, not {wanted}"))
                        .label(place("image_size", *causes), format!("expected {wanted}"));
                    self.problems.push(problem.causes(*causes));
                    None
                }
            },
            _ => Some((data.height, data.width, 0)),
        };
        for (name, given, expected) in
            [("channels", channels, data.channels), ("num_classes", num_classes, data.num_classes)]
        {
            let Some((given, causes)) = given else { continue };
            if given < expected || name == "channels" && given != expected {
                let message = format!("the model has {name} = {given}, its data {expected}");
                let problem = Problem::new("vitx::data", message).label(place(name, causes), "of the model");
                self.problems.push(problem.causes(causes));
            }
        }
        let image = size.zip(channels).map(|((height, width, causes), (channels, _))| Tensor {
            shape: vec![height, width, channels],
            span: model.name.span,
            causes,
        });
        let start = image.as_ref().map(|_| 0);
        if let Some(image) = image {
            scope.add_tensor(&image.shape, image.causes);
            self.tensors.push(image);
        }
        let output = self.body(&model.body, start, Naming::plain(None), &mut scope);
        self.check_braces();
        self.check_definitions();
        let ((height, width, _), (channels, _), (num_classes, _)) = (size?, channels?, num_classes?);
        let output = output?;
        let image_shape = [height, width, channels];
        let shape = &self.tensors[output].shape;
        if *shape != [num_classes] {
            let message = format!("the network ends in shape {shape:?}, not in logits of shape [{num_classes}]");
            let origin = self.tensors[output].span;
            let problem = self
                .problem("vitx::shape", message, origin, format!("gives {shape:?}"))
                .causes(self.tensors[output].causes);
            let pool = "`global_average_pool`, `flatten` or `take_class_token`";
            let help = match shape[..] {
                [_] => "end with `dense(num_classes)`".to_owned(),
                [.., last] if last == num_classes => format!("pool first, before `dense(num_classes)`: {pool}"),
                _ => format!("pool ({pool}), then end with `dense(num_classes)`"),
            };
            let way = output.checked_sub(1).and_then(|index| self.nodes[index].way.clone());
            self.report(Self::on_the_way(problem.help(help), way.as_ref()));
        }
        self.check_used(output);
        self.check_logits(output);
        self.check_tokens();
        self.check_trained();
        let unread = self.warn_of_unused();
        let paths = self.names.paths();
        let nodes: Vec<LayerNode> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|pending| LayerNode { path: paths[pending.name].clone(), ..pending.node })
            .collect();
        let parameters = nodes.iter().flat_map(|node| node.parameters());
        let total = parameters.fold(0_usize, |total, parameter| total.saturating_add(parameter.len()));
        if total > MAX_PARAMETERS {
            let message = format!("the network has {total} parameters, more than {MAX_PARAMETERS}");
            let problem = self.problem("vitx::size", message, model.name.span, "this model");
            self.report(problem);
        }
        let mut frozen = BTreeSet::new();
        for node in nodes.iter().filter(|node| node.frozen) {
            frozen.extend(node.parameters().into_iter().map(|spec| node.name_of(&spec)));
        }
        Some(Architecture {
            name: model.name.text.clone(),
            image_shape,
            num_classes,
            bindings,
            nodes,
            output,
            warnings: Vec::new(),
            unread,
            notes: BTreeMap::new(),
            frozen,
        })
    }

    /// The values of a model's parameters: from outside, by default, or of the data set.
    pub(super) fn parameters(
        &mut self,
        model: &Definition,
        overrides: &BTreeMap<String, Value>,
    ) -> (Scope<'static>, BTreeMap<String, Value>) {
        let mut scope = Scope::of_block(&self.globals);
        let mut bindings = BTreeMap::new();
        let positions: HashMap<&str, usize> = overrides.keys().map(String::as_str).zip(0..).collect();
        for parameter in &model.parameters {
            let name = &parameter.name.text;
            let given = positions.get(name.as_str()).copied();
            let message = || format!("`{name}` has no effect: the model does not use it");
            let symbol = self.declare(&parameter.name, message, given.map_or(0, bit));
            if let Some(declared) = self.declared.last_mut().filter(|declared| declared.symbol == symbol) {
                declared.parameter = Some(name.clone());
            }
            if matches!(name.as_str(), "image_size" | "channels" | "num_classes") {
                self.globals.reads().use_up(symbol);
            }
            let outer = self.globals.reads().enter(symbol);
            let bound = match (overrides.get(name), &parameter.default) {
                (Some(value), _) => Bound::Value(value.clone(), given.map_or(0, bit)),
                (None, Some(default)) => self.bound(default, &scope),
                (None, None) => match scope.get(name) {
                    Some(bound @ Bound::Value(..)) => bound.clone(),
                    _ => {
                        let message = format!("parameter `{name}` has no value");
                        let problem = self.problem(
                            "vitx::parameter",
                            message,
                            parameter.span,
                            "needs a default, or a value from outside",
                        );
                        self.report(problem.help(format!("give it with `--param {name}=VALUE`")));
                        Bound::Unknown
                    }
                },
            };
            if let Bound::Value(value, _) = &bound {
                bindings.insert(name.clone(), value.clone());
            }
            self.globals.reads().leave(outer);
            scope.declare(name.clone(), bound, symbol);
        }
        (scope, bindings)
    }

    /// Reports layers whose parameters could not be trained, for the logits do not depend on them, and warns of others
    /// whose results go nowhere.
    fn check_used(&mut self, output: usize) {
        let mut used = vec![false; self.tensors.len()];
        used[output] = true;
        let mut trained: HashSet<usize> = HashSet::new();
        // Inputs come before what is made of them.
        for (index, pending) in self.nodes.iter().enumerate().rev() {
            if used[index + 1] {
                trained.extend(pending.node.weights);
                pending.node.inputs.iter().for_each(|&input| used[input] = true);
            }
        }
        let mut read = vec![false; self.tensors.len()];
        self.nodes.iter().flat_map(|pending| &pending.node.inputs).for_each(|&input| read[input] = true);
        for (index, pending) in self.nodes.iter().enumerate() {
            let lost = !used[index + 1] && !read[index + 1] && !self.named.contains(&(index + 1));
            if lost && pending.node.parameters().is_empty() {
                let message = format!("the result of this `{}` is not used", pending.node.kind);
                let problem = Self::on_the_way(Problem::warning("vitx::unused", message), pending.way.as_ref());
                self.problems.push(problem.label(self.tensors[index + 1].span, "the logits do not depend on it"));
            } else if !used[index + 1] && !trained.contains(&index) && !pending.node.parameters().is_empty() {
                let message = format!("the result of this `{}` is not used", pending.node.kind);
                let problem = Self::on_the_way(Problem::new("vitx::unused", message), pending.way.as_ref());
                self.problems.push(
                    problem
                        .label(self.tensors[index + 1].span, "the logits do not depend on it")
                        .help("merge it by `add` or `concat`, or leave it out: its parameters would never be trained"),
                );
            }
        }
    }
}
