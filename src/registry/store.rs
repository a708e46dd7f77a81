//! Records in sled: JSON under `table/key`, written in atomic batches by one writer at a time.
//!
//! One tree holds all tables, so that a batch over several tables is one atomic write of sled's log; the writer's lock
//! makes read-modify-write safe, and readers never wait for it.

use super::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Version of keys and values; raise it with any change that an older version cannot read.
const SCHEMA: u32 = 1;
const SCHEMA_KEY: &[u8] = b"schema";
const PROBE_KEY: &[u8] = b"probe";
/// sled's default is 1 GiB; records are small.
const CACHE_BYTES: u64 = 64 << 20;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next_cursor: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next_cursor` of the page before; none for the first.
    pub cursor: Option<String>,
    /// Most entries, at least 1.
    pub limit: usize,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { cursor: None, limit: 100 }
    }
}

impl PageRequest {
    /// The whole list in one page.
    pub fn all() -> Self {
        Self { cursor: None, limit: usize::MAX }
    }
}

/// In which order a list goes through its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Rising,
    Falling,
}

/// A table: the records of type `T` whose keys start with a prefix.
pub(super) struct Table<T> {
    prefix: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// A table of this prefix, which ends with `/`.
    pub(super) const fn new(prefix: &'static str) -> Self {
        Self { prefix, record: PhantomData }
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    fn key_text(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(&key[self.prefix.len()..]).into_owned()
    }
}

pub(super) struct Store {
    db: sled::Db,
    writer: Mutex<()>,
}

impl Store {
    /// Opens sled; the caller holds the folder's lock.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = open_patiently(&config)?;
        let store = Self { db, writer: Mutex::new(()) };
        let schema = |found: String| Error::Schema { path: path.to_owned(), found, supported: SCHEMA };
        match store.db.get(SCHEMA_KEY).map_err(failed("read its schema"))? {
            None if store.db.is_empty() => {
                let mut write = store.write();
                write.batch.insert(SCHEMA_KEY, SCHEMA.to_string().as_bytes());
                write.commit()?;
            }
            None => return Err(schema("records but no schema".into())),
            Some(found) if *found != *SCHEMA.to_string().as_bytes() => {
                return Err(schema(format!("schema {}", String::from_utf8_lossy(&found))));
            }
            Some(_) => {}
        }
        Ok(store)
    }

    /// One record.
    pub(super) fn get<T: DeserializeOwned>(&self, table: &Table<T>, key: &str) -> Result<Option<T>> {
        let bytes = self.db.get(table.key(key)).map_err(failed("read"))?;
        bytes.map(|bytes| decode(table, key, &bytes)).transpose()
    }

    /// The records whose keys start with `prefix`, lazily, from after `cursor`.
    pub(super) fn scan<'a, T: DeserializeOwned>(
        &self,
        table: &'a Table<T>,
        prefix: &str,
        cursor: Option<&str>,
        order: Order,
    ) -> impl Iterator<Item = Result<(String, T)>> + use<'a, T> {
        let first = table.key(prefix);
        let end = after(&first);
        let cursor = cursor.map(|cursor| Bound::Excluded(table.key(cursor)));
        let (low, high) = match order {
            Order::Rising => (cursor.unwrap_or(Bound::Included(first)), Bound::Excluded(end)),
            Order::Falling => (Bound::Included(first), cursor.unwrap_or(Bound::Excluded(end))),
        };
        // a cursor of another list lies outside of the table, where the range would be upside down
        let empty = matches!((&low, &high), (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b)) if a >= b);
        let mut range = (!empty).then(|| self.db.range((low, high)));
        std::iter::from_fn(move || {
            let range = range.as_mut()?;
            let next = match order {
                Order::Rising => range.next(),
                Order::Falling => range.next_back(),
            };
            Some(next?.map_err(failed("read")).and_then(|(key, value)| {
                let key = table.key_text(&key);
                let record = decode(table, &key, &value)?;
                Ok((key, record))
            }))
        })
    }

    /// One page of the records that `keep` keeps.
    pub(super) fn page<T: DeserializeOwned>(
        &self,
        table: &Table<T>,
        request: &PageRequest,
        order: Order,
        mut keep: impl FnMut(&T) -> bool,
    ) -> Result<Page<T>> {
        let mut page = Page { data: Vec::new(), next_cursor: None };
        let mut last = None;
        for entry in self.scan(table, "", request.cursor.as_deref(), order) {
            let (key, record) = entry?;
            if !keep(&record) {
                continue;
            }
            if page.data.len() == request.limit.max(1) {
                page.next_cursor = last;
                break;
            }
            page.data.push(record);
            last = Some(key);
        }
        Ok(page)
    }

    /// Becomes the writer; what is put into the batch is written by [`Write::commit`], and dropped without it.
    pub(super) fn write(&self) -> Write<'_> {
        // a panic of a former writer left no half-written batch
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Write { store: self, batch: sled::Batch::default(), _writer: writer }
    }

    /// Writes and flushes a record that means nothing.
    pub(super) fn probe(&self) -> Result<()> {
        let mut write = self.write();
        write.batch.insert(PROBE_KEY, jiff::Timestamp::now().to_string().as_bytes());
        write.commit()
    }
}

/// A batch in the making, and the right to write.
pub(super) struct Write<'a> {
    store: &'a Store,
    batch: sled::Batch,
    _writer: MutexGuard<'a, ()>,
}

impl Write<'_> {
    /// Sets a record. Refuses what would not read back, such as NaN, which JSON does not have.
    pub(super) fn put<T: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<T>,
        key: &str,
        value: &T,
    ) -> Result<()> {
        let record = |error: serde_json::Error| Error::Record {
            what: format!("the record {}{key}", table.prefix),
            message: error.to_string(),
        };
        let bytes = serde_json::to_vec(value).map_err(record)?;
        serde_json::from_slice::<T>(&bytes).map_err(record)?;
        self.batch.insert(table.key(key), bytes);
        Ok(())
    }

    /// Removes a record, if there.
    pub(super) fn remove<T>(&mut self, table: &Table<T>, key: &str) {
        self.batch.remove(table.key(key));
    }

    /// Writes the batch, whole or not at all, and returns when it is on disk.
    pub(super) fn commit(self) -> Result<()> {
        self.store.db.apply_batch(self.batch).map_err(failed("write"))?;
        let started = Instant::now();
        self.store.db.flush().map_err(failed("flush"))?;
        metrics::histogram!("s3delta_store_flush_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The smallest key after all that start with `prefix`, which is not empty and ends with ASCII.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn decode<T: DeserializeOwned>(table: &Table<T>, key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Corrupt {
        what: format!("the record {}{key}", table.prefix),
        message: error.to_string(),
    })
}

fn failed(what: &'static str) -> impl Fn(sled::Error) -> Error {
    move |error| Error::Store { what, message: error.to_string() }
}

/// Opens sled, waiting out the moment in which threads of a registry just closed in this process still hold its file.
fn open_patiently(config: &sled::Config) -> Result<sled::Db> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.map_err(failed("open")),
        }
    }
}
