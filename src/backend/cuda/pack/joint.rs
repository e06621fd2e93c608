//! The programs of several members as one: launches of the same kernel over the same grid become one launch, products
//! run beside one another.

use crate::backend::cuda::{
    gemm::Gemm,
    merged::merged,
    program::{Call, Line, Work},
};

/// What programs have in common that can be one: kernels and grids, products but for their places. Definitions are not part
/// of it: where constants differ in a kernel's text, that launch alone is not merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape(Vec<(Line, Form)>);

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Launch(&'static str, &'static str, [u32; 3], [u32; 3]),
    Product(Gemm<()>),
}

impl Shape {
    pub fn of(calls: &[Call<u64>]) -> Self {
        let form = |work: &Work<u64>| match work {
            Work::Launch(launch) => Form::Launch(launch.source.name, launch.entry, launch.grid, launch.block),
            Work::Gemm(gemm, _) => Form::Product(gemm.map(|_| ())),
        };
        Self(calls.iter().map(|call| (call.line, form(&call.work))).collect())
    }
}

/// One program for several of one shape, as groups of calls: those of a group may run at once.
pub fn joint(programs: &[&[Call<u64>]]) -> Vec<Vec<Call<u64>>> {
    let calls = programs.first().map_or(0, |calls| calls.len());
    (0..calls).map(|index| at(&programs.iter().map(|calls| &calls[index]).collect::<Vec<_>>())).collect()
}

/// The calls that do the work of one call of each.
fn at(calls: &[&Call<u64>]) -> Vec<Call<u64>> {
    let launches = calls.iter().map(|call| match &call.work {
        Work::Launch(launch) => Some(launch.clone()),
        Work::Gemm(..) => None,
    });
    let apart = || calls.iter().map(|&call| call.clone()).collect();
    let Some(merged) = launches.collect::<Option<Vec<_>>>().map(merged) else { return apart() };
    if merged.len() == calls.len() {
        return apart();
    }
    let touched: Option<Vec<_>> = calls.iter().map(|call| call.touched.clone()).collect();
    let touched = touched.map(|touched| touched.concat());
    let call = |launch| Call { work: Work::Launch(launch), touched: touched.clone(), ..calls[0].clone() };
    merged.into_iter().map(call).collect()
}
