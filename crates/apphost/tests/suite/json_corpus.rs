//! JSON from outside: the corpus of the fuzzer, replayed, and hostile documents against an agent's budgets.

use std::fs;
use std::path::Path;

use crate::pair::{End, agent, agent_with};
use proptest::prelude::*;
use vouch_apphost::Limits;

/// Decodes what it is sent and sends it back.
const AGENT: &str = r#"http.onrequest(function(q, r) {
    try { local v = http.jsondecode(q.body); r.send(200, http.jsonencode(v)); } catch (e) { r.send(400, e); }
});"#;

fn ask(end: &mut End, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    end.request(1, "POST", "/", body);
    end.settle();
    end.responses.pop().map(|response| (response.status, response.body))
}

#[test]
fn the_corpus_is_read_or_refused_as_its_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/json");
    let mut end = agent(AGENT);
    end.settle();
    let mut counts = [0, 0];
    for entry in fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let (status, body) =
            ask(&mut end, &fs::read(&path).expect("a file")).unwrap_or_else(|| panic!("{name}: no answer"));
        let good = name.starts_with("good_");
        assert_eq!(status, if good { 200 } else { 400 }, "{name}: {}", String::from_utf8_lossy(&body));
        counts[usize::from(good)] += 1;
        if good {
            let again = ask(&mut end, &body).unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(again, (200, body), "{name}: what was written is read and written the same");
        }
    }
    assert!(counts.iter().all(|count| *count >= 20), "{counts:?}");
}

#[test]
fn a_document_that_does_not_fit_ends_the_app_within_its_memory() {
    let items = [b"[".to_vec(), b"[],".repeat(400_000), b"0]".to_vec()].concat();
    let keys: Vec<u8> = (0..100_000).flat_map(|n| format!("\"k{n}\":{n},").into_bytes()).collect();
    let table = [b"{".to_vec(), keys, b"\"z\":0}".to_vec()].concat();
    let text = [b"\"".to_vec(), b"x".repeat(1_100_000), b"\"".to_vec()].concat();
    for body in [items, table, text] {
        let limits = Limits { memory_bytes: 2 * 1024 * 1024, ..Limits::agent() };
        let mut end = agent_with(AGENT, limits, None);
        end.settle();
        assert_eq!(ask(&mut end, &body), None);
        assert!(end.failed.as_deref().is_some_and(|error| error.contains("memory")), "{:?}", end.failed);
    }
}

#[test]
fn decoding_over_and_over_is_counted_as_work() {
    let limits = Limits { event: 100_000, ..Limits::agent() };
    let source = r#"local t = "["; for (local i = 0; i < 1000; i++) t += "1,"; t += "1]"; while (true) try { http.jsondecode(t); } catch (e) {}"#;
    let mut end = agent_with(source, limits, None);
    end.settle();
    assert!(end.failed.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut end = agent(AGENT);
        end.settle();
        let (status, _) = ask(&mut end, &bytes).expect("an answer");
        prop_assert_eq!(status == 200, serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }
}
