//! Elaboration of a syntax tree to a checked architecture; layers; summary.
