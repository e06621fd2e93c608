//! The tests that use vitx from outside, as a library or as a user runs it. They are one program, because each program
//! more links the whole library again. `cargo test --test it sweep::` runs those of one file.
//!
//! A new file of tests is a line here. What needs a process of its own, as a global allocator does, is a file beside
//! this folder.

#[path = "../support/keras.rs"]
mod keras;
#[path = "../support/operators.rs"]
mod networks;
#[cfg(target_os = "linux")]
#[path = "../../src/backend/cuda/simulator.rs"]
mod simulator;
#[path = "../support/mod.rs"]
mod support;

mod augmented;
mod backends;
mod cli_model;
mod cli_run;
mod cuda_check;
mod devices;
mod editors;
mod executors;
mod extend;
mod format;
mod fuzz;
mod graphs;
mod identities;
mod install;
mod language;
mod libraries;
mod locks;
mod mistakes;
mod models;
mod onnx;
mod operators;
mod optimizers;
mod output;
mod own_data;
mod page;
mod parity;
mod pictures;
mod predictions;
mod rooms;
mod searches;
mod serve;
mod simulated;
mod sizes;
mod surroundings;
mod sweep;
mod sweep_choices;
mod sweep_extend;
mod sweep_failures;
mod sweep_kills;
mod tensorboard;
mod terminal;
mod tracking;
mod uses;
mod weights;
mod workers;
mod zoo;

#[test]
fn every_file_of_tests_is_run() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            let line = format!("\nmod {module};\n");
            assert!(
                include_str!("main.rs").contains(&line),
                "tests/it/{name} is not run: main.rs lacks `mod {module};`"
            );
        }
    }
}
