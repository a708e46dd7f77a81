//! Records in sled: JSON under `table/key`, written in atomic batches by one writer at a time.
//!
//! One tree holds all tables, so that a batch over several tables is one atomic write of sled's log; the writer's lock
//! makes read-modify-write safe, and readers never wait for it.
//!
//! Three things of sled 0.34 are made up for here: its `flush` ends in `sync_file_range`, which saves from a killed
//! process and not from a power cut, so the log is synced after it; its large values are never synced, so they do not
//! go to sled ([`LargeRecords`]); and a kill while it opens may leave a `snap.*.generating` that it then refuses, so
//! those are removed.

use super::files::{self, LargeRecords};
use super::{Digest, Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::HashSet;
use std::fs::{self, File};
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
    /// sled's log, to sync it.
    log: File,
    large: LargeRecords,
    writer: Mutex<()>,
}

impl Store {
    /// Opens the records of a folder; the caller holds its lock.
    pub(super) fn open(home: &Path) -> Result<Self> {
        let path = home.join("store");
        remove_unfinished_snapshots(&path)?;
        let db = open_patiently(&sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None))?;
        let log = path.join("db");
        let log = File::open(&log).map_err(Error::io(format!("open {}", log.display())))?;
        let large = LargeRecords::open(home.join("records"))?;
        for folder in [&path, home] {
            files::sync_folder(folder).map_err(Error::io(format!("sync {}", folder.display())))?;
        }
        let store = Self { db, log, large, writer: Mutex::new(()) };
        store.check_schema(&path)?;
        store.sweep()?;
        Ok(store)
    }

    fn check_schema(&self, path: &Path) -> Result<()> {
        let schema = |found: String| Error::Schema { path: path.to_owned(), found, supported: SCHEMA };
        match self.db.get(SCHEMA_KEY).map_err(failed("read its schema"))? {
            None if self.db.is_empty() => {
                let mut write = self.write();
                write.batch.insert(SCHEMA_KEY, SCHEMA.to_string().as_bytes());
                write.commit()
            }
            None => Err(schema("records but no schema".into())),
            Some(found) if *found != *SCHEMA.to_string().as_bytes() => {
                Err(schema(format!("schema {}", String::from_utf8_lossy(&found))))
            }
            Some(_) => Ok(()),
        }
    }

    /// Removes the files of large records that a crash left without their record.
    fn sweep(&self) -> Result<()> {
        let mut pointed = HashSet::new();
        for value in self.db.iter().values() {
            pointed.extend(LargeRecords::pointed(&value.map_err(failed("read"))?));
        }
        self.large.sweep(&pointed)
    }

    /// One record.
    pub(super) fn get<T: DeserializeOwned>(&self, table: &Table<T>, key: &str) -> Result<Option<T>> {
        match self.raw(&table.key(key))? {
            Some(value) => self.decode(table, key, value),
            None => Ok(None),
        }
    }

    fn raw(&self, key: &[u8]) -> Result<Option<sled::IVec>> {
        self.db.get(key).map_err(failed("read"))
    }

    /// Reads a value, following pointers; none if the record was removed since the value was read.
    fn decode<T: DeserializeOwned>(&self, table: &Table<T>, key: &str, mut value: sled::IVec) -> Result<Option<T>> {
        let damaged = |message: String| Error::Corrupt { what: format!("the record {}{key}", table.prefix), message };
        let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map(Some).map_err(|error| damaged(error.to_string()));
        let whole = table.key(key);
        while let Some(pointed) = LargeRecords::pointed(&value) {
            if let Some(bytes) = self.large.get(&whole, &pointed)? {
                return parse(&bytes);
            }
            match self.raw(&whole)? {
                Some(newer) if newer != value => value = newer,
                Some(_) => return Err(damaged(format!("its file {pointed} is missing"))),
                None => return Ok(None),
            }
        }
        parse(&value)
    }

    /// The records whose keys start with `prefix`, lazily, from after `cursor`.
    pub(super) fn scan<'a, T: DeserializeOwned>(
        &'a self,
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
        let next = move || {
            let range = range.as_mut()?;
            let next = match order {
                Order::Rising => range.next(),
                Order::Falling => range.next_back(),
            };
            Some(next?.map_err(failed("read")).and_then(|(key, value)| {
                let key = table.key_text(&key);
                let record = self.decode(table, &key, value)?;
                Ok(record.map(|record| (key, record)))
            }))
        };
        std::iter::from_fn(next).filter_map(Result::transpose)
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
        let (made, replaced) = Default::default();
        Write { store: self, batch: sled::Batch::default(), made, replaced, _writer: writer }
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
    /// Files of large records that this batch brought.
    made: Vec<Digest>,
    /// Files of large records that go with this batch.
    replaced: Vec<Digest>,
    _writer: MutexGuard<'a, ()>,
}

impl Write<'_> {
    /// Sets a record, once a batch. Refuses what would not read back, such as NaN, which JSON does not have.
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
        let key = table.key(key);
        let before = self.pointed(&key)?;
        if bytes.len() <= LargeRecords::LIMIT {
            self.replaced.extend(before);
            self.batch.insert(key, bytes);
            return Ok(());
        }
        let (digest, made) = self.store.large.put(&key, &bytes)?;
        self.made.extend(made.then_some(digest));
        self.replaced.extend(before.filter(|before| *before != digest));
        self.batch.insert(key, LargeRecords::pointer(&digest));
        Ok(())
    }

    /// Removes a record, if there.
    pub(super) fn remove<T>(&mut self, table: &Table<T>, key: &str) -> Result<()> {
        let key = table.key(key);
        self.replaced.extend(self.pointed(&key)?);
        self.batch.remove(key);
        Ok(())
    }

    /// Writes the batch, whole or not at all, and returns when it is on disk.
    pub(super) fn commit(mut self) -> Result<()> {
        // from here on the batch may be there even if an error follows: its files stay until the next start
        self.made.clear();
        self.store.db.apply_batch(std::mem::take(&mut self.batch)).map_err(failed("write"))?;
        let started = Instant::now();
        self.store.db.flush().map_err(failed("flush"))?;
        self.store.log.sync_data().map_err(Error::io("sync the store"))?;
        metrics::histogram!("s3delta_store_flush_seconds").record(started.elapsed().as_secs_f64());
        for replaced in &self.replaced {
            // not the caller's trouble: the next start sweeps it
            if let Err(error) = self.store.large.remove(replaced) {
                tracing::warn!(%error, "a replaced record stays until the next start: {error}");
            }
        }
        Ok(())
    }

    fn pointed(&self, key: &[u8]) -> Result<Option<Digest>> {
        Ok(self.store.raw(key)?.and_then(|value| LargeRecords::pointed(&value)))
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        for made in &self.made {
            // what stays is swept at the next start
            let _ = self.store.large.remove(made);
        }
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

fn failed(what: &'static str) -> impl Fn(sled::Error) -> Error {
    move |error| Error::Store { what, message: error.to_string() }
}

fn remove_unfinished_snapshots(path: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(Error::io(format!("read {}", path.display())))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            files::remove(&path)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Table<f64> = Table::new("number/");
    const OTHERS: Table<f64> = Table::new("numbers/");

    #[test]
    fn another_schema_is_refused_by_name() {
        let check = |key: &[u8], value: &[u8], wanted: &str| {
            let home = tempfile::tempdir().unwrap();
            let db = sled::open(home.path().join("store")).unwrap();
            db.insert(key, value).unwrap();
            drop(db);
            let found = Store::open(home.path()).err().map_or_else(|| "opened".into(), |error| error.to_string());
            assert!(found.contains(wanted), "{found}");
        };
        check(b"schema", b"1", "opened");
        check(b"schema", b"2", "has schema 2, this s3delta reads schema 1");
        check(b"structure/ab", b"{}", "has records but no schema");
    }

    #[test]
    fn scans_keep_to_their_table_and_go_both_ways() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let mut write = store.write();
        for (value, key) in ["a", "ab", "b", "c"].into_iter().enumerate() {
            write.put(&NUMBERS, key, &(value as f64)).unwrap();
            write.put(&OTHERS, key, &9.0).unwrap();
        }
        write.commit().unwrap();
        let check = |prefix: &str, cursor: Option<&str>, order: Order, wanted: &[&str]| {
            let found = store.scan(&NUMBERS, prefix, cursor, order).map(|entry| entry.unwrap().0);
            assert_eq!(found.collect::<Vec<_>>(), wanted, "{prefix} {cursor:?} {order:?}");
        };
        check("", None, Order::Rising, &["a", "ab", "b", "c"]);
        check("", None, Order::Falling, &["c", "b", "ab", "a"]);
        check("a", None, Order::Rising, &["a", "ab"]);
        check("", Some("ab"), Order::Rising, &["b", "c"]);
        check("", Some("ab"), Order::Falling, &["a"]);
        check("", Some(""), Order::Rising, &["a", "ab", "b", "c"]);
        check("", Some(""), Order::Falling, &[]);
        check("", Some("zz"), Order::Rising, &[]);
        check("a", Some("c"), Order::Rising, &[]);
        check("b", Some("a"), Order::Falling, &[]);
    }

    #[test]
    fn a_batch_without_commit_and_a_record_that_would_not_read_back_leave_nothing() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let mut write = store.write();
        write.put(&NUMBERS, "a", &1.0).unwrap();
        let refused = write.put(&NUMBERS, "b", &f64::NAN).unwrap_err();
        assert_eq!(refused.code(), "record_invalid");
        drop(write);
        assert_eq!(store.get(&NUMBERS, "a").unwrap(), None);
    }

    #[test]
    fn large_records_are_files_that_come_and_go_with_their_record() {
        const TEXTS: Table<String> = Table::new("text/");
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let files = || fs::read_dir(home.path().join("records")).unwrap().count();
        let text = |size: usize, letter: &str| letter.repeat(size - 2); // and two quotes
        let put = |key: &str, text: &String| {
            let mut write = store.write();
            write.put(&TEXTS, key, text).unwrap();
            write.commit().unwrap();
            assert_eq!(store.get(&TEXTS, key).unwrap().as_ref(), Some(text));
        };
        put("a", &text(LargeRecords::LIMIT, "x"));
        assert_eq!(files(), 0);
        for letter in ["x", "x", "y"] {
            put("a", &text(LargeRecords::LIMIT + 1, letter));
            assert_eq!(files(), 1);
        }
        put("b", &text(LargeRecords::LIMIT + 1, "y"));
        assert_eq!((files(), store.scan(&TEXTS, "", None, Order::Rising).count()), (2, 2));
        store.write().put(&TEXTS, "c", &text(9000, "z")).unwrap();
        assert_eq!(files(), 2, "a batch without commit takes its file along");
        let mut write = store.write();
        write.remove(&TEXTS, "b").unwrap();
        write.commit().unwrap();
        assert_eq!((files(), store.get(&TEXTS, "b").unwrap()), (1, None));
        put("a", &"small".into());
        assert_eq!(files(), 0);
    }

    #[test]
    fn what_a_kill_leaves_does_not_keep_the_store_from_opening() {
        let home = tempfile::tempdir().unwrap();
        drop(Store::open(home.path()).unwrap());
        let leftovers = ["store/snap.FFFFFFFFFFFFFFFF.generating", "records/.tmpAbCdEf", "records/half"];
        for leftover in leftovers {
            fs::write(home.path().join(leftover), b"half").unwrap();
        }
        let store = Store::open(home.path()).unwrap();
        assert!(!leftovers.iter().any(|leftover| home.path().join(leftover).exists()));
        store.probe().unwrap();
    }
}
