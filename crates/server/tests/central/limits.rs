//! What a client can make the server hold: bodies, heads, connections, requests, time.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vouch_server::limits::{LIMITS, Limits};

use crate::rig::{PATIENCE, Rig};

fn product(bytes: usize) -> Vec<u8> {
    let body = json!({ "data": { "type": "product", "attributes": { "name": "lamp" } } }).to_string();
    format!("{body}{}", " ".repeat(bytes - body.len())).into_bytes()
}

#[tokio::test]
async fn a_body_as_long_as_the_limit_is_taken_and_one_byte_more_is_not() {
    let rig = Rig::with(Limits { body_bytes: 1_000, ..LIMITS }).await;
    let auth = format!("Authorization: Bearer {}\r\n", rig.token);
    rig.raw("POST", "/v5/products", &auth, &product(1_000)).await.expect(201);
    let answer = rig.raw("POST", "/v5/products", &auth, &product(1_001)).await.expect(413);
    assert!(answer.error().starts_with("Request Too Large: "));
}

#[tokio::test]
async fn a_body_that_never_comes_ends_the_request() {
    let rig = Rig::with(Limits { request_deadline: Duration::from_millis(100), ..LIMITS }).await;
    let mut tcp = TcpStream::connect(rig.addr).await.unwrap();
    let head = format!(
        "POST /v5/products HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\n",
        rig.token
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, tcp.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
}

#[tokio::test]
async fn a_head_that_never_ends_closes_the_connection() {
    let rig = Rig::with(Limits { head_deadline: Duration::from_millis(100), ..LIMITS }).await;
    for part in ["", "GET /v5/produ", "GET / HTTP/1.1\r\nHost: x\r\nA: "] {
        let mut tcp = TcpStream::connect(rig.addr).await.unwrap();
        tcp.write_all(part.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("closed in time").ok();
    }
}

#[tokio::test]
async fn a_head_within_the_limit_is_taken_and_one_that_goes_on_and_on_is_not() {
    let limit = 10_000;
    let rig = Rig::with(Limits { head_bytes: limit, ..LIMITS }).await;
    let padding = |bytes: usize| format!("Authorization: Bearer {}\r\nX-Padding: {}\r\n", rig.token, "x".repeat(bytes));
    rig.raw("GET", "/v5/products", &padding(limit - 1_000), b"").await.expect(200);
    rig.raw("GET", "/v5/products", &padding(10 * limit), b"").await.expect(431);
}

#[tokio::test]
async fn a_client_that_takes_no_answers_loses_its_place() {
    let rig = Rig::with(Limits { connections: 1, write_deadline: Duration::from_millis(300), ..LIMITS }).await;
    let mut deaf = TcpStream::connect(rig.addr).await.unwrap();
    let requests = "GET /v5/nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    // More answers than the kernel holds for it: at last the server takes no more requests, then it closes.
    let asking = async { while deaf.write_all(requests.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, asking).await.expect("closed in time");
    rig.get("/v5/products").await.expect(200);
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_until_one_is_closed() {
    let rig = Rig::with(Limits { connections: 2, ..LIMITS }).await;
    let first = TcpStream::connect(rig.addr).await.unwrap();
    let _second = TcpStream::connect(rig.addr).await.unwrap();
    let waiting = rig.get("/v5/products");
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(200), waiting.as_mut()).await.is_err());
    drop(first);
    waiting.await.expect(200);
}

#[tokio::test]
async fn more_requests_than_the_limit_are_told_to_come_back() {
    let rig = Rig::with(Limits { requests: 1, ..LIMITS }).await;
    let auth = format!("Authorization: Bearer {}\r\n", rig.token);
    let mut busy = TcpStream::connect(rig.addr).await.unwrap();
    let head =
        format!("POST /v5/products HTTP/1.1\r\nHost: x\r\n{auth}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    busy.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is being worked on.
    let mut asked = [0; 12];
    timeout(PATIENCE, busy.read_exact(&mut asked)).await.unwrap().unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    assert!(rig.get("/v5/products").await.expect(429).error().starts_with("Too Many Requests: "));
    drop(busy);
    timeout(PATIENCE, async { while rig.get("/v5/products").await.status != 200 {} }).await.expect("room again");
}

#[tokio::test]
async fn strangers_with_slow_logins_take_no_place_of_who_is_logged_in() {
    let rig = Rig::with(Limits { requests: 1, auth_requests: 1, ..LIMITS }).await;
    let mut slow = TcpStream::connect(rig.addr).await.unwrap();
    let head = "POST /v5/auth/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 12];
    timeout(PATIENCE, slow.read_exact(&mut asked)).await.unwrap().unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    rig.get("/v5/products").await.expect(200);
    rig.raw("POST", "/v5/auth/token", "", b"{}").await.expect(429);
}

#[tokio::test]
async fn a_login_has_a_smaller_bound_than_a_deployment() {
    let rig = Rig::with(Limits { auth_body_bytes: 100, ..LIMITS }).await;
    let body = |bytes: usize| format!("{{\"token\":\"{}\"}}", "x".repeat(bytes - 12)).into_bytes();
    rig.raw("POST", "/v5/auth/token", "", &body(100)).await.expect(404);
    rig.raw("POST", "/v5/auth/token", "", &body(101)).await.expect(413);
}

#[tokio::test]
async fn open_log_streams_leave_room_for_requests() {
    let rig = Rig::with(Limits { requests: 1, ..LIMITS }).await;
    let stream = crate::rig::id(&rig.post("/v5/logstream", &serde_json::Value::Null).await.expect(201));
    let mut events = crate::rig::Events::open(rig.addr, &format!("/v5/logstream/{stream}")).await;
    events.next().await.unwrap();
    rig.get("/v5/products").await.expect(200);
}

#[tokio::test]
async fn deep_json_is_refused_and_harms_nobody() {
    let rig = Rig::start().await;
    let auth = format!("Authorization: Bearer {}\r\n", rig.token);
    for deep in [
        "[".repeat(100_000),
        "{\"data\":".repeat(100_000),
        "{\"data\":{\"type\":\"product\",\"attributes\":".to_owned() + &"{\"a\":".repeat(10_000),
    ] {
        rig.raw("POST", "/v5/products", &auth, deep.as_bytes()).await.expect(400);
    }
    rig.get("/v5/products").await.expect(200);
}

#[tokio::test]
async fn health_needs_no_token_and_tells_the_truth() {
    let rig = Rig::with(Limits { health_kept: Duration::ZERO, ..LIMITS }).await;
    rig.raw("GET", "/health", "", b"").await.expect(200);
    rig.store.close().await;
    rig.raw("GET", "/health", "", b"").await.expect(503);
}
