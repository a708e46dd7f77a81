//! Reads training text, one passage a line, as often as it is asked; it is never held whole.

use super::archive::{Opened, visit_texts};
use super::config::TextConfig;
use super::{Error, Event, Observer, Reading, Result};
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

/// One passage in this many is held out of training.
const HELD_OUT: usize = 200;

/// Whether the passage of this number, from 0, is held out of training.
pub(super) fn is_held_out(number: usize) -> bool {
    number % HELD_OUT == HELD_OUT - 1
}

/// Longer lines are refused, so that a file that is no text does not fill the memory.
const LONGEST_LINE: u64 = 64 << 20;

/// Characters between two events.
const REPORT_EVERY: usize = 1_000_000;

/// The text of a run: files in the order in which they are read.
#[derive(Debug, Clone)]
pub struct Corpus {
    files: Vec<TextFile>,
    config: TextConfig,
}

/// A file of text.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    modified: u128, // ns since 1970
}

impl Corpus {
    /// Lists the files: those named, and in folders all of them, in order of path, but hidden ones.
    ///
    /// The end of a name says what it is: `.tar` an archive, each member a text; `.jsonl` an object a line; anything else plain
    /// text. `.xz` and `.gz` may follow; `.txz` and `.tgz` are `.tar.xz` and `.tar.gz`.
    ///
    /// # Errors
    /// If a path is not there, or is `-`.
    pub fn open(paths: &[PathBuf], config: &TextConfig) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if path.as_os_str() == "-" {
                return Err(Error::Text(
                    "text cannot come from standard input: it is read twice, for the vocabulary and for the tokens, and may be read \
                     again on --resume; give the file itself, which may be a .tar.xz, .tar.gz, .tar, .xz, .gz or .jsonl"
                        .into(),
                ));
            }
            list(path, &mut files)?;
        }
        Ok(Self { files, config: config.clone() })
    }

    /// The text that `given` names, or else `config.paths`, see [`Corpus::open`].
    ///
    /// # Errors
    /// If a path is not there.
    pub fn choose(given: &[PathBuf], config: &TextConfig) -> Result<Self> {
        if !given.is_empty() {
            return Self::open(given, config);
        }
        if let Some(path) = config.paths.iter().find(|path| !path.exists()) {
            return Err(Error::Text(format!(
                "`{}`, which text.paths of the settings names, is not there: put it there, or name other text with --text",
                path.display()
            )));
        }
        Self::open(&config.paths, config)
    }

    /// Adds to a digest all that decides which passages are read, without reading the files: settings, and full path, size and
    /// time of each file.
    pub(super) fn identify(&self, digest: &mut blake3::Hasher) {
        let TextConfig { characters, min_characters, field, .. } = &self.config;
        let full = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let files: Vec<_> = self.files.iter().map(|file| (full(&file.path), file.bytes, file.modified)).collect();
        digest.update(format!("{:?}", (characters, min_characters, field, files)).as_bytes());
    }

    /// Reads the text: `take` gets every passage in order, until `text.characters`. `purpose` is for the events.
    ///
    /// Of an object in `.jsonl` the field `text.field` is read, paragraph by paragraph. Lines shorter than
    /// `text.min_characters`, and the `<doc …>` lines that WikiExtractor writes, are left out.
    ///
    /// # Errors
    /// If a file cannot be read or is not UTF-8, a line of JSON has no such string, there is no passage at all,
    /// `observe` says stop, or what `take` returns.
    pub fn read(
        &self,
        purpose: &'static str,
        observe: &mut Observer<'_>,
        take: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        if self.files.is_empty() {
            return Err(Error::Text("no text is named: give --text, or text.paths in the settings".into()));
        }
        let (begin, total, read) =
            (Instant::now(), self.files.iter().map(|file| file.bytes).sum::<u64>(), Cell::new(0));
        let (mut characters, mut bytes, mut reported) = (0, 0, 0);
        let mut report = |characters: usize, bytes, done| {
            let share = read.get() as f64 / total.max(1) as f64;
            let share = share.max(characters as f64 / self.config.characters.max(1) as f64).min(1.0);
            let (share, seconds) = (if done { 1.0 } else { share }, begin.elapsed().as_secs_f64());
            let reading = Reading { purpose, characters, bytes, share, seconds, done };
            if observe(Event::Reading(reading)) { Ok(()) } else { Err(Error::Stopped) }
        };
        let mut take_line = |line: &str| {
            let line = line.trim();
            let markup = line.starts_with("<doc ") || line.starts_with("</doc>");
            let length = line.chars().count();
            if !markup && length >= self.config.min_characters.max(1) && characters < self.config.characters {
                (characters, bytes) = (characters + length, bytes + line.len());
                take(line)?;
                if characters >= reported + REPORT_EVERY {
                    reported = characters;
                    report(characters, bytes, false)?;
                }
            }
            Ok(characters < self.config.characters)
        };
        let mut visit = |opened: Opened<'_>| {
            let Opened { place, json, reader } = opened;
            each_line(place, reader, &mut |number, line| {
                if !json || line.trim().is_empty() {
                    return take_line(line);
                }
                for paragraph in self.field(line, place, number)?.lines() {
                    take_line(paragraph)?;
                }
                take_line("")
            })
        };
        for file in &self.files {
            if !visit_texts(&file.path, &read, &mut visit)? {
                break;
            }
        }
        if characters == 0 {
            return Err(Error::Text(format!(
                "no passage in {} files: lines of less than text.min_characters {} are left out",
                self.files.len(),
                self.config.min_characters
            )));
        }
        report(characters, bytes, true)
    }

    fn field(&self, line: &str, place: &str, number: usize) -> Result<String> {
        let field = &self.config.field;
        let wrong = |what: String| {
            Error::Text(format!("{place} line {number}: {what}; each line must be {{\"{field}\": \"…\"}} (text.field)"))
        };
        let mut row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        match row.remove(field) {
            Some(serde_json::Value::String(text)) => Ok(text),
            Some(_) => Err(wrong(format!("`{field}` is not a string"))),
            None => Err(wrong(format!("no field `{field}`"))),
        }
    }
}

/// Adds the file itself, or every file under the folder.
pub(super) fn list(path: &Path, files: &mut Vec<TextFile>) -> Result<()> {
    let metadata = path.metadata().map_err(Error::read(path))?;
    if !metadata.is_dir() {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.unwrap_or_default().as_nanos();
        files.push(TextFile { path: path.to_path_buf(), bytes: metadata.len(), modified });
        return Ok(());
    }
    let entries: Result<Vec<_>, _> =
        path.read_dir().and_then(Iterator::collect::<Result<_, _>>).map_err(Error::read(path));
    let mut entries: Vec<_> = entries?.iter().map(std::fs::DirEntry::path).collect();
    entries.sort();
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    entries.iter().filter(|path| !hidden(path)).try_for_each(|path| list(path, files))
}

/// Gives `take` each line and its number from 1, until it answers false; answers whether the end was reached.
pub(super) fn each_line(
    place: &str,
    reader: &mut dyn BufRead,
    take: &mut dyn FnMut(usize, &str) -> Result<bool>,
) -> Result<bool> {
    let mut line = Vec::new();
    for number in 1.. {
        let wrong = |what: String| Error::Text(format!("{place} line {number}: {what}"));
        line.clear();
        let read = Read::take(&mut *reader, LONGEST_LINE).read_until(b'\n', &mut line);
        match read.map_err(|error| wrong(format!("cannot be read: {error}")))? as u64 {
            0 => break,
            LONGEST_LINE => return Err(wrong(format!("longer than {LONGEST_LINE} bytes; is this a text?"))),
            _ => {}
        }
        let text = str::from_utf8(&line).map_err(|error| wrong(format!("not UTF-8 ({error}); is this a text?")))?;
        if !take(number, text.trim_start_matches('\u{feff}'))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A sample of passages spread evenly over a text whose length is not known beforehand.
#[derive(Debug)]
pub struct Sample {
    wanted: usize,
    stride: usize,
    seen: usize,
    passages: Vec<String>,
    characters: usize,
}

impl Sample {
    /// An empty sample of so many characters.
    pub fn new(wanted: usize) -> Self {
        Self { wanted, stride: 1, seen: 0, passages: Vec::new(), characters: 0 }
    }

    /// Considers the next passage. Those held out of training are never taken; of the others every s-th, where s doubles, and
    /// every other passage is dropped, whenever there are twice the characters wanted.
    pub fn push(&mut self, passage: &str) {
        let number = self.seen;
        self.seen += 1;
        let training = number - number / HELD_OUT; // its number among those for training
        if is_held_out(number) || !training.is_multiple_of(self.stride) {
            return;
        }
        self.characters += passage.chars().count();
        self.passages.push(passage.to_string());
        while self.characters > 2 * self.wanted && self.passages.len() > 1 {
            self.stride *= 2;
            self.keep(0.5);
        }
    }

    /// The passages, thinned to the characters wanted, as far as there are so many.
    pub fn finish(mut self) -> Vec<String> {
        if self.characters > self.wanted {
            self.keep(self.wanted as f64 / self.characters as f64);
        }
        self.passages
    }

    /// Keeps a share of the passages, the first among them, at even distances.
    fn keep(&mut self, share: f64) {
        let mut number = 0.0;
        self.passages.retain(|_| {
            let keep = (number * share).floor() > ((number - 1.0) * share).floor();
            number += 1.0;
            keep
        });
        self.characters = self.passages.iter().map(|passage| passage.chars().count()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn settings() -> TextConfig {
        TextConfig { min_characters: 10, ..TextConfig::default() }
    }

    fn passages(path: &Path, config: &TextConfig) -> Result<Vec<String>> {
        let mut passages = Vec::new();
        Corpus::open(&[path.to_path_buf()], config)?.read("test", &mut |_| true, &mut |passage| {
            passages.push(passage.to_string());
            Ok(())
        })?;
        Ok(passages)
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const PLAIN: &[u8] = b"<doc id=\"1\">\nTitle\n\nA passage that is long.\n</doc>\n";
    const JSON: &[u8] = b"{\"text\": \"First paragraph.\\nSecond paragraph.\", \"id\": 3}\n";

    #[test]
    fn every_form_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let archive = || tar(&[("z/wiki_00", PLAIN), ("b.jsonl", JSON), ("a.txt.gz", &gz(b"A third passage."))]);
        let (plain, json) = (vec!["A passage that is long."], vec!["First paragraph.", "Second paragraph."]);
        let all = [&plain[..], &json[..], &["A third passage."]].concat();
        let two = [xz(b"A first stream.\n"), xz(b"A second stream.")].concat();
        let cases = [
            ("wiki_00", PLAIN.to_vec(), &plain),
            ("a.TXT.XZ", xz(PLAIN), &plain),
            ("b.jsonl", JSON.to_vec(), &json),
            ("blank.jsonl", [b"\n", JSON, b"\n \r\n"].concat(), &json),
            ("b.jsonl.gz", gz(JSON), &json),
            ("c.tar", archive(), &all),
            ("c.tar.xz", xz(&archive()), &all),
            ("c.txz", xz(&archive()), &all),
            ("c.tgz", gz(&archive()), &all),
            ("streams.xz", two, &vec!["A first stream.", "A second stream."]),
            ("bom.jsonl", [b"\xef\xbb\xbf", JSON].concat(), &json),
        ];
        for (name, bytes, wanted) in cases {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(&passages(&path, &settings()).unwrap(), wanted, "{name}");
        }
    }

    #[test]
    fn folders_are_read_in_order_of_path_and_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["c", "b/d", "a", ".hidden"] {
            std::fs::write(dir.path().join(name), format!("the content of {name}\nits second line")).unwrap();
        }
        let all = passages(dir.path(), &settings()).unwrap();
        let first: Vec<_> = all.iter().step_by(2).collect();
        assert_eq!(first, ["the content of a", "the content of b/d", "the content of c"]);
        let short = TextConfig { characters: 32, ..settings() };
        assert_eq!(passages(dir.path(), &short).unwrap(), all[..3]);
    }

    #[test]
    fn errors_name_file_member_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, plain) = (xz(&tar(&[("wiki_00", PLAIN)])), tar(&[("wiki_00", &PLAIN.repeat(100))]));
        let cases: [(&str, Vec<u8>, &[&str]); 8] = [
            ("a.jsonl", b"{\"text\": \"\"}\n{\"body\": 1}".to_vec(), &["a.jsonl` line 2", "no field `text`"]),
            ("b.jsonl", b"{\"text\": 1}".to_vec(), &["b.jsonl` line 1", "not a string"]),
            ("c.tar", tar(&[("x/y", b"fine\n\xff\xfe")]), &["c.tar` member `x/y` line 2", "not UTF-8"]),
            ("d.tar.xz", whole[..whole.len() / 2].to_vec(), &["d.tar.xz`", "cannot be"]),
            ("d.tar", plain[..2000].to_vec(), &["d.tar`", "cannot be"]),
            ("e.tar.xz", b"no archive".to_vec(), &["e.tar.xz` cannot be unpacked"]),
            ("f.tar", tar(&[("g.tar.xz", b"")]), &["member `g.tar.xz`", "within an archive"]),
            ("h.txt", b"short\n".to_vec(), &["no passage", "text.min_characters 10"]),
        ];
        for (name, bytes, parts) in cases {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = passages(&path, &settings()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
        }
        let error = passages(Path::new("-"), &settings()).unwrap_err().to_string();
        assert!(error.contains("read twice"), "{error}");
        let error = passages(&dir.path().join("absent"), &settings()).unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
    }

    #[test]
    fn a_damaged_end_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.xz");
        let mut bytes = xz(&tar(&[("wiki_00", PLAIN)]));
        bytes.truncate(bytes.len() - 8);
        std::fs::write(&path, bytes).unwrap();
        let error = passages(&path, &settings()).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked"), "{error}");
    }

    #[test]
    fn another_field_is_read_where_the_settings_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "{\"body\": \"A passage in a body.\", \"text\": 1}\n").unwrap();
        let config = TextConfig { field: "body".into(), ..settings() };
        assert_eq!(passages(&path, &config).unwrap(), ["A passage in a body."]);
    }

    #[test]
    fn an_observer_stops_the_reading() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "a line of thirty characters...\n".repeat(100_000)).unwrap();
        let corpus = Corpus::open(&[dir.path().to_path_buf()], &settings()).unwrap();
        let mut events = Vec::new();
        let mut observe = |event: Event<'_>| {
            if let Event::Reading(reading) = event {
                events.push((reading.characters / 1_000_000, reading.done, reading.share > 0.3));
            }
            events.len() < 2
        };
        let error = corpus.read("test", &mut observe, &mut |_| Ok(())).unwrap_err();
        assert!(matches!(error, Error::Stopped), "{error}");
        assert_eq!(events, [(1, false, true), (2, false, true)]);
    }

    #[test]
    fn a_sample_is_spread_evenly_and_holds_what_is_wanted() {
        for (wanted, passages) in [(10_000, 100), (10_000, 5_000), (10_000, 77_777), (300, 77_777)] {
            let mut sample = Sample::new(wanted);
            (0..passages).for_each(|number| sample.push(&format!("{number:010}")));
            let kept: Vec<usize> = sample.finish().iter().map(|text| text.parse().unwrap()).collect();
            let count = (wanted / 10).min(passages);
            assert!(kept.len().abs_diff(count) <= 1, "{} of {count}", kept.len());
            assert!(!kept.iter().any(|number| is_held_out(*number)));
            let distance = passages as f64 / count as f64;
            let far = kept.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(far as f64 <= 2.0 * distance + 1.0, "{far} of {distance}");
            assert!(kept[0] == 0 && (passages - kept[kept.len() - 1]) as f64 <= 2.0 * distance + 1.0);
        }
    }
}
