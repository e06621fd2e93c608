//! A compiled program as text: what runs in which order, and where its tensors are.

use std::fmt::Write;

use serde::Serialize;

use super::program::{Base, Program, Region, Slot, Step, Update, Work};

/// A program as a list of regions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramListing {
    /// Images of a step.
    pub batch: usize,
    /// Memory of the activations and gradients of a step.
    pub arena_bytes: usize,
    /// Memory of each thread.
    pub worker_bytes: usize,
    /// In the order in which they run; updates come last, though they run beside the others.
    pub regions: Vec<RegionListing>,
}

/// Kernel calls that run together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionListing {
    /// `tiles`: depth-first over tiles of images; `the whole batch`: one operator over all of it;
    /// `side by side`: operators that do not depend on each other; `updates`: such that run beside the regions.
    pub work: &'static str,
    /// Of updates: the region from which on they may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
    /// Images per tile.
    pub tile: usize,
    /// Each thread's memory for a tile.
    pub local_bytes: usize,
    /// In the order in which they run.
    pub steps: Vec<StepListing>,
}

/// A kernel call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepListing {
    /// As the graph calls it.
    pub operator: &'static str,
    /// Names of the parameters that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// `MEMORY[OFFSET; ELEMENTS]`, with `x batch` for tensors that every image has.
    pub inputs: Vec<String>,
    /// As the inputs.
    pub outputs: Vec<String>,
}

fn slot(slot: &Slot) -> String {
    let base = match slot.base {
        Base::Store => "store",
        Base::Arena => "arena",
        Base::Local => "local",
    };
    let times = if slot.per_image { " x batch" } else { "" };
    format!("{base}[{}; {}{times}]", slot.offset, slot.len)
}

impl Program {
    /// Lists the program.
    pub fn listing(&self) -> ProgramListing {
        let step = |step: &Step| StepListing {
            operator: step.name,
            parameters: step.parameters.clone(),
            inputs: step.inputs.iter().map(slot).collect(),
            outputs: step.outputs.iter().map(slot).collect(),
        };
        let region = |region: &Region| RegionListing {
            work: match region.work {
                Work::Images => "tiles",
                Work::Each => "side by side",
                Work::Single => "the whole batch",
            },
            from: None,
            tile: region.tile,
            local_bytes: size_of::<f32>() * region.local_len,
            steps: region.steps.iter().map(step).collect(),
        };
        let updates = |updates: &[Update]| RegionListing {
            work: "updates",
            from: updates.first().map(|update| update.from),
            tile: 0,
            local_bytes: 0,
            steps: updates.iter().map(|update| step(&update.step)).collect(),
        };
        let together = self.updates.chunk_by(|a, b| a.from == b.from);
        ProgramListing {
            batch: self.batch,
            arena_bytes: size_of::<f32>() * self.arena_len,
            worker_bytes: size_of::<f32>() * self.worker_len(),
            regions: self.regions.iter().map(region).chain(together.map(updates)).collect(),
        }
    }
}

impl RegionListing {
    /// What runs, and when: the same words in the text and in the drawing.
    pub fn heading(&self, index: usize) -> String {
        match (self.work, self.from) {
            ("tiles", _) => format!("region {index}: tiles of {} images", self.tile),
            (_, Some(from)) => format!("updates, beside regions from {from} on"),
            (work, None) => format!("region {index}: {work}"),
        }
    }
}

impl ProgramListing {
    /// One kernel call a line, under its region: `OUTPUTS = OPERATOR(INPUTS) PARAMETERS`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let Self { batch, arena_bytes, worker_bytes, regions } = self;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "program batch {batch}, arena {arena_bytes} bytes, each thread {worker_bytes} bytes");
        for (index, region) in regions.iter().enumerate() {
            let RegionListing { work, local_bytes, steps, .. } = region;
            let local = if *work == "tiles" { format!(", local {local_bytes} bytes") } else { String::new() };
            let _ = writeln!(out, "{}{local}", region.heading(index));
            for StepListing { operator, parameters, inputs, outputs } in steps {
                let parameters: String = parameters.iter().map(|name| format!(" \"{name}\"")).collect();
                let _ = writeln!(out, "  {} = {operator}({}){parameters}", outputs.join(", "), inputs.join(", "));
            }
        }
        out
    }
}
