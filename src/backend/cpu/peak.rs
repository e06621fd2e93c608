use std::{
    thread,
    time::{Duration, Instant},
};

use super::kernels::gemm::{Mat, gemm, scratch_len};

/// Side of the square matrices: large enough for full speed, small enough for a second-level cache
/// and its blocks.
const SIDE: usize = 768;

/// How long each thread multiplies.
const TIME: Duration = Duration::from_millis(400);

/// FLOP per second that `threads` threads reach together on large square float32 products, each
/// thread on its own: what a training step can be measured by.
pub fn matmul_flops(threads: usize) -> f64 {
    let work = || {
        let (a, b) = (vec![0.5_f32; SIDE * SIDE], vec![0.25_f32; SIDE * SIDE]);
        let mut c = vec![0.0; SIDE * SIDE];
        let mut scratch = vec![0.0; scratch_len(SIDE, SIDE, SIDE)];
        let mut best = f64::INFINITY;
        let start = Instant::now();
        while start.elapsed() < TIME {
            let before = Instant::now();
            let (a, b) = (Mat::rows(&a, SIDE), Mat::rows(&b, SIDE));
            gemm(SIDE, SIDE, SIDE, a, b, &mut c, SIDE, false, &mut scratch);
            std::hint::black_box(&mut c);
            best = best.min(before.elapsed().as_secs_f64());
        }
        2.0 * (SIDE * SIDE * SIDE) as f64 / best
    };
    thread::scope(|scope| {
        // This thread is one of them; of the others, those count that can be started.
        let started = (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok());
        let others: Vec<_> = started.collect();
        work() + others.into_iter().filter_map(|thread| thread.join().ok()).sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_at_least_a_scalar_loops() {
        assert!(super::matmul_flops(1) > 1e8);
    }
}
