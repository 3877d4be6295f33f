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
