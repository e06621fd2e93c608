//! Layers of a model: their arguments read, their instances added to the architecture.

use std::collections::BTreeMap;

use super::{Current, Elaborator, Naming, Pending, Tensor, block::Call};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Argument, ExprKind, Span},
    },
    model::{
        LayerNode, MAX_ELEMENTS, MAX_LAYERS,
        evaluate::{Causes, Scope},
        layers::{Arguments, Default as ArgumentDefault, Inputs, Kind, Layer, LayerKind, initializers::SCHEMES},
    },
};

/// Most tensors that one layer takes: luminal counts the inputs of an operator in a byte.
const MAX_INPUTS: usize = 255;

/// The arguments of a layer, and where those that were given come from.
#[derive(Debug, Default)]
pub(super) struct Values {
    arguments: Arguments,
    origins: BTreeMap<&'static str, (Span, Causes)>,
}

impl Values {
    /// Of one argument that the text has in another form.
    pub(super) fn known(name: &'static str, value: Value, place: Span, causes: Causes) -> Self {
        Self { arguments: Arguments([(name, value)].into()), origins: [(name, (place, causes))].into() }
    }

    fn causes(&self) -> Causes {
        self.origins.values().fold(0, |all, (_, causes)| all | causes)
    }
}

impl Elaborator<'_> {
    pub(super) fn layer_call(&mut self, layer: &'static LayerKind, call: &Call) -> Current {
        let Call { arguments, span, current, naming, scope } = *call;
        let listed = layer.inputs == Inputs::Listed;
        let (tensors, arguments): (Vec<&Argument>, Vec<&Argument>) =
            arguments.iter().partition(|argument| listed && argument.name.is_none());
        let mut arguments = arguments;
        let mut taken = None;
        let inputs: Vec<Current> = match layer.inputs {
            Inputs::Current => match arguments.first().filter(|first| self.is_input(layer, first, scope)) {
                Some(first) => {
                    let input = self.apply(&first.value, current, naming.inner(), scope);
                    taken = Some(first.span);
                    arguments.remove(0);
                    vec![input]
                }
                None => vec![current],
            },
            Inputs::Listed => {
                let plain = naming.inner();
                tensors.iter().map(|argument| self.apply(&argument.value, current, plain, scope)).collect()
            }
        };
        if listed && inputs.len() < 2 {
            let problem =
                self.problem("vitx::argument", format!("`{}` takes two tensors at least", layer.name), span, "here");
            self.report(problem);
            return None;
        }
        if inputs.len() > MAX_INPUTS {
            let message = format!("`{}` takes at most {MAX_INPUTS} tensors, not {}", layer.name, inputs.len());
            let problem = self.problem("vitx::argument", message, span, "here");
            self.report(problem.help("merge some of them first"));
            return None;
        }
        let names: Vec<&str> = layer.arguments.iter().map(|argument| argument.name).collect();
        let given = self.assign(layer.name, &names, arguments, scope)?;
        let mut values = Values::default();
        let mut complete = true;
        let mut missing = Vec::new();
        for declared in layer.arguments {
            if declared.kind == Kind::Initializer && !given.contains_key(declared.name) {
                continue;
            }
            let value = match given.get(declared.name) {
                Some(argument) => {
                    self.argument(layer, declared.kind, declared.name, argument, scope).map(|(value, causes)| {
                        values.origins.insert(declared.name, (self.blame(&argument.value, scope), causes));
                        value
                    })
                }
                None => match declared.default {
                    ArgumentDefault::Required => {
                        missing.push(declared);
                        None
                    }
                    ArgumentDefault::Int(number) => declared.kind.check(&Value::Int(number)),
                    ArgumentDefault::Float(number) => Some(Value::Float(number)),
                    ArgumentDefault::Bool(flag) => Some(Value::Bool(flag)),
                    ArgumentDefault::Word(word) => Some(Value::Str(word.to_owned())),
                    ArgumentDefault::Same(other) => values.arguments.0.get(other).cloned(),
                },
            };
            complete &= value.is_some();
            values.arguments.0.extend(value.map(|value| (declared.name, value)));
        }
        let names: Vec<&str> = missing.iter().map(|declared| declared.name).collect();
        let expected = missing.first().filter(|_| missing.len() == 1).map(|declared| declared.kind.expected());
        self.report_missing(layer.name, &names, expected, span, taken);
        let inputs: Vec<usize> = inputs.into_iter().collect::<Option<_>>()?;
        if complete { self.layer(layer, values, &inputs, naming, span) } else { None }
    }

    /// Whether the first argument of a call is the tensor that the layer takes in place of the current one.
    fn is_input(&self, layer: &LayerKind, argument: &Argument, scope: &Scope) -> bool {
        let word = layer.arguments.first().is_some_and(|first| matches!(first.kind, Kind::Choice(_)));
        argument.name.is_none() && !word && self.is_network(&argument.value, scope)
    }

    fn argument(
        &mut self,
        layer: &LayerKind,
        kind: Kind,
        name: &str,
        argument: &Argument,
        scope: &Scope,
    ) -> Option<(Value, Causes)> {
        let word = match (&kind, &argument.value.kind) {
            (kind, ExprKind::Call { name, arguments })
                if (!kind.words().is_empty() || *kind == Kind::Initializer)
                    && arguments.is_empty()
                    && scope.get(&name.text).is_none() =>
            {
                Some(Value::Str(name.text.clone()))
            }
            _ => None,
        };
        let (value, causes) = match word {
            Some(word) => (word, 0),
            None => self.value(&argument.value, scope)?,
        };
        let checked = kind.check(&value);
        if checked.is_none() {
            let message = format!("`{name}` of `{}` is {value}", layer.name);
            let mut problem = Problem::new("vitx::type", message)
                .label(self.blame(&argument.value, scope), format!("expected {}", kind.wanted(&value)))
                .causes(causes);
            if let (words @ [_, ..], Value::Str(word)) = (kind.words(), &value) {
                problem = problem.suggest(word, words.iter().copied());
            }
            if let (Kind::Initializer, Value::Str(text)) = (kind, &value)
                && !text.contains('(')
            {
                problem = problem.suggest(text, SCHEMES.iter().map(|scheme| scheme.name));
            }
            self.report(problem);
        }
        checked.map(|value| (value, causes))
    }

    /// Adds an instance whose arguments are complete.
    pub(super) fn layer(
        &mut self,
        layer: &'static LayerKind,
        mut given: Values,
        inputs: &[usize],
        naming: Naming,
        span: Span,
    ) -> Current {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|&input| self.tensors[input].shape.clone()).collect();
        let of_inputs = inputs.iter().fold(0, |causes, &input| causes | self.tensors[input].causes);
        let built = match (layer.build)(layer, &shapes, &given.arguments) {
            Ok(built) => built,
            Err(misfit) => {
                let blamed = misfit.argument.and_then(|argument| given.origins.get(argument).copied());
                let (place, causes) = blamed.unwrap_or((self.at(span), given.causes()));
                let mut problem =
                    Problem::new("vitx::shape", misfit.message).label(place, misfit.needs).causes(causes | of_inputs);
                for &input in inputs {
                    let tensor = &self.tensors[input];
                    problem = problem.label(tensor.span, format!("this gives {:?}", tensor.shape));
                }
                if let Some(help) = misfit.help {
                    problem = problem.help(help);
                }
                self.report(problem);
                return None;
            }
        };
        for rare in layer.arguments.iter().filter(|argument| argument.rare) {
            if !given.origins.contains_key(rare.name) {
                given.arguments.0.remove(rare.name);
            }
        }
        self.place(layer.name, built, given, inputs, naming, span)
    }

    /// Adds an instance that has been made.
    pub(super) fn place(
        &mut self,
        kind: &'static str,
        built: Box<dyn Layer>,
        given: Values,
        inputs: &[usize],
        naming: Naming,
        span: Span,
    ) -> Current {
        // Of braces that are not chosen, a layer of a tensor that was named outside of them has a shape, too.
        if self.untaken > 0 {
            return None;
        }
        let of_inputs = inputs.iter().fold(0, |causes, &input| causes | self.tensors[input].causes);
        let shape = built.output_shape();
        self.layers = self.layers.saturating_add(built.layers());
        let many = self.layers > MAX_LAYERS;
        let largest = match many {
            true => 0,
            false => built.parameters().iter().map(|parameter| parameter.len()).fold(built.largest(), usize::max),
        };
        if largest > MAX_ELEMENTS || many {
            self.full = true;
            let message = match largest > MAX_ELEMENTS {
                true => {
                    format!("`{}` needs a tensor of {largest} elements; at most {MAX_ELEMENTS} are allowed", kind)
                }
                false => format!("the network has more than {MAX_LAYERS} layers"),
            };
            let problem = self.problem("vitx::size", message, span, "here").causes(given.causes() | of_inputs);
            self.report(problem);
            return None;
        }
        let name = self.instance(kind, naming)?;
        let node = LayerNode {
            path: String::new(),
            kind,
            arguments: given.arguments.0.clone(),
            layer: built,
            inputs: inputs.to_vec(),
            weights: None,
            frozen: self.frozen > 0,
        };
        // A layer's own arguments explain its shape better than what came before it.
        let causes = match given.causes() {
            0 => of_inputs,
            causes => causes,
        };
        self.nodes.push(Pending { name, node, origins: given.origins, way: self.way.clone() });
        self.globals.add_tensor(&shape, causes);
        self.tensors.push(Tensor { shape, span: self.at(span), causes });
        Some(self.tensors.len() - 1)
    }
}
