//! Tokens: every operation of the document wants the scope that the document names.

use super::bench::Bench;
use axum::{body::Body, http::Request};
use s3delta::{
    api::{Scope, Tokens, openapi},
    config::Config,
};
use std::collections::BTreeSet;

#[tokio::test]
async fn every_operation_wants_the_scope_it_names() {
    let scopes = [Scope::Read, Scope::Infer, Scope::Train, Scope::Admin];
    let mut secrets = Vec::new();
    let bench = Bench::with(Config::default(), |tokens: &mut Tokens| {
        let mut make = |scope: Scope| tokens.create(scope.as_str(), BTreeSet::from([scope])).unwrap();
        secrets = scopes.map(&mut make).to_vec();
    });
    let document = serde_json::to_value(openapi()).unwrap();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(wanted) = operation["security"][0]["bearer"][0].as_str() else { continue };
            let call = async |token: Option<&str>| {
                let uri = path.replace(['{', '}'], "");
                let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(uri);
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                bench.call(request.body(Body::empty()).unwrap()).await
            };
            let code = async |token: Option<&str>| {
                let reply = call(token).await;
                let refused = matches!(reply.status.as_u16(), 401 | 403);
                let code = refused.then(|| reply.json()["error"]["code"].as_str().unwrap().to_string());
                code.unwrap_or_else(|| "let in".into())
            };
            assert_eq!(code(None).await, "token_missing", "{method} {path}");
            assert_eq!(code(Some("s3d_00")).await, "token_invalid", "{method} {path}");
            for (scope, secret) in scopes.iter().zip(&secrets) {
                let expected = if scope.as_str() == wanted { "let in" } else { "scope_missing" };
                assert_eq!(code(Some(secret)).await, expected, "{method} {path} with {}", scope.as_str());
            }
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked} operations");
    assert_eq!(bench.get("/v1/models").await.header("www-authenticate"), "Bearer");
    bench.get("/healthz").await.expect(200);
    // a token makes a server of this name safe: nothing is let in without one
    let named = Request::get("/healthz").header("host", "box.example").body(Body::empty()).unwrap();
    bench.call(named).await.expect(200);
}
