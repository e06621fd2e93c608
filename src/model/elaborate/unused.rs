//! Warnings of names that have no effect: parameters, `let`s and blocks.

use super::Elaborator;
use crate::{
    dsl::{
        Problem,
        syntax::{DefinitionKind, Name, Span},
    },
    model::{evaluate::Causes, reads::Symbol},
};

/// A name of the user's text, and what is to be said of it where nothing uses it.
pub(super) struct Declared {
    pub symbol: Symbol,
    pub span: Span,
    pub message: String,
    pub causes: Causes,
    /// A parameter of the model.
    pub parameter: Option<String>,
}

impl Elaborator<'_> {
    /// A symbol for a name of the text that is being followed, and `message` where nothing uses it.
    pub(super) fn declare(&mut self, name: &Name, message: impl FnOnce() -> String, causes: Causes) -> Symbol {
        self.declare_in(self.site.is_some(), name, message, causes)
    }

    /// As [`Self::declare`], of a block's parameter.
    pub(super) fn declare_of(&mut self, standard: bool, name: &Name, message: impl FnOnce() -> String) -> Symbol {
        self.declare_in(standard, name, message, 0)
    }

    fn declare_in(&mut self, standard: bool, name: &Name, message: impl FnOnce() -> String, causes: Causes) -> Symbol {
        let symbol = self.globals.reads().declare(standard, name.span.start);
        if !standard && !self.unused && self.declared_symbols.insert(symbol) {
            self.declared.push(Declared { symbol, span: name.span, message: message(), causes, parameter: None });
        }
        symbol
    }

    /// Warns of what nothing uses; gives the parameters of the model that are among it.
    pub(super) fn warn_of_unused(&mut self) -> Vec<String> {
        let used = self.globals.reads().used();
        let mut parameters = Vec::new();
        for declared in std::mem::take(&mut self.declared) {
            if !used.contains(&declared.symbol) {
                parameters.extend(declared.parameter);
                let problem = Problem::warning("vitx::unused", declared.message);
                self.report(problem.label(declared.span, "nothing uses it").causes(declared.causes));
            }
        }
        let file = self.file;
        for block in file.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Block) {
            let name = block.name.text.as_str();
            if !self.by_value && !self.used_blocks.contains(name) && !self.called_blocks.contains(name) {
                let problem = Problem::warning("vitx::unused", format!("block `{name}` is never used"));
                self.report(problem.label(block.name.span, "nothing calls it"));
            }
        }
        parameters
    }
}
