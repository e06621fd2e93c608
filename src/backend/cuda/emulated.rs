//! A device for tests: the very kernels, emulated on the host, and products in plain loops.

mod touched;

use std::{
    cell::{Cell, UnsafeCell},
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    device::{BLOCK_MEMORY, Device},
    emulator,
    forecast::PIECE,
    gemm::{Epilogue, Gemm, Matrix},
    launch::{Element, Launch, Precision},
    layout::WIDE,
    lines::{self, Waits},
    program::{Call, Line, Work},
};
use crate::{
    backend::BackendError,
    random::{Philox, Stream},
};

/// In which order an emulated device runs the calls of a program.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Order {
    /// As they are given.
    #[default]
    AsGiven,
    /// Each line as far as its waits allow before the next goes on, this one first.
    First(Line),
    /// By this seed one line or another.
    Drawn(u32),
}

/// How an emulated device does products.
#[derive(Debug, Clone, Copy, Default)]
pub struct Emulated {
    pub order: Order,
    /// Of this line nothing waits for the others.
    pub heedless: Option<Line>,
    /// Leaves epilogues to the launches that replace them.
    pub plain: bool,
    /// Updates parameters of so many elements by themselves, not those of [`WIDE`](super::layout::WIDE).
    pub wide: Option<usize>,
    /// Has no room for what is called so.
    pub no_room_for: Option<&'static str>,
    /// Has no room for any program.
    pub no_program: bool,
    /// What it has of memory, and what was taken of it.
    pub bytes: Option<&'static Bytes>,
    /// Leaves out the launches of this source.
    pub broken: Option<&'static str>,
    /// Which of several programs is the fastest.
    pub fastest: usize,
    /// Shared memory of a block, if not as much as a device has.
    pub block_memory: Option<usize>,
    /// Hides from each call all memory that it does not say it touches, see [`touched`].
    pub watched: bool,
}

impl Emulated {
    /// One on which calls touch no more than they say.
    pub fn watched() -> Self {
        Self { watched: true, ..Self::default() }
    }
}

thread_local! {
    /// Bytes that this thread has copied from emulated devices.
    pub static READ: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of an emulated device that has no more.
#[derive(Debug, Default)]
pub struct Bytes {
    pub all: u64,
    pub taken: AtomicU64,
    /// The most that was taken at a time.
    pub most: AtomicU64,
}

impl Bytes {
    /// For as long as the tests run.
    pub fn of(all: u64) -> &'static Self {
        Box::leak(Box::new(Self { all, ..Self::default() }))
    }
}

/// Memory of the emulated device, and what it is taken of.
pub struct Memory(UnsafeCell<Vec<u128>>, Option<(&'static Bytes, u64)>);

impl Drop for Memory {
    fn drop(&mut self) {
        touched::forget(self.bytes() as u64);
        if let Some((of, bytes)) = self.1 {
            of.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Memory {
    fn bytes(&self) -> *mut u8 {
        // SAFETY: only the address is taken.
        unsafe { (*self.0.get()).as_mut_ptr().cast() }
    }

    fn len(&self) -> usize {
        // SAFETY: nothing changes the vector itself.
        16 * unsafe { (*self.0.get()).len() }
    }
}

fn load(matrix: &Matrix<u64>, row: usize, column: usize) -> f32 {
    let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
    load_at(matrix.place, matrix.element, row * matrix.stride + column)
}

fn load_at(address: u64, element: Element, index: usize) -> f32 {
    // SAFETY: the engine planned the tensor at this address, which is the host's.
    unsafe {
        match element {
            Element::F32 => (address as *const f32).add(index).read(),
            Element::Bf16 => f32::from_bits(u32::from((address as *const u16).add(index).read()) << 16),
        }
    }
}

fn store_at(address: u64, element: Element, index: usize, value: f32) {
    // SAFETY: as in `load_at`; nothing else refers to the memory while a call runs.
    unsafe {
        match element {
            Element::F32 => (address as *mut f32).add(index).write(value),
            Element::Bf16 => (address as *mut u16).add(index).write(emulator::to_bf16(value)),
        }
    }
}

fn product(gemm: &Gemm<u64>, fused: bool) {
    assert!(gemm.precision != Precision::Tf32, "the emulated device has no tf32");
    let Gemm { m, n, k, a, b, d, epilogue, .. } = gemm;
    let right: Vec<f32> = (0..*k).flat_map(|row| (0..*n).map(move |column| load(b, row, column))).collect();
    for row in 0..*m {
        let mut sums = vec![0.0_f32; *n];
        for (at, right) in right.chunks(*n).enumerate() {
            let left = load(a, row, at);
            sums.iter_mut().zip(right).for_each(|(sum, right)| *sum += left * right);
        }
        for (column, mut sum) in sums.into_iter().enumerate() {
            if let (Epilogue::Bias(bias), true) = (epilogue, fused) {
                sum += load_at(*bias, d.element, column);
            }
            store_at(d.place, d.element, row * d.stride + column, sum);
        }
    }
    if let (Epilogue::RowSum(to), true) = (epilogue, fused) {
        for column in 0..*n {
            let sum = (0..*k).map(|row| right[row * n + column]).sum();
            store_at(*to, Element::F32, column, sum);
        }
    }
}

fn run(launch: Launch<u64>) {
    // SAFETY: addresses are of memory that the engine planned and keeps.
    unsafe { emulator::run(&launch.map(|address| address as *mut u8)) };
}

/// The calls in an order that their waits allow.
fn ordered(calls: &[Call<u64>], waits: &[Waits], order: Order) -> Vec<usize> {
    if order == Order::AsGiven {
        return (0..calls.len()).collect();
    }
    let line = |line: Line| (0..calls.len()).filter(|&index| calls[index].line == line).collect::<VecDeque<_>>();
    let mut rest = Line::ALL.map(line);
    let mut done = vec![false; calls.len()];
    let mut all = Vec::new();
    while all.len() < calls.len() {
        let first = match order {
            Order::AsGiven => 0,
            Order::First(line) => line.index(),
            Order::Drawn(seed) => {
                Philox::new(seed.into(), Stream::Shuffle).block([all.len() as u32, 0, 0, 0])[0] as usize
                    % Line::ALL.len()
            }
        };
        let ready =
            |line: &usize| rest[*line].front().is_some_and(|&next| waits[next].iter().all(|&before| done[before]));
        let lines = (0..Line::ALL.len()).map(|line| (first + line) % Line::ALL.len());
        let next = lines.into_iter().find(ready).and_then(|line| rest[line].pop_front());
        let next = next.expect("one line can always go on");
        done[next] = true;
        all.push(next);
    }
    all
}

impl Device for Emulated {
    type Memory = Memory;
    type Prepared = Vec<Call<u64>>;

    fn block_memory(&self) -> usize {
        self.block_memory.unwrap_or(BLOCK_MEMORY)
    }

    fn wide(&self) -> usize {
        self.wide.unwrap_or(WIDE)
    }

    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError> {
        Ok(self.bytes.map(|bytes| [bytes.all - bytes.taken.load(Ordering::Relaxed), bytes.all]))
    }

    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Memory, BackendError> {
        if self.no_room_for == Some(what) {
            return Err(BackendError::Other("out of device memory".into()));
        }
        let piece = (bytes as u64).next_multiple_of(PIECE);
        let taken = self.bytes.map(|of| (of, piece));
        if let Some((of, piece)) = taken {
            let all = of.taken.fetch_add(piece, Ordering::Relaxed) + piece;
            of.most.fetch_max(all, Ordering::Relaxed);
            if all > of.all {
                of.taken.fetch_sub(piece, Ordering::Relaxed);
                return Err(BackendError::Other(format!("out of device memory: {what}")));
            }
        }
        // Large vectors come from the system page by page, so addresses are as aligned as a device's.
        let memory = Memory(UnsafeCell::new(vec![0; bytes.div_ceil(16)]), taken);
        if self.watched {
            touched::remember(memory.bytes() as u64, memory.len());
        }
        Ok(memory)
    }

    fn address(&self, memory: &Memory) -> u64 {
        memory.bytes() as u64
    }

    fn write(&mut self, memory: &mut Memory, offset: usize, bytes: &[u8]) -> Result<(), BackendError> {
        assert!(offset + bytes.len() <= memory.len());
        // SAFETY: inside the memory, and nothing runs.
        unsafe { memory.bytes().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&self, memory: &Memory, offset: usize, bytes: &mut [u8]) -> Result<(), BackendError> {
        READ.set(READ.get() + bytes.len());
        assert!(offset + bytes.len() <= memory.len());
        // SAFETY: inside the memory, and nothing runs.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(memory.bytes().add(offset), bytes.len()) };
        Ok(())
    }

    fn copy(&mut self, from: &Memory, offset: usize, to: &mut Memory, bytes: usize) -> Result<(), BackendError> {
        assert!(offset + bytes <= from.len() && bytes <= to.len());
        // SAFETY: inside both memories, which are not the same, and nothing runs.
        unsafe { to.bytes().copy_from_nonoverlapping(from.bytes().add(offset), bytes) };
        Ok(())
    }

    fn prepare(&mut self, calls: Vec<Call<u64>>) -> Result<Self::Prepared, BackendError> {
        if self.no_program {
            return Err(BackendError::Other("out of device memory: a program".into()));
        }
        let mut waits = lines::waits(&calls);
        for (call, wait) in calls.iter().zip(&mut waits) {
            if self.heedless == Some(call.line) {
                wait.clear();
            }
        }
        Ok(ordered(&calls, &waits, self.order).into_iter().map(|index| calls[index].clone()).collect())
    }

    fn prepare_joint(&mut self, groups: Vec<Vec<Call<u64>>>) -> Result<Self::Prepared, BackendError> {
        // The last of a group first: their order must not matter.
        self.prepare(groups.into_iter().flat_map(|group| group.into_iter().rev()).collect())
    }

    fn launch(&mut self, prepared: &Self::Prepared) -> Result<(), BackendError> {
        for call in prepared {
            let work = || match call.work.clone() {
                Work::Launch(launch) if self.broken == Some(launch.source.name) => {}
                Work::Launch(launch) => run(launch),
                Work::Gemm(gemm, plain) => {
                    let fused = !self.plain || plain.is_empty();
                    product(&gemm, fused);
                    if !fused {
                        plain.into_iter().for_each(run);
                    }
                }
            };
            match &call.touched {
                Some(touched) if self.watched => touched::watch(&call.name, touched, work),
                _ => work(),
            }
        }
        Ok(())
    }

    fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError> {
        calls
            .into_iter()
            .map(|call| {
                let start = std::time::Instant::now();
                self.launch(&vec![call])?;
                Ok(start.elapsed())
            })
            .collect()
    }

    fn fastest(&mut self, programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError> {
        for calls in programs {
            let prepared = self.prepare(calls.clone())?;
            self.launch(&prepared)?;
        }
        Ok(self.fastest)
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
