//! How the calls of operators are made.

mod update;
