//! One matrix product of cuBLASLt: its description, and running it.
//!
//! cuBLASLt thinks in columns: our row-major `d = a b` is its `d' = b' a'`, so our `b` is its first operand.

use std::{ffi::c_void, rc::Rc, sync::Arc};

use cudarc::{
    cublaslt::{
        result::{self, CublasError},
        sys::{
            cublasComputeType_t as Compute, cublasLtEpilogue_t as LtEpilogue, cublasLtHandle_t, cublasLtMatmulAlgo_t,
            cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatrixLayout_t, cudaDataType,
        },
    },
    driver::{CudaSlice, CudaStream, DevicePtr},
};

use crate::backend::{
    BackendError,
    cuda::{
        gemm::{Epilogue, Gemm, Matrix},
        launch::{Element, Precision},
        program::Line,
    },
};

/// What cuBLASLt recommends on Hopper; more helps only products that split a long sum.
pub const WORKSPACE: usize = 32 << 20;

/// The library's handle.
pub struct Handle(pub cublasLtHandle_t);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `create_handle`, destroyed once. There is nothing to do about an error.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// An error of the library as ours.
pub fn lt(what: &str) -> impl FnOnce(CublasError) -> BackendError {
    move |error| BackendError::Other(format!("cuBLASLt: cannot {what}: {error}"))
}

/// What products run with.
#[derive(Clone)]
pub struct Shared {
    pub handle: Rc<Handle>,
    /// [`WORKSPACE`] bytes for each line that has products: those of one line run one after the other, so one workspace
    /// serves them.
    pub workspaces: [Rc<CudaSlice<u8>>; 2],
}

/// A description with its addresses and its algorithm.
pub struct Product {
    pub operation: cublasLtMatmulDesc_t,
    /// Of the library's first and second operand, and of the result.
    pub layouts: [cublasLtMatrixLayout_t; 3],
    addresses: [u64; 3],
    pub algorithm: cublasLtMatmulAlgo_t,
    handle: Rc<Handle>,
    /// [`WORKSPACE`] bytes, which nothing else uses while the product runs.
    pub workspace: Rc<CudaSlice<u8>>,
}

impl Product {
    /// Describes a product, with its epilogue or without, for a line. It has no algorithm yet.
    pub fn new(shared: &Shared, gemm: &Gemm<u64>, line: Line, fused: bool) -> Result<Self, BackendError> {
        let Some(workspace) = shared.workspaces.get(line.index()) else {
            return Err(BackendError::Other(format!("cuBLASLt: no workspace for a product of the line {line:?}")));
        };
        let compute = match gemm.precision {
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::F32 | Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F,
        };
        let mut product = Product {
            operation: result::create_matmul_desc(compute, cudaDataType::CUDA_R_32F)
                .map_err(lt("describe a product"))?,
            layouts: [std::ptr::null_mut(); 3],
            addresses: [gemm.b.place, gemm.a.place, gemm.d.place],
            algorithm: cublasLtMatmulAlgo_t { data: [0; 8] },
            handle: shared.handle.clone(),
            workspace: workspace.clone(),
        };
        let set = |attribute, value: *const c_void, size| {
            // SAFETY: the description is alive, and the value is of the attribute's size.
            unsafe { result::set_matmul_desc_attribute(product.operation, attribute, value, size) }
                .map_err(lt("describe a product"))
        };
        for (attribute, matrix) in
            [(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &gemm.b), (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &gemm.a)]
        {
            // cublasOperation_t: 0 is N, 1 is T.
            let operation = i32::from(matrix.transposed);
            set(attribute, (&raw const operation).cast(), size_of::<i32>())?;
        }
        let epilogue = match gemm.epilogue {
            Epilogue::None => None,
            Epilogue::Bias(bias) => Some((LtEpilogue::CUBLASLT_EPILOGUE_BIAS, bias)),
            Epilogue::RowSum(sum) => Some((LtEpilogue::CUBLASLT_EPILOGUE_BGRADA, sum)),
        };
        if let Some((kind, address)) = epilogue.filter(|_| fused) {
            set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, (&raw const kind).cast(), size_of_val(&kind))?;
            set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, (&raw const address).cast(), size_of::<u64>())?;
        }
        // The rows and columns that lie in memory, seen by columns.
        let layout = |matrix: &Matrix<u64>, rows: usize, columns: usize| {
            let element = match matrix.element {
                Element::F32 => cudaDataType::CUDA_R_32F,
                Element::Bf16 => cudaDataType::CUDA_R_16BF,
            };
            let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
            result::create_matrix_layout(element, columns as u64, rows as u64, matrix.stride as i64)
                .map_err(lt("describe a matrix"))
        };
        product.layouts[0] = layout(&gemm.b, gemm.k, gemm.n)?;
        product.layouts[1] = layout(&gemm.a, gemm.m, gemm.k)?;
        product.layouts[2] = layout(&gemm.d, gemm.m, gemm.n)?;
        Ok(product)
    }

    /// Puts the product on a stream, where no other product of its line may run at the same time.
    pub fn run(&self, stream: &Arc<CudaStream>) -> Result<(), BackendError> {
        let (alpha, beta) = (1.0_f32, 0.0_f32);
        let [a, b, d] = self.addresses.map(|address| address as *mut c_void);
        let workspace = self.workspace.device_ptr(stream).0;
        // SAFETY: descriptors are alive; the engine planned the matrices at these addresses in memory that
        // outlives the product; the scalars are read before the call returns.
        unsafe {
            result::matmul(
                self.handle.0,
                self.operation,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                a,
                self.layouts[0],
                b,
                self.layouts[1],
                d,
                self.layouts[2],
                d,
                self.layouts[2],
                &raw const self.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .map_err(lt("run a product"))
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
            // SAFETY: made by `create_matrix_layout`, destroyed once. There is nothing to do about an error.
            let _ = unsafe { result::destroy_matrix_layout(layout) };
        }
        // SAFETY: made by `create_matmul_desc`, destroyed once.
        let _ = unsafe { result::destroy_matmul_desc(self.operation) };
    }
}
