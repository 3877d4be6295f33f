//! The agent's URL and the `http` object.

use crate::pair::{agent, agent_logs};
use vouch_apphost::{Input, Limits};

#[test]
fn the_request_table_holds_all_of_the_request() {
    let mut end = agent(
        r#"http.onrequest(function(request, response) {
               server.log(request.method + " " + request.path + " " + request.query.q + " " + request.headers.host + " " + request.body);
               response.send(200, "ok");
           });"#,
    );
    end.request(9, "PUT", "/a/b", b"body");
    end.settle();
    assert_eq!(end.logs, ["PUT /a/b 1 example body"]);
    assert_eq!(end.responses[0].id, 9);
}

#[test]
fn a_response_may_be_sent_later_and_only_once() {
    let mut end = agent(
        r#"http.onrequest(function(request, response) {
               imp.wakeup(1, function() {
                   response.header("X-A", "1");
                   response.send(201, "later");
                   try { response.send(200, "again"); } catch (e) { server.log("thrown"); }
               });
           });"#,
    );
    end.request(1, "GET", "/", b"");
    end.pass(500);
    assert!(end.responses.is_empty());
    end.pass(600);
    assert_eq!(end.responses.len(), 1);
    assert_eq!((end.responses[0].status, end.responses[0].body.as_slice()), (201, &b"later"[..]));
    assert_eq!(end.responses[0].headers, [("X-A".to_owned(), "1".to_owned())]);
    assert_eq!(end.logs, ["thrown"]);
}

#[test]
fn a_request_that_nobody_handles_is_answered_by_the_host() {
    let mut end = agent("");
    end.request(1, "GET", "/", b"");
    end.settle();
    assert_eq!(end.responses[0].status, 404);
}

#[test]
fn an_answer_nobody_waits_for_goes_nowhere() {
    let mut end = agent(
        "http.onrequest(function(q, r) { imp.wakeup(1, function() { r.send(200, \"x\"); server.log(\"no error\"); }); });",
    );
    end.request(1, "GET", "/", b"");
    end.settle();
    end.input(Input::HttpGone(1));
    end.pass(2_000);
    assert!(end.responses.is_empty());
    assert_eq!(end.logs, ["no error"]);
}

#[test]
fn headers_that_would_split_the_response_are_refused() {
    let mut end = agent(
        r#"http.onrequest(function(request, response) {
               foreach (pair in [["X", "a\r\nSet-Cookie: b"], ["X\n", "a"], ["", "a"], ["X", "\x00"]])
                   try { response.header(pair[0], pair[1]); server.log("taken"); } catch (e) { server.log("thrown"); }
               response.send(200, "");
           });"#,
    );
    end.request(1, "GET", "/", b"");
    end.settle();
    assert_eq!(end.logs, ["thrown"; 4]);
    assert!(end.responses[0].headers.is_empty());
}

#[test]
fn a_status_that_is_none_is_refused() {
    for (status, taken) in [(99, false), (100, true), (999, true), (1000, false), (-1, false)] {
        let mut end = agent(&format!(
            "http.onrequest(function(q, r) {{ try {{ r.send({status}, \"\"); }} catch (e) {{ server.log(\"thrown\"); }} }});"
        ));
        end.request(1, "GET", "/", b"");
        end.settle();
        assert_eq!(end.responses.len(), usize::from(taken), "{status}");
    }
}

#[test]
fn open_requests_are_bounded() {
    let mut end = agent("local kept = []; http.onrequest(function(q, r) { kept.push(r); });");
    let most = Limits::agent().http_open as u64;
    for id in 0..=most {
        end.request(id, "GET", "/", b"");
        end.settle();
    }
    assert_eq!(end.responses.len(), 1);
    assert_eq!((end.responses[0].id, end.responses[0].status), (most, 503));
}

#[test]
fn json_is_written_with_and_without_spaces() {
    assert_eq!(
        agent_logs(
            r#"server.log(http.jsonencode({ a = [1, 2.5, null, true, "q\"\n\x01ü"] }));
               server.log(http.jsonencode({ a = [1, {}], b = [] }, { compact = true }));
               server.log(http.jsonencode(1.0) + http.jsonencode("x") + http.jsonencode(null));"#
        ),
        [r#"{ "a": [ 1, 2.5, null, true, "q\"\n\u0001ü" ] }"#, r#"{"a":[1,{}],"b":[]}"#, r#"1.0"x"null"#]
    );
}

#[test]
fn json_is_read() {
    assert_eq!(
        agent_logs(
            r#"local v = http.jsondecode(" { \"a\" : [ 1, -2.5, 1e3, \"\\u00fc\\n\", null, false ], \"b\": {\"c\": 4294967296} } ");
               server.log(v.a[0] + " " + v.a[1] + " " + typeof v.a[2] + " " + v.a[3] + typeof v.a[4] + v.a[5] + typeof v.b.c);
               server.log(http.jsondecode("7") + http.jsondecode("\"x\""));"#
        ),
        ["1 -2.5 float ü\nnullfalsefloat", "7x"]
    );
}

#[test]
fn bad_json_throws() {
    let logs = agent_logs(
        r#"foreach (bad in ["", "{", "[1,]", "{\"a\":1,}", "nul", "1 2", "{a:1}", "\"\xff\"", "[1"])
               try { http.jsondecode(bad); server.log("taken: " + bad); } catch (e) { server.log("thrown"); }"#,
    );
    assert_eq!(logs, ["thrown"; 9]);
}

#[test]
fn json_nests_to_its_limit_and_no_deeper() {
    let most = vouch_apphost::limits::NESTING;
    let logs = agent_logs(&format!(
        r#"foreach (depth in [{most}, {most} + 1, 30000]) {{
               local s = ""; for (local i = 0; i < depth; i++) s += "["; for (local i = 0; i < depth; i++) s += "]";
               try {{ http.jsondecode(s); server.log("taken"); }} catch (e) {{ server.log("thrown"); }}
           }}
           local cycle = []; cycle.push(cycle);
           try {{ http.jsonencode(cycle); server.log("taken"); }} catch (e) {{ server.log("thrown"); }}"#
    ));
    assert_eq!(logs, ["taken", "thrown", "thrown", "thrown"]);
}

#[test]
fn base64_and_url_codecs() {
    assert_eq!(
        agent_logs(
            r#"server.log(http.base64encode("hello\x00w"));
               server.log(http.base64decode("aGVsbG8=").tostring());
               try { http.base64decode("a*"); } catch (e) { server.log("thrown"); }
               server.log(http.urlencode({ a = "b c&d" }));
               server.log(http.urlencode({ l = [1, "x"] }));
               server.log(http.urldecode("a=b%20c+d&e=").a);
               server.log(http.agenturl());"#
        ),
        ["aGVsbG8Adw==", "hello", "thrown", "a=b%20c%26d", "l=1&l=x", "b c d", "http://server/agent/abc"]
    );
}
