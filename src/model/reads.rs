//! What is read by what: a name that the network does not depend on has no effect.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

/// A name where it is declared: one of a block's is the same at each call.
pub type Symbol = usize;

/// Stands for the network.
const NETWORK: Symbol = 0;

/// Stands for what is checked and no part of the network: blocks that are not called.
pub const NOBODY: Symbol = 1;

#[derive(Debug)]
pub struct Reads {
    /// What is being worked out.
    reader: Cell<Symbol>,
    /// The symbols that each symbol was worked out of.
    read: RefCell<Vec<HashSet<Symbol>>>,
    /// By whether it stands in the standard blocks, and where.
    symbols: RefCell<HashMap<(bool, usize), Symbol>>,
}

impl Reads {
    pub fn new() -> Self {
        let read = RefCell::new(vec![HashSet::new(), HashSet::new()]);
        Self { reader: Cell::new(NETWORK), read, symbols: RefCell::default() }
    }

    /// The symbol of a name that is declared at a place.
    pub fn declare(&self, standard: bool, start: usize) -> Symbol {
        *self.symbols.borrow_mut().entry((standard, start)).or_insert_with(|| {
            let mut read = self.read.borrow_mut();
            read.push(HashSet::new());
            read.len() - 1
        })
    }

    /// From now on a symbol is worked out; gives the one before.
    pub fn enter(&self, reader: Symbol) -> Symbol {
        self.reader.replace(reader)
    }

    pub fn leave(&self, outer: Symbol) {
        self.reader.set(outer);
    }

    /// The symbol being worked out depends on another.
    pub fn note(&self, symbol: Symbol) {
        if let Some(read) = self.read.borrow_mut().get_mut(self.reader.get()) {
            read.insert(symbol);
        }
    }

    /// The network itself depends on a symbol.
    pub fn use_up(&self, symbol: Symbol) {
        let outer = self.enter(NETWORK);
        self.note(symbol);
        self.leave(outer);
    }

    /// All that the network depends on.
    pub fn used(&self) -> HashSet<Symbol> {
        let read = self.read.borrow();
        let mut used = HashSet::from([NETWORK]);
        let mut open = vec![NETWORK];
        while let Some(symbol) = open.pop() {
            open.extend(read.get(symbol).into_iter().flatten().filter(|next| used.insert(**next)));
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_an_unused_name_reads_is_not_used() {
        let reads = Reads::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(|start| reads.declare(false, start));
        let outer = reads.enter(b);
        reads.note(a);
        reads.leave(outer);
        let outer = reads.enter(d);
        reads.note(c);
        reads.leave(outer);
        reads.note(b);
        assert_eq!([a, b, c, d].map(|symbol| reads.used().contains(&symbol)), [true, true, false, false]);
        assert_eq!(reads.declare(false, 3), c);
        assert_ne!(reads.declare(true, 3), c);
    }
}
