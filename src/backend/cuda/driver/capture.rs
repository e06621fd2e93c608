//! One graph of the lines of calls: each line on a stream of its own, ordered by events, all captured together.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, sys};

use super::{Placed, branches::Branches, failed, run};
use crate::backend::{BackendError, cuda::program::Line};

/// A stream for each line.
pub(super) type Streams = [Arc<CudaStream>; Line::ALL.len()];

/// Marks on streams.
#[derive(Default)]
struct Events {
    /// Behind each call that another one waits for.
    of_calls: Vec<Option<CudaEvent>>,
    others: Vec<CudaEvent>,
}

/// A graph of calls on the streams of the lines and their branches; `None` for no calls.
pub(super) fn capture(
    streams: &Streams,
    branches: &Branches,
    calls: &[Placed],
) -> Result<Option<CudaGraph>, BackendError> {
    let main = &streams[Line::Main.index()];
    // An event is only a mark while a capture goes on, but the marks are kept until it ends.
    let mut events = Events::default();
    let (put, graph) = captured(main, || put(streams, branches, calls, &mut events))?;
    // The first error is the one that tells.
    put?;
    graph
}

/// What was put on a stream as a graph; `None` for nothing. The capture ends in any case, an error of what was put or not.
///
/// # Errors
/// When no capture begins.
pub(super) fn captured<T>(
    stream: &Arc<CudaStream>,
    put: impl FnOnce() -> T,
) -> Result<(T, Result<Option<CudaGraph>, BackendError>), BackendError> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    stream.begin_capture(mode).map_err(failed("begin to capture a graph"))?;
    let put = put();
    // Without this flag all that a graph does has the priority of the stream on which it is launched.
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    Ok((put, stream.end_capture(flags).map_err(failed("make a graph"))))
}

/// Puts calls on all streams. The capture begins on the main one: another takes part as it waits for an event of the
/// main one, and the capture can only end when the main one has waited for the last of each other.
fn put(streams: &Streams, branches: &Branches, calls: &[Placed], events: &mut Events) -> Result<(), BackendError> {
    let main = &streams[Line::Main.index()];
    let others = Line::ALL.into_iter().filter(|line| *line != Line::Main);
    let lasts: Vec<usize> = others.filter_map(|line| calls.iter().rposition(|call| call.line == line)).collect();
    let mut waited_for = vec![false; calls.len()];
    calls.iter().flat_map(|call| &call.waits).chain(&lasts).for_each(|&index| waited_for[index] = true);
    // Without a flag an event takes no times.
    let mark = |stream: &CudaStream| stream.record_event(None).map_err(failed("record an event"));
    let wait = |stream: &CudaStream, event: &CudaEvent| stream.wait(event).map_err(failed("wait for an event"));
    let begin = if lasts.is_empty() { None } else { Some(mark(main)?) };
    for &last in &lasts {
        if let Some(begin) = &begin {
            wait(&streams[calls[last].line.index()], begin)?;
        }
    }
    for (index, (call, waited_for)) in calls.iter().zip(waited_for).enumerate() {
        let stream = &streams[call.line.index()];
        if call.branch == 0 {
            // Those beside it begin with it, so what they wait for is waited for here.
            let beside = calls[index + 1..].iter().take_while(|next| next.branch > 0);
            let group = std::iter::once(call).chain(beside.clone());
            for event in group.flat_map(|call| &call.waits).filter_map(|&index| events.of_calls[index].as_ref()) {
                wait(stream, event)?;
            }
            if beside.clone().next().is_some() {
                let fork = mark(stream)?;
                for next in beside {
                    wait(branches.stream(next.line, next.branch)?, &fork)?;
                }
                events.others.push(fork);
            }
            call.steps.iter().try_for_each(|step| run(stream, step))?;
        } else {
            let beside = branches.stream(call.line, call.branch)?;
            call.steps.iter().try_for_each(|step| run(beside, step))?;
            // What the line does later comes after it; what runs on other branches does not wait.
            let join = mark(beside)?;
            wait(stream, &join)?;
            events.others.push(join);
        }
        events.of_calls.push(waited_for.then(|| mark(stream)).transpose()?);
    }
    for end in lasts.iter().filter_map(|&index| events.of_calls[index].as_ref()) {
        wait(main, end)?;
    }
    events.others.extend(begin);
    Ok(())
}
