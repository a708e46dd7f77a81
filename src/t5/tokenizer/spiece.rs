//! SentencePiece's model file, `spiece.model`: the fields of its protobuf message that a tokenizer needs.
//!
//! ```text
//! ModelProto      1 pieces*  2 trainer_spec  3 normalizer_spec
//! SentencePiece   1 piece    2 score         3 type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
//! TrainerSpec     3 model_type: 1 unigram, 2 bpe, 3 word, 4 char    24 treat_whitespace_as_suffix
//! NormalizerSpec  2 precompiled_charsmap    3 add_dummy_prefix    4 remove_extra_whitespaces    5 escape_whitespaces
//! ```
//!
//! transformers' `T5Tokenizer` reads a model as Unigram with one space put before the text, extra spaces removed and
//! spaces written as `▁`, whatever the file says. So a file that says otherwise is refused here by the field's name,
//! where transformers would give other ids than those that the model was trained with.

/// A Unigram model, as the file has it.
#[derive(Debug)]
pub(super) struct Spiece {
    /// Its pieces, by id.
    pub(super) pieces: Vec<Piece>,
    /// The id of the piece for what no other piece covers.
    pub(super) unk: usize,
    /// The table of its normalizer, in SentencePiece's format; empty where the text is taken as it is.
    pub(super) charsmap: Vec<u8>,
}

/// A piece of text.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its text, with `▁` for a space.
    pub(super) text: String,
    /// Its log-probability.
    pub(super) score: f32,
    /// What it is for.
    pub(super) kind: PieceKind,
}

/// What a piece is for, as far as transformers tells kinds apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PieceKind {
    /// Normal and unused pieces, and the bytes of a fall-back, which transformers' T5 takes for plain pieces.
    Plain,
    /// Stands for what no other piece covers.
    Unknown,
    /// No text, such as `</s>`.
    Control,
    /// Always one piece, whatever its score.
    UserDefined,
}

impl Spiece {
    /// Reads the file's content.
    ///
    /// # Errors What is wrong, to be put behind the file's name: no SentencePiece model, or one that transformers' T5
    /// cannot follow.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self { pieces: Vec::new(), unk: usize::MAX, charsmap: Vec::new() };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => model.pieces.push(Piece::parse(piece, model.pieces.len())?),
                (2, Value::Bytes(spec)) => check_trainer(spec)?,
                (3, Value::Bytes(spec)) => model.charsmap = charsmap(spec)?,
                (1..=3, _) => return Err(BROKEN.into()),
                _ => {}
            }
        }
        let unknown = |piece: &Piece| piece.kind == PieceKind::Unknown;
        model.unk = model.pieces.iter().position(unknown).ok_or("has no piece for unknown text")?;
        Ok(model)
    }
}

impl Piece {
    fn parse(message: &[u8], id: usize) -> Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: PieceKind::Plain };
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(text)) => {
                    piece.text =
                        String::from_utf8(text.into()).map_err(|_| format!("has a piece {id} that is no text"))?;
                }
                (2, Value::Fixed32(score)) => piece.score = f32::from_bits(score),
                (3, Value::Varint(kind)) => {
                    piece.kind = match kind {
                        2 => PieceKind::Unknown,
                        3 => PieceKind::Control,
                        4 => PieceKind::UserDefined,
                        _ => PieceKind::Plain,
                    }
                }
                (1..=3, _) => return Err(BROKEN.into()),
                _ => {}
            }
        }
        if piece.text.is_empty() || !piece.score.is_finite() {
            return Err(format!("has a piece {id} without text or with the score {}", piece.score));
        }
        Ok(piece)
    }
}

/// Refuses models that are not Unigram, and those that write the space behind a word.
fn check_trainer(spec: &[u8]) -> Result<(), String> {
    for field in Fields(spec) {
        match field? {
            (3, Value::Varint(1)) => {}
            (3, Value::Varint(model_type)) => {
                let name = ["", "unigram", "bpe", "word", "char"].get(model_type as usize).unwrap_or(&"unknown");
                return Err(format!(
                    "is a SentencePiece model of the type `{name}`: only `unigram`, which T5 has, is supported; a \
                     tokenizer.json beside it is read instead"
                ));
            }
            (24, Value::Varint(1)) => return Err(unlike_t5("treat_whitespace_as_suffix", true)),
            _ => {}
        }
    }
    Ok(())
}

/// The normalizer's table, after a look at its flags.
fn charsmap(spec: &[u8]) -> Result<Vec<u8>, String> {
    let mut table: &[u8] = &[];
    for field in Fields(spec) {
        match field? {
            (2, Value::Bytes(bytes)) => table = bytes,
            (3, Value::Varint(0)) => return Err(unlike_t5("add_dummy_prefix", false)),
            (4, Value::Varint(0)) => return Err(unlike_t5("remove_extra_whitespaces", false)),
            (5, Value::Varint(0)) => return Err(unlike_t5("escape_whitespaces", false)),
            _ => {}
        }
    }
    // u32 size of a trie in blocks of 1024 bytes, the trie, replacements; SentencePiece checks the same
    if let Some((size, rest)) = table.split_first_chunk() {
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || !size.is_multiple_of(1024) || size >= rest.len() {
            return Err("has a `precompiled_charsmap` that is cut or broken: fetch the file again".into());
        }
    }
    Ok(table.into())
}

fn unlike_t5(field: &str, value: bool) -> String {
    format!(
        "says `{field}: {value}`, which transformers' T5Tokenizer does not follow: make a tokenizer.json that does \
         what the model was trained with, which is read instead"
    )
}

const BROKEN: &str = "is not a SentencePiece model, or is cut: fetch it again";

/// The value of a field by its wire type.
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a protobuf message: number and value. Ends behind the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| BROKEN.into()))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).ok()?)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of `(text, score, type)` with further bytes behind them.
    fn model(pieces: &[(&str, f32, u8)], more: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (text, score, kind) in pieces {
            let mut piece = vec![0x0a, text.len() as u8];
            piece.extend(text.bytes());
            piece.push(0x15);
            piece.extend(score.to_le_bytes());
            piece.extend([0x18, *kind]);
            bytes.extend([0x0a, piece.len() as u8]);
            bytes.extend(piece);
        }
        more.iter().for_each(|part| bytes.extend(*part));
        bytes
    }

    const PIECES: &[(&str, f32, u8)] = &[("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁a", -1.5, 1), ("b", -2.0, 4)];

    #[test]
    fn pieces_are_read() {
        // an unknown field of each wire type, and fields of the specs that do not matter
        let more: &[&[u8]] =
            &[&[0x12, 4, 0x18, 1, 0x20, 7], &[0x28, 0xff, 1], &[0x31, 0, 0, 0, 0, 0, 0, 0, 0], &[0x3a, 0]];
        let read = Spiece::parse(&model(PIECES, more)).unwrap();
        let pieces: Vec<_> = read.pieces.iter().map(|p| (p.text.as_str(), p.score)).collect();
        assert_eq!(pieces, [("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.5), ("b", -2.0)]);
        let kinds: Vec<_> = read.pieces.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [PieceKind::Control, PieceKind::Unknown, PieceKind::Plain, PieceKind::UserDefined]);
        assert_eq!((read.unk, read.charsmap.len()), (1, 0));
    }

    #[track_caller]
    fn check(bytes: &[u8], wanted: &str) {
        let error = Spiece::parse(bytes).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        let with = |more: &[u8]| model(PIECES, &[more]);
        check(&with(&[0x12, 2, 0x18, 2]), "type `bpe`");
        check(&with(&[0x12, 2, 0x18, 3]), "type `word`");
        check(&with(&[0x12, 2, 0x18, 9]), "type `unknown`");
        check(&with(&[0x12, 3, 0xc0, 0x01, 1]), "`treat_whitespace_as_suffix: true`");
        check(&with(&[0x1a, 2, 0x18, 0]), "`add_dummy_prefix: false`");
        check(&with(&[0x1a, 2, 0x20, 0]), "`remove_extra_whitespaces: false`");
        check(&with(&[0x1a, 2, 0x28, 0]), "`escape_whitespaces: false`");
        check(&with(&[0x1a, 7, 0x12, 5, 0, 4, 0, 0, 0]), "`precompiled_charsmap`");
        check(&model(&PIECES[2..], &[]), "no piece for unknown text");
        check(&model(&[("", 0.0, 1)], &[]), "piece 0 without text");
        check(&model(&[("a", f32::NAN, 1)], &[]), "score NaN");
    }

    #[test]
    fn other_files_are_refused() {
        check(b"", "no piece for unknown text");
        check(b"version https://git-lfs.github.com/spec/v1\n", "not a SentencePiece model");
        let whole = model(PIECES, &[]);
        for end in 1..whole.len() {
            assert!(Spiece::parse(&whole[..end]).is_err() || end > 21, "cut at {end}");
        }
        check(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "not a SentencePiece model");
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "not a SentencePiece model");
        check(&[0x0a, 4, 0x0a, 2, 0xff, 0xfe], "piece 0 that is no text");
        check(&[0x08, 1], "not a SentencePiece model");
    }
}
