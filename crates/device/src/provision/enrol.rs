//! The driver of one enrolment: bytes between the connection and the protocol's machine, and the check of the server.

use std::io;
use std::sync::Arc;

use keys::keystore::Keystore;
use keys::pki::RootsBundle;
use keys::tls::{ServerName, check_deferred_server};
use protocol::enrol::{DeviceEnrolment, DeviceEnrolmentConfig, DeviceEnrolmentEvent as Event, Enrolled};
use protocol::reason::EnrolRefusal;
use protocol::sign::SignRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::clock::DeviceClock;
use crate::connect::attempt::AttemptResult;
use crate::connect::tls_result;
use crate::connect::wire::Wire;

/// The bytes read from the connection at once.
const READ_BYTES: usize = 8 * 1024;

/// How an enrolment on one connection ended.
pub(crate) enum EnrolEnd {
    /// The server has enrolled the device.
    Enrolled(Box<Enrolled>, Box<RootsBundle>),
    /// The server refuses.
    Refused(EnrolRefusal),
    /// It broke off before the request was sent: nobody has seen the token's secret.
    Unsent(AttemptResult),
    /// It broke off after the request was sent: the server may have enrolled the device.
    Uncertain(String),
}

/// One enrolment on one connection.
pub(crate) struct Enrolling<'a> {
    stream: TlsStream<Wire>,
    machine: DeviceEnrolment,
    keys: Arc<Keystore>,
    name: &'a ServerName<'static>,
    profile: keys::profile::Profile,
    clock: &'a DeviceClock,
    roots: Option<Box<RootsBundle>>,
    sent: bool,
}

impl<'a> Enrolling<'a> {
    /// An enrolment on a connection whose server is not checked yet.
    pub(crate) fn new(
        stream: TlsStream<Wire>,
        config: DeviceEnrolmentConfig,
        keys: Arc<Keystore>,
        name: &'a ServerName<'static>,
        clock: &'a DeviceClock,
    ) -> Enrolling<'a> {
        let profile = config.profile;
        let machine = DeviceEnrolment::new(config, clock.now());
        Enrolling { stream, machine, keys, name, profile, clock, roots: None, sent: false }
    }

    /// Drives the enrolment to its end.
    pub(crate) async fn drive(mut self) -> EnrolEnd {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            while let Some(event) = self.machine.poll_event() {
                if let Some(end) = self.act(event).await {
                    // The server closes as well; a connection that is gone already changes nothing.
                    drop(self.stream);
                    return end;
                }
            }
            // The request holds the token's secret.
            if let Some(bytes) = self.machine.poll_transmit().map(Zeroizing::new) {
                self.sent = true;
                let written = self.timed(async |stream| {
                    stream.write_all(&bytes).await?;
                    stream.flush().await.map(|()| 0)
                });
                if let Err(error) = written.await {
                    return self.broken(tls_result(&error));
                }
            }
            match self.timed(async |stream| stream.read(&mut buffer).await).await {
                Ok(0) => self.machine.handle_eof(),
                Ok(length) => self.machine.handle_bytes(buffer.get(..length).unwrap_or_default(), self.clock.now()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => self.machine.handle_timeout(self.clock.now()),
                Err(error) => return self.broken(tls_result(&error)),
            }
        }
    }

    /// One operation on the connection, until the machine's time is over.
    async fn timed(
        &mut self,
        operation: impl AsyncFnOnce(&mut TlsStream<Wire>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline = self.clock.instant(self.machine.poll_timeout().unwrap_or_default());
        let done = timeout_at(deadline, operation(&mut self.stream)).await;
        done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn act(&mut self, event: Event) -> Option<EnrolEnd> {
        match event {
            Event::CheckServer(roots) => self.check_server(roots),
            Event::Sign(request) => {
                self.sign(request).await;
                None
            }
            Event::Enrolled(enrolled) => {
                let roots = self.roots.take()?;
                Some(EnrolEnd::Enrolled(Box::new(enrolled), roots))
            }
            Event::Refused(reason) => Some(EnrolEnd::Refused(reason)),
            Event::Broken(error) => Some(self.broken(AttemptResult::LoginBroken { why: error.to_string() })),
        }
    }

    /// The chain check that the handshake put off. Without it nothing is ever sent.
    fn check_server(&mut self, roots: RootsBundle) -> Option<EnrolEnd> {
        let chain = self.stream.get_ref().1.peer_certificates();
        match check_deferred_server(&roots, self.profile, self.name, chain, self.clock.now()) {
            Ok(()) => {
                self.roots = Some(Box::new(roots));
                self.machine.proceed(self.clock.now());
                None
            }
            Err(error) => Some(EnrolEnd::Unsent(AttemptResult::TlsCertificate { why: error.to_string() })),
        }
    }

    async fn sign(&mut self, request: SignRequest) {
        let keys = Arc::clone(&self.keys);
        let signing = tokio::task::spawn_blocking(move || keys.sign(request.purpose(), request.payload()));
        let deadline = self.clock.instant(self.machine.poll_timeout().unwrap_or_default());
        // Without a signature the machine's own time limit ends the enrolment.
        if let Ok(Ok(Ok(signature))) = timeout_at(deadline, signing).await {
            self.machine.signature(signature, self.clock.now());
        }
    }

    fn broken(&self, result: AttemptResult) -> EnrolEnd {
        if self.sent { EnrolEnd::Uncertain(result.to_string()) } else { EnrolEnd::Unsent(result) }
    }
}
