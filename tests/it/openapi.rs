//! The OpenAPI document follows from the routes, and `openapi/openapi.json` from it: `S3DELTA_BLESS=1` writes it anew.

use std::path::Path;

#[test]
fn the_checked_in_document_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let document = s3delta::api::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var("S3DELTA_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &document).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = document.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
    assert!(
        found == document,
        "openapi/openapi.json is stale (first difference at line {:?}): S3DELTA_BLESS=1 cargo test --release --test it openapi",
        line.map(|line| line + 1)
    );
}

#[test]
fn every_operation_says_what_it_does_and_how_it_fails() {
    let document = serde_json::to_value(s3delta::api::openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            if path.starts_with("/v1/") {
                assert!(operation["responses"]["default"].is_object(), "{method} {path} names no error");
                assert!(operation["security"][0]["bearer"].is_array(), "{method} {path} names no scope");
            }
        }
    }
}
