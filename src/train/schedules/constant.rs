use super::Kind;

/// The reference model's: no decay.
pub static KIND: Kind = Kind { name: "constant", about: "no decay", options: &[], factor: |_| 1.0 };
