//! Times of what runs on a stream, by the device's own clock.

use std::{sync::Arc, time::Duration};

use cudarc::driver::{CudaEvent, CudaStream, sys};

use super::failed;
use crate::backend::BackendError;

/// Pairs of events with nothing between them, by which it is known what an event takes.
const EMPTY: usize = 8;

/// The time of each of `count` runs, one after the other. They are waited for once: each is there before the one before it is
/// done, as long as starting a run takes less than running it; where it takes longer, the times are those of starting. What
/// the events themselves take is not counted.
pub fn each(
    stream: &Arc<CudaStream>,
    count: usize,
    mut run: impl FnMut(usize) -> Result<(), BackendError>,
) -> Result<Vec<Duration>, BackendError> {
    let mut marks = vec![mark(stream)?];
    for index in 0..count {
        run(index)?;
        marks.push(mark(stream)?);
    }
    // Behind the runs, so that these are not waited for either.
    for _ in 0..EMPTY {
        marks.push(mark(stream)?);
    }
    stream.synchronize().map_err(failed("run what was launched"))?;
    let mut times: Vec<Duration> =
        marks.windows(2).map(|pair| between_events(&pair[0], &pair[1])).collect::<Result<_, _>>()?;
    let empty = times.split_off(count).into_iter().min().unwrap_or_default();
    Ok(times.into_iter().map(|time| time.saturating_sub(empty)).collect())
}

/// The time of one run, which is waited for.
pub fn once(
    stream: &Arc<CudaStream>,
    run: impl FnOnce() -> Result<(), BackendError>,
) -> Result<Duration, BackendError> {
    let begin = mark(stream)?;
    run()?;
    let end = mark(stream)?;
    stream.synchronize().map_err(failed("run what was launched"))?;
    between_events(&begin, &end)
}

fn mark(stream: &Arc<CudaStream>) -> Result<CudaEvent, BackendError> {
    // Without this flag an event takes no time.
    stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed("record an event"))
}

/// Of events that were recorded, and waited for. By the function that all drivers of today have: the bindings take its second version, of
/// the same arguments, which came with CUDA 12.8, and end the process where that is missing.
fn between_events(begin: &CudaEvent, end: &CudaEvent) -> Result<Duration, BackendError> {
    type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
    let missing = |error| BackendError::Other(format!("CUDA: the driver tells no times: {error}"));
    let mut milliseconds = 0.0_f32;
    // SAFETY: the driver's library is loaded, the function has had this type since CUDA 2, both events are alive, and the
    // pointer is to a live float.
    let status = unsafe {
        let named = |name: &[u8]| sys::culib().get::<ElapsedTime>(name);
        let elapsed = named(b"cuEventElapsedTime\0").or_else(|_| named(b"cuEventElapsedTime_v2\0")).map_err(missing)?;
        elapsed(&raw mut milliseconds, begin.cu_event(), end.cu_event())
    };
    status.result().map_err(failed("read the time between events"))?;
    Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1e3))
}
