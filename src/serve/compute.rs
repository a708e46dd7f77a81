//! The engine thread's work, of which a panic ends no more than a batch.

use super::{Error, Result};
use crate::t5::device;
use burn::tensor::Device;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one piece of work after the other and turns panics into errors.
#[derive(Debug)]
pub(super) struct Compute {
    device: Device,
}

impl Compute {
    /// For tensors on this device.
    pub(super) fn new(device: &Device) -> Self {
        Self { device: device.clone() }
    }

    /// Runs `work` as [`device::compute`] does.
    ///
    /// # Errors
    /// [`Error::Internal`] if it panics; what it borrowed mutably must not be used further.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        catch_unwind(AssertUnwindSafe(|| device::compute(&self.device, work))).unwrap_or_else(|panic| {
            let text = panicked(&*panic);
            tracing::error!("the engine panicked: {text}");
            Err(Error::Internal(format!("the engine panicked: {text}")))
        })
    }
}

/// The text of a panic.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no text)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let compute = Compute::new(&Device::flex());
        let error = compute.run(|| -> Result<()> { panic!("broken {}", 7) }).unwrap_err();
        assert_eq!(error, Error::Internal("the engine panicked: broken 7".into()));
        assert_eq!(compute.run(|| Ok(rayon::current_thread_index().is_some())), Ok(true), "inside the pool");
    }
}
