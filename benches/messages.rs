//! Messages that are acknowledged, a thousand of them under way: devices to their agents, and clients of a broker to one subscriber.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use keys::pki::ServerName;
use protocol::codec::{decode_message, encode_frame};
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::farm::{BenchDevice, NAME};
use crate::load::login;
use crate::mqtt::{self, Packet};

/// Messages under way, of all senders together.
pub const OUTSTANDING: usize = 1_000;
/// Bytes of a message's text.
const TEXT: usize = 128;
/// Messages in one write, when there is room for as many.
const BATCH: usize = 64;
/// Time without an answer after which nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(10);
const TOPIC: &str = "m";

type Tls = TlsStream<TcpStream>;

/// How a sender speaks.
trait Sender {
    /// Appends the next message.
    fn message(&mut self, out: &mut Vec<u8>);
    /// Takes the answers at the front of what came; how many messages they acknowledge.
    fn acknowledged(&mut self, input: &mut &[u8]) -> Result<usize>;
}

/// A device that speaks to its agent: a text that the agent counts.
struct ToAgent {
    frame: Vec<u8>,
    /// How many are acknowledged.
    handled: u64,
}

/// A client that publishes.
struct Publisher {
    topic: &'static str,
    number: u16,
}

impl ToAgent {
    fn new() -> Self {
        let mut frame = Vec::new();
        encode_frame(&ToServer::AppToHandle { name: TOPIC.to_owned(), value: text() }, &mut frame);
        Self { frame, handled: 0 }
    }
}

/// A CBOR text: the value that the apps exchange.
fn text() -> Vec<u8> {
    let mut value = vec![0x78, TEXT as u8];
    value.resize(2 + TEXT, b'x');
    value
}

impl Sender for ToAgent {
    fn message(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.frame);
    }

    fn acknowledged(&mut self, input: &mut &[u8]) -> Result<usize> {
        let before = self.handled;
        while let Some(message) = frame(input)? {
            match message {
                ToDevice::AppHandled { next, handled: true } => self.handled = next,
                ToDevice::Ping | ToDevice::Pong => {}
                other => bail!("not the expected answer: {other:?}"),
            }
        }
        Ok(usize::try_from(self.handled - before)?)
    }
}

impl Sender for Publisher {
    fn message(&mut self, out: &mut Vec<u8>) {
        self.number = self.number.checked_add(1).unwrap_or(1);
        mqtt::publish(self.topic, self.number, &[b'x'; TEXT], out);
    }

    fn acknowledged(&mut self, input: &mut &[u8]) -> Result<usize> {
        let mut count = 0;
        while let Some(packet) = mqtt::next(input)? {
            ensure!(packet == Packet::Acknowledged, "not the expected answer: {packet:?}");
            count += 1;
        }
        Ok(count)
    }
}

/// Takes a message of the server off the front, if it is whole.
fn frame(input: &mut &[u8]) -> Result<Option<ToDevice>> {
    let Some((length, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let Some((body, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { return Ok(None) };
    *input = rest;
    Ok(Some(decode_message(body, &LIMITS)?))
}

/// What comes, kept until it is whole.
struct Incoming {
    bytes: Vec<u8>,
    buffer: Vec<u8>,
}

impl Incoming {
    fn new() -> Self {
        Self { bytes: Vec::new(), buffer: vec![0; 64 * 1024] }
    }

    /// Reads once and hands all that is there to `take`, which leaves what is not whole.
    async fn read<T>(&mut self, tls: &mut Tls, take: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
        let length = timeout(PATIENCE, tls.read(&mut self.buffer)).await.context("no answer")??;
        ensure!(length > 0, "the server ended the connection");
        self.bytes.extend_from_slice(&self.buffer[..length]);
        let mut rest = self.bytes.as_slice();
        let taken = take(&mut rest)?;
        let used = self.bytes.len() - rest.len();
        self.bytes.drain(..used);
        Ok(taken)
    }
}

/// Sends `count` messages, at most `window` of them under way, until all are acknowledged.
async fn send(tls: &mut Tls, sender: &mut impl Sender, window: usize, count: usize) -> Result<()> {
    let (mut sent, mut acknowledged) = (0, 0);
    let (mut out, mut incoming) = (Vec::new(), Incoming::new());
    while acknowledged < count {
        while sent < count && sent - acknowledged < window {
            out.clear();
            let credit = (window - (sent - acknowledged)).min(count - sent).min(BATCH);
            (0..credit).for_each(|_| sender.message(&mut out));
            tls.write_all(&out).await?;
            tls.flush().await?;
            sent += credit;
        }
        acknowledged += incoming.read(tls, |input| sender.acknowledged(input)).await?;
    }
    ensure!(acknowledged == count, "more was acknowledged than sent");
    Ok(())
}

/// The time that all devices together need for `count` messages which their agents handle; the agents' own count must agree.
///
/// # Errors
/// When a message is not handled, or an agent counted otherwise.
pub async fn to_agents(addr: SocketAddr, devices: &[Arc<BenchDevice>], count: usize) -> Result<Duration> {
    let mut connections = Vec::new();
    for device in devices {
        let mut tls = login(addr, device).await?;
        let before = counted(&mut tls).await?;
        connections.push((tls, before));
    }
    let (window, each) = (OUTSTANDING / devices.len(), count / devices.len());
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut tls, before) in connections {
        tasks.spawn(async move {
            send(&mut tls, &mut ToAgent::new(), window, each).await?;
            anyhow::Ok((tls, before))
        });
    }
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    let took = start.elapsed();
    for (mut tls, before) in done {
        let seen = counted(&mut tls).await? - before;
        ensure!(seen == each as u64, "an agent counted {seen} messages instead of {each}");
        tls.shutdown().await.ok();
    }
    Ok(took)
}

/// How many messages the device's agent has counted.
async fn counted(tls: &mut Tls) -> Result<u64> {
    let mut question = Vec::new();
    // The value is a CBOR null.
    encode_frame(&ToServer::App { name: "count".to_owned(), value: vec![0xf6] }, &mut question);
    tls.write_all(&question).await?;
    tls.flush().await?;
    let mut incoming = Incoming::new();
    loop {
        let answer = incoming.read(tls, |input| {
            while let Some(message) = frame(input)? {
                if let ToDevice::App { value, .. } = message {
                    return Ok(Some(unsigned(&value)?));
                }
            }
            Ok(None)
        });
        if let Some(count) = answer.await? {
            return Ok(count);
        }
    }
}

/// A CBOR unsigned integer.
fn unsigned(value: &[u8]) -> Result<u64> {
    Ok(match *value {
        [small @ 0..=23] => u64::from(small),
        [24, a] => u64::from(a),
        [25, a, b] => u64::from(u16::from_be_bytes([a, b])),
        [26, a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        _ => bail!("not a count: {value:?}"),
    })
}

/// The time that all clients together need for `count` messages which the broker acknowledges; one subscriber must have all of them then.
///
/// # Errors
/// When a message is not acknowledged or does not arrive.
pub async fn to_subscriber(addr: SocketAddr, devices: &[Arc<BenchDevice>], count: usize) -> Result<Duration> {
    let (window, each) = (OUTSTANDING / devices.len(), count / devices.len());
    let mut connections = Vec::new();
    for (number, device) in devices.iter().enumerate() {
        connections.push(client(addr, device, &format!("publisher-{number}")).await?);
    }
    let mut subscriber = client(addr, devices.first().context("a device")?, "subscriber").await?;
    subscribe(&mut subscriber, TOPIC).await?;
    let total = each * devices.len();
    let (all, arrived) = oneshot::channel();
    let reader = tokio::spawn(async move {
        let seen = receive(&mut subscriber, total).await;
        let _ = all.send(());
        seen
    });
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut tls in connections {
        tasks.spawn(async move { send(&mut tls, &mut Publisher { topic: TOPIC, number: 0 }, window, each).await });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    // An acknowledged message counts once the subscriber has it, as ours counts once the agent has handled it.
    let _ = arrived.await;
    let took = start.elapsed();
    reader.await??;
    Ok(took)
}

/// Receives and acknowledges so many messages.
async fn receive(tls: &mut Tls, total: usize) -> Result<()> {
    let (mut seen, mut incoming, mut out) = (0, Incoming::new(), Vec::new());
    while seen < total {
        out.clear();
        incoming
            .read(tls, |input| {
                while let Some(packet) = mqtt::next(input)? {
                    let Packet::Message { number, payload } = packet else { bail!("not a message: {packet:?}") };
                    ensure!(payload.len() == TEXT, "another message than the one sent");
                    number.into_iter().for_each(|number| mqtt::acknowledge(number, &mut out));
                    seen += 1;
                }
                Ok(())
            })
            .await?;
        tls.write_all(&out).await?;
        tls.flush().await?;
    }
    Ok(())
}

/// Which way a message goes through the broker before it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the client's own subscription: once through the broker, and nobody handles it.
    OwnEcho,
    /// To a subscriber that answers with a message of its own, as an agent does.
    Answered,
}

/// Where messages are answered.
const QUESTIONS: &str = "q";

/// The times of `count` messages, one after the other, from a client through the broker and back, sorted.
///
/// # Errors
/// When one does not come back.
pub async fn round_trips(addr: SocketAddr, device: &BenchDevice, way: Way, count: usize) -> Result<Vec<Duration>> {
    let mut tls = client(addr, device, "asker").await?;
    subscribe(&mut tls, TOPIC).await?;
    let mut answering = None;
    if way == Way::Answered {
        let mut other = client(addr, device, "answerer").await?;
        subscribe(&mut other, QUESTIONS).await?;
        answering = Some(tokio::spawn(answer(other, count)));
    }
    let topic = if way == Way::Answered { QUESTIONS } else { TOPIC };
    let (mut incoming, mut times) = (Incoming::new(), Vec::with_capacity(count));
    let mut publisher = Publisher { topic, number: 0 };
    for _ in 0..count {
        times.push(there_and_back(&mut tls, &mut publisher, &mut incoming).await?);
    }
    if let Some(answering) = answering {
        answering.await??;
    }
    times.sort_unstable();
    Ok(times)
}

/// Publishes one message, waits until it is acknowledged and one has come back, and acknowledges that one.
async fn there_and_back(tls: &mut Tls, publisher: &mut Publisher, incoming: &mut Incoming) -> Result<Duration> {
    let mut out = Vec::new();
    publisher.message(&mut out);
    let start = Instant::now();
    tls.write_all(&out).await?;
    tls.flush().await?;
    let (mut acknowledged, mut back) = (false, None);
    while back.is_none() || !acknowledged {
        incoming
            .read(tls, |input| {
                while let Some(packet) = mqtt::next(input)? {
                    match packet {
                        Packet::Message { number, .. } => {
                            back = back.or(number.map(|number| (number, start.elapsed())))
                        }
                        Packet::Acknowledged => acknowledged = true,
                        other => bail!("not the expected answer: {other:?}"),
                    }
                }
                Ok(())
            })
            .await?;
    }
    let (number, time) = back.context("an answer")?;
    out.clear();
    mqtt::acknowledge(number, &mut out);
    tls.write_all(&out).await?;
    tls.flush().await?;
    Ok(time)
}

/// Answers so many messages, each in one write with its acknowledgement.
async fn answer(mut tls: Tls, count: usize) -> Result<()> {
    let (mut incoming, mut out) = (Incoming::new(), Vec::new());
    let mut publisher = Publisher { topic: TOPIC, number: 0 };
    // Answers are acknowledged as well, also the last one.
    let (mut answered, mut acknowledged) = (0, 0);
    while acknowledged < count {
        out.clear();
        incoming
            .read(&mut tls, |input| {
                while let Some(packet) = mqtt::next(input)? {
                    match packet {
                        Packet::Message { number, .. } => {
                            number.into_iter().for_each(|number| mqtt::acknowledge(number, &mut out));
                            publisher.message(&mut out);
                            answered += 1;
                        }
                        Packet::Acknowledged => acknowledged += 1,
                        other => bail!("not the expected packet: {other:?}"),
                    }
                }
                Ok(())
            })
            .await?;
        tls.write_all(&out).await?;
        tls.flush().await?;
    }
    ensure!(answered == count, "answered {answered} of {count} messages");
    Ok(())
}

/// A client that the broker has accepted.
pub(crate) async fn client(addr: SocketAddr, device: &BenchDevice, name: &str) -> Result<Tls> {
    let tcp = TcpStream::connect(addr).await?;
    tcp.set_nodelay(true)?;
    let mut tls = TlsConnector::from(device.tls.clone()).connect(ServerName::try_from(NAME)?, tcp).await?;
    let mut hello = Vec::new();
    mqtt::connect(name, &mut hello);
    ask(&mut tls, &hello, Packet::Connected).await?;
    Ok(tls)
}

async fn subscribe(tls: &mut Tls, topic: &str) -> Result<()> {
    let mut question = Vec::new();
    mqtt::subscribe(topic, &mut question);
    ask(tls, &question, Packet::Subscribed).await
}

async fn ask(tls: &mut Tls, question: &[u8], answer: Packet<'static>) -> Result<()> {
    tls.write_all(question).await?;
    tls.flush().await?;
    let got = Incoming::new().read(tls, |input| Ok(mqtt::next(input)? == Some(answer))).await?;
    ensure!(got, "the broker does not agree");
    Ok(())
}
