//! Opens files of text, compressed ones and archives too. All is streamed: nothing is unpacked to disk or held whole.

use super::{Error, Result};
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Memory that a decoder of xz may take, in KiB; `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 1 << 20;

/// A text that was opened.
pub(super) struct Opened<'a> {
    /// The file, and the member of an archive, for errors.
    pub(super) place: &'a str,
    /// Whether each line is a JSON object.
    pub(super) json: bool,
    /// The unpacked text.
    pub(super) reader: &'a mut dyn BufRead,
}

/// Visits every text in a file: the file itself, or the members of a `.tar` in their order. `.xz` and `.gz` around either
/// are taken off. Ends early, with false, when `visit` answers false. Adds what it reads of the file to `read`.
///
/// # Errors
/// If the file cannot be read or unpacked, an archive lies within an archive, or what `visit` returns.
pub(super) fn visit_texts(
    path: &Path,
    read: &Cell<u64>,
    visit: &mut dyn FnMut(Opened<'_>) -> Result<bool>,
) -> Result<bool> {
    let file = Counted { file: File::open(path).map_err(Error::read(path))?, read };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let place = format!("`{}`", path.display());
    let (name, reader) = unpacked(&name, Box::new(file));
    if !name.ends_with(".tar") {
        return visit_text(&place, &name, reader, visit);
    }
    let damaged = |error: std::io::Error| Error::Text(format!("{place} cannot be unpacked: {error}"));
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = format!("{place} member `{member}`");
        let (name, reader) = unpacked(&member, Box::new(entry));
        if name.ends_with(".tar") {
            return Err(Error::Text(format!("{place} is an archive within an archive: unpack the outer one first")));
        }
        if !visit_text(&place, &name, reader, visit)? {
            return Ok(false);
        }
    }
    // a checksum stands at the very end
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(damaged)?;
    Ok(true)
}

fn visit_text(
    place: &str,
    name: &str,
    reader: Box<dyn Read + '_>,
    visit: &mut dyn FnMut(Opened<'_>) -> Result<bool>,
) -> Result<bool> {
    visit(Opened { place, json: name.ends_with(".jsonl"), reader: &mut BufReader::with_capacity(1 << 16, reader) })
}

/// Takes compression off, by the name's endings; gives the rest of the name in lower case.
fn unpacked<'a>(name: &str, mut reader: Box<dyn Read + 'a>) -> (String, Box<dyn Read + 'a>) {
    let mut name = name.to_ascii_lowercase();
    for (short, long) in [(".txz", ".tar.xz"), (".tgz", ".tar.gz")] {
        if let Some(stem) = name.strip_suffix(short) {
            name = format!("{stem}{long}");
        }
    }
    loop {
        if let Some(stem) = name.strip_suffix(".xz") {
            reader = Box::new(XzReader::new_mem_limit(BufReader::with_capacity(1 << 16, reader), true, XZ_MEMORY));
            name = stem.to_string();
        } else if let Some(stem) = name.strip_suffix(".gz") {
            reader = Box::new(MultiGzDecoder::new(reader));
            name = stem.to_string();
        } else {
            return (name, reader);
        }
    }
}

/// Counts the bytes of the file itself.
struct Counted<'a> {
    file: File,
    read: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}
