//! The gateway when the operating system has no more descriptors. Alone in its process, since the limit is the process's.

#[path = "gateway/rig/mod.rs"]
mod rig;

use keys::profile::Profile;
use rig::Rig;
use rig::link::Link;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_pauses_and_then_goes_on() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    rig.until(|counters| counters.connections() == 0).await;
    // The client has its descriptor already; there is none left for the gateway's end.
    let client = TcpSocket::new_v4().unwrap();
    let before = getrlimit(Resource::Nofile);
    let mut none_left = before;
    none_left.current = Some(0);
    setrlimit(Resource::Nofile, none_left).unwrap();
    let client = client.connect(rig.addr()).await.unwrap();
    rig.until(|counters| counters.accept_errors() > 0).await;
    assert_eq!(rig.counters.connections(), 0);
    setrlimit(Resource::Nofile, before).unwrap();
    rig.until(|counters| counters.connections() == 1).await;
    let login = Link::login(&device, rig.addr()).await;
    assert!(login.is_ok(), "{:?}", login.err());
    drop(client);
}
