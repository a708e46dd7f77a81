//! A checkpoint's files, mapped into memory: a page counts as this process's only between its reading and its release.

use super::super::{Error, Result};
use memmap2::Mmap;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::Path;

/// The bytes of a file, or of a checkpoint that is built into the binary.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

impl Bytes {
    #[expect(
        unsafe_code,
        reason = "mapping a file is unsafe because another process could truncate it; checkpoints are not"
    )]
    pub(super) fn map(path: &Path) -> Result<(Self, Metadata)> {
        let map = || {
            let file = File::open(path)?;
            Ok((Self::Mapped(unsafe { Mmap::map(&file) }?), file.metadata()?))
        };
        map().map_err(|source| Error::Read { path: path.to_path_buf(), source })
    }

    /// Takes pages out of this process that are not needed again soon; a later read finds them in the system's cache.
    #[cfg_attr(unix, expect(unsafe_code, reason = "a read-only mapping of a file loses nothing with its pages"))]
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = self {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // it is a matter of memory alone: where the kernel refuses, nothing is wrong
            let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
