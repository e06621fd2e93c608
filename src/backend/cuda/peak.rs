//! The speed of large matrix products, to which a step's is compared.

use std::time::Instant;

use super::{
    device::Device,
    engine::encode,
    gemm::{Epilogue, Gemm, Matrix},
    launch::Precision,
    program::{Call, Cost, Work},
};
use crate::{backend::BackendError, graph::Initializer};

/// Rows and columns, of which the first are taken that leave room for what runs besides.
const SIZES: [usize; 4] = [8192, 4096, 2048, 1024];
/// Products that are timed together, after one that is not.
const PRODUCTS: usize = 10;

/// Operations a second of square products, a multiply-add counting two. Where an engine has nearly all memory, they are smaller.
pub fn matmul_peak<D: Device>(device: &mut D, precision: Precision) -> Result<f64, BackendError> {
    let element = precision.element();
    let bytes = |size: usize| 3 * size * size * element.size();
    let free = device.memory()?.map_or(u64::MAX, |[free, _]| free);
    // A quarter stays for the graph, and for what others take meanwhile.
    let fits = |size: &usize| bytes(*size) as u64 <= free - free / 4;
    let size = SIZES.into_iter().find(fits).unwrap_or(SIZES[SIZES.len() - 1]);
    let mut memory = device.allocate(bytes(size), "matrices to measure the peak with")?;
    // Zeros would take less power, and run faster than any real product.
    let mut values = vec![0.0; size * size];
    Initializer::Uniform { limit: 1.0 }.fill(1, 0, &mut values);
    let bytes = encode(&values, element);
    for index in 0..2 {
        device.write(&mut memory, index * bytes.len(), &bytes)?;
    }
    let address = device.address(&memory);
    let matrix = |index: usize| Matrix {
        place: address + (index * size * size * element.size()) as u64,
        element,
        stride: size,
        transposed: false,
    };
    let (a, b, d) = (matrix(0), matrix(1), matrix(2));
    let gemm = Gemm { m: size, n: size, k: size, a, b, d, epilogue: Epilogue::None, precision };
    let flops = gemm.flops();
    let call = Call { cost: Cost { bytes: 0, flops }, ..Call::unseen("peak", Work::Gemm(gemm, Vec::new())) };
    let prepared = device.prepare(vec![call; PRODUCTS])?;
    device.launch(&prepared)?;
    device.synchronize()?;
    let start = Instant::now();
    device.launch(&prepared)?;
    device.synchronize()?;
    Ok((PRODUCTS as u64 * flops) as f64 / start.elapsed().as_secs_f64())
}
