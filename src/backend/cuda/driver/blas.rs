//! Matrix products by cuBLASLt, the algorithm of each chosen by timing the library's own candidates.

use std::{ffi::c_void, rc::Rc, sync::Arc, time::Duration};

use cudarc::{
    cublaslt::{
        result,
        sys::{
            self, cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t,
            cublasLtMatmulPreferenceAttributes_t as Preference, cublasStatus_t,
        },
    },
    driver::{CudaSlice, CudaStream},
};
use rustc_hash::FxHashMap;

use super::{
    cache::Cache,
    capture::captured,
    copies::{self, Copies},
    failed,
    product::{Handle, Product, Shared, WORKSPACE, lt},
    timing,
};
use crate::backend::{
    BackendError,
    cuda::{
        gemm::{Epilogue, Gemm, Matrix},
        program::Line,
    },
};

/// Candidates of the library that are timed.
const CANDIDATES: usize = 16;
/// Launches of a candidate's graph; the fastest counts.
const ROUNDS: usize = 3;
/// What choices of this version of the timing are kept by: another way to time may choose otherwise.
const TIMED: &[u8] = b"2: in a graph, on copies of the operands";
/// The best alignment that a matrix can have.
const ALIGNMENT: u64 = 256;

/// What a product is but for its addresses, of which only the alignment counts.
type Key = Gemm<u64>;

/// Starts the launches that do an epilogue's work otherwise, on the operands of these copies.
pub type Rest<'a> = dyn FnMut(&Copies, usize) -> Result<(), BackendError> + 'a;

/// The algorithm of a product, and whether it fuses the epilogue.
#[derive(Clone, Copy)]
struct Choice {
    algorithm: cublasLtMatmulAlgo_t,
    fused: bool,
}

/// A handle, its workspaces, and what has been chosen so far.
pub struct Blas {
    shared: Shared,
    /// On which candidates are timed.
    stream: Arc<CudaStream>,
    /// Device and library, for which alone a choice on disk holds.
    machine: String,
    cache: Cache,
    chosen: FxHashMap<Key, Choice>,
    /// Bytes of the device's second-level cache.
    cached: usize,
}

impl Blas {
    /// For a device of this name, with a second-level cache of so many bytes.
    pub fn new(stream: Arc<CudaStream>, device: &str, cached: usize) -> Result<Self, BackendError> {
        let handle = Handle(result::create_handle().map_err(lt("start"))?);
        let workspace = || super::workspace(&stream).map(Rc::new);
        // SAFETY: a query without arguments.
        let version = unsafe { sys::cublasLtGetVersion() };
        Ok(Self {
            shared: Shared { handle: Rc::new(handle), workspaces: [workspace()?, workspace()?] },
            stream,
            machine: format!("{device}, cuBLASLt {version}"),
            cache: Cache::new("matmul"),
            chosen: FxHashMap::default(),
            cached,
        })
    }

    /// The device and the version of the library.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// A product that is ready to run on a line, and whether it does its epilogue. `rest` starts the launches that
    /// do the epilogue's work otherwise. The first time a product of this shape is asked for, candidates
    /// are run: its result must not matter yet.
    pub fn product(&mut self, gemm: &Gemm<u64>, line: Line, rest: &mut Rest) -> Result<(Product, bool), BackendError> {
        let key = gemm.map(|address| (1 << address.trailing_zeros().min(63)).min(ALIGNMENT));
        let choice = match self.chosen.get(&key) {
            Some(choice) => *choice,
            None => {
                let choice = self.choose(gemm, line, &key, rest)?;
                self.chosen.insert(key, choice);
                choice
            }
        };
        let mut product = Product::new(&self.shared, gemm, line, choice.fused)?;
        product.algorithm = choice.algorithm;
        Ok((product, choice.fused))
    }

    /// From disk, else by timing. The choice is kept, for a run that is continued or repeated shall
    /// give the same bits.
    fn choose(&mut self, gemm: &Gemm<u64>, line: Line, key: &Key, rest: &mut Rest) -> Result<Choice, BackendError> {
        let shape = format!("{key:?}");
        let identity: [&[u8]; 3] = [TIMED, self.machine.as_bytes(), shape.as_bytes()];
        if let Some(choice) = self.cache.get(&identity).and_then(|bytes| decode(&bytes)) {
            return Ok(choice);
        }
        // Without room for copies the operands themselves have to do, which may be in the cache then.
        let wanted = Copies::of(gemm, self.cached);
        let room = self.stream.alloc_zeros::<u8>(wanted.bytes().max(1)).ok();
        let copies = match &room {
            Some(room) => wanted.at(address(room, &self.stream)),
            None => wanted.none(),
        };
        let mut best: Option<(Duration, Choice)> = None;
        let kinds: &[bool] = if matches!(gemm.epilogue, Epilogue::None) { &[true] } else { &[true, false] };
        for &fused in kinds {
            let described = Product::new(&self.shared, gemm, line, fused);
            let found = described.and_then(|product| Ok((self.candidates(&product, key)?, product)));
            let (candidates, first) = match found {
                // What the library cannot fuse, it may refuse in more ways than one.
                Err(_) if fused && kinds.len() > 1 => continue,
                other => other?,
            };
            let mut products = vec![first];
            for copy in 1..copies.count() {
                products.push(Product::new(&self.shared, &copies.gemm(copy), line, fused)?);
            }
            for candidate in candidates {
                products.iter_mut().for_each(|product| product.algorithm = candidate.algo);
                let rest = if fused { None } else { Some(&mut *rest) };
                if let Some(time) = self.time(&products, &copies, rest)?
                    && best.is_none_or(|(known, _)| time < known)
                {
                    best = Some((time, Choice { algorithm: candidate.algo, fused }));
                }
            }
        }
        let (_, choice) = best.ok_or_else(|| {
            let Gemm { m, n, k, .. } = gemm;
            BackendError::Other(format!("cuBLASLt has no product of [{m}, {k}] and [{k}, {n}]"))
        })?;
        // Another process, which may have chosen otherwise, may have been faster.
        Ok(self.cache.settle(&identity, &encode(&choice), decode).unwrap_or(choice))
    }

    /// The time of the same product of each copy of its operands, one after the other, and of the launches after each, if
    /// there are any; `None` where the library has the product only on paper. As in a step, it runs in a graph, and its
    /// operands are not in the cache for having been used just before; a stream would be started product by product, which
    /// takes longer than a small one runs.
    fn time(
        &self,
        products: &[Product],
        copies: &Copies,
        mut rest: Option<&mut Rest>,
    ) -> Result<Option<Duration>, BackendError> {
        let once = |copy: usize, rest: &mut Option<&mut Rest>| -> Result<bool, BackendError> {
            if products[copy].run(&self.stream).is_err() {
                return Ok(false);
            }
            rest.as_mut().map_or(Ok(()), |rest| rest(copies, copy)).map(|()| true)
        };
        // This loads what is run, and finds out whether it runs.
        self.stream.synchronize().map_err(failed("time a product"))?;
        if !once(0, &mut rest)? || self.stream.synchronize().is_err() {
            return Ok(None);
        }
        let all = || (0..copies::RUNS).try_fold(true, |ran, run| Ok(ran && once(run % copies.count(), &mut rest)?));
        let (ran, graph) = captured(&self.stream, all)?;
        let ran: bool = ran?;
        let Some(graph) = (if ran { graph? } else { None }) else { return Ok(None) };
        let launch = || graph.launch().map_err(failed("time a product"));
        let mut best: Option<Duration> = None;
        // The first round is not counted: the graph goes to the device.
        for round in 0..=ROUNDS {
            let Ok(time) = timing::once(&self.stream, launch) else { return Ok(None) };
            if round > 0 {
                best = Some(best.map_or(time, |best| best.min(time)));
            }
        }
        Ok(best)
    }

    fn candidates(&self, product: &Product, key: &Key) -> Result<Vec<cublasLtMatmulHeuristicResult_t>, BackendError> {
        let preference = result::create_matmul_pref().map_err(lt("describe what is wanted"))?;
        let set = |attribute, value: *const c_void, size| {
            // SAFETY: the preference is alive, and the value is of the attribute's size.
            unsafe { result::set_matmul_pref_attribute(preference, attribute, value, size) }
        };
        let alignment = |matrix: &Matrix<u64>| matrix.place as u32;
        let wanted = set(
            Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const WORKSPACE_BYTES).cast(),
            size_of::<usize>(),
        )
        .and_then(|()| {
            for (attribute, value) in [
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(&key.b)),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(&key.a)),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(&key.d)),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(&key.d)),
            ] {
                set(attribute, (&raw const value).cast(), size_of::<u32>())?;
            }
            Ok(())
        });
        let mut found: Vec<cublasLtMatmulHeuristicResult_t> = Vec::with_capacity(CANDIDATES);
        let mut count = 0;
        let status = wanted.and_then(|()| {
            // SAFETY: all descriptors are alive, and there is room for `CANDIDATES` results.
            let status = unsafe {
                sys::cublasLtMatmulAlgoGetHeuristic(
                    self.shared.handle.0,
                    product.operation,
                    product.layouts[0],
                    product.layouts[1],
                    product.layouts[2],
                    product.layouts[2],
                    preference,
                    CANDIDATES as i32,
                    found.as_mut_ptr(),
                    &raw mut count,
                )
            };
            match status {
                cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => Ok(()),
                other => other.result(),
            }
        });
        // SAFETY: made above, destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(preference) };
        status.map_err(lt("find an algorithm"))?;
        // SAFETY: the library has written the first `count` results.
        unsafe { found.set_len((count.max(0) as usize).min(CANDIDATES)) };
        found.retain(|candidate| candidate.state == cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        Ok(found)
    }
}

fn address(memory: &CudaSlice<u8>, stream: &Arc<CudaStream>) -> u64 {
    use cudarc::driver::DevicePtr;
    memory.device_ptr(stream).0
}

/// The workspace's size, in memory that a preference can point to.
static WORKSPACE_BYTES: usize = WORKSPACE;

fn encode(choice: &Choice) -> Vec<u8> {
    let mut bytes: Vec<u8> = choice.algorithm.data.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.push(u8::from(choice.fused));
    bytes
}

fn decode(bytes: &[u8]) -> Option<Choice> {
    let (words, [fused]) = bytes.split_at_checked(64)? else { return None };
    let mut data = [0; 8];
    for (word, bytes) in data.iter_mut().zip(words.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    (*fused <= 1).then_some(Choice { algorithm: cublasLtMatmulAlgo_t { data }, fused: *fused == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_comes_back_from_disk() {
        let choice = Choice { algorithm: cublasLtMatmulAlgo_t { data: [1, 2, 3, u64::MAX, 5, 6, 7, 8] }, fused: true };
        let bytes = encode(&choice);
        let back = decode(&bytes).unwrap();
        assert_eq!((back.algorithm.data, back.fused), (choice.algorithm.data, true));
        assert!(decode(&bytes[..64]).is_none());
        assert!(decode(b"").is_none());
        assert!(decode(&[7; 65]).is_none());
    }
}
