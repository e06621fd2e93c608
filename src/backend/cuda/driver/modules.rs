//! Compiled kernels by source, definitions and entry.

use std::sync::Arc;

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaModule, sys::CUfunction_attribute_enum as Attribute},
    nvrtc::Ptx,
};
use rustc_hash::FxHashMap;

use super::{cache::Cache, failed, nvrtc};
use crate::backend::{
    BackendError,
    cuda::{
        kernels,
        launch::{Launch, Source},
    },
};

pub type Function = CudaFunction;

/// Above so much dynamic shared memory a kernel must be told.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// Modules that were compiled or found on disk, loaded once each.
pub struct Modules {
    context: Arc<CudaContext>,
    /// `sm_90`
    architecture: String,
    compiler: (i32, i32),
    cache: Cache,
    loaded: FxHashMap<(Source, Vec<String>), Arc<CudaModule>>,
    /// The most shared memory that each function was told of.
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

    /// The function of a launch, allowed as much shared memory as it asks for.
    ///
    /// # Errors
    /// A kernel that does not compile, or a device that cannot run it.
    pub fn function<P>(&mut self, launch: &Launch<P>) -> Result<Function, BackendError> {
        let options = launch.compiler_options(&self.architecture);
        let key = (launch.source, options.clone(), launch.entry);
        if let Some((function, shared)) = self.shared.get(&key)
            && launch.shared_bytes <= (*shared).max(SHARED_WITHOUT_ASKING)
        {
            return Ok(function.clone());
        }
        let module = self.module(launch.source, options)?;
        let function = module.load_function(launch.entry).map_err(failed(&format!("find kernel {}", launch.entry)))?;
        if launch.shared_bytes > SHARED_WITHOUT_ASKING {
            function
                .set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, launch.shared_bytes as i32)
                .map_err(failed(&format!("give {} bytes of shared memory to {}", launch.shared_bytes, launch.entry)))?;
        }
        self.shared.insert(key, (function.clone(), launch.shared_bytes));
        Ok(function)
    }

    fn module(&mut self, source: Source, options: Vec<String>) -> Result<Arc<CudaModule>, BackendError> {
        let key = (source, options);
        if let Some(module) = self.loaded.get(&key) {
            return Ok(module.clone());
        }
        let options = &key.1;
        let (joined, compiler) = (options.join("\n"), format!("{:?}", self.compiler));
        let headers = kernels::HEADERS.map(|(_, text)| text).concat();
        let identity = [source.name, source.text, &headers, &joined, &compiler].map(|part: &str| part.as_bytes());
        let load = |cubin: Vec<u8>| self.context.load_module(Ptx::from_binary(cubin));
        // A file that the driver does not take is made anew.
        let module = match self.cache.get(&identity).map(load) {
            Some(Ok(module)) => module,
            _ => {
                let cubin = nvrtc::compile(source, options)?;
                self.cache.put(&identity, &cubin);
                load(cubin).map_err(failed(&format!("load {}", source.name)))?
            }
        };
        self.loaded.insert(key, module.clone());
        Ok(module)
    }
}
