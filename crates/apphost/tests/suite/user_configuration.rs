//! `imp.getuserconfiguration` and `imp.setuserconfiguration`.

use crate::pair::{device, device_as, device_info};
use vouch_apphost::{DeviceInfo, Limits, Turn, WakeReason};

fn with(stored: Option<&[u8]>, source: &str) -> crate::pair::End {
    let info = DeviceInfo { user_configuration: stored.map(<[u8]>::to_vec), ..device_info() };
    device_as(source, Limits::device(), WakeReason::PowerOn, info)
}

#[test]
fn what_the_host_kept_is_read_as_a_blob_and_nothing_as_null() {
    let source = r#"local c = imp.getuserconfiguration(); server.log(c == null ? "null" : typeof c + c.len() + c[1]);"#;
    for (stored, told) in [(None, "null"), (Some(&b"ab\0"[..]), "blob398")] {
        let mut end = with(stored, source);
        end.settle();
        assert_eq!(end.logs, [told]);
    }
}

#[test]
fn what_was_set_is_there_at_once_and_the_host_has_it() {
    let mut end = device(
        r#"imp.setuserconfiguration("abc"); server.log(imp.getuserconfiguration().tostring());
           local b = blob(2); imp.setuserconfiguration(b); server.log(imp.getuserconfiguration().len());
           imp.setuserconfiguration(null); server.log(imp.getuserconfiguration());"#,
    );
    end.settle();
    assert_eq!(end.user_configurations, [&b"abc"[..], b"\0\0", b""]);
    assert_eq!(end.logs[..2], ["abc", "2"]);
    assert!(end.logs[2].contains("null"), "{:?}", end.logs);
}

#[test]
fn it_holds_4096_bytes_and_not_one_more() {
    for (length, kept) in [(4096, true), (4097, false)] {
        let mut end = device(&format!("imp.setuserconfiguration(blob({length}));"));
        end.settle();
        assert_eq!(end.user_configurations.len(), usize::from(kept));
        assert_eq!(end.failed.is_none(), kept, "{:?}", end.failed);
    }
}

#[test]
fn the_script_waits_and_is_told_when_it_was_not_kept() {
    let source = r#"try { imp.setuserconfiguration("new"); } catch (e) { server.log(e); }
                    server.log(imp.getuserconfiguration().tostring());"#;
    let mut end = with(Some(b"old"), source);
    end.save_answer = None;
    assert_eq!(end.settle(), Turn::Waiting);
    assert!(end.logs.is_empty());
    end.app.input(vouch_apphost::Input::Saved(Err("no room".into())), end.now).expect("taken");
    end.settle();
    assert_eq!(end.logs, ["no room", "old"]);
}

#[test]
fn what_is_neither_text_nor_blob_is_refused() {
    let mut end = device("imp.setuserconfiguration({});");
    end.settle();
    assert_eq!(end.failed.as_deref(), Some("imp.setuserconfiguration: a blob or a string was expected"));
}
