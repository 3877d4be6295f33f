//! `crypto` and `http.hash`.

use crate::pair::{agent, agent_logs, device_logs};

/// Shows a blob as hex.
const HEX: &str = r#"function hex(b) { local s = ""; foreach (byte in b) s += format("%02x", byte); return s; }"#;

#[test]
fn hashes_are_the_same_on_both_ends_and_take_strings_and_blobs() {
    let source = format!(
        r#"{HEX} local b = blob(3); b[0] = 'a'; b[1] = 'b'; b[2] = 'c';
           server.log(hex(crypto.sha256("abc")).slice(0, 16)); server.log(hex(crypto.sha256(b)).slice(0, 16));
           server.log(hex(crypto.sha1("abc"))); server.log(crypto.sha512("").len());
           server.log(hex(crypto.hmacsha256("what do ya want for nothing?", "Jefe")).slice(0, 8));"#
    );
    let expected =
        ["ba7816bf8f01cfea", "ba7816bf8f01cfea", "a9993e364706816aba3e25717850c26c9cd0d89d", "64", "5bdcc146"];
    assert_eq!(device_logs(&source), expected);
    assert_eq!(agent_logs(&source), expected);
    let legacy =
        format!(r#"{HEX} server.log(hex(http.hash.hmacsha1("what do ya want for nothing?", "Jefe")).slice(0, 8));"#);
    assert_eq!(agent_logs(&legacy), ["effcdf6a"]);
}

#[test]
fn equals_compares_strings_and_blobs() {
    assert_eq!(
        device_logs(
            r#"server.log(crypto.equals("ab", "ab")); server.log(crypto.equals("ab", "ac")); server.log(crypto.equals("a", blob(1)));"#
        ),
        ["true", "false", "false"]
    );
}

#[test]
fn what_has_no_bytes_has_no_hash_and_md5_does_not_exist() {
    let mut end = agent("crypto.sha256(1);");
    end.settle();
    assert_eq!(end.failed.as_deref(), Some("a hash: a string or a blob was expected"));
    let mut end = agent(r#"http.hash.md5("");"#);
    end.settle();
    assert_eq!(end.failed.as_deref(), Some("the index 'md5' does not exist"));
}
