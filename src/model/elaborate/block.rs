//! Calls of blocks and layers by name, and blocks expanded.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Current, Elaborator, Given, Naming, braces::braces, layer_value::LayerValue};
use crate::{
    dsl::{
        Value,
        syntax::{Argument, Definition, DefinitionKind, Expr, ExprKind, File, Name, Span},
    },
    model::{
        evaluate::{Bound, Scope},
        layers::{Elsewhere, LAYERS, argument_alias, elsewhere, find, says_trained},
        names::Style,
        reads::NOBODY,
    },
};

/// Most arguments that a help lists.
const MOST_LISTED: usize = 12;

fn listed(parameters: &[&str]) -> String {
    match parameters {
        [] => "it takes no arguments".to_owned(),
        [only] => format!("its argument is `{only}`"),
        some if some.len() <= MOST_LISTED => format!("its arguments are {}", some.join(", ")),
        many => format!("its arguments are {}, ..", many[..MOST_LISTED].join(", ")),
    }
}

pub(super) const LISTED: &str = "`vitx layers` lists the layers";

/// The blocks of a file. Of two with one name the first counts; the second is reported.
pub(super) fn by_name(file: &File) -> HashMap<&str, &Definition> {
    let blocks = file.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Block);
    blocks.rev().map(|block| (block.name.text.as_str(), block)).collect()
}

/// A call of a layer, a block or what a name stands for, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub arguments: &'c [Argument],
    /// The call with its arguments in the text.
    pub span: Span,
    /// The tensor that flows into it.
    pub current: Current,
    pub naming: Naming<'c>,
    /// The names that its arguments can be made of.
    pub scope: &'c Scope<'c>,
}

fn at_most(arguments: usize) -> String {
    match arguments {
        0 => "no arguments".to_owned(),
        1 => "1 argument".to_owned(),
        many => format!("at most {many} arguments"),
    }
}

impl<'a> Elaborator<'a> {
    /// Reports what is wrong in the definitions themselves: names given twice, and mistakes in blocks
    /// that no call has led to.
    pub(super) fn check_definitions(&mut self) {
        let file = self.file;
        for definition in &file.definitions {
            let mut firsts: HashMap<&str, Span> = HashMap::new();
            for parameter in &definition.parameters {
                let first = *firsts.entry(&parameter.name.text).or_insert(parameter.name.span);
                self.check_unique(&parameter.name, Some(first), "parameters");
            }
            if definition.kind == DefinitionKind::Block {
                let first = self.own.get(definition.name.text.as_str()).map(|first| first.name.span);
                self.check_unique(&definition.name, first, "blocks");
                if !self.expanded.contains(definition.name.text.as_str()) {
                    self.check_unused(definition);
                }
            }
        }
    }

    fn check_unique(&mut self, name: &Name, first: Option<Span>, what: &str) {
        if let Some(first) = first.filter(|first| *first != name.span) {
            let message = format!("two {what} are called `{}`", name.text);
            self.report(self.problem("vitx::name", message, name.span, "named again").label(first, "the first one"));
        }
    }

    /// Reports what is wrong in a block whatever it is called with: names and arguments.
    fn check_unused(&mut self, block: &'a Definition) {
        let mut scope = Scope::of_block(&self.globals);
        let outer = scope.reads().enter(NOBODY);
        self.unused = true;
        for parameter in &block.parameters {
            match parameter.default.as_ref().map(|default| (default, braces(default))) {
                Some((_, Some(body))) => {
                    let hidden = self.hidden();
                    self.body(body, None, hidden, &mut Scope::within(&scope));
                }
                Some((default, None)) => drop(self.value(default, &scope)),
                None => {}
            }
            scope.insert(parameter.name.text.as_str(), Bound::Unknown);
        }
        let hidden = self.hidden();
        self.blocks.push((&block.name.text, false));
        self.body(&block.body, None, hidden, &mut scope);
        self.blocks.pop();
        self.unused = false;
        scope.reads().leave(outer);
    }

    /// A parent for instances that are no part of the network: nothing is numbered after them.
    pub(super) fn hidden(&mut self) -> Naming<'static> {
        Naming::plain(Some(self.names.add(None, "unused", Style::Numbered)))
    }

    pub(super) fn call(&mut self, name: &Name, call: &Call) -> Current {
        let scope = call.scope;
        if let Some(Bound::Tensor(tensor)) = scope.read(&name.text) {
            return self.tensor(name, *tensor, call);
        }
        if let Some(Bound::Shared(shared)) = scope.get(&name.text) {
            return self.call_shared(*shared, call);
        }
        if let Some(Bound::Braces(braces)) = scope.get(&name.text) {
            return self.call_braces(*braces, name, call);
        }
        if let Some(Bound::Unknown) = scope.get(&name.text) {
            return None;
        }
        if let Some(Bound::Value(Value::Str(layer), causes)) = scope.get(&name.text) {
            let layer = LayerValue { name, text: layer, causes: *causes };
            return self.layer_value(&layer, call);
        }
        // What stands in a standard block means the standard layers, whatever the file defines.
        let own = self.own.get(name.text.as_str()).copied().filter(|_| self.site.is_none());
        if let Some(block) = own {
            return self.block(block, false, call);
        }
        if let Some(layer) = find(&name.text) {
            return self.layer_call(layer, call);
        }
        if let Some(block) = self.standard.get(name.text.as_str()).copied() {
            return self.block(block, true, call);
        }
        let tensors = scope.iter().filter(|(_, bound)| matches!(bound, Bound::Tensor(_))).map(|(name, _)| name);
        let blocks = self.own.keys().chain(self.standard.keys()).copied();
        if let Some(Bound::Value(value, causes)) = scope.get(&name.text) {
            let message = format!("`{}` is {}, not a layer", name.text, value.kind());
            let problem = self.problem("vitx::layer", message, name.span, "expected a layer or a block");
            self.report(problem.causes(*causes));
            return None;
        }
        let problem =
            self.problem("vitx::name", format!("there is no layer or block `{}`", name.text), name.span, "not known");
        let names = LAYERS.iter().map(|layer| layer.name).chain(blocks).chain(tensors);
        let problem = match elsewhere(&name.text) {
            Some(Elsewhere::Here(own, "")) => problem.help(format!("that is `{own}` here")),
            Some(Elsewhere::Here(own, note)) => problem.help(format!("that is `{own}` here: {note}")),
            Some(Elsewhere::Nothing(instead)) => problem.help(format!("{instead}; `vitx layers` lists the layers")),
            None => scope.suggest(problem.help(LISTED), &name.text, names),
        };
        let problem = if self.site.is_none() { self.defined_below(problem, name) } else { problem };
        self.report(problem);
        None
    }

    /// The tensor, the layer of shared weights or the braces that an argument of a block is, or names.
    fn handed_over(&mut self, argument: &Expr, scope: &Scope) -> Option<Bound> {
        match &argument.kind {
            ExprKind::Branch(body) => Some(self.hand_over(body, self.site, scope)),
            ExprKind::Group(inner) => self.handed_over(inner, scope),
            ExprKind::Call { name, arguments } if arguments.is_empty() => match scope.get(&name.text) {
                Some(bound @ (Bound::Tensor(_) | Bound::Shared(_) | Bound::Braces(_))) => {
                    scope.read(&name.text);
                    Some(bound.clone())
                }
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn block(&mut self, block: &'a Definition, standard: bool, call: &Call) -> Current {
        let Call { arguments, span, current, naming, scope } = *call;
        let name = &block.name.text;
        if let Some(first) = self.blocks.iter().position(|outer| *outer == (name.as_str(), standard)) {
            let names = self.blocks[first..].iter().map(|(name, _)| *name).chain([name.as_str()]);
            let chain = names.collect::<Vec<_>>().join(" -> ");
            let mut problem =
                self.problem("vitx::recursion", format!("block `{name}` contains itself: {chain}"), span, "here");
            let hidden = match find(name).is_some() {
                true => Some("layer"),
                false => self.standard.contains_key(name.as_str()).then_some("standard block"),
            };
            if let Some(hidden) = hidden {
                problem = problem
                    .label(block.name.span, format!("hides the {hidden} `{name}`"))
                    .help(format!("choose another name for the block, and `{name}` in it is the {hidden}"));
            }
            self.report(problem);
            return None;
        }
        if !self.goes_deeper(span) {
            return None;
        }
        if let Err(problem) = scope.charge(block.parameters.len(), 0) {
            self.full = true;
            self.report(*problem);
            return None;
        }
        let parameters: Vec<&str> = block.parameters.iter().map(|parameter| parameter.name.text.as_str()).collect();
        let given = self.assign(name, &parameters, arguments, scope)?;
        let mut inner = Scope::of_block(&self.globals);
        let mut missing = Vec::new();
        for parameter in &block.parameters {
            let key = parameter.name.text.as_str();
            let message = || format!("`{key}` has no effect: block `{name}` does not use it");
            let symbol = self.declare_of(standard, &parameter.name, message);
            let reader = scope.reads().enter(symbol);
            let value = match (given.get(key), &parameter.default) {
                (Some(argument), _) => match self.handed_over(&argument.value, scope) {
                    Some(bound) => bound,
                    None => self.bound(&argument.value, scope),
                },
                (None, Some(default)) => {
                    let site = self.site;
                    if standard && site.is_none() {
                        self.site = Some(span);
                    }
                    let value = match braces(default) {
                        Some(body) => self.hand_over(body, self.site, &inner),
                        None => self.bound(default, &inner),
                    };
                    self.site = site;
                    value
                }
                (None, None) => {
                    missing.push(key);
                    Bound::Unknown
                }
            };
            scope.reads().leave(reader);
            let origin = given.get(key).and_then(|argument| match self.site {
                Some(_) => scope.origin(&argument.value),
                None => Some(argument.value.span),
            });
            inner.declare_from(key, value, symbol, origin);
        }
        self.report_missing(name, &missing, None, span, None);
        let instance = self.instance(name, naming)?;
        self.expanded.insert(name.as_str());
        match self.unused {
            true => self.called_blocks.insert(name.as_str()),
            false => self.used_blocks.insert(name.as_str()),
        };
        let back = self.go_into(block, standard, span, &inner);
        let site = self.site;
        if standard && site.is_none() {
            self.site = Some(span);
        }
        self.blocks.push((name, standard));
        self.depth += 1;
        let result = self.body(&block.body, current, Naming::plain(Some(instance)), &mut inner);
        self.depth -= 1;
        self.blocks.pop();
        self.site = site;
        self.way = back;
        result
    }

    /// Reports the arguments that a call lacks, all at once. `input` is the tensor in front of them.
    pub(super) fn report_missing(
        &mut self,
        callee: &str,
        missing: &[&str],
        expected: Option<String>,
        span: Span,
        input: Option<Span>,
    ) {
        let quoted: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
        let (last, most) = match quoted.split_last() {
            Some(parts) => parts,
            None => return,
        };
        let all = if most.is_empty() { last.clone() } else { format!("{} and {last}", most.join(", ")) };
        let label = match expected {
            Some(expected) => format!("{all} is missing: {expected}"),
            None if most.is_empty() => format!("{all} is missing"),
            None => format!("{all} are missing"),
        };
        let mut problem = self.problem("vitx::argument", format!("`{callee}` needs {all}"), span, label);
        if let Some(input) = input {
            problem = problem.label(self.at(input), "a tensor: what the layer takes").help("arguments come behind it");
        }
        self.report(problem);
    }

    /// Which argument goes to which parameter.
    pub(super) fn assign<'e>(
        &mut self,
        callee: &str,
        parameters: &[&str],
        arguments: impl IntoIterator<Item = &'e Argument>,
        scope: &Scope,
    ) -> Option<BTreeMap<String, &'e Argument>> {
        let known: HashSet<&str> = parameters.iter().copied().collect();
        let mut given: BTreeMap<String, &Argument> = BTreeMap::new();
        let mut fine = true;
        for (index, argument) in arguments.into_iter().enumerate() {
            let name = match &argument.name {
                Some(name) if known.contains(name.text.as_str()) => name.text.clone(),
                Some(name) => {
                    let message = format!("`{callee}` has no argument `{}`", name.text);
                    let problem = self.problem("vitx::argument", message, name.span, "not known");
                    let problem = match argument_alias(&name.text, parameters) {
                        None if says_trained(&name.text) => {
                            problem.help("`frozen` stands before a layer that is not trained: `frozen dense(64)`")
                        }
                        Some(own) => problem.help(format!("that is `{own}` here")),
                        None => scope.suggest(problem, &name.text, parameters.iter().copied()),
                    };
                    self.report(problem.note(&listed(parameters)));
                    fine = false;
                    continue;
                }
                None if index < parameters.len() => parameters[index].to_owned(),
                None => {
                    let message = format!("`{callee}` takes {}", at_most(parameters.len()));
                    let problem = self.problem("vitx::argument", message, argument.span, "one too many");
                    self.report(problem);
                    fine = false;
                    continue;
                }
            };
            if let Some(before) = given.insert(name.clone(), argument) {
                let problem =
                    self.problem("vitx::argument", format!("`{name}` is given twice"), argument.span, "again");
                let problem = problem.label(self.at(before.span), "first");
                self.report(problem);
                fine = false;
            }
        }
        fine.then_some(given)
    }

    /// The tensor that a name stands for.
    fn tensor(&mut self, name: &Name, tensor: Current, call: &Call) -> Current {
        if !call.arguments.is_empty() {
            let message = format!("`{}` is a tensor and takes no arguments", name.text);
            let problem = self.problem("vitx::argument", message, call.span, "a tensor");
            self.report(
                problem.help(format!("`{}` alone goes on with it; `add` and `concat` merge tensors", name.text)),
            );
            return None;
        }
        if let Some((Given::Label, label)) = call.naming.given {
            let message = format!("`{}` labels a tensor that exists already", label.text);
            let problem = self.problem("vitx::name", message, label.span, "a label names a new layer");
            self.report(problem.label(self.at(name.span), "this is a tensor").help("leave the label out"));
        }
        tensor
    }

    pub(super) fn instance(&mut self, kind: &str, naming: Naming) -> Option<usize> {
        let (base, style) = match (naming.given, naming.numbered) {
            // `norm1` in a repeat is `norm1_0`: `norm10` would be taken for the tenth.
            (Some((_, name)), true) if naming.repeated && name.text.ends_with(|c: char| c.is_ascii_digit()) => {
                (format!("{}_", name.text), Style::Numbered)
            }
            (Some((Given::Label, name)), false) => (name.text.clone(), Style::Label),
            (Some((Given::Let, name)), false) => (name.text.clone(), Style::Kind),
            (Some((_, name)), true) => (name.text.clone(), Style::Numbered),
            (None, true) => (kind.to_owned(), Style::Numbered),
            (None, false) => (kind.to_owned(), Style::Kind),
        };
        let added = self.names.add(naming.parent, &base, style);
        if let Err(problem) = self.globals.charge(0, self.names.length(added)) {
            self.full = true;
            self.report(*problem);
            return None;
        }
        Some(added)
    }
}
