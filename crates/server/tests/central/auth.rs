//! Logging in, tokens, and what an attacker can try.

use serde_json::{Value, json};
use vouch_server::limits::{LIMITS, Limits};

use crate::rig::{PASSWORD, Rig, USER};

async fn log_in(rig: &Rig, user: &str, password: &str) -> crate::rig::Answer {
    let body = json!({ "id": user, "password": password }).to_string();
    rig.raw("POST", "/v5/auth", "Content-Type: application/json\r\n", body.as_bytes()).await
}

#[tokio::test]
async fn a_password_gives_tokens_that_work_and_can_be_renewed() {
    let rig = Rig::start().await;
    for user in [USER, "admin@example.com"] {
        let tokens = log_in(&rig, user, PASSWORD).await.expect(200).json();
        assert!(tokens.get("data").is_none(), "a bare object");
        assert_eq!(tokens["expires_in"], 3600);
        assert!(tokens["expires_at"].as_str().unwrap().ends_with('Z'));
        for token in [renew(&rig, &tokens).await, tokens["access_token"].as_str().unwrap().to_owned()] {
            let headers = format!("Authorization: Bearer {token}\r\n");
            let me = rig.raw("GET", "/v5/accounts/me", &headers, b"").await.expect(200).json();
            assert_eq!(me["data"]["attributes"]["username"], USER);
        }
    }
}

async fn renew(rig: &Rig, tokens: &Value) -> String {
    let body = json!({ "token": tokens["refresh_token"] }).to_string();
    let renewed = rig.raw("POST", "/v5/auth/token", "", body.as_bytes()).await.expect(200).json();
    assert!(renewed.get("refresh_token").is_none());
    renewed["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let rig = Rig::start().await;
    let wrong = log_in(&rig, USER, "wrong password").await.expect(401);
    let unknown = log_in(&rig, "nobody", PASSWORD).await.expect(401);
    assert_eq!(wrong.json()["errors"][0]["code"], "PX100");
    assert_eq!(wrong.error(), unknown.error());
    assert!(wrong.error().starts_with("Invalid Credentials: "));
}

#[tokio::test]
async fn every_route_needs_a_token_that_is_known() {
    let rig = Rig::start().await;
    let long = "x".repeat(10_000);
    for path in [
        "accounts/me",
        "accounts",
        "products",
        "devicegroups",
        "devices",
        "deployments",
        "enrolment_tokens",
        "devices/x/logs",
    ] {
        for headers in ["", "Authorization: Bearer x\r\n", "Authorization: Basic eDp4\r\n", "Authorization:\r\n"] {
            let answer = rig.raw("GET", &format!("/v5/{path}"), headers, b"").await.expect(401);
            assert!(answer.error().starts_with("Unauthorized: "), "{path}");
        }
    }
    rig.raw("GET", "/v5/devices", &format!("Authorization: Bearer {long}\r\n"), b"").await.expect(401);
    for (method, path) in
        [("POST", "logstream"), ("PUT", "logstream/x/y"), ("POST", "devices/x/revoke"), ("POST", "products")]
    {
        rig.raw(method, &format!("/v5/{path}"), "", b"{}").await.expect(401);
    }
}

#[tokio::test]
async fn a_token_is_kept_as_a_hash_only() {
    let rig = Rig::start().await;
    let tokens = log_in(&rig, USER, PASSWORD).await.expect(200).json();
    rig.store.close().await;
    let mut kept = Vec::new();
    let entries = std::fs::read_dir(rig.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    for file in entries.filter(|path| path.is_file()) {
        kept.extend(std::fs::read(file).unwrap());
    }
    assert!(contains(&kept, USER.as_bytes()), "the database was read");
    for secret in [tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap(), PASSWORD] {
        assert!(!contains(&kept, secret.as_bytes()));
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn an_unknown_refresh_token_is_not_found() {
    let rig = Rig::start().await;
    let answer = rig.raw("POST", "/v5/auth/token", "", br#"{"token":"nobody's"}"#).await.expect(404);
    assert!(answer.error().starts_with("Not Found: "));
    // An access token is no refresh token.
    let body = json!({ "token": rig.token }).to_string();
    rig.raw("POST", "/v5/auth/token", "", body.as_bytes()).await.expect(404);
}

#[tokio::test]
async fn guessing_passwords_is_stopped_even_when_done_at_once() {
    let rig = Rig::with(Limits { login_tries: 5, ..LIMITS }).await;
    let tries = futures_util::future::join_all((0..12).map(|number| {
        let rig = &rig;
        async move { log_in(rig, USER, &format!("guess {number}")).await.status }
    }));
    let mut statuses = tries.await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[401; 5].as_slice(), &[429; 7]].concat());
    // Nor does the right password tell anything now, and other users are still let in.
    log_in(&rig, USER, PASSWORD).await.expect(429);
    log_in(&rig, "somebody else", PASSWORD).await.expect(401);
}

#[tokio::test]
async fn logging_in_again_and_again_is_no_attack() {
    let rig = Rig::with(Limits { login_tries: 2, login_tries_per_source: 3, ..LIMITS }).await;
    for _ in 0..6 {
        log_in(&rig, USER, PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn a_broken_login_does_not_quote_the_password() {
    let rig = Rig::start().await;
    for body in [
        r#"{"id":"admin","password":"hunter2-secret""#,
        r#"{"id":"admin","password":{"a":"hunter2-secret"}}"#,
        "[]",
        "",
        "null",
    ] {
        let answer = rig.raw("POST", "/v5/auth", "", body.as_bytes()).await.expect(400);
        assert!(!answer.body.contains("hunter2"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_account_sees_its_logins_and_ends_one() {
    let rig = Rig::start().await;
    let login = rig.store.log_in(rig.account.parse().unwrap()).await.unwrap();
    let renewal = login.refresh_token.unwrap();
    let shown = rig.get("/v5/accounts/me/refresh_tokens").await.expect(200).json();
    let tokens = shown["data"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[0]["type"]), (2, &json!("refresh_token")));
    assert!(!shown.to_string().contains(&renewal), "the token itself is shown to nobody");
    for token in tokens {
        let path = format!("/v5/accounts/me/refresh_tokens/{}", token["id"].as_str().unwrap());
        rig.call("DELETE", &path, None).await.expect(204);
        rig.call("DELETE", &path, None).await.expect(404);
    }
    let body = json!({ "token": renewal }).to_string();
    rig.raw("POST", "/v5/auth/token", "", body.as_bytes()).await.expect(404);
    // The hour of an access token runs on.
    rig.get("/v5/accounts/me").await.expect(200);
}
