//! Files of every format, and what is said of wrong ones.

use crate::task::{Definition, Split, Task};

const HEAD: &str = "name = 'x'\ntemplate = '{a}'\nmetric = 'accuracy'\n[target]\nkind = 'classification'\n\
                    labels = [{ value = '0', word = 'no' }, { value = '1', word = 'yes' }]\n[[data]]\n";

/// Reads train, dev and test, each from a file of this content, by the layout given.
fn read(layout: &str, content: &[u8]) -> Result<Task, crate::task::Error> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), content).unwrap();
    let files = "files = { train = ['f'], dev = ['f'], test = ['f'] }";
    let files = if layout.contains("files") { "" } else { files };
    let definition = Definition::from_toml(&format!("{HEAD}{layout}\n{files}"))?;
    Task::read(definition, folder.path())
}

/// One line a case: the layout, the file, and the rows as `text=label text=label` or a part of the error.
#[track_caller]
fn check(layout: &str, content: impl AsRef<[u8]>, wanted: &str) {
    let found = match read(layout, content.as_ref()) {
        Ok(task) => {
            let rows = task.split(Split::Test).iter().map(|row| format!("{}={}", task.source_text(row), row.label));
            rows.collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    };
    assert!(found.contains(wanted), "{layout}\n gave {found}\nwanted {wanted}");
}

const TSV: &str = "format = 'tsv'\nlabel = 'l'";
const CSV: &str = "format = 'csv'\nheader = false\ncolumns = { a = 1 }\nlabel = 0";
const JSONL: &str = "format = 'jsonl'\ncolumns = { a = 'text' }\nlabel = 'l'";

#[test]
fn tables() {
    check(TSV, "a\tl\none\t1\ntwo\t0\n", "one=yes two=no");
    check(TSV, "\u{feff}l\tb\ta\r\n1\tx\tone\r\n\r\n0\tx\ttwo", "one=yes two=no");
    // quotes are letters in TSV
    check(TSV, "a\tl\n\"one\t1\n\"two\" \"\t0\n", "\"one=yes \"two\" \"=no");
    check("format = 'tsv'\nquoting = true\nlabel = 'l'", "a\tl\n\"one\ttab\"\t1\n", "one\ttab=yes");
    check("format = 'tsv'\ndelimiter = '|'\nlabel = 'l'", "a|l\none|1\n", "one=yes");
    check(CSV, "1,\"one, \"\"two\"\"\"\n0,three\n", "one, \"two\"=yes three=no");
    check(CSV, "yes,a word for its value\n", "a word for its value=yes");
}

#[test]
fn objects_and_lines() {
    check(JSONL, "{\"text\": \"one\", \"l\": 1}\n\n{\"text\": 2.5, \"l\": \"no\", \"m\": []}\n", "one=yes 2.5=no");
    check("format = 'labelled_lines'\nlabel_until = ':'", "1:x one two\n0 three\n", "one two=yes three=no");
    let lines = "format = 'lines'\nencoding = 'latin-1'\nfiles = { train = [F], dev = [F], test = [F] }";
    let lines = lines.replace('F', "{ path = 'f', label = '1' }");
    check(&lines, b"caf\xe9 \n\none\x85two\n", "caf\u{e9}=yes one\u{85}two=yes");
}

#[test]
fn errors_name_file_line_column_and_fix() {
    check(TSV, "a\tl\none\t1\ntwo\t2\nthree\t3\n", "f`, line 3, column `l`: label `2` is not one of `0`, `1`");
    check(TSV, "a\tl\none\t2\ntwo\t3\n", "(and 1 more row of this file)");
    check(TSV, "a\tl\none\t1\n \t1\n", "line 3, column `a`: the text is empty");
    check(TSV, "a\tl\none\n", "line 2, column `l`: the row has 1 columns only");
    check(TSV, "a\tk\none\t1\n", "has no column `l`: it has `a`, `k`");
    check(TSV, b"a\tl\none\t1\n\xff\t1\n", "line 3, byte 1: not UTF-8: set `encoding = \"latin-1\"`");
    check(TSV, "a\tl\n", "the split `train` has no row");
    check(CSV, "1\n", "has no column 1 (counted from 0): it has 1 columns");
    check(CSV, "1,one\n0,\"two\nlines\"\n7,three\n", "line 4, column 0 (counted from 0): label `7`");
    check(JSONL, "{\"text\": \"one\"\n", "line 1, the line: not a JSON object");
    check(JSONL, "{\"text\": \"one\", \"k\": 1}\n", "column `l`: the key is missing; the object has `k`, `text`");
    check(JSONL, "{\"text\": null, \"l\": 1}\n", "column `text`: neither a text, a number nor true or false");
    check("format = 'labelled_lines'", "1:x\n", "line 1, the label: label `1:x`");
    let missing = "format = 'lines'\nfiles = { train = [{ path = 'nowhere', label = '1' }] }";
    check(missing, "", "nowhere`; give their folder as --data");
}

#[test]
fn layouts_are_checked() {
    check("format = 'tsv'\nheader = false\nlabel = 1", "", "must be a place counted from 0");
    check("format = 'tsv'\ncolumns = { b = 1 }\nlabel = 1", "", "`columns` names `b`");
    check("format = 'jsonl'\nlabel = 1", "", "jsonl columns are keys");
    check("format = 'tsv'", "", "give `label`");
    check("format = 'lines'\nlabel = 0", "", "lines have no columns");
    check("format = 'lines'\nquoting = true", "", "go with tsv and csv only");
    check("format = 'tsv'\nlabel = 'l'\nfiles = { train = [] }", "", "names no file");
    check("format = 'xml'", "", "unknown variant `xml`");
    check("format = 'tsv'\nlabel = 'l'\nseparator = ';'", "", "unknown field `separator`");
}

#[test]
fn the_first_layout_that_fits_is_read_from_either_folder() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let layout = |label: &str, folder: &str| {
        format!(
            "[[data]]\nfolder = '{folder}'\nformat = 'tsv'\nlabel = '{label}'\nfiles = {{ train = ['f'], dev = ['f'], test = ['f'] }}\n"
        )
    };
    let head = HEAD.replace("[[data]]\n", "");
    let text = format!("{head}{}{}", layout("first", "one"), layout("second", "two"));
    let read = || Task::read(Definition::from_toml(&text).unwrap(), folder.path());
    let error = read().unwrap_err().to_string();
    assert!(error.contains("one") && error.contains("two") && error.contains("--data"), "{error}");
    write("f", "a\tsecond\nbare\t1\n");
    assert_eq!(read().unwrap().split(Split::Dev)[0].fields["a"], "bare");
    write("two/f", "a\tsecond\ninner\t1\n");
    assert_eq!(read().unwrap().split(Split::Dev)[0].fields["a"], "inner");
    // where the rows stood is forgotten
    assert!(read().unwrap().definition.data.is_empty());
}
