//! What the emulator finds wrong with kernels that are wrong, and that it finds nothing with those that are right.

use super::{super::launch::Element, *};

/// A launch of a kernel `test(const u32* from, u32* to)` with this body, of blocks and threads.
fn launch(body: &str, [blocks, threads]: [u32; 2], from: &Memory, to: &Memory) -> Launch<*mut u8> {
    let text = format!("#include \"common.cuh\"\n\nKERNEL test(const u32* from, u32* to) {{\n{body}\n}}\n");
    Launch {
        source: Source { name: "test", text: text.leak() },
        defines: Vec::new(),
        entry: "test",
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        shared_bytes: 4096,
        args: vec![Arg::Pointer(from.at()), Arg::Pointer(to.at())],
    }
}

/// What the kernel gives on the numbers from 0 on, and its races.
fn run_of(body: &str, grid: [u32; 2]) -> (Vec<u32>, Vec<String>) {
    let (from, to) = (Memory::of(&(0..256).collect::<Vec<u32>>()), Memory::empty(256, Element::F32));
    let plain = launch(body, grid, &from, &to);
    // SAFETY: kernels of these tests stay inside the two tensors.
    unsafe {
        run_compiled(&module(plain.source, &[], false), &plain, |_| ());
        let result = to.read();
        let (again, other) = (Memory::of(&(0..256).collect::<Vec<u32>>()), Memory::empty(256, Element::F32));
        (result, races_of(&launch(body, grid, &again, &other)))
    }
}

const POISON: u32 = 0xFFFF_FFFF;
const EACH: [u32; 2] = [1, 32];

/// Each of 32 threads copies 16 bytes to shared memory, in groups as these steps say, and then reads its neighbour's.
fn copying(steps: &str, reads: &str) -> Vec<u32> {
    let body = format!(
        "DYNAMIC_SHARED(memory);
         u32* words = reinterpret_cast<u32*>(memory);
         u32 i = threadIdx.x;
         {steps}
         to[i] = words[{reads}];"
    );
    run_of(&body, EACH).0[..32].to_vec()
}

const COPY: &str = "copy_async(words + 4 * i, from + 4 * i, true);";

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn copies_arrive_when_they_are_waited_for() {
    let right: Vec<u32> = (0..32).map(|i| 4 * i).collect();
    assert_eq!(copying(&format!("{COPY} loads_begun(); loads_done<0>(); __syncthreads();"), "4 * i"), right);
    // Nobody waits, or closes the group, or the group is the last one, which need not be there.
    for steps in ["", "loads_begun();", "loads_done<0>();", "loads_begun(); loads_done<1>();"] {
        assert_eq!(copying(&format!("{COPY} {steps} __syncthreads();"), "4 * i"), [POISON; 32], "{steps}");
    }
    // Two groups: of the first only it is sure that it is there.
    let two = format!(
        "{COPY} loads_begun(); copy_async(words + 128 + 4 * i, from + 4 * i, true); loads_begun(); loads_done<1>();"
    );
    assert_eq!(copying(&two, "4 * i"), right);
    assert_eq!(copying(&two, "128 + 4 * i"), [POISON; 32]);
    // What is not wanted is poison too, and then zero.
    assert_eq!(copying("copy_async(words + 4 * i, from, false);", "4 * i"), [POISON; 32]);
    assert_eq!(copying("copy_async(words + 4 * i, from, false); loads_begun(); loads_done<0>();", "4 * i"), [0; 32]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn copies_read_their_source_when_they_are_waited_for() {
    let body = "DYNAMIC_SHARED(memory);
        copy_async(memory, to, true);
        loads_begun();
        to[0] = 7;
        loads_done<0>();
        to[1] = *reinterpret_cast<u32*>(memory);";
    assert_eq!(run_of(body, [1, 1]).0[1], 7);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_copy_that_is_read_by_others_needs_a_barrier() {
    let steps = format!("{COPY} loads_begun(); loads_done<0>();");
    // The first thread to run reads what the others have not copied.
    let without = copying(&steps, "4 * ((i + 1) % 32)");
    assert!(without.contains(&POISON), "{without:?}");
    let with: Vec<u32> = (0..32).map(|i| 4 * ((i + 1) % 32)).collect();
    assert_eq!(copying(&format!("{steps} __syncthreads();"), "4 * ((i + 1) % 32)"), with);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_copy_of_the_block_before_is_never_there() {
    let body = "DYNAMIC_SHARED(memory);
        __shared__ u32 fixed;
        u32* words = reinterpret_cast<u32*>(memory);
        u32 before = words[0], fixed_before = fixed;
        words[0] = 1, fixed = 1;
        to[2 * blockIdx.x] = before, to[2 * blockIdx.x + 1] = fixed_before;";
    assert_eq!(run_of(body, [2, 1]).0[..4], [POISON; 4]);
}

/// The races of a kernel of 64 threads in two blocks, whose threads have two words of shared memory and one of a block.
fn races(body: &str) -> Vec<String> {
    let start =
        "DYNAMIC_SHARED(memory); __shared__ u32 sum; u32* words = reinterpret_cast<u32*>(memory); u32 i = threadIdx.x;";
    run_of(&format!("{start}\n{body}"), [2, 64]).1
}

#[track_caller]
fn assert_race(body: &str, parts: &[&str]) {
    let races = races(body);
    let named = races.iter().any(|race| parts.iter().all(|part| race.contains(part)));
    assert!(named, "{body}: {parts:?} in {races:#?}");
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn races_in_shared_memory_are_found() {
    assert_race(
        "words[i] = i;\nto[64 * blockIdx.x + i] = words[(i + 32) % 64];",
        &[
            "race for byte ",
            " of dynamic shared memory in kernel `test` of test: thread (",
            " of block (0, 0, 0) reads it at test.cu:6, and thread (",
            " of block (0, 0, 0) writes it at test.cu:5, with no barrier between",
        ],
    );
    assert_race("if (i == 3) sum = 1;\nto[64 * blockIdx.x + i] = sum;", &["of static shared memory", "(3, 0, 0)"]);
    // Reading first is no better, and the barrier of a warp does not order two warps.
    assert_race("u32 old = words[(i + 32) % 64];\n__syncwarp();\nwords[i] = old;", &["reads it at test.cu:5"]);
    // Within a warp, instructions that only exchange registers order no memory.
    assert_race("words[i] = i;\nto[64 * blockIdx.x + i] = words[i ^ 1] + __shfl_xor_sync(~0u, i, 1);", &["writes it"]);
    // A part of a word is a byte of it.
    assert_race("words[i] = i;\nif (i == 0) memory[7] = 1;", &["byte 7 of dynamic"]);
    // Two that add do it one after the other, but not with one that reads.
    assert_race(
        "if (i == 40) sum = 0;\n__syncthreads();\natomicAdd(&sum, i);\nif (i == 9) to[blockIdx.x] = sum;",
        &["adds to it"],
    );
    // A copy writes when it is waited for, too.
    assert_race(
        "if (i < 4) copy_async(words + 4 * i, from, true);\n__syncthreads();\nif (i == 50) to[blockIdx.x] = words[0];\nloads_begun();\nloads_done<0>();",
        &["test.cu:5", "test.cu:7"],
    );
    // The rows of matrices belong to the lanes that name them.
    assert_race(
        "words[i] = i;\nu32 r[4];\nif (i >= 32) {\nload_matrices(r, reinterpret_cast<bf16*>(words) + i % 4 * 8);\nto[32 * blockIdx.x + i % 32] = r[0];\n}",
        &["test.cu:8"],
    );
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn races_between_blocks_are_found() {
    assert_race(
        "to[i] = i;",
        &[
            "byte 0 of the memory that argument 1 points to",
            "of block (0, 0, 0)",
            "of block (1, 0, 0) writes it at test.cu:5",
        ],
    );
    assert_race("if (blockIdx.x == 1) to[0] = i == 0;\nelse to[1 + i] = to[0];", &["argument 1"]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn nothing_is_found_in_what_is_ordered() {
    for body in [
        "words[i] = i;\n__syncthreads();\nto[64 * blockIdx.x + i] = words[63 - i];\n__syncthreads();\nwords[i] = 1;",
        "words[i] = i;\n__syncwarp();\nto[64 * blockIdx.x + i] = words[i ^ 5];\n__syncwarp();\nwords[i] = 1;",
        "if (i == 0) sum = 0;\n__syncthreads();\natomicAdd(&sum, i);\n__syncthreads();\nto[64 * blockIdx.x + i] = sum;",
        "memory[i] = 1;\nif (i == 0) atomicAdd(to, 1u);",
        "copy_async(words + 4 * i, from + 4 * i, true);\nloads_begun();\nloads_done<0>();\n__syncthreads();\nto[64 * blockIdx.x + i] = words[4 * (63 - i)];",
    ] {
        assert_eq!(races(body), [""; 0], "{body}");
    }
}

/// What is said of a kernel that cannot end.
#[track_caller]
fn failure(body: &str, grid: [u32; 2]) -> String {
    let panic = std::panic::catch_unwind(|| run_of(body, grid)).expect_err("a kernel that ends");
    *panic.downcast::<String>().expect("a text")
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn kernels_that_cannot_end_are_named_and_others_run_after_them() {
    let waiting = failure("if (threadIdx.x != 5) __syncthreads();", [2, 64]);
    assert_eq!(waiting, "kernel `test` of test: threads of block (0, 0, 0) wait for one another for ever");
    let apart = failure("to[0] = threadIdx.x < 16 ? __shfl_xor_sync(~0u, 1u, 1) : __shfl_sync(~0u, 1u, 0);", [1, 32]);
    let (one, other) = ("__shfl_xor_sync", "__shfl_sync");
    let said = |one, other| {
        format!("kernel `test` of test: lanes of a warp are at {one} and at {other}, and wait for one another")
    };
    assert!(apart == said(one, other) || apart == said(other, one), "{apart}");
    // The same module, with other data.
    let may_wait = "if (threadIdx.x != from[0]) __syncthreads();";
    for _ in 0..2 {
        assert!(failure(may_wait, [2, 64]).contains("wait for one another"));
    }
    assert_eq!(run_of("if (threadIdx.x != 99) __syncthreads();\nto[threadIdx.x] = 3;", [2, 64]).0[..64], [3; 64]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn rows_of_matrices_in_the_same_banks_are_counted() {
    let read = |pitch: u32| {
        matrices_read();
        let body = format!(
            "DYNAMIC_SHARED(memory);
             for (int i = threadIdx.x; i < 2048; i += 32) reinterpret_cast<bf16*>(memory)[i].bits = 0;
             __syncthreads();
             u32 r[4];
             load_matrices(r, reinterpret_cast<bf16*>(memory) + threadIdx.x % 16 * {pitch} + threadIdx.x / 16 * 8);
             to[threadIdx.x] = r[0];"
        );
        run_of(&body, [1, 32]);
        // Once plain, once with races.
        let Matrices { read, conflicts } = matrices_read();
        assert_eq!(read, 2 * 4);
        conflicts / 2
    };
    // Rows of 64 elements begin in the same banks, of 32 every other one; with eight elements between, all in others.
    assert_eq!([64, 32, 72, 40].map(read), [28, 12, 0, 0]);
}
