//! luminal `Compiler`s over the vitx graph.
