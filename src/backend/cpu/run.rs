//! How a program runs on threads.

use std::ops::Range;

use rayon::{ThreadPool, prelude::*};

use super::{
    crew::{Crew, Task, Tasks},
    kernel::{Call, Inputs, Kind, Outputs, Split},
    kernels::{ahead, elementwise, subnormal::Flushed},
    program::{Base, COLUMNS, LANES, Program, Region, Slot, Step, Work},
    watch::Watch,
};
use crate::backend::Buffer;

/// The local memory of steps that have none.
const NONE: *mut f32 = std::ptr::null_mut();

/// Steps between one whose operands are announced and the one that runs.
const AHEAD: usize = 8;

/// Elements per task.
const ELEMENTS: usize = 1 << 16;

/// The memory that the threads of a running program share.
#[derive(Clone, Copy)]
struct Memory {
    store: *mut f32,
    arena: *mut f32,
}

// SAFETY: threads write disjoint parts only: a tensor per image is written at the images of the
// task, a lane's sums by the lane's task, a split output at the task's part; a region's tasks
// are all done before the next region reads, and an update runs when no region reads what it changes.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory {}

impl Memory {
    fn pointer(self, slot: &Slot, local: *mut f32) -> *mut f32 {
        let base = match slot.base {
            Base::Store => self.store,
            Base::Arena => self.arena,
            Base::Local => local,
        };
        // SAFETY: the compiler planned every slot inside its memory.
        unsafe { base.add(slot.offset) }
    }

    /// A tensor at images `first..first + images`, or all of it. A local tensor holds just these.
    fn read<'a>(self, slot: &Slot, local: *mut f32, first: usize, images: usize) -> &'a [f32] {
        let (start, len) = extent(slot, first, images);
        // SAFETY: inside the slot, and nothing writes it while this step runs.
        unsafe { std::slice::from_raw_parts(self.pointer(slot, local).add(start), len) }
    }

    fn write<'a>(self, slot: &Slot, local: *mut f32, first: usize, images: usize) -> &'a mut [f32] {
        let (start, len) = extent(slot, first, images);
        // SAFETY: inside the slot, and only this task writes these images.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(slot, local).add(start), len) }
    }

    fn arena<'a>(self, offset: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: callers pass a lane of a planned buffer that belongs to their task.
        unsafe { std::slice::from_raw_parts_mut(self.arena.add(offset), len) }
    }
}

fn extent(slot: &Slot, first: usize, images: usize) -> (usize, usize) {
    match (slot.per_image, slot.base) {
        (false, _) => (0, slot.len),
        (true, Base::Local) => (0, slot.len * images),
        (true, _) => (slot.len * first, slot.len * images),
    }
}

impl Program {
    /// Runs regions, and with the last of them the updates. Nothing is allocated meanwhile.
    pub fn run(&self, regions: Range<usize>, machine: &mut Machine, iteration: u64, watch: Option<&Watch>) {
        let Machine { store, arena, workers, pool } = machine;
        assert!(arena.len() >= self.arena_len);
        let memory = Memory { store: store.as_mut_ptr(), arena: arena.as_mut_ptr() };
        let run = Run { program: self, regions, threads: workers.len(), memory, iteration, watch };
        let crew = Crew::new(&run);
        pool.install(|| {
            workers.par_iter_mut().with_max_len(1).for_each(|worker| {
                let _flushed = Flushed::begin();
                crew.work(|task| run.task(task, worker));
            });
        });
    }
}

/// What a program runs on.
pub struct Machine<'a> {
    pub store: &'a mut [f32],
    pub arena: &'a mut [f32],
    /// [`Program::worker_len`] elements per thread.
    pub workers: &'a mut [Buffer],
    pub pool: &'a ThreadPool,
}

/// One run of a program.
struct Run<'a> {
    program: &'a Program,
    regions: Range<usize>,
    threads: usize,
    memory: Memory,
    iteration: u64,
    watch: Option<&'a Watch>,
}

/// Two stages a region: its tasks, then the sums of its lanes.
impl Tasks for Run<'_> {
    fn stages(&self) -> usize {
        2 * self.regions.len()
    }

    fn of_stage(&self, stage: usize) -> usize {
        let region = self.region(stage);
        match (region.work, stage % 2) {
            (Work::Images, 0) => self.lanes(),
            (Work::Images, _) => sums(region).count(),
            (Work::Each, 0) => region.steps.len(),
            (Work::Single, 0) => self.parts(&region.steps),
            (Work::Each | Work::Single, _) => 0,
        }
    }

    fn beside(&self, stage: usize) -> usize {
        if self.regions.end < self.program.regions.len() {
            return 0;
        }
        let now = self.regions.start + stage / 2;
        self.parts(self.program.updates.iter().take_while(|update| update.from <= now).map(|update| &update.step))
    }
}

/// The outputs of a region that are summed over lanes, and where the sums of the lanes are.
fn sums(region: &Region) -> impl Iterator<Item = (&Slot, usize)> {
    region.steps.iter().flat_map(|step| &step.outputs).filter_map(|slot| Some((slot, slot.lanes?)))
}

impl Run<'_> {
    fn region(&self, stage: usize) -> &Region {
        &self.program.regions[self.regions.start + stage / 2]
    }

    fn task(&self, task: Task, worker: &mut [f32]) {
        match task {
            Task::Of { stage, index } => {
                let region = self.region(stage);
                match (region.work, stage % 2) {
                    (Work::Images, 0) => self.lane(region, index, worker),
                    (Work::Images, _) => self.add_lanes(region, index),
                    (Work::Each, _) => self.once(&region.steps[index], worker),
                    (Work::Single, _) => self.nth_part(&region.steps, index, worker),
                }
            }
            Task::Beside(index) => {
                self.nth_part(self.program.updates.iter().map(|update| &update.step), index, worker);
            }
        }
    }

    /// How many tasks steps are shared as.
    fn parts<'s>(&self, steps: impl IntoIterator<Item = &'s Step>) -> usize {
        steps.into_iter().map(|step| self.parts_of(step)).sum()
    }

    /// One of the tasks of steps, which are numbered through.
    fn nth_part<'s>(&self, steps: impl IntoIterator<Item = &'s Step>, mut index: usize, worker: &mut [f32]) {
        for step in steps {
            let parts = self.parts_of(step);
            if index < parts {
                return self.part(step, index, worker);
            }
            index -= parts;
        }
    }

    fn lane_images(&self) -> usize {
        self.program.batch.div_ceil(LANES)
    }

    fn lanes(&self) -> usize {
        self.program.batch.div_ceil(self.lane_images())
    }

    /// Takes the images of a lane through a region.
    fn lane(&self, region: &Region, lane: usize, worker: &mut [f32]) {
        let (memory, lane_images) = (self.memory, self.lane_images());
        let (local, scratch) = worker.split_at_mut(region.local_len);
        let local = local.as_mut_ptr();
        let end = self.program.batch.min((lane + 1) * lane_images);
        let mut count = 0;
        for first in (lane * lane_images..end).step_by(region.tile) {
            let begin = first == lane * lane_images;
            let images = region.tile.min(end - first);
            for (index, step) in region.steps.iter().enumerate() {
                ahead::begin(count);
                self.announce(region, index + AHEAD, first, count + AHEAD as u64, end);
                count += 1;
                let inputs = step.inputs.iter().map(|slot| memory.read(slot, local, first, images)).collect();
                let outputs = step.outputs.iter().map(|slot| match slot.lanes {
                    Some(offset) => {
                        let sum = memory.arena(offset + lane * slot.len, slot.len);
                        if begin && !step.kernel.begins {
                            sum.fill(0.0);
                        }
                        sum
                    }
                    None => memory.write(slot, local, first, images),
                });
                let outputs = outputs.collect();
                let iteration = self.iteration;
                self.call(step, Call { inputs, outputs, scratch, first, images, begin, part: 0..0, iteration });
            }
        }
    }

    /// Adds up one of the sums of a region, always in the order of the lanes.
    fn add_lanes(&self, region: &Region, index: usize) {
        let Some((slot, offset)) = sums(region).nth(index) else { return };
        let total = self.memory.write(slot, NONE, 0, 0);
        total.copy_from_slice(self.memory.arena(offset, slot.len));
        for lane in 1..self.lanes() {
            elementwise::accumulate(self.memory.arena(offset + lane * slot.len, slot.len), total);
        }
    }

    /// Announces what a later step of a tile, or of the one after it, reads from the arena.
    fn announce(&self, region: &Region, index: usize, first: usize, count: u64, end: usize) {
        let tiles = index / region.steps.len();
        let (first, step) = (first + tiles * region.tile, &region.steps[index % region.steps.len()]);
        if first >= end {
            return;
        }
        let images = region.tile.min(end - first);
        for slot in &step.cold {
            let (start, len) = extent(slot, first, images);
            ahead::announce(count, self.memory.pointer(slot, NONE).wrapping_add(start), len);
        }
    }

    fn call(&self, step: &Step, mut call: Call) {
        match self.watch {
            None => (step.kernel.run)(&mut call),
            Some(watch) => watch.call(step, &mut call),
        }
    }

    /// All images of a step's inputs. Those that it changes in place are reached through the outputs alone.
    fn inputs<'a>(&self, step: &Step) -> Inputs<'a> {
        let input = |slot: &Slot| match slot {
            slot if step.outputs.contains(slot) => &[][..],
            slot => self.memory.read(slot, NONE, 0, self.program.batch),
        };
        step.inputs.iter().map(input).collect()
    }

    /// A call on all images.
    fn whole<'a>(
        &self,
        step: &Step,
        inputs: Inputs<'a>,
        outputs: Outputs<'a>,
        scratch: &'a mut [f32],
        part: Range<usize>,
    ) {
        let (images, iteration) = (self.program.batch, self.iteration);
        self.call(step, Call { inputs, outputs, scratch, first: 0, images, begin: false, part, iteration });
    }

    /// The whole step as one task.
    fn once(&self, step: &Step, scratch: &mut [f32]) {
        let outputs = step.kernel.outputs.iter().zip(&step.outputs).map(|(kind, slot)| {
            let output = self.memory.write(slot, NONE, 0, self.program.batch);
            if *kind == Kind::Sum {
                output.fill(0.0);
            }
            output
        });
        self.whole(step, self.inputs(step), outputs.collect(), scratch, 0..0);
    }

    /// Columns per task of a step that is shared by columns.
    fn columns(&self, columns: usize) -> usize {
        let [many, few] = COLUMNS;
        if columns >= 2 * many * self.threads { many } else { few }
    }

    /// How many tasks a step is shared as.
    fn parts_of(&self, step: &Step) -> usize {
        match step.kernel.split {
            Split::Images | Split::Once => 1,
            Split::Columns { columns, .. } => columns.div_ceil(self.columns(columns)),
            Split::Rows { rows, together, .. } => rows.div_ceil(together),
            Split::Elements => step.outputs[0].len.div_ceil(ELEMENTS),
        }
    }

    /// One of a step's tasks.
    fn part(&self, step: &Step, task: usize, worker: &mut [f32]) {
        let memory = self.memory;
        let base = |output: usize| memory.pointer(&step.outputs[output], NONE);
        match step.kernel.split {
            Split::Images | Split::Once => self.once(step, worker),
            Split::Columns { rows, columns } => {
                let width = self.columns(columns);
                let part = task * width..columns.min((task + 1) * width);
                let (compact, scratch) = worker.split_at_mut(rows * part.len());
                self.whole(step, self.inputs(step), Outputs::from_iter([&mut *compact]), scratch, part.clone());
                for (row, values) in compact.chunks(part.len()).enumerate() {
                    let first = row * columns + part.start;
                    // SAFETY: this task alone writes its columns of a row.
                    let to = unsafe { std::slice::from_raw_parts_mut(base(0).add(first), part.len()) };
                    to.copy_from_slice(values);
                }
            }
            Split::Rows { rows, columns, together } => {
                let part = task * together..rows.min((task + 1) * together);
                let (start, len) = (part.start * columns, part.len() * columns);
                // SAFETY: this task alone writes its rows.
                let rows = |output| unsafe { std::slice::from_raw_parts_mut(base(output).add(start), len) };
                let outputs = (0..step.outputs.len()).map(rows).collect();
                self.whole(step, self.inputs(step), outputs, worker, part);
            }
            Split::Elements => {
                let len = step.outputs[0].len;
                let part = task * ELEMENTS..len.min((task + 1) * ELEMENTS);
                // Inputs that are updated in place are reached through the outputs alone.
                let inputs = step.inputs.iter().map(|slot| match slot {
                    slot if step.outputs.contains(slot) => &[][..],
                    slot if slot.len == len => &memory.read(slot, NONE, 0, 0)[part.clone()],
                    slot => memory.read(slot, NONE, 0, 0),
                });
                let outputs = step.outputs.iter().map(|slot| {
                    // SAFETY: this task alone writes its elements.
                    unsafe { std::slice::from_raw_parts_mut(memory.pointer(slot, NONE).add(part.start), part.len()) }
                });
                self.whole(step, inputs.collect(), outputs.collect(), worker, part.clone());
            }
        }
    }
}
