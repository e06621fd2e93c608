//! Compiled kernels by source, definitions and entry.

use std::sync::Arc;

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaModule, DriverError, sys::CUfunction_attribute_enum as Attribute},
    nvrtc::Ptx,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{cache::Cache, failed, nvrtc};
use crate::backend::{
    BackendError,
    cuda::{
        kernels,
        launch::{Launch, Source},
    },
};

pub type Function = CudaFunction;

/// What a module is compiled from: a source, and the options of the compiler.
type Module = (Source, Vec<String>);

/// Above so much shared memory, that which it declares included, a kernel must be told.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// Modules that were compiled or found on disk, loaded once each.
pub struct Modules {
    context: Arc<CudaContext>,
    /// `sm_90`
    architecture: String,
    compiler: (i32, i32),
    cache: Cache,
    loaded: FxHashMap<Module, Arc<CudaModule>>,
    /// The most shared memory that each function may be given.
    shared: FxHashMap<(Source, Vec<String>, &'static str), (CudaFunction, u32)>,
}

impl Modules {
    /// For a device of a compute capability.
    ///
    /// # Errors
    /// When NVRTC does not tell its version.
    pub fn new(context: Arc<CudaContext>, major: u32, minor: u32) -> Result<Self, BackendError> {
        Ok(Self {
            context,
            architecture: format!("sm_{major}{minor}"),
            compiler: nvrtc::version()?,
            cache: Cache::new("cubin"),
            loaded: FxHashMap::default(),
            shared: FxHashMap::default(),
        })
    }

    /// The compiler and what it compiles for.
    pub fn compiler(&self) -> String {
        let (major, minor) = self.compiler;
        format!("NVRTC {major}.{minor} for {}", self.architecture)
    }

    /// The function of a launch, allowed as much shared memory as it asks for.
    ///
    /// # Errors
    /// A kernel that does not compile, or a device that cannot run it.
    pub fn function<P>(&mut self, launch: &Launch<P>) -> Result<Function, BackendError> {
        let options = launch.compiler_options(&self.architecture);
        let key = (launch.source, options.clone(), launch.entry);
        if let Some((function, shared)) = self.shared.get(&key)
            && launch.shared_bytes <= *shared
        {
            return Ok(function.clone());
        }
        self.load_all(std::iter::once(launch))?;
        let module = &self.loaded[&(launch.source, options)];
        let function = module.load_function(launch.entry).map_err(failed(&format!("find kernel {}", launch.entry)))?;
        let declared = function.get_attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
        let declared = declared.map_err(failed(&format!("ask what {} shares", launch.entry)))?.max(0) as u32;
        let mut shared = SHARED_WITHOUT_ASKING.saturating_sub(declared);
        if launch.shared_bytes > shared {
            shared = launch.shared_bytes;
            function
                .set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, launch.shared_bytes as i32)
                .map_err(failed(&format!("give {} bytes of shared memory to {}", launch.shared_bytes, launch.entry)))?;
        }
        self.shared.insert(key, (function.clone(), shared));
        Ok(function)
    }

    /// Loads what these launches need, each module from its file. What no file has is compiled, by all processors at once:
    /// one module after the other, the first start of a network with many kernels took ten seconds.
    ///
    /// # Errors
    /// A kernel that does not compile.
    pub fn load_all<'a, P: 'a>(&mut self, launches: impl Iterator<Item = &'a Launch<P>>) -> Result<(), BackendError> {
        let mut modules: FxHashSet<Module> =
            launches.map(|launch| (launch.source, launch.compiler_options(&self.architecture))).collect();
        modules.retain(|module| !self.loaded.contains_key(module));
        let mut missing: Vec<Module> = Vec::new();
        for module in modules {
            // A file that the driver does not take is made anew.
            match self.kept(&module).map(|cubin| self.load(cubin)) {
                Some(Ok(loaded)) => drop(self.loaded.insert(module, loaded)),
                _ => missing.push(module),
            }
        }
        let compiled: Result<Vec<(Module, Vec<u8>)>, BackendError> = missing
            .into_par_iter()
            .map(|module| {
                let cubin = nvrtc::compile(module.0, &module.1)?;
                Ok((module, cubin))
            })
            .collect();
        for (module, cubin) in compiled? {
            self.identified(&module, |identity| self.cache.put(identity, &cubin));
            let loaded = self.load(cubin).map_err(failed(&format!("load {}", module.0.name)))?;
            self.loaded.insert(module, loaded);
        }
        Ok(())
    }

    /// The file of a module, if there is one.
    fn kept(&self, key: &Module) -> Option<Vec<u8>> {
        self.identified(key, |identity| self.cache.get(identity))
    }

    fn load(&self, cubin: Vec<u8>) -> Result<Arc<CudaModule>, DriverError> {
        self.context.load_module(Ptx::from_binary(cubin))
    }

    /// With all that a module's file depends on.
    fn identified<R>(&self, (source, options): &Module, then: impl FnOnce(&[&[u8]]) -> R) -> R {
        let (options, compiler) = (options.join("\n"), format!("{:?}", self.compiler));
        let headers = kernels::HEADERS.map(|(_, text)| text).concat();
        then(&[source.name, source.text, &headers, &options, &compiler].map(str::as_bytes))
    }
}
