//! Measurements of the ways to cut the work.

use super::{super::product::Tile, *};

/// What each way to cut the work takes, printed: `VITX_KERNEL_TESTS=device cargo test --lib conv2d_mma -- --ignored
/// --nocapture`.
#[test]
#[ignore = "measures on a CUDA device"]
fn speeds() {
    assert!(emulator::Way::wanted() == emulator::Way::Device, "VITX_KERNEL_TESTS=device");
    let strided = Conv2d { strides: [2, 2], ..PLAIN };
    for case in [
        Case::new(1024, [32, 32], [3, 64]),
        Case::new(1024, [32, 32], [64, 64]),
        Case::new(1024, [16, 16], [128, 128]),
        Case::new(1024, [8, 8], [256, 256]),
        Case { conv: strided, ..Case::new(1024, [32, 32], [64, 128]) },
        Case { conv: strided, ..Case::new(1024, [16, 16], [128, 256]) },
    ] {
        let conv = case.of();
        let windows = case.images * conv.geometry().windows();
        let some: Vec<u16> = noise(1, 1 << 20).into_iter().map(emulator::to_bf16).collect();
        let tensor = |elements: usize| Memory::of(&some.repeat(elements.div_ceil(some.len())));
        let [x, dx] = [(); 2].map(|()| tensor(case.images * case.size[0] * case.size[1] * case.channels));
        let [y, dy] = [(); 2].map(|()| tensor(windows * case.filters));
        let kernel = tensor(9 * case.channels * case.filters);
        let out = Memory::empty(9 * case.channels * case.filters, Element::F32);
        let workspace = Memory::empty(conv.kernel_gradient_workspace(), Element::F32);
        let report = |what: &str, launches: &[Launch<*mut u8>]| {
            let seconds = emulator::seconds(launches);
            let flops = (2 * 9 * windows * case.channels * case.filters) as f64;
            println!("{what}: {:.0} us, {:.0} TFLOP/s", seconds * 1e6, flops / seconds * 1e-12);
        };
        println!("\n{:?}, {} to {}", case.size, case.channels, case.filters);
        let ways = [([2, 4], 32), ([4, 2], 32), ([2, 2], 64), ([4, 1], 64), ([4, 2], 64), ([2, 1], 64)];
        let product = conv.product();
        let chosen = product.tile().unwrap();
        let forward = |tile: &Tile| product.launch(tile, [x.at(), kernel.at()], None, None, y.at());
        report(&format!("forward, {chosen:?}"), &[forward(&chosen)]);
        for (chunk, (warps, columns), stages) in [64, 32]
            .into_iter()
            .flat_map(|chunk| ways.map(|way| (chunk, way)))
            .flat_map(|(c, w)| [2, 3, 4].map(|s| (c, w, s)))
        {
            if columns * warps[1] > case.filters {
                continue;
            }
            if let Some(tile) = product.cut(chunk, warps, columns, stages) {
                let what = format!(
                    "  {warps:?} warps of 64 x {columns}, chunk {chunk}, {stages} stages, {} blocks",
                    tile.blocks
                );
                report(&what, &[forward(&tile)]);
            }
        }
        if let Some(launches) = conv.input_gradient(&dy.at(), &kernel.at(), None, &dx.at()) {
            report("gradient of the input", &launches);
        }
        let launches = conv.kernel_gradient(x.at(), dy.at(), workspace.at(), out.at()).unwrap();
        report(&format!("gradient of the kernel, {:?}", conv.cut().unwrap()), &launches);
    }
}
