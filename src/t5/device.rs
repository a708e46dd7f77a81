//! Where tensors live: the CPU (flex), or a GPU through CUDA when the binary was built with it.
//!
//! One code path serves both; this module is the only one that knows which devices there are. A GPU is looked for by
//! listing, because opening a CUDA device that is not there panics at its first tensor.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroUsize, str::FromStr};

/// The value of `--device`: `auto`, `cpu` or `cuda:0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first GPU if the binary was built for CUDA and one is there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number, as the CUDA driver counts them.
    Cuda(usize),
}

/// A device that cannot be had, or a thread pool that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not one of the forms.
    #[error("unknown device `{0}`: give auto, cpu or cuda:N, such as cuda:0")]
    Unknown(String),
    /// CUDA was left out of this binary.
    #[error("{0} needs a build for CUDA: run `cargo build --release --features cuda`, or give --device cpu")]
    NotBuilt(DeviceChoice),
    /// CUDA is in, but the GPU is not there.
    #[error(
        "{wanted} is not there: the CUDA driver shows {found} GPU(s); look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, \
         or give --device cpu"
    )]
    Absent {
        /// What was asked for.
        wanted: DeviceChoice,
        /// How many GPUs there are; they count from 0.
        found: usize,
    },
    /// The pool of compute threads was in use already.
    #[error("the number of threads must be set before the first computation: {0}")]
    Threads(String),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_string());
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                number.parse().map(DeviceChoice::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        choice.to_string()
    }
}

/// The GPUs that CUDA can open, in the driver's order; none where there is no driver.
#[cfg(feature = "cuda")]
fn gpus() -> Vec<Device> {
    Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().collect()
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> Vec<Device> {
    Vec::new()
}

/// Opens the chosen device, without autodiff, and says which one it is (never [`DeviceChoice::Auto`]).
///
/// # Errors
/// If a GPU is asked for that this binary or this machine does not have.
pub fn open(choice: DeviceChoice) -> Result<(Device, DeviceChoice), DeviceError> {
    let mut gpus = gpus();
    match choice {
        DeviceChoice::Auto if !gpus.is_empty() => Ok((gpus.swap_remove(0), DeviceChoice::Cuda(0))),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok((Device::flex(), DeviceChoice::Cpu)),
        DeviceChoice::Cuda(_) if cfg!(not(feature = "cuda")) => Err(DeviceError::NotBuilt(choice)),
        DeviceChoice::Cuda(index) if index < gpus.len() => Ok((gpus.swap_remove(index), choice)),
        DeviceChoice::Cuda(_) => Err(DeviceError::Absent { wanted: choice, found: gpus.len() }),
    }
}

/// Runs `work` where this device computes: on the CPU inside the pool, since each parallel operation that is entered from
/// outside pays a wake-up; elsewhere on this thread, to which a GPU's stream belongs. It must not wait for anything: on the
/// CPU it holds a thread of the pool.
pub fn compute<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    if *device == Device::flex() { rayon::scope(|_| work()) } else { work() }
}

/// Sets how many threads the CPU computes with, for the whole process. Without a call it is one for each core.
///
/// # Errors
/// If a computation has already started the pool.
pub fn set_threads(threads: NonZeroUsize) -> Result<(), DeviceError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .thread_name(|index| format!("compute-{index}"))
        .build_global()
        .map_err(|error| DeviceError::Threads(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let found = text.parse::<DeviceChoice>().map_or_else(|error| error.to_string(), |choice| format!("{choice:?}"));
        assert!(found.contains(wanted), "{text} gave {found}");
    }

    #[test]
    fn forms() {
        check("auto", "Auto");
        check("cpu", "Cpu");
        check("cuda:3", "Cuda(3)");
        check("cuda", "give auto, cpu or cuda:N");
        check("cuda:-1", "unknown device `cuda:-1`");
        check("GPU", "unknown device `GPU`");
        for text in ["auto", "cpu", "cuda:0", "cuda:12"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        let (device, opened) = open(DeviceChoice::Cpu).unwrap();
        assert_eq!(opened, DeviceChoice::Cpu);
        let sum = burn::tensor::Tensor::<1>::ones([3], &device).sum().into_scalar::<f32>();
        assert_eq!(sum, 3.0);
    }

    /// Holds with and without the feature, with and without a GPU.
    #[test]
    fn an_absent_gpu_is_refused_by_name_and_with_the_fix() {
        let message = open(DeviceChoice::Cuda(999)).unwrap_err().to_string();
        let fix = if cfg!(feature = "cuda") { "cuda:999 is not there" } else { "--features cuda" };
        assert!(message.contains("cuda:999") && message.contains(fix), "{message}");
    }
}
