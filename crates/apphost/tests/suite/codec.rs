//! Values on their way from one end to the other.

use crate::pair::{Pair, agent, device};

/// What the agent logs about `expression` sent by the device.
fn across(expression: &str) -> Vec<String> {
    let mut pair = Pair::new(
        &format!("imp.wakeup(0, function() {{ agent.send(\"v\", {expression}); }});"),
        "function show(v) {
             switch (typeof v) {
                 case \"table\": local s = \"{\"; foreach (k, x in v) s += k + \"=\" + show(x) + \";\"; return s + \"}\";
                 case \"array\": local s = \"[\"; foreach (x in v) s += show(x) + \";\"; return s + \"]\";
                 case \"null\": return \"null\";
                 case \"string\": return \"'\" + v + \"'\";
                 case \"blob\": return \"blob \" + v.len();
                 default: return typeof v + \" \" + v;
             }
         }
         device.on(\"v\", function(v) { server.log(show(v)); });",
    );
    pair.exchange();
    assert_eq!(pair.device.failed, None);
    assert_eq!(pair.agent.failed, None);
    pair.agent.logs
}

#[test]
fn scalars_arrive_as_they_were() {
    for (value, shown) in [
        ("null", "null"),
        ("true", "bool true"),
        ("-2147483647 - 1", "integer -2147483648"),
        ("2147483647", "integer 2147483647"),
        ("0.1", "float 0.1"),
        ("2.0", "float 2"),
        ("\"grüezi\"", "'grüezi'"),
        ("[1, [2], {}]", "[integer 1;[integer 2;];{};]"),
        ("{ a = { b = null } }", "{a={b=null;};}"),
    ] {
        assert_eq!(across(value), [shown], "{value}");
    }
}

#[test]
fn unsafe_strings_become_blobs() {
    assert_eq!(across(r#"{ a = "\x00\x01", b = "\xff", c = "plain" }.a"#), ["blob 2"]);
    assert_eq!(across(r#""\xff""#), ["blob 1"]);
}

#[test]
fn what_cannot_be_sent_is_dropped() {
    assert_eq!(across("[1, function() {}, 2]"), ["[integer 1;integer 2;]"]);
    assert_eq!(across("{ f = function() {}, [3] = 4, [\"\\xff\"] = 5, k = 6 }"), ["{k=integer 6;}"]);
}

#[test]
fn a_cycle_is_refused() {
    let mut end = device("local t = {}; t.t <- t; try { agent.send(\"t\", t); } catch (e) { server.log(\"thrown\"); }");
    end.settle();
    assert_eq!(end.logs, ["thrown"]);
    assert!(end.sent.is_empty());
}

#[test]
fn the_same_value_twice_is_no_cycle() {
    let mut end = agent("local a = [1]; server.log(http.jsonencode([a, a], { compact = true }));");
    end.settle();
    assert_eq!(end.logs, ["[[1],[1]]"]);
}

#[test]
fn a_message_takes_256_kib_with_its_name_and_not_a_byte_more() {
    // A CBOR text of this length has a head of five bytes; the name has one.
    let most = 256 * 1024 - 5 - 1;
    for (bytes, fits) in [(most, true), (most + 1, false)] {
        let mut end = device(&format!(
            r#"local s = "x"; while (s.len() * 2 <= {bytes}) s += s;
               local t = s; while (s.len() < {bytes}) {{ while (s.len() + t.len() > {bytes}) t = t.slice(0, (t.len() + 1) / 2); s += t; }}
               try {{ server.log(agent.send("n", s)); }} catch (e) {{ server.log("thrown"); }}"#
        ));
        end.settle();
        assert_eq!(end.failed, None);
        assert_eq!(end.logs, [if fits { "0" } else { "thrown" }], "{bytes}");
        assert_eq!(end.sent.len(), usize::from(fits));
    }
}

mod from_outside {
    use proptest::prelude::*;
    use vouch_apphost::{Input, Limits, Turn};

    use crate::pair::{agent, agent_with, device};

    proptest! {
        #[test]
        fn no_message_does_harm(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut end = device("agent.on(\"x\", @(v) agent.send(\"y\", v));");
            end.input(Input::Message { name: "x".into(), value, to_handle: false });
            prop_assert_eq!(end.settle(), Turn::Idle);
            prop_assert_eq!(end.failed, None);
        }

        #[test]
        fn no_text_taken_for_json_does_harm(text in "[\\[\\]{}:,\"\\\\a-u0-9.eE+\\- \u{80}-\u{ff}]{0,60}") {
            let mut end = agent("http.onrequest(function(q, r) {
                try { r.send(200, http.jsonencode(http.jsondecode(q.body))); } catch (e) { r.send(400, e); } });");
            end.request(1, "POST", "/", text.as_bytes());
            prop_assert_eq!(end.settle(), Turn::Idle);
            let ours = end.responses[0].status == 200;
            // The reader of the tests nests deeper than ours; the texts here are too short for that.
            prop_assert_eq!(ours, serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn json_comes_back_as_it_was(number in any::<i32>(), float in any::<f32>(), text in "\\PC*") {
            prop_assume!(float.is_finite());
            let body = serde_json::json!({ "n": number, "t": text, "a": [null, true, [float]] });
            let mut end = agent("http.onrequest(@(q, r) r.send(200, http.jsonencode(http.jsondecode(q.body))));");
            end.request(1, "POST", "/", body.to_string().as_bytes());
            end.settle();
            let back: serde_json::Value = serde_json::from_slice(&end.responses[0].body).expect("JSON");
            prop_assert_eq!(&back["n"], &body["n"]);
            prop_assert_eq!(&back["t"], &body["t"]);
            prop_assert_eq!(back["a"][2][0].as_f64().map(|f| f as f32), Some(float));
        }

        #[test]
        fn no_saved_bytes_do_harm(saved in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut end = agent_with("server.log(typeof server.load());", Limits::agent(), Some(saved));
            prop_assert_eq!(end.settle(), Turn::Idle);
            prop_assert_eq!(end.logs.last().map(String::as_str), Some("table"));
        }
    }
}
