//! A training step allocates nothing, once its program is compiled.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use vitx::{
    backend::{Batch, Engine, EngineOptions, Precision, Regions, Step, cpu::CpuEngine},
    dsl::Source,
    graph::{
        losses::Loss,
        optimizers::{Ema, Optimizer},
    },
    model::{ImageSpec, elaborate},
};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// One test: another beside it would be counted too.
#[test]
fn none_in_a_step() {
    let ema = Some(Ema { decay: 0.9, warmup: true, evaluate: true });
    let all = Optimizer { clip_norm: Some(1.0), ema, ..Optimizer::default() };
    let accumulated = Optimizer { gradient_accumulation_steps: 2, ..all.clone() };
    for optimizer in [Optimizer::default(), all, accumulated] {
        assert_eq!(allocations(&optimizer), 0, "{optimizer:?}");
    }
}

/// How many steps make, once threads and programs are there.
fn allocations(optimizer: &Optimizer) -> u64 {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/experiments/digits_vit.vitx")).unwrap();
    let data = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };
    let architecture = elaborate(&Source::new("digits_vit.vitx", text), &BTreeMap::new(), &data).unwrap();
    let pixels: usize = architecture.image_shape().iter().product();
    let options = EngineOptions {
        optimizer: optimizer.clone(),
        loss: Loss::default(),
        seed: 1,
        threads: 2,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let mut engine =
        CpuEngine::new(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap();
    let (images, labels) = (vec![0.5; 37 * pixels], vec![3; 37]);
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    let mut before = 0;
    for iteration in 0..8 {
        // The first steps compile, and let the threads set up their queues. Handing a step to them
        // takes a fresh block of the queue every 63 times.
        if iteration == 3 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        let step = Step { epoch: 0, step: iteration, iteration: u64::from(iteration), learning_rate: 1e-3 };
        engine.train_step(&batch, &step).unwrap();
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}
