//! Where the engine thread computes: on the CPU inside the rayon pool, elsewhere on the thread itself.

use super::{Error, Result};
use burn::tensor::Device;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one piece of work after the other and turns panics into errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compute {
    in_pool: bool,
}

impl Compute {
    /// For tensors on this device.
    pub(super) fn new(device: &Device) -> Self {
        Self { in_pool: *device == Device::flex() }
    }

    /// Runs `work`, which must not wait for anything: on the CPU it holds a thread of the pool.
    ///
    /// # Errors
    /// [`Error::Internal`] if it panics; what it borrowed mutably must not be used further.
    pub(super) fn run<R: Send>(self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        // one entry a step: each parallel operation that is entered from outside the pool pays a wake-up. A stream of a
        // GPU belongs to a thread, so there the work stays on this one.
        let run = || if self.in_pool { rayon::scope(|_| work()) } else { work() };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
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
    fn a_panic_is_an_error_in_and_outside_the_pool() {
        for in_pool in [true, false] {
            let compute = Compute { in_pool };
            let error = compute.run(|| -> Result<()> { panic!("broken {}", 7) }).unwrap_err();
            assert_eq!(error, Error::Internal("the engine panicked: broken 7".into()));
            assert_eq!(compute.run(|| Ok(rayon::current_thread_index().is_some())), Ok(in_pool));
        }
    }
}
