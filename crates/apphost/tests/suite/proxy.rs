//! `imp.setproxy` and `imp.clearproxy`.

use crate::pair::device;
use vouch_apphost::{Input, Proxy, Turn};

#[test]
fn a_proxy_is_handed_to_the_host_with_and_without_a_login() {
    let mut end = device(
        r#"imp.setproxy(PROXY_TYPE_HTTP, "proxy.example", 3128);
           imp.setproxy(PROXY_TYPE_HTTP, "192.0.2.7", 8080, "clerk", "secret"); imp.clearproxy();"#,
    );
    end.settle();
    let proxy = |host: &str, port, login: Option<(&str, &str)>| {
        let credentials = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Some(Proxy { host: host.to_owned(), port, credentials })
    };
    let with_login = proxy("192.0.2.7", 8080, Some(("clerk", "secret")));
    assert_eq!(end.proxies, [proxy("proxy.example", 3128, None), with_login.clone(), None]);
    let shown = format!("{with_login:?}");
    assert!(shown.contains("clerk") && !shown.contains("secret"), "{shown}");
}

#[test]
fn the_script_waits_and_is_told_when_the_host_does_not_take_it() {
    let mut end = device(r#"try { imp.clearproxy(); } catch (e) { server.log(e); } server.log("on");"#);
    end.save_answer = None;
    assert_eq!(end.settle(), Turn::Waiting);
    end.app.input(Input::Saved(Err("diskless".into())), end.now).expect("taken");
    end.settle();
    assert_eq!(end.logs, ["diskless", "on"]);
}

#[test]
fn what_is_no_proxy_is_refused() {
    for (arguments, says) in [
        (r#"1, "proxy.example", 3128"#, "PROXY_TYPE_HTTP, an address and a port"),
        (r#"PROXY_TYPE_HTTP, "proxy.example", 65536"#, "PROXY_TYPE_HTTP, an address and a port"),
        (r#"PROXY_TYPE_HTTP, "proxy.example", -1"#, "PROXY_TYPE_HTTP, an address and a port"),
        (r#"PROXY_TYPE_HTTP, "proxy.example", "80""#, "PROXY_TYPE_HTTP, an address and a port"),
        (r#"PROXY_TYPE_HTTP, 7, 3128"#, "a string was expected"),
        (r#"PROXY_TYPE_HTTP, "proxy.example", 3128, "clerk""#, "a user needs a password"),
        (r#"PROXY_TYPE_HTTP, "proxy.example", 3128, "clerk", null"#, "a string was expected"),
    ] {
        let mut end = device(&format!("imp.setproxy({arguments});"));
        end.settle();
        assert!(end.failed.as_deref().is_some_and(|failed| failed.contains(says)), "{arguments}: {:?}", end.failed);
        assert!(end.proxies.is_empty());
    }
}
