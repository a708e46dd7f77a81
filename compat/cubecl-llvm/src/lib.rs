//! The part of `cubecl-llvm` 0.11.3 that `cubecl-cuda` names, without LLVM behind it: see README.md.
//!
//! Nothing here runs as long as `cubecl`'s feature `cuda-cpp` is on, because `cubecl-cuda` then hands every kernel to
//! NVRTC as CUDA C++. Should that feature get lost, [`PlironCompiler::compile`] answers an error that says so.

use cubecl_core::{ir::nvidia::SmArch, prelude::KernelDefinition};
use cubecl_environment::backtrace::BackTrace;
use cubecl_server::{compiler::CompilationError, kernel::BufferIOAttr};

/// What the compiler emits code for. Only the target that `cubecl-cuda` asks for.
#[derive(Clone, Copy, Debug, Default)]
pub enum LlvmTarget {
    #[default]
    Nvptx,
}

/// Stands where the compiler through LLVM would.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Always an error: there is no LLVM in this build.
    pub fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        let reason = "built without LLVM (compat/cubecl-llvm): keep the feature `cuda-cpp` of the crate `cubecl` on";
        Err(CompilationError::Generic { reason: reason.to_string(), backtrace: BackTrace::capture() })
    }

    /// The language that the original emits for NVPTX.
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// The options that `cubecl-cuda` sets.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD architecture in the original; never one here.
    pub arch: Option<std::convert::Infallible>,
    pub sm_arch: Option<SmArch>,
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    pub grid_constants: bool,
}

/// A compiled PTX module; [`PlironCompiler`] never makes one.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    pub ptx: Vec<core::ffi::c_char>,
    pub ir: String,
    pub shared_memory_size: usize,
    pub io: Vec<BufferIOAttr>,
}

/// What [`PlironCompiler::compile`] would answer.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    NvptxCode(NvptxModule),
}

pub mod nvptx {
    pub mod ptx_version {
        /// The PTX version that the LLVM compiler would emit, part of the name of its kernel cache only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(());

        impl PtxVersion {
            /// Never one: no PTX is emitted here.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("ptx")
            }
        }
    }
}

pub mod shared {
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// The devices whose features the original narrows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            Nvptx,
        }

        /// The original takes away what LLVM cannot lower. Called for the LLVM compiler alone, which refuses all kernels here.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}
