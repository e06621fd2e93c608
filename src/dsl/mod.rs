//! The DSL: parser, syntax tree with spans, formatter, diagnostics.
