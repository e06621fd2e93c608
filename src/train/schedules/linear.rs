use super::Kind;

/// A line.
pub static KIND: Kind =
    Kind { name: "linear", about: "a line", options: &[], factor: |at| at.down_to_final(1.0 - at.progress) };
