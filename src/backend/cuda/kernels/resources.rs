//! What the kernels of the reference model's step take of a multiprocessor: registers, shared memory, and how much of
//! that they read for each product of tensor cores. By NVRTC, without a device.

use std::{collections::BTreeMap, io::Write, path::Path, process::Command};

use super::nvrtc::{Compiler, Usage, may_spill, usage};
use crate::backend::{
    cuda::{
        device::BLOCK_MEMORY,
        launch::{Launch, Precision, Source},
        program::{Place, Work},
        region,
        tests::reference_model,
    },
    plan,
};

/// Of a quarter of a multiprocessor of compute capability 8.0 to 10.0, to which warps belong in turns.
const REGISTERS: u32 = 16 << 10;
/// Registers are given to a warp in such portions.
const PORTION: u32 = 256;
/// Most bytes of static shared memory of a block.
const STATIC: u32 = 48 << 10;

/// Most bytes of shared memory that a warp reads by `ldmatrix` for each product of 16 x 8 x 16 in the innermost loops of a
/// kernel. A multiprocessor reads 128 bytes in a clock, and does such a product in 1.6: above 205 bytes, shared memory is
/// what binds.
const READ_PER_PRODUCT: f64 = 215.0;
/// Kernels that are older than the limit, with what they read.
const READ_MORE: &[(&str, &str, f64)] =
    &[("attention_whole", "forward", 256.0), ("attention_whole", "backward", 269.0)];

/// The launches of the training step, those that replace epilogues included, by module.
fn modules(precision: Precision, regions: bool) -> BTreeMap<String, Vec<Launch<Place>>> {
    let mut modules: BTreeMap<String, Vec<Launch<Place>>> = BTreeMap::new();
    for call in reference_model::program(precision, plan::pack, regions).calls {
        let launches = match call.work {
            Work::Launch(launch) => vec![launch],
            Work::Gemm(_, plain) => plain,
        };
        for launch in launches {
            let Source { name, text } = launch.source;
            // Regions have one name and many texts.
            let text = if name == region::NAME { text } else { "" };
            modules.entry(format!("{name} {:?} {text}", launch.defines)).or_default().push(launch);
        }
    }
    modules
}

/// What is wrong with a launch of a kernel that takes so much, if anything.
fn wrong(launch: &Launch<Place>, usage: Usage) -> Option<String> {
    let warps = launch.block.iter().product::<u32>().div_ceil(32);
    let registers = (32 * usage.registers).next_multiple_of(PORTION) * warps.div_ceil(4);
    let all_shared = (usage.shared + launch.shared_bytes) as usize;
    if usage.spilled > may_spill(launch) {
        return Some(format!("spills {} bytes", usage.spilled));
    }
    if registers > REGISTERS {
        return Some(format!(
            "takes {registers} registers of a quarter, of {REGISTERS}: {} in each of {warps} warps",
            usage.registers
        ));
    }
    if usage.shared > STATIC {
        return Some(format!("takes {} bytes of static shared memory, of {STATIC}", usage.shared));
    }
    (all_shared > BLOCK_MEMORY).then(|| {
        let Usage { shared, .. } = usage;
        format!("takes {shared} + {} bytes of shared memory, of {BLOCK_MEMORY}", launch.shared_bytes)
    })
}

/// Bytes that a warp reads by `ldmatrix` and products of 16 x 8 x 16 that it does, in the innermost loops with products,
/// or in all of the kernel if no loop has any. From the lines of `nvdisasm -c`.
fn read_and_products(lines: &[&str]) -> (u32, u32) {
    let label =
        |line: &str| line.strip_prefix(".L_").and_then(|rest| rest.split_once(':')).map(|(name, _)| name.to_owned());
    let mut labels = BTreeMap::new();
    let mut loops: Vec<(usize, usize)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = label(line.trim_start()) {
            labels.insert(name, index);
        }
        let target = line.split_once(" BRA ").and_then(|(_, rest)| rest.split_once(".L_")?.1.split_once(')'));
        if let Some(&begin) = target.and_then(|(name, _)| labels.get(name)) {
            loops.push((begin, index));
        }
    }
    let count = |(begin, end): (usize, usize)| {
        let (mut read, mut products) = (0, 0);
        for line in &lines[begin..end] {
            // Matrices of 8 rows of 16 bytes, as many as the last part says.
            if let Some((_, rest)) = line.split_once(" LDSM.16.M") {
                let matrices =
                    rest.split(' ').next().and_then(|form| form.rsplit('.').next()?.parse().ok()).unwrap_or(1);
                read += 128 * matrices;
            }
            products += u32::from(line.contains(" HMMA.16816."));
        }
        (read, products)
    };
    let with_products: Vec<_> = loops.into_iter().filter(|&range| count(range).1 > 0).collect();
    let within =
        |inner: &(usize, usize), outer: &(usize, usize)| inner != outer && inner.0 >= outer.0 && inner.1 <= outer.1;
    let innermost = with_products.iter().filter(|outer| !with_products.iter().any(|inner| within(inner, outer)));
    let sum = innermost.fold((0, 0), |(read, products), &range| {
        let (more, done) = count(range);
        (read + more, products + done)
    });
    if sum.1 > 0 { sum } else { count((0, lines.len())) }
}

#[test]
fn loops_of_a_kernel_are_told_apart() {
    let lines = [
        " LDSM.16.M88.4 R4, [R2] ;",
        ".L_x_1:",
        " LDSM.16.M88.4 R4, [R2] ;",
        ".L_x_2:",
        " LDSM.16.MT88.4 R4, [R2] ;",
        " LDSM.16.M88.2 R4, [R2] ;",
        " HMMA.16816.F32.BF16 R8, R4, R6, R8 ;",
        " @P0 BRA `(.L_x_2) ;",
        " @P1 BRA `(.L_x_1) ;",
        " BRA `(.L_x_3) ;",
        ".L_x_3:",
    ];
    assert_eq!(read_and_products(&lines), (768, 1));
    assert_eq!(read_and_products(&[lines[0], lines[6], lines[6]]), (512, 2));
}

/// What a cubin's kernels are made of, by name.
fn disassembled(disassembler: &Path, cubin: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(cubin).expect("a temporary file");
    let output = Command::new(disassembler).arg("-c").arg(file.path()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", disassembler.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut kernels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut kernel = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((_, name)) = line.split_once(".section\t.text.") {
            kernel = name.split(',').next().map(str::to_owned);
        } else if line.contains(".section\t") {
            kernel = None;
        }
        if let Some(kernel) = &kernel {
            kernels.entry(kernel.clone()).or_default().push(line.to_owned());
        }
    }
    kernels
}

/// Asserts that no kernel of a module reads too much for its products.
fn assert_little_read(module: &str, launches: &[Launch<Place>], kernels: &BTreeMap<String, Vec<String>>) {
    for launch in launches {
        let lines: Vec<&str> = kernels[launch.entry].iter().map(String::as_str).collect();
        let (read, products) = read_and_products(&lines);
        let more = READ_MORE.iter().find(|(source, entry, _)| (*source, *entry) == (launch.source.name, launch.entry));
        let limit = more.map_or(READ_PER_PRODUCT, |&(.., bytes)| bytes);
        let bytes = f64::from(read) / f64::from(products.max(1));
        assert!(bytes <= limit, "`{}` of {module} reads {bytes} bytes a product, more than {limit}", launch.entry);
    }
}

#[test]
fn the_step_s_kernels_fit_a_multiprocessor() {
    let Some(compiler) = Compiler::find("what the reference model's kernels take") else { return };
    let disassembler = crate::folders::absolute("VITX_NVDISASM");
    if disassembler.is_none() {
        let what = "what the reference model's kernels read for their products, as VITX_NVDISASM is not set";
        // Not by `eprintln`, which is only shown when a test fails.
        let _ = writeln!(std::io::stderr(), "skipped: {what}");
    }
    for (precision, regions) in
        [(Precision::Bf16, false), (Precision::Bf16, true), (Precision::Tf32, false), (Precision::F32, false)]
    {
        for (module, launches) in modules(precision, regions) {
            let (log, cubin) = compiler.compile(&launches[0], "sm_90");
            let cubin = cubin.unwrap_or_else(|| panic!("{module}: {log}"));
            let usage = usage(&log);
            for launch in &launches {
                let usage = usage.get(launch.entry).unwrap_or_else(|| panic!("{} is not in {log}", launch.entry));
                assert!(usage.registers > 0, "{log}");
                if let Some(wrong) = wrong(launch, *usage) {
                    panic!("`{}` of {module} {wrong}", launch.entry);
                }
            }
            // Operands of several parts are read once for several products; and products of regions are cut so that all warps have a
            // part, if a small one that reads more.
            if let (Precision::Bf16, false, Some(disassembler)) = (precision, regions, &disassembler) {
                assert_little_read(&module, &launches, &disassembled(disassembler, &cubin));
            }
        }
    }
}
