//! Launches of several variants of a kernel as one launch: what differs between them are arguments.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::launch::{Arg, LAUNCH_BOUNDS, Launch, Source};

/// Bytes that the parameters of a kernel may take, on every device and driver that is supported.
const MOST_PARAMETERS: usize = 4096;
/// The largest depth of a grid.
const MOST_DEPTH: u32 = 65_535;

/// What stands before a source in its packed form.
const HEADER: &str = include_str!("packed.cuh");

/// As few launches as do the work of these, one of each variant, whatever order those have: one for all of them where they
/// differ in arguments alone and the table of these is not too large. The blocks of a merged launch compute what they
/// compute in their own launches, to the bit.
pub fn merged(launches: Vec<Launch<u64>>) -> Vec<Launch<u64>> {
    let at_once = launches.first().map_or(1, at_once);
    let alike = launches.windows(2).all(|pair| alike(&pair[0], &pair[1]));
    if !alike || at_once == 1 {
        return launches;
    }
    let merge = |part: &[Launch<u64>]| match part {
        [one] => one.clone(),
        several => merge(several),
    };
    launches.chunks(at_once).map(merge).collect()
}

/// How many variants of a launch one launch can do: a power of two.
fn at_once(launch: &Launch<u64>) -> usize {
    let words = MOST_PARAMETERS / size_of::<u64>() / launch.args.len().max(1);
    let most = words.min((MOST_DEPTH / launch.grid[2].max(1)) as usize).max(1);
    let structures = launch.args.is_empty() || launch.args.iter().any(|arg| arg.word().is_none());
    if structures { 1 } else { 1 << most.ilog2() }
}

/// Whether two launches differ in their arguments alone.
fn alike(one: &Launch<u64>, other: &Launch<u64>) -> bool {
    let without = |launch: &Launch<u64>| Launch { args: Vec::new(), ..launch.clone() };
    one.args.len() == other.args.len() && without(one) == without(other)
}

/// One launch for several that are alike.
fn merge(launches: &[Launch<u64>]) -> Launch<u64> {
    let first = &launches[0];
    // A table for each count of variants would be a module for each.
    let most = launches.len().next_power_of_two();
    let mut words: Vec<u64> = launches.iter().flat_map(|launch| launch.args.iter().filter_map(Arg::word)).collect();
    words.resize(most * first.args.len(), 0);
    let [columns, rows, depth] = first.grid;
    let mut defines = first.defines.clone();
    defines.push(("PACKED_DEPTH", format!("{depth}u")));
    defines.push(("PACKED_MOST", most.to_string()));
    Launch {
        source: packed(first.source),
        defines,
        grid: [columns, rows, depth * launches.len() as u32],
        args: vec![Arg::Words(words.into())],
        ..first.clone()
    }
}

/// The packed form of a source. It is made once: there are as many as sources.
fn packed(source: Source) -> Source {
    static TEXTS: OnceLock<Mutex<HashMap<Source, &'static str>>> = OnceLock::new();
    let mut texts = TEXTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let text = texts.entry(source).or_insert_with(|| packed_text(source).leak());
    Source { name: source.name, text }
}

fn packed_text(source: Source) -> String {
    let mut text = source.text.to_owned();
    let mut entries = String::new();
    for (bounds, name) in source.kernels() {
        let marked = format!("\nKERNEL {bounds}");
        text = text.replacen(&marked, "\n__device__ __forceinline__ void ", 1);
        entries += &format!(
            "\nKERNEL {bounds} {name}(const __grid_constant__ Packed<packed_source::{name}>::Table table) {{\n    \
             Packed<packed_source::{name}>::call(table);\n}}\n"
        );
    }
    debug_assert!(!text.contains(LAUNCH_BOUNDS), "{}: bounds that are not a kernel's", source.name);
    // Bounds may be constants of the source: an entry sees them from inside its namespace.
    format!(
        "{HEADER}\nnamespace packed_source {{\n{text}\nnamespace entries {{\n{entries}}}\n}}\nusing namespace \
         packed_source::entries;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::{
        emulator::{self, Memory},
        kernels::{SOURCES, layout, pointwise},
        launch::{Element, Precision},
    };

    fn run(launches: Vec<Launch<u64>>) {
        emulator::run_all(launches.into_iter().map(|launch| launch.map(|address| address as *mut u8)));
    }

    const ELEMENT: Element = Element::F32;

    fn values(seed: usize, count: usize) -> Memory {
        Memory::of_floats(&(0..count).map(|at| ((at + seed) as f32 * 0.37).sin()).collect::<Vec<_>>(), ELEMENT)
    }

    /// Launches of `variants` variants, each on memory of its own, by themselves and merged.
    fn check(variants: usize, merged_into: usize, count: usize, launch: impl Fn(usize, u64, u64) -> Launch<u64>) {
        let inputs: Vec<Memory> = (0..variants).map(|variant| values(variant, count)).collect();
        let outputs = || (0..variants).map(|_| Memory::empty(count, ELEMENT)).collect::<Vec<_>>();
        let (alone, together) = (outputs(), outputs());
        let launches = |outputs: &[Memory]| -> Vec<Launch<u64>> {
            let pairs = inputs.iter().zip(outputs).enumerate();
            pairs.map(|(variant, (from, to))| launch(variant, from.at() as u64, to.at() as u64)).collect()
        };
        run(launches(&alone));
        let merged = merged(launches(&together));
        assert_eq!(merged.len(), merged_into);
        run(merged);
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(alone.read::<u32>(), together.read::<u32>());
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn variants_differ_in_pointers_and_numbers() {
        let factors = [0.5, -3.0, f32::NAN, 0.0, 7.25];
        for variants in 1..=5 {
            check(variants, 1, 1000, |variant, from, to| {
                pointwise::scale(1000, factors[variant], ELEMENT, from, ELEMENT, to)
            });
        }
    }

    /// Blocks in three dimensions, and as many in each as the kernel asks its grid for.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn a_grid_with_a_depth_of_its_own() {
        let (shape, order) = ([3, 40, 50], [0, 2, 1]);
        let launch = |_, from, to| layout::permute(&shape, &order, (ELEMENT, from), (ELEMENT, to));
        assert_eq!(launch(0, 16, 16).grid[2], 3);
        check(3, 1, 3 * 40 * 50, launch);
    }

    #[test]
    fn what_is_not_alike_or_too_much_stays_apart() {
        let scale = |count, at| pointwise::scale(count, 2.0, ELEMENT, at, ELEMENT, at);
        let apart = vec![scale(10_000, 16), scale(100, 16)];
        assert_eq!(merged(apart.clone()), apart);
        // Four arguments of eight bytes: 128 variants in 4096.
        let many: Vec<_> = (0..300).map(|at| scale(100, 16 * at)).collect();
        assert_eq!(merged(many).iter().map(|launch| launch.grid[2]).collect::<Vec<_>>(), [128, 128, 44]);
        let one = vec![scale(100, 16)];
        assert_eq!(merged(one.clone()), one);
        assert_eq!(merged(Vec::new()), []);
    }

    #[test]
    fn the_packed_form_has_the_same_kernels() {
        for source in SOURCES {
            assert_eq!(packed(*source).entries(), source.entries());
        }
        // Under a precision, so that all is told of what a module is.
        let launch = pointwise::forward(8, 8, Precision::F32, 16, pointwise::Epilogue::default(), 16);
        let packed = &merged(vec![launch.clone(), launch.clone(), launch.clone()])[0];
        assert_eq!(packed.defines[..launch.defines.len()], launch.defines);
        assert_eq!(
            packed.defines[launch.defines.len()..].iter().map(|define| &*define.1).collect::<Vec<_>>(),
            ["1u", "4"]
        );
    }
}
