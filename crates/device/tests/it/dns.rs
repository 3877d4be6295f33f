//! Name servers that are slow, wrong or hostile, on real sockets: what the resolver takes from them and what not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use vouch_device::connect::dns::{Lookup, Resolver};
use vouch_device::limits::{LIMITS, Limits};

/// For servers that stay silent: where an answer comes, a slow machine has its time.
const QUICK: Limits = Limits { dns_wait: Duration::from_millis(300), ..LIMITS };

/// A name server that answers each question with the packets that a test gives for it.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeServer {
    pub(crate) async fn start(answer: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> FakeServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&buffer[..length]).unwrap();
                for packet in answer(&question) {
                    socket.send_to(&packet, from).await.unwrap();
                }
            }
        });
        FakeServer { address, asked, task }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn reply(question: &Message) -> Message {
    let mut reply = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    reply.add_queries(question.queries.clone());
    reply
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(crate) fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), 60, data)
}

fn address_record(owner: &Name, kind: RecordType) -> Record {
    match kind {
        RecordType::A => record(owner, RData::A(A::new(192, 0, 2, 7))),
        _ => record(owner, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))),
    }
}

/// The true answer to a question.
fn honest(question: &Message) -> Message {
    let mut answer = reply(question);
    let query = &question.queries[0];
    answer.add_answer(address_record(query.name(), query.query_type()));
    answer
}

fn bytes(message: Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn both() -> Vec<IpAddr> {
    vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]
}

async fn look_up(servers: &[SocketAddr], host: &str) -> Lookup {
    Resolver::new(servers, &LIMITS).look_up(host).await
}

fn failures(lookup: &Lookup) -> String {
    lookup.report.as_ref().unwrap().failures.join("; ")
}

#[tokio::test]
async fn both_kinds_of_addresses_are_found() {
    let server = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let found = look_up(&[server.address], "iot.example").await;
    assert_eq!(found.addresses, both());
    assert_eq!(found.report.unwrap().servers, [server.address]);
}

#[tokio::test]
async fn localhost_and_addresses_ask_nobody() {
    let server = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    for host in ["localhost", "LOCALHOST.", "192.0.2.9", "2001:db8::9"] {
        let found = look_up(&[server.address], host).await;
        assert!(!found.addresses.is_empty() && found.report.is_none(), "{host}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_silent_server_is_given_up_for_the_next() {
    let silent = FakeServer::start(|_| Vec::new()).await;
    let good = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let found = Resolver::new(&[silent.address, good.address], &QUICK).look_up("iot.example").await;
    assert_eq!(found.addresses, both());
    assert!(failures(&found).contains("no answer within"), "{}", failures(&found));
}

#[tokio::test]
async fn a_server_that_fails_is_given_up_for_the_next() {
    let failing = FakeServer::start(|question| {
        let mut answer = reply(question);
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![bytes(answer)]
    })
    .await;
    let good = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let found = look_up(&[failing.address, good.address], "iot.example").await;
    assert_eq!(found.addresses, both());
}

#[tokio::test]
async fn forged_answers_with_a_wrong_id_or_question_are_passed_over() {
    let server = FakeServer::start(|question| {
        let mut forged_id = honest(question);
        forged_id.metadata.id = question.metadata.id.wrapping_add(1);
        let mut forged_question = reply(question);
        forged_question.queries[0].set_name(name("evil.example."));
        forged_question.add_answer(record(question.queries[0].name(), RData::A(A::new(203, 0, 113, 66))));
        let not_an_answer = question.clone();
        let mut packets = vec![bytes(forged_id), bytes(forged_question), bytes(not_an_answer), b"junk".to_vec()];
        packets.push(bytes(honest(question)));
        packets
    })
    .await;
    assert_eq!(look_up(&[server.address], "iot.example").await.addresses, both());
}

#[tokio::test]
async fn a_flood_of_forged_answers_ends_at_the_bound() {
    let flood = |strays: usize| {
        move |question: &Message| {
            let mut forged = honest(question);
            forged.metadata.id = question.metadata.id.wrapping_add(1);
            let mut packets = vec![bytes(forged); strays];
            packets.push(bytes(honest(question)));
            packets
        }
    };
    let at_the_bound = FakeServer::start(flood(LIMITS.dns_strays)).await;
    assert_eq!(look_up(&[at_the_bound.address], "iot.example").await.addresses, both());
    let over_it = FakeServer::start(flood(LIMITS.dns_strays + 1)).await;
    let found = look_up(&[over_it.address], "iot.example").await;
    assert!(found.addresses.is_empty());
    assert!(failures(&found).contains("do not answer the question"), "{}", failures(&found));
}

/// Denies that any name exists.
fn denying(question: &Message) -> Vec<Vec<u8>> {
    let mut answer = reply(question);
    answer.metadata.response_code = ResponseCode::NXDomain;
    vec![bytes(answer)]
}

#[tokio::test]
async fn a_server_that_denies_every_name_does_not_hide_it_from_the_next() {
    let denies = FakeServer::start(denying).await;
    let good = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let found = look_up(&[denies.address, good.address], "iot.example").await;
    assert_eq!(found.addresses, both());
    assert!(failures(&found).contains(&format!("{}: the name does not exist (NXDOMAIN)", denies.address)));
    let found = look_up(&[denies.address], "iot.example").await;
    assert!(found.addresses.is_empty() && failures(&found).contains("NXDOMAIN"), "{}", failures(&found));
}

#[tokio::test]
async fn a_name_that_a_filter_blocks_is_named_and_asked_for_elsewhere() {
    let filter = FakeServer::start(|question| {
        let (mut answer, query) = (reply(question), &question.queries[0]);
        let nowhere = match query.query_type() {
            RecordType::A => RData::A(A::new(0, 0, 0, 0)),
            _ => RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 0)),
        };
        answer.add_answer(record(query.name(), nowhere));
        vec![bytes(answer)]
    })
    .await;
    let good = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let found = look_up(&[filter.address, good.address], "iot.example").await;
    assert_eq!(found.addresses, both());
    let blocked = format!("{}: it answers 0.0.0.0, where nobody can be (a filter blocks the name?)", filter.address);
    assert!(failures(&found).contains(&blocked), "{}", failures(&found));
    assert!(look_up(&[filter.address], "iot.example").await.addresses.is_empty());
}

#[tokio::test]
async fn each_server_of_the_list_can_be_asked_first() {
    let one = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let two = FakeServer::start(|question| vec![bytes(honest(question))]).await;
    let servers = [one.address, two.address];
    for (first, expected) in [(0, one.address), (1, two.address), (2, one.address), (usize::MAX, two.address)] {
        let found = Resolver::new(&servers, &LIMITS).beginning_with(first).look_up("iot.example").await;
        assert_eq!(found.report.unwrap().servers, [expected], "{first}");
    }
}

#[tokio::test]
async fn a_truncated_answer_counts_for_what_it_holds() {
    let cut = |keep: bool| {
        move |question: &Message| {
            let mut answer = if keep { honest(question) } else { reply(question) };
            answer.metadata.truncation = true;
            vec![bytes(answer)]
        }
    };
    let with_addresses = FakeServer::start(cut(true)).await;
    assert_eq!(look_up(&[with_addresses.address], "iot.example").await.addresses, both());
    let empty = FakeServer::start(cut(false)).await;
    let found = look_up(&[empty.address], "iot.example").await;
    assert!(found.addresses.is_empty());
    assert!(failures(&found).contains("cut short"), "{}", failures(&found));
}

/// Aliases a1 -> a2 -> ... -> a(count + 1), which has the addresses, all in one answer.
fn chain(count: usize) -> impl Fn(&Message) -> Vec<Vec<u8>> {
    move |question: &Message| {
        let mut answer = reply(question);
        let mut owner = question.queries[0].name().clone();
        for step in 0..count {
            let target = name(&format!("alias{step}.example."));
            answer.add_answer(record(&owner, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        answer.add_answer(address_record(&owner, question.queries[0].query_type()));
        vec![bytes(answer)]
    }
}

#[tokio::test]
async fn aliases_are_followed_up_to_the_bound() {
    let longest = FakeServer::start(chain(LIMITS.dns_aliases)).await;
    assert_eq!(look_up(&[longest.address], "iot.example").await.addresses, both());
    let too_long = FakeServer::start(chain(LIMITS.dns_aliases + 1)).await;
    let found = look_up(&[too_long.address], "iot.example").await;
    assert!(found.addresses.is_empty());
    assert!(failures(&found).contains("aliases"), "{}", failures(&found));
}

#[tokio::test]
async fn an_alias_without_its_address_is_asked_for_again() {
    let server = FakeServer::start(|question| {
        let query = &question.queries[0];
        if *query.name() == name("real.example.") {
            return vec![bytes(honest(question))];
        }
        let mut answer = reply(question);
        answer.add_answer(record(query.name(), RData::CNAME(CNAME(name("real.example.")))));
        vec![bytes(answer)]
    })
    .await;
    assert_eq!(look_up(&[server.address], "iot.example").await.addresses, both());
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn a_loop_of_aliases_ends() {
    let within_one_answer = FakeServer::start(|question| {
        let mut answer = reply(question);
        let (one, two) = (question.queries[0].name().clone(), name("two.example."));
        answer.add_answer(record(&one, RData::CNAME(CNAME(two.clone()))));
        answer.add_answer(record(&two, RData::CNAME(CNAME(one))));
        vec![bytes(answer)]
    })
    .await;
    let over_answers = FakeServer::start(|question| {
        let query = &question.queries[0];
        let other = if *query.name() == name("one.example.") { "two.example." } else { "one.example." };
        let mut answer = reply(question);
        answer.add_answer(record(query.name(), RData::CNAME(CNAME(name(other)))));
        vec![bytes(answer)]
    })
    .await;
    for server in [&within_one_answer, &over_answers] {
        let found = look_up(&[server.address], "one.example").await;
        assert!(found.addresses.is_empty());
        assert!(failures(&found).contains("loop"), "{}", failures(&found));
    }
    assert!(over_answers.asked() <= 2 * (LIMITS.dns_aliases + 1), "{}", over_answers.asked());
}

#[tokio::test]
async fn records_of_other_names_are_not_taken() {
    let server = FakeServer::start(|question| {
        let mut answer = reply(question);
        answer.add_answer(address_record(&name("evil.example."), question.queries[0].query_type()));
        vec![bytes(answer)]
    })
    .await;
    assert!(look_up(&[server.address], "iot.example").await.addresses.is_empty());
}

#[tokio::test]
async fn the_number_of_addresses_and_servers_is_bounded() {
    let many = FakeServer::start(|question| {
        let mut answer = reply(question);
        for _ in 0..20 {
            answer.add_answer(address_record(question.queries[0].name(), question.queries[0].query_type()));
        }
        vec![bytes(answer)]
    })
    .await;
    assert_eq!(look_up(&[many.address], "iot.example").await.addresses.len(), LIMITS.addresses);
    let silent = FakeServer::start(|_| Vec::new()).await;
    let found = Resolver::new(&[silent.address; 5], &QUICK).look_up("iot.example").await;
    assert_eq!(found.report.unwrap().servers.len(), QUICK.dns_servers);
}

#[tokio::test]
async fn each_question_has_an_id_of_its_own() {
    let (ids, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = FakeServer::start(move |question| {
        ids.send(question.metadata.id).unwrap();
        vec![bytes(honest(question))]
    })
    .await;
    for _ in 0..8 {
        look_up(&[server.address], "iot.example").await;
    }
    let mut all = std::collections::HashSet::new();
    while let Ok(id) = seen.try_recv() {
        all.insert(id);
    }
    // 16 random ids of 16 bits; a counter or a constant fails, an accidental pair does not.
    assert!(all.len() >= 14, "{all:?}");
    let mut sorted: Vec<u16> = all.into_iter().collect();
    sorted.sort_unstable();
    assert!(sorted.windows(2).any(|pair| pair[1] - pair[0] > 1), "{sorted:?}");
}
