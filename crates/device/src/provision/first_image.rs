//! The first image of a device: what proves it, and its key, asked for in one session of the device that was just enrolled.

use std::io;
use std::sync::Arc;

use keys::chunks::ContentKey;
use keys::content_key::{ContentKeyError, WrappedContentKey};
use keys::keystore::Keystore;
use keys::pki::{CertificateFacts, RootsBundle};
use keys::release_key;
use protocol::os::{OsState, Trust};
use protocol::reason::Refusal;
use protocol::session::{DeviceEvent as Event, DeviceSession, DeviceSessionConfig};
use protocol::sign::SignRequest;
use release::anchors::{Anchors, Layers};
use release::floors::Floors;
use release::manifest::{Manifest, ManifestHash};
use release::root::RootContent;
use release::tuf::TufError;
use release::version::OsVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::boot::{InstallError, Proof, judge};
use crate::clock::DeviceClock;
use crate::config::DeviceConfig;
use crate::connect::attempt::{Attempt, AttemptResult};
use crate::connect::wire::Wire;
use crate::connect::{Connection, tls_result};
use crate::events::{DeviceEvent, Observer};
use crate::folder::{FactoryImage, Given};
use crate::limits::Limits;
use crate::provision::AttemptList;
use crate::update::{Missing, Proving};

/// The bytes read from the connection at once.
const READ_BYTES: usize = 16 * 1024;
/// What a device runs that has no image yet: older than every release.
const NOTHING_YET: OsVersion = OsVersion::new(0, 0, 0);

/// Why the server did not give what a first image needs.
#[derive(Debug, thiserror::Error)]
pub enum FirstImageError {
    /// No attempt reached the server.
    #[error("the server was not reached again:\n{0}")]
    NotReached(AttemptList),
    /// The server does not let the device in.
    #[error("the server refuses it: {0}")]
    Refused(Refusal),
    /// The session ended.
    #[error("its session ended too early: {0}")]
    Broken(String),
    /// No roll-out has this image for the device.
    #[error(
        "no roll-out brings OS version {version} to it{}. Start one for its group first: vouch rollout start {version} \
         --phases 100%",
        .instead.map(|instead| format!(", but one brings {instead}")).unwrap_or_default()
    )]
    NotAssigned {
        /// The version of the image at hand.
        version: OsVersion,
        /// The version that the server would have it install.
        instead: Option<OsVersion>,
    },
    /// The device would not find its server again.
    #[error(
        "the custodians' root metadata (version {0}) names other TLS roots than the one that this server's certificate comes from, so that \
         the device could not connect; sign the next root with what `vouch release server-keys` writes on the server, and upload it there"
    )]
    OtherTlsRoots(u64),
    /// A layer is missing.
    #[error(transparent)]
    Judged(#[from] InstallError),
    /// The content key.
    #[error(transparent)]
    ContentKey(#[from] ContentKeyError),
}

/// A device that was just enrolled, and its image.
pub(super) struct Asking<'a> {
    pub(super) config: &'a DeviceConfig,
    pub(super) keys: &'a Arc<Keystore>,
    /// Those that it was enrolled with; the server's certificate comes from the one in use.
    pub(super) roots: &'a RootsBundle,
    pub(super) clock: &'a DeviceClock,
    pub(super) limits: &'a Limits,
    pub(super) observer: &'a Observer,
    pub(super) image: &'a FactoryImage,
}

/// One session.
struct Session<'a> {
    asking: &'a Asking<'a>,
    stream: TlsStream<Wire>,
    machine: DeviceSession,
    attempt: Option<Attempt>,
    server: CertificateFacts,
    manifest: Manifest,
    hash: ManifestHash,
    proving: Proving,
    /// When the image was judged, in Unix seconds.
    judged_at: u64,
}

impl Asking<'_> {
    /// Asks in a session on this connection. The image is judged before its key is asked for.
    pub(super) async fn on(&self, connection: Connection) -> Result<Given, FirstImageError> {
        let Connection { stream, attempt, server, exporter } = connection;
        if let Some(facts) = &attempt.tls {
            self.observer.tell(DeviceEvent::Tls(facts.clone()));
        }
        let config = DeviceSessionConfig {
            identity: self.keys.identity().clone(),
            exporter,
            profile: self.config.profile,
            model: self.config.model.clone(),
            os_version: NOTHING_YET.to_string(),
            attestation: self.keys.level(),
            boot: None,
            vault_generation: None,
            layers: None,
            memory_locked: None,
            limits: protocol::limits::LIMITS,
        };
        let manifest = self.image.danger_unverified_manifest()?;
        let session = Session {
            asking: self,
            stream,
            machine: DeviceSession::new(config, self.clock.now()),
            attempt: Some(attempt),
            server,
            hash: manifest.hash(),
            manifest,
            proving: Proving::beyond(self.image.anchors.root_version()),
            judged_at: 0,
        };
        session.drive().await
    }
}

impl Session<'_> {
    async fn drive(mut self) -> Result<Given, FirstImageError> {
        let mut buffer = vec![0; READ_BYTES];
        let end = loop {
            match self.act().await {
                Ok(None) => {}
                Ok(Some(content_key)) => break Ok(content_key),
                Err(error) => break Err(error),
            }
            if let Err(error) = self.exchange(&mut buffer).await {
                break Err(FirstImageError::Broken(tls_result(&error).to_string()));
            }
        };
        if let Some(attempt) = self.attempt.take() {
            let why = end.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.ended(attempt, AttemptResult::LoginBroken { why });
        }
        // The server's roll-out hears what was wrong; a connection that is gone changes nothing.
        if let Err(FirstImageError::Judged(error)) = &end {
            let refused = OsState::refused(error.trouble(), error.to_string());
            let _ = self.machine.os_state(self.hash.0, refused);
        }
        let last = self.machine.poll_transmit().unwrap_or_default();
        let goodbye = async {
            self.stream.write_all(&last).await?;
            self.stream.shutdown().await
        };
        let _ = timeout(self.asking.limits.close_wait, goodbye).await;
        let trust = self.asking.image.anchors.root_version().map(|_| self.proving.trust().clone());
        Ok(Given { content_key: end?, trust, judged_at: self.judged_at })
    }

    /// Writes what waits to be sent, then reads once, until the machine's time is over.
    async fn exchange(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let deadline = self.asking.clock.instant(self.machine.poll_timeout().unwrap_or_default());
        if let Some(bytes) = self.machine.poll_transmit() {
            let written = async {
                self.stream.write_all(&bytes).await?;
                self.stream.flush().await
            };
            timeout(self.asking.limits.write_wait, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        match timeout_at(deadline, self.stream.read(buffer)).await {
            Ok(read) => match read? {
                0 => self.machine.handle_eof(),
                length => {
                    let now = self.asking.clock.now();
                    self.machine.handle_bytes(buffer.get(..length).unwrap_or_default(), now);
                }
            },
            Err(_) => self.machine.handle_timeout(self.asking.clock.now()),
        }
        Ok(())
    }

    /// Acts on everything that has happened; the content key is the end.
    async fn act(&mut self) -> Result<Option<ContentKey>, FirstImageError> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Sign(request) => self.sign(request).await,
                Event::Welcomed(welcomed) => {
                    if let Some(attempt) = self.attempt.take() {
                        self.ended(attempt, AttemptResult::Welcomed);
                    }
                    // A time that cannot be taken leaves the one of the enrolment.
                    let _ = self.asking.clock.told_by(welcomed.welcome.unix_ms, &self.server);
                    self.ask();
                }
                Event::OsAvailable(os) if os.image == self.hash.0 => {}
                Event::OsAvailable(os) => {
                    let payload = release_key::danger_unverified(&os.manifest).unwrap_or_default();
                    let other = Manifest::from_cbor(&payload).ok();
                    return Err(self.not_assigned(other.map(|manifest| manifest.version)));
                }
                Event::OsRemoved => return Err(self.not_assigned(None)),
                Event::Trust { trust, .. } => self.prove(*trust)?,
                Event::OsKey { wrapped, .. } => return Ok(Some(self.open(&wrapped).await?)),
                Event::Refused { reason, .. } => return Err(FirstImageError::Refused(reason)),
                Event::Closed { reason, .. } => return Err(FirstImageError::Broken(reason.to_string())),
                Event::Broken(error) => return Err(FirstImageError::Broken(error.to_string())),
                // An app, and what an agent says, is for the image that will run.
                _ => {}
            }
        }
        Ok(None)
    }

    fn not_assigned(&self, instead: Option<OsVersion>) -> FirstImageError {
        FirstImageError::NotAssigned { version: self.manifest.version, instead }
    }

    fn ended(&self, attempt: Attempt, result: AttemptResult) {
        let attempt = attempt.ended(result, self.asking.clock.now());
        self.asking.observer.tell(DeviceEvent::Attempt(Box::new(attempt)));
    }

    /// Signing may be slow, so it has a thread of its own. Without a signature the machine's own time limit ends the login.
    async fn sign(&mut self, request: SignRequest) {
        let keys = Arc::clone(self.asking.keys);
        let signing = tokio::task::spawn_blocking(move || keys.sign(request.purpose(), request.payload()));
        if let Ok(Ok(signature)) = signing.await {
            self.machine.signature(signature, self.asking.clock.now());
        }
    }

    /// Asks for what the image still lacks.
    fn ask(&mut self) {
        let now = self.asking.clock.now();
        // A session that has ended says so by its events.
        let _ = match self.proving.missing() {
            Missing::Trust(root_version) => self.machine.want_trust(self.hash.0, root_version, now),
            Missing::Key => self.machine.want_os_key(self.hash.0, now),
        };
    }

    /// Judges the image once all that proves it is here.
    fn prove(&mut self, trust: Trust) -> Result<(), FirstImageError> {
        let took = self.proving.take(trust, self.asking.limits.trust_roots);
        took.map_err(|error| FirstImageError::Broken(error.to_string()))?;
        if self.proving.missing() == Missing::Key {
            if self.proving.trust().assignment.is_none() {
                return Err(self.not_assigned(None));
            }
            self.judged_at = u64::try_from(self.asking.clock.now().unix_ms / 1000).unwrap_or_default();
            let identity = self.asking.keys.identity().spki_hash();
            let proof = Proof { trust: self.proving.trust(), identity, now: self.judged_at };
            let FactoryImage { anchors, manifest, .. } = self.asking.image;
            let mut floors = Floors::NONE;
            let judged = judge(anchors, &mut floors, manifest, Some(&proof))?;
            self.is_reachable_with(&judged.anchors)?;
        }
        self.ask();
        Ok(())
    }

    /// From its first start on the device believes the TLS roots that the custodians have signed.
    fn is_reachable_with(&self, anchors: &Anchors) -> Result<(), FirstImageError> {
        let Layers::Quorum { root } = anchors.layers() else { return Ok(()) };
        let content = RootContent::from_file(root).map_err(|error| InstallError::from(TufError::from(error)))?;
        let profile = self.asking.config.profile;
        if content.tls_roots.holds(profile, self.asking.roots.root(profile)) {
            Ok(())
        } else {
            Err(FirstImageError::OtherTlsRoots(content.version))
        }
    }

    async fn open(&self, wrapped: &[u8]) -> Result<ContentKey, FirstImageError> {
        let (keys, wrapped, hash) =
            (Arc::clone(self.asking.keys), WrappedContentKey::from_bytes(wrapped)?, self.hash.0);
        let opening = tokio::task::spawn_blocking(move || keys.open_content_key(&wrapped, hash));
        let opened = opening.await.map_err(|error| FirstImageError::Broken(error.to_string()))?;
        Ok(ContentKey::new(opened?))
    }
}
