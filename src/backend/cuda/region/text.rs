//! The kernel of a region: a line for each phase.

use std::{
    collections::HashSet,
    fmt::Write,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{
    Parameter,
    plan::{Before, Plan},
    sketch::{Phase, Sketch, Slice},
};
use crate::backend::cuda::launch::{Launch, Source};

/// The name of the source.
pub const NAME: &str = "region";

/// The name of the kernel.
pub const ENTRY: &str = "region";

/// The name of the kernel that adds what its blocks leave, and how many threads a block of it has.
pub const SUMS: &str = "sums";
pub const SUM_THREADS: usize = 64;

/// How phases stand in the text.
pub const INDENT: &str = "        ";

/// What a region's launch does, for people: its buffers, then its phases; nothing for others.
pub fn phases<P>(launch: &Launch<P>) -> Vec<String> {
    if launch.source.name != NAME || launch.entry != ENTRY {
        return Vec::new();
    }
    let buffer = |line: &str| {
        let (name, at) =
            line.trim().strip_prefix("bf16* const ")?.split_once(" = reinterpret_cast<bf16*>(memory + ")?;
        Some(format!("{name} at {}", at.trim_end_matches(");")))
    };
    let text = launch.source.text;
    let buffers: Vec<String> = text.lines().filter_map(buffer).collect();
    let steps = text.lines().filter_map(|line| line.strip_prefix(INDENT)).filter(|line| line.contains("  // "));
    std::iter::once(buffers.join(", ")).chain(steps.map(str::to_owned)).collect()
}

/// The source of a sketch whose phases run in this order.
pub fn source(sketch: &Sketch, phases: &[Phase], plan: &Plan) -> Source {
    Source { name: NAME, text: kept(text(sketch, phases, plan)) }
}

/// The definition by which a dropout of the kernel is told from where it has its bits.
pub fn how(number: usize) -> &'static str {
    kept(format!("HOW{number}"))
}

/// The same text once for all programs of the process: sources are static, as those of files are.
fn kept(text: String) -> &'static str {
    static TEXTS: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut texts = TEXTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    match texts.get(text.as_str()) {
        Some(known) => known,
        None => {
            let text: &'static str = Box::leak(text.into_boxed_str());
            texts.insert(text);
            text
        }
    }
}

fn text(sketch: &Sketch, phases: &[Phase], plan: &Plan) -> String {
    let warps = sketch.warps();
    let included = match sketch.slice {
        None => "#include \"region.cuh\"",
        // No product reads tiles of images.
        Some(_) => "#define PAD 0\n#include \"region_images.cuh\"",
    };
    let mut text = format!("constexpr int WARPS = {warps};\n{included}\n\n");
    // Writing to a string cannot fail.
    for (number, body) in sketch.functions.iter().enumerate() {
        let _ = writeln!(
            text,
            "struct F{number} {{\n    __device__ __forceinline__ float operator()(float x0) const {{ {body} }}\n}};"
        );
    }
    // Two blocks of slices are meant to run at once.
    let [row, rows, bounds] = match sketch.slice {
        None => ["row", "rows", ""],
        Some(_) => ["image", "images", ", 2"],
    };
    let parameters: Vec<String> = std::iter::once(format!("int {rows}, int tiles"))
        .chain(sketch.parameters.iter().enumerate().map(|(number, parameter)| declared(number, parameter)))
        .collect();
    let _ = writeln!(text, "KERNEL __launch_bounds__({}{bounds}) {ENTRY}({}) {{", 32 * warps, parameters.join(", "));
    let _ = writeln!(text, "    DYNAMIC_SHARED(memory);");
    if let Some(Slice { width, .. }) = sketch.slice {
        let _ = writeln!(text, "    const int channel = (int)blockIdx.y * {width};");
    }
    for (buffer, offset) in plan.offsets.iter().enumerate() {
        let _ = writeln!(text, "    bf16* const t{buffer} = reinterpret_cast<bf16*>(memory + {offset});");
    }
    for (number, parameter) in sketch.parameters.iter().enumerate() {
        match parameter {
            Parameter::Sums => {
                let block = match sketch.slices() {
                    _ if sketch.slice.is_none() => "blockIdx.x".to_owned(),
                    slices => format!("(blockIdx.x * {slices} + blockIdx.y)"),
                };
                let _ = writeln!(text, "    float* const sums = all_sums + (u64){block} * {};", summed(sketch));
            }
            Parameter::Dropout(..) => {
                let how = how(number);
                let _ = writeln!(
                    text,
                    "    const Dropped<{how}> d{number}{{Mask{{low{number}, high{number}, stream{number}, state{number}->iteration, \
                     threshold{number}}}, scale{number}, bits{number}}};"
                );
            }
            Parameter::Activation(_) | Parameter::Exact(_) => {}
        }
    }
    let _ = writeln!(text, "    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {{");
    let tile_rows = sketch.tile_rows;
    let _ = writeln!(text, "{INDENT}const int {row} = tile * {tile_rows}, here = min({tile_rows}, {rows} - {row});");
    let _ = writeln!(text, "{INDENT}const bool first = tile == (int)blockIdx.x;");
    for (phase, before) in phases.iter().zip(&plan.before) {
        let Before { copies, barrier } = before;
        if let Some(allowed) = copies {
            let _ = writeln!(text, "{INDENT}loads_done<{allowed}>();");
        }
        if *barrier {
            let _ = writeln!(text, "{INDENT}__syncthreads();");
        }
        let _ = writeln!(text, "{INDENT}{}  // {}", phase.text, phase.operation);
    }
    let _ = writeln!(text, "{INDENT}__syncthreads();");
    text += "    }\n}\n";
    if !sketch.sums.is_empty() {
        text += &sums(sketch);
    }
    text
}

/// Elements of all sums, of a slice where there are slices.
fn summed(sketch: &Sketch) -> usize {
    sketch.sums.iter().map(|sum| sum.elements).sum()
}

/// The kernel that adds the blocks' sums, in order, and puts each where it belongs: a thread has four columns.
fn sums(sketch: &Sketch) -> String {
    let parameters: String = (0..sketch.sums.len()).map(|number| format!(", float* o{number}")).collect();
    let mut text = format!(
        "\nKERNEL __launch_bounds__({SUM_THREADS}) {SUMS}(int blocks, const float* __restrict__ from{parameters}) {{\n"
    );
    let (of_slice, all) = (summed(sketch), summed(sketch) * sketch.slices());
    let _ = writeln!(text, "    int column = ((int)blockIdx.x * {SUM_THREADS} + (int)threadIdx.x) * 4;");
    let _ = writeln!(text, "    if (column >= {all}) return;");
    let _ = writeln!(text, "    float sum[4];\n    sum_blocks(sum, blocks, from + column, {all});");
    if let Some(Slice { width, .. }) = sketch.slice {
        let _ = writeln!(text, "    int channel = column / {of_slice} * {width};\n    column %= {of_slice};");
    }
    let mut end = 0;
    for (number, sum) in sketch.sums.iter().enumerate() {
        let start = end;
        end += sum.elements;
        let place = match sketch.slice {
            None => format!("column - {start}"),
            Some(Slice { channels, width }) => {
                format!("(column - {start}) / {width} * {channels} + channel + (column - {start}) % {width}")
            }
        };
        let _ = writeln!(text, "    if (column < {end}) return store_vector<4>(o{number} + {place}, sum);");
    }
    text += "}\n";
    text
}

fn declared(number: usize, parameter: &Parameter) -> String {
    match parameter {
        Parameter::Activation(_) => format!("bf16* p{number}"),
        Parameter::Exact(_) => format!("float* p{number}"),
        Parameter::Sums => "float* all_sums".to_owned(),
        Parameter::Dropout(..) => format!(
            "const StepState* state{number}, u32 low{number}, u32 high{number}, u32 stream{number}, u32 threshold{number}, \
             float scale{number}, u8* bits{number}"
        ),
    }
}
