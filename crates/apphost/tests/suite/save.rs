//! `server.save` and `server.load`: durable before the script goes on.

use crate::pair::{agent, agent_logs, agent_with};
use vouch_apphost::{Input, Limits, Turn};

#[test]
fn a_save_waits_for_the_host_and_load_gives_it_back() {
    let source = r#"server.save({ a = 1, b = [true, null, 1.5, "x"] }); server.log("saved " + server.load().b[3]);"#;
    let mut end = agent(source);
    end.save_answer = None;
    assert_eq!(end.settle(), Turn::Waiting);
    assert_eq!(end.saves.len(), 1);
    assert!(end.logs.is_empty(), "the script waits until the bytes are durable");
    end.app.input(Input::Saved(Ok(())), end.now).expect("answers are always taken");
    assert_eq!(end.settle(), Turn::Idle);
    assert_eq!(end.logs, ["saved x"]);
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    for format in ["", ", 1", ", 2"] {
        let mut end = agent(&format!(r#"server.save({{ n = 42, f = 0.1, t = {{ s = "ü" }} }}{format});"#));
        end.settle();
        assert_eq!(end.failed, None);
        let saved = end.saves.pop();
        let mut end = agent_with(
            r#"local d = server.load(); server.log(d.n + " " + (d.f == 0.1) + " " + d.t.s + " " + d.len());"#,
            Limits::agent(),
            saved,
        );
        end.settle();
        assert_eq!(end.logs, ["42 true ü 3"], "format {format}");
    }
}

#[test]
fn nothing_saved_loads_as_an_empty_table() {
    assert_eq!(agent_logs("server.log(typeof server.load() + server.load().len());"), ["table0"]);
}

#[test]
fn a_failed_save_throws_and_load_keeps_the_old() {
    let mut end = agent(
        r#"server.save({ n = 1 });
           imp.wakeup(1, function() {
               try { server.save({ n = 2 }); } catch (e) { server.log(e); }
               server.log(server.load().n);
           });"#,
    );
    end.settle();
    end.save_answer = Some(Err("disk full".into()));
    end.pass(1_000);
    assert_eq!(end.logs, ["disk full", "1"]);
}

#[test]
fn save_takes_64_kb_and_not_a_byte_more() {
    for (format, overhead) in [(1, r#"{"s":""}"#.len()), (2, 1 + 2 + 3)] {
        for (extra, fits) in [(0, true), (1, false)] {
            let bytes = 64 * 1024 - overhead + extra;
            let mut end = agent(&format!(
                r#"local s = "x"; while (s.len() * 2 <= {bytes}) s += s;
                   if ({bytes} - s.len() > 0) {{ local t = "y"; while (t.len() * 2 <= {bytes} - s.len()) t += t;
                   while (s.len() + t.len() <= {bytes}) s += t; }}
                   while (s.len() < {bytes}) s += "z";
                   try {{ server.save({{ s = s }}, {format}); server.log("ok"); }} catch (e) {{ server.log(e); }}"#
            ));
            end.settle();
            assert_eq!(end.failed, None);
            assert_eq!(end.saves.len(), usize::from(fits), "format {format}, {bytes} bytes of text");
            assert_eq!(end.logs[0] == "ok", fits);
            if fits {
                assert_eq!(end.saves[0].len(), 64 * 1024);
            }
        }
    }
}

#[test]
fn only_a_table_can_be_saved() {
    assert_eq!(agent_logs("try { server.save([1]); } catch (e) { server.log(\"thrown\"); }"), ["thrown"]);
}

#[test]
fn what_cannot_be_stored_is_left_out_and_said_so() {
    let mut end = agent(
        "server.save({ a = 1, f = function() {}, [5] = 6, nan = 0.0 / 0.0 }); local d = server.load(); server.log(d.len() + \" \" + d.nan);",
    );
    end.settle();
    assert_eq!(end.logs[0], "! ERROR: server.save: 2 entries cannot be stored and were left out");
    assert!(end.logs[1].starts_with("2 "), "{:?}", end.logs);
}

#[test]
fn damaged_saved_bytes_load_as_an_empty_table_and_are_reported() {
    let mut end = agent_with("server.log(server.load().len());", Limits::agent(), Some(b"{\"a\":".to_vec()));
    end.settle();
    assert_eq!(end.failed, None);
    assert_eq!(end.logs.len(), 2);
    assert_eq!(end.logs[1], "0");
}
