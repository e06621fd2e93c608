//! Entries of some axes at other places.

use super::{Lower, Site, image, image_mut};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::ops::{Run, Translate},
};

/// Axes of an image that move alike: one that moves, or all between two that do.
#[derive(Debug)]
struct Axis {
    from: usize,
    to: usize,
    runs: Vec<Run>,
}

/// The axes of an image. Those that do not move are one with the axis before them.
fn axes(operator: &Translate, shape: &[usize]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for (axis, &entries) in shape.iter().enumerate().skip(1) {
        match (operator.movements.iter().find(|movement| movement.axis == axis), axes.last_mut()) {
            (Some(movement), _) => {
                axes.push(Axis { from: entries, to: movement.length, runs: movement.runs(entries) });
            }
            (None, Some(before)) => {
                before.from *= entries;
                before.to *= entries;
                for Run { to, from, length } in &mut before.runs {
                    [to, from, length].into_iter().for_each(|places| *places *= entries);
                }
            }
            (None, None) => {
                axes.push(Axis { from: entries, to: entries, runs: vec![Run { to: 0, from: 0, length: entries }] })
            }
        }
    }
    axes
}

/// Copies what moves; the rest of `to` stays.
fn copy(axes: &[Axis], from: &[f32], to: &mut [f32]) {
    let Some((axis, others)) = axes.split_first() else {
        return to.copy_from_slice(from);
    };
    let (from_step, to_step) = (from.len() / axis.from, to.len() / axis.to);
    for run in &axis.runs {
        let from = &from[run.from * from_step..][..run.length * from_step];
        let to = &mut to[run.to * to_step..][..run.length * to_step];
        if others.is_empty() {
            to.copy_from_slice(from);
        } else {
            for (from, to) in from.chunks(from_step).zip(to.chunks_mut(to_step)) {
                copy(others, from, to);
            }
        }
    }
}

impl Lower for Translate {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        if self.movements.first().is_some_and(|first| first.axis == 0) {
            return None;
        }
        let axes = axes(self, site.shapes[0]);
        let covered = |axis: &Axis| axis.runs.iter().map(|run| run.length).sum::<usize>() == axis.to;
        let zeros = !axes.iter().all(covered);
        Some(Kernel::per_image(move |call| {
            for index in 0..call.images {
                let from = image(call.inputs[0], call.images, index);
                let to = image_mut(call.outputs[0], call.images, index);
                if zeros {
                    to.fill(0.0);
                }
                copy(&axes, from, to);
            }
        }))
    }
}
