//! Requests that an agent makes, with the host's answers given by hand.

use crate::pair::{End, agent, agent_with};
use vouch_apphost::{HttpAnswer, HttpFailure, Input, Limits, Turn};

fn answer(end: &mut End, id: u64, status: u16, body: &str) {
    let headers = vec![("x-a".to_owned(), b"1".to_vec())];
    let answer = Ok(HttpAnswer { status, headers, body: body.as_bytes().to_vec() });
    end.input(Input::HttpAnswer { id, answer });
    end.settle();
}

#[test]
fn a_request_goes_out_as_it_was_made_and_its_answer_comes_back() {
    let mut end = agent(
        r#"http.post("https://example.com/x?y=1", { "X-B": 2, "content-type": "text/plain" }, "body").sendasync(function(r) {
               server.log(r.statuscode + " " + r.headers["x-a"] + " " + r.body);
           });
           server.log("main");"#,
    );
    end.settle();
    let request = &end.requests[0];
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://example.com/x?y=1"));
    let mut headers = request.headers.clone();
    headers.sort();
    assert_eq!(headers, [("X-B", "2"), ("content-type", "text/plain")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!((request.body.as_slice(), request.timeout_ms), (&b"body"[..], 600_000));
    let id = request.id;
    answer(&mut end, id, 201, "made");
    assert_eq!(end.logs, ["main", "201 1 made"]);
    answer(&mut end, id, 201, "made");
    assert_eq!(end.logs.len(), 2, "an answer counts once");
}

#[test]
fn each_method_has_its_function() {
    let mut end = agent(
        r#"foreach (r in [http.get("http://a"), http.put("http://a", {}, ""), http.httpdelete("http://a"),
                          http.request("patch", "http://a", null, null)]) r.sendasync(@(r) null, null, 1.5);"#,
    );
    end.settle();
    let methods: Vec<_> = end.requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PUT", "DELETE", "PATCH"]);
    assert!(end.requests.iter().all(|request| request.timeout_ms == 1_500));
}

#[test]
fn a_synchronous_request_makes_the_script_wait_and_nothing_else() {
    let mut end = agent(
        r#"imp.wakeup(0, @() server.log("later"));
           local r = http.get("http://a").sendsync(); server.log(r.statuscode + r.body);"#,
    );
    assert_eq!(end.settle(), Turn::Waiting);
    assert!(end.logs.is_empty());
    let id = end.requests[0].id;
    answer(&mut end, id, 200, "!");
    assert_eq!(end.logs, ["200!", "later"]);
}

#[test]
fn a_failure_is_a_number_below_a_hundred() {
    let mut end = agent(r#"http.get("http://a").sendasync(@(r) server.log(r.statuscode + "|" + r.body));"#);
    end.settle();
    let id = end.requests[0].id;
    end.input(Input::HttpAnswer { id, answer: Err(HttpFailure::TimedOut) });
    end.settle();
    assert_eq!(end.logs, ["28|"]);
}

#[test]
fn forty_at_once_then_two_a_second_the_others_get_429() {
    let limits = Limits { http_out_open: 1_000, ..Limits::agent() };
    let mut end = agent_with(
        r#"function go(n) { for (local i = 0; i < n; i++) http.get("http://a").sendasync(@(r) server.log(r.statuscode)); }
           go(41); imp.wakeup(1, @() go(3)); imp.wakeup(10, @() server.log(http.get("http://a").sendsync().statuscode));"#,
        limits,
        None,
    );
    end.settle();
    assert_eq!((end.requests.len(), end.logs.as_slice()), (40, &["429".to_owned()][..]));
    end.pass(1_000);
    assert_eq!((end.requests.len(), end.logs.len()), (42, 2));
}

#[test]
fn so_many_are_open_and_not_one_more() {
    let limits = Limits { http_out_open: 2, ..Limits::agent() };
    let source = r#"for (local i = 0; i < 3; i++) http.get("http://a").sendasync(@(r) server.log(r.statuscode));
                    imp.wakeup(1, @() http.get("http://a").sendasync(@(r) null));"#;
    let mut end = agent_with(source, limits, None);
    end.settle();
    assert_eq!((end.requests.len(), end.logs.as_slice()), (2, &["429".to_owned()][..]));
    let id = end.requests[0].id;
    answer(&mut end, id, 200, "");
    end.pass(1_000);
    assert_eq!(end.requests.len(), 3, "an answer makes room");
}

#[test]
fn a_cancelled_request_is_not_answered() {
    let mut end = agent(
        r#"local r = http.get("http://a"); r.sendasync(@(r) server.log("never")); r.cancel();
           local unsent = http.get("http://a"); unsent.cancel();
           try { unsent.sendsync(); } catch (e) { server.log("thrown"); }"#,
    );
    end.settle();
    let id = end.requests[0].id;
    assert_eq!(end.cancelled, [id]);
    answer(&mut end, id, 200, "");
    assert_eq!(end.logs, ["thrown"]);
}

#[test]
fn requests_that_are_made_and_never_sent_cost_a_bounded_amount() {
    let mut end = agent(
        r#"local body = blob(300000); local first = http.post("http://a", {}, body); local last = null;
           for (local i = 0; i < 100; i++) last = http.post("http://a", {}, body);
           try { first.sendsync(); } catch (e) { server.log("forgotten"); }
           last.sendasync(@(r) null);"#,
    );
    end.settle();
    assert_eq!((end.logs.as_slice(), end.requests.len()), (&["forgotten".to_owned()][..], 1));
}

#[test]
fn an_answer_beyond_the_memory_ends_the_app() {
    let mut end = agent(r#"http.get("http://a").sendsync();"#);
    end.settle();
    let id = end.requests[0].id;
    let answer = Ok(HttpAnswer { status: 200, headers: Vec::new(), body: vec![b'x'; 5 * 1024 * 1024] });
    end.input(Input::HttpAnswer { id, answer });
    end.settle();
    assert!(end.failed.as_deref().is_some_and(|error| error.contains("memory")), "{:?}", end.failed);
}

#[test]
fn headers_cannot_smuggle_lines_and_a_body_has_its_limit() {
    for source in [
        r#"http.get("http://a", { a = "1\r\nb: 2" });"#,
        r#"http.get("http://a", { "a b": "1" });"#,
        r#"http.get("http://a", "a: 1");"#,
        r#"http.request("GET / HTTP/1.1\r\n", "http://a", {}, "");"#,
        r#"http.post("http://a", {}, blob(1024 * 1024 + 1));"#,
        r#"http.get("http://a").sendasync(@(r) null, null, 601);"#,
        r#"http.get("http://a").sendasync(@(r) null, @(d) null);"#,
    ] {
        let mut end = agent(source);
        end.settle();
        assert!(end.failed.is_some(), "{source}");
        assert!(end.requests.is_empty(), "{source}");
    }
}
