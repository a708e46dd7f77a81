//! Hostile and mistaken delta weights: each offender is named.

use super::{BIAS, file, parts, structure};
use s3delta::registry::{Error, validate_weights};
use serde_json::{Value, json};

const A: &str = "encoder.block.0.layer.0.SelfAttention.q.lora.a";
const B: &str = "encoder.block.0.layer.0.SelfAttention.q.lora.b";

/// Offsets: a at 0..32, b at 32..64, the bias at 64..96.
type Header = Vec<(String, Value)>;

/// Makes valid weights, changes header and data, and wants these offenders, in this order and no more.
#[track_caller]
fn check(change: impl FnOnce(&mut Header, &mut Vec<u8>), wanted: &[&str]) {
    let (mut header, mut data) = parts(1, 0.5);
    change(&mut header, &mut data);
    check_bytes(&file(&header, &data), wanted);
}

#[track_caller]
fn check_bytes(bytes: &[u8], wanted: &[&str]) {
    let found = match validate_weights(bytes, &structure(1)) {
        Ok(_) => Vec::new(),
        Err(Error::Weights { offenders }) => offenders,
        Err(other) => panic!("{other}"),
    };
    let as_wanted = found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, part)| found.contains(part));
    assert!(as_wanted, "found {found:#?}\nwanted {wanted:#?}");
}

#[test]
fn good_files_of_each_type_are_counted() {
    check(|_, _| {}, &[]);
    for (dtype, one) in [("F16", [0x00, 0x3c]), ("BF16", [0x80, 0x3f])] {
        let half = |header: &mut Header, data: &mut Vec<u8>| {
            for (index, (_, info)) in header.iter_mut().enumerate() {
                info["dtype"] = dtype.into();
                info["data_offsets"] = json!([index * 16, index * 16 + 16]);
            }
            *data = one.repeat(24);
        };
        check(half, &[]);
        let infinite = |header: &mut Header, data: &mut Vec<u8>| {
            half(header, data);
            data[16..18].copy_from_slice(if dtype == "F16" { &[0x00, 0x7c] } else { &[0x80, 0xff] });
        };
        check(infinite, &[&format!("`{B}` is NaN or infinite at index 0")]);
    }
    let (mut header, data) = parts(1, 0.5);
    header.insert(0, ("__metadata__".into(), json!({ "backbone_digest": "abc", "structure_digest": structure(1).id })));
    let info = validate_weights(&file(&header, &data), &structure(1)).unwrap();
    assert_eq!((info.tensors, info.parameters, info.backbone_digest()), (3, 24, Some("abc")));
}

#[test]
fn what_is_no_safetensors_file() {
    let whole = file(&parts(1, 0.5).0, &parts(1, 0.5).1);
    check_bytes(b"", &["0 bytes are no safetensors file"]);
    check_bytes(&whole[..7], &["7 bytes are no safetensors file"]);
    check_bytes(&whole[..40], &["but 32 follow: the file is truncated"]);
    check_bytes(&[&u64::MAX.to_le_bytes()[..], &whole[8..]].concat(), &["claims 18446744073709551615 bytes"]);
    check_bytes(
        &[&(17u64 << 20).to_le_bytes()[..], &vec![b' '; 17 << 20]].concat(),
        &["the header has 17825792 bytes"],
    );
    let text = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    check_bytes(&text("PK\u{3}\u{4} pickle"), &["not a JSON object"]);
    check_bytes(&text("[]"), &["not a JSON object"]);
    check_bytes(&text("{\"a\": {}"), &["not a JSON object"]);
    check_bytes(&text(&"[".repeat(100_000)), &["not a JSON object"]);
    check_bytes(&[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(), &["not a JSON object"]);
}

#[test]
fn truncated_data_names_every_tensor_that_is_cut() {
    let places = [&*format!("`{B}` at bytes 32..64 does not lie within the 60"), "at bytes 64..96 does not lie"];
    check(|_, data| data.truncate(60), &places);
    check(|_, data| data.truncate(95), &[&format!("`{BIAS}` at bytes 64..96 does not lie within the 95")]);
}

#[test]
fn lying_entries() {
    let set = |index: usize, field: &'static str, value: Value| {
        move |header: &mut Header, _: &mut Vec<u8>| header[index].1[field] = value
    };
    let (reversed, gap) = (json!([32, 0]), json!([68, 100]));
    check(set(0, "data_offsets", reversed), &["at bytes 32..0, but F32 [8, 1] takes 32", "does not lie within the 96"]);
    check(set(2, "data_offsets", gap), &["`decoder.final_layer_norm.bitfit.bias` at bytes 68..100 does not lie"]);
    check(set(2, "data_offsets", json!([32, 64])), &["overlaps what is before it, up to 64", "the last 32 bytes"]);
    check(set(1, "data_offsets", json!([32, 60])), &["at bytes 32..60, but F32 [1, 8] takes 32", "leaves a gap to"]);
    let far = json!([u64::MAX - 31, u64::MAX]);
    check(set(0, "data_offsets", far), &["but F32 [8, 1] takes 32 bytes", "does not lie within the 96"]);
    check(
        set(0, "data_offsets", json!([-1, 31])),
        &[&format!("entry of `{A}` is not valid"), "is missing", "leaves a gap"],
    );
    check(set(0, "shape", json!([8, 2])), &["has shape [8, 2], its module needs [8, 1]", "but F32 [8, 2] takes 64"]);
    check(set(0, "shape", json!([1, 8])), &["has shape [1, 8], its module needs [8, 1]"]);
    let huge = json!([u64::MAX, u64::MAX]);
    check(set(0, "shape", huge), &["its module needs [8, 1]", "takes more bytes than there can be"]);
    check(set(0, "dtype", "I64".into()), &[&format!("`{A}` is I64: convert it to F32, F16 or BF16")]);
    check(set(0, "dtype", "F64".into()), &["is F64: convert"]);
    check(set(0, "dtype", 3.into()), &["is not valid: invalid type", "is missing", "leaves a gap"]);
    check(set(0, "colour", "red".into()), &["unknown field `colour`", "is missing", "leaves a gap"]);
    check(|_, data| data.extend([0; 12]), &["the last 12 bytes belong to no tensor"]);
}

#[test]
fn wrong_sets_of_tensors() {
    let missing = |header: &mut Header, data: &mut Vec<u8>| {
        header.truncate(1);
        data.truncate(32);
    };
    check(missing, &[&format!("`{B}` of shape [1, 8] is missing"), &format!("`{BIAS}` of shape [8] is missing")]);
    check(|header, _| header[1].0 = "lora_B".into(), &["`lora_B` is not a tensor of structure", "is missing"]);
    let twice = |header: &mut Header, _: &mut Vec<u8>| header.push(header[2].clone());
    check(twice, &[&format!("`{BIAS}` is there 2 times"), "overlaps"]);
    let wrong = |header: &mut Header, data: &mut Vec<u8>| {
        header.clear();
        data.clear();
    };
    check(wrong, &["is missing", "is missing", "is missing"]);
    let nonsense = |header: &mut Header, _: &mut Vec<u8>| {
        let info = json!({ "dtype": "F32", "shape": [0], "data_offsets": [96, 96] });
        header.extend((0..20_000).map(|index| (format!("x{index}"), info.clone())));
    };
    let (mut header, mut data) = parts(1, 0.5);
    nonsense(&mut header, &mut data);
    let Err(Error::Weights { offenders }) = validate_weights(&file(&header, &data), &structure(1)) else {
        panic!("20,000 tensors of no module pass")
    };
    assert_eq!((offenders.len(), &*offenders[10_000]), (10_001, "10000 more that are not listed"));
    assert!(Error::Weights { offenders }.to_string().len() < 4000, "a message is for people");
}

#[test]
fn values_that_are_not_finite() {
    let set = |at: usize, value: f32| {
        move |_: &mut Header, data: &mut Vec<u8>| data[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    check(set(36, f32::NAN), &[&format!("`{B}` is NaN or infinite at index 1")]);
    check(set(92, f32::NEG_INFINITY), &[&format!("`{BIAS}` is NaN or infinite at index 7")]);
    check(set(0, f32::MAX), &[]);
}

#[test]
fn metadata_of_something_else() {
    let with = |metadata: Value| {
        move |header: &mut Header, _: &mut Vec<u8>| header.insert(0, ("__metadata__".into(), metadata))
    };
    check(with(json!({ "format": "s3delta.weights/9" })), &["format `s3delta.weights/9`, this s3delta reads"]);
    check(with(json!({ "format": "pt" })), &[]);
    check(with(json!({ "structure_digest": "00" })), &["the metadata says structure_digest `00`"]);
    check(with(json!({ "seeds": [1] })), &["`__metadata__` is not a map of texts"]);
    check(with(json!({ "task": "sst2" })), &[]);
}
