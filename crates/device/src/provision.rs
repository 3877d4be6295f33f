//! Provisioning: the device's keys are born here and the server that the token pins enrols them.

pub(crate) mod enrol;
mod first_image;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keys::keystore::{Keystore, KeystoreError, KeystoreSpec};
use keys::pki::{CertDer, CertificateFacts, Credential, Csr, PkiError, RootsBundle};
use keys::profile::Profile;
use keys::signer::Signer;
use keys::tls::{SeenServer, ServerName, SessionMaterial, TlsError, client_session, danger_client_enrolment};
use protocol::enrol::{DeviceEnrolmentConfig, Enrolled, EnrolmentToken, TokenError};
use protocol::reason::EnrolRefusal;
use release::floors::Floors;
use zeroize::Zeroizing;

use crate::boot::{InstallError, judge};
use crate::clock::DeviceClock;
use crate::config::{ConfigError, DeviceConfig};
use crate::connect::attempt::{Attempt, AttemptResult, ConnectionPurpose};
use crate::connect::{Connection, Dialer, Round, Security};
use crate::events::{DeviceEvent, Observer, Sha256Hex};
use crate::folder::{Completed, Factory, FolderError, Given, Unfinished};
use crate::limits::Limits;
use crate::provision::enrol::{EnrolEnd, Enrolling};
use crate::provision::first_image::Asking;
pub use crate::provision::first_image::FirstImageError;

/// What is needed to make a folder a device.
#[derive(Debug)]
pub struct ProvisionOptions {
    /// The folder; made when it is missing, refused when it already holds something.
    pub dir: PathBuf,
    /// How to reach the server and what to call this device.
    pub config: DeviceConfig,
    /// Where its secret keys are born and kept.
    pub keys: KeystoreSpec,
    /// The first OS image, and whether the device stores anything later.
    pub factory: Factory,
    /// The enrolment token `id.secret.roots-hash`; white space around it is ignored.
    pub token: Zeroizing<String>,
    /// The bounds.
    pub limits: Limits,
}

/// A device that the server knows from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// The device's id: 16 hex digits.
    pub device_id: String,
    /// SHA-256 over the identity key (SubjectPublicKeyInfo, DER), in hex.
    pub identity_spki_sha256: String,
    /// The folder that now holds the device.
    pub dir: PathBuf,
}

/// Why there is no new device.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeystoreError),
    /// The certificate request could not be made, or what came back is no certificate of this device.
    #[error("the TLS certificate: {0}")]
    Certificate(#[from] PkiError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A background task was ended from outside.
    #[error("the making of the keys was interrupted; run it again")]
    Interrupted,
    /// No attempt reached the token's server. The token is not used up.
    #[error("the server was not reached, the token is not used up:\n{0}")]
    NotReached(AttemptList),
    /// The server refuses.
    #[error("the server does not enrol this device: {0}")]
    Refused(EnrolRefusal),
    /// The connection broke after the request was sent.
    #[error(
        "the connection broke off after the request was sent ({0}); the server may have enrolled this device. \
         Look there, remove it if it is listed, and try again with a new token"
    )]
    Uncertain(String),
    /// The image at hand would never be installed.
    #[error("the OS image is not installed, the token is not used up: {0}")]
    Image(InstallError),
    /// The device is enrolled, and its first image lacks something that the server has.
    #[error(
        "the OS image is not installed, and nothing of the device is left here: {why}\nThe server has enrolled it as {device_id}: \
         remove it there (vouch device unassign {device_id}, then vouch device delete {device_id}), and provision again with a new token"
    )]
    FirstImage {
        /// The device's id.
        device_id: String,
        /// Why.
        why: FirstImageError,
    },
}

/// Attempts, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptList(pub Vec<Attempt>);

/// The keys of a device in the making.
struct NewKeys {
    store: Arc<Keystore>,
    tls: Signer,
    csr: Vec<u8>,
}

/// What an enrolment brought.
struct Success {
    enrolled: Enrolled,
    roots: RootsBundle,
    server: CertificateFacts,
}

/// The connections of one round, one after the other.
struct Connections<'a> {
    dialer: Dialer,
    round: Option<Round>,
    failed: Vec<Attempt>,
    observer: &'a Observer,
}

/// One provisioning.
struct Provisioning<'a> {
    options: &'a ProvisionOptions,
    token: EnrolmentToken,
    keys: NewKeys,
    clock: Arc<DeviceClock>,
    name: ServerName<'static>,
    observer: &'a Observer,
}

/// Makes keys, has them enrolled, and stores the device. When it fails, nothing that looks like a device is left behind.
///
/// # Errors
/// [`ProvisionError`]; each says what to do next.
pub async fn provision(mut options: ProvisionOptions, observer: &Observer) -> Result<Provisioned, ProvisionError> {
    options.config.check()?;
    let mut factory = std::mem::take(&mut options.factory);
    let token = EnrolmentToken::parse(&options.token)?;
    let content_key = factory.image.as_mut().and_then(|image| image.content_key.take());
    if let (Some(image), Some(_)) = (&factory.image, &content_key) {
        let mut floors = Floors::NONE;
        judge(&image.anchors, &mut floors, &image.manifest, None).map_err(ProvisionError::Image)?;
    }
    let unfinished = Unfinished::begin(&options.dir)?;
    let profile = options.config.profile;
    let (spec, folder) = (options.keys.clone(), unfinished.keys_folder());
    let keys = tokio::task::spawn_blocking(move || NewKeys::make(&spec, &folder, profile));
    let keys = keys.await.map_err(|_| ProvisionError::Interrupted)??;
    let server = &options.config.server;
    let name = ServerName::try_from(server.clone()).map_err(|_| ConfigError::Server(server.clone()))?;
    let clock = Arc::new(DeviceClock::new(0));
    let provisioning = Provisioning { options: &options, token, keys, clock, name, observer };
    let given = content_key.map(|content_key| Given { content_key, trust: None, judged_at: 0 });
    Box::pin(provisioning.finish(unfinished, factory, given)).await
}

impl Provisioning<'_> {
    async fn finish(
        self,
        unfinished: Unfinished,
        factory: Factory,
        given: Option<Given>,
    ) -> Result<Provisioned, ProvisionError> {
        let Success { enrolled, roots, server } = self.enrol().await?;
        let chain = enrolled.tls_chain.into_iter().map(CertDer::from).collect();
        let Provisioning { options, keys: NewKeys { store, tls, .. }, clock, observer, .. } = self;
        let floor = clock.told_by(enrolled.unix_ms, &server).unwrap_or_else(|_| clock.floor_unix_ms());
        let identity_spki_sha256 = store.identity().spki_hash().to_string();
        let tls = Credential::new(tls, chain)?;
        let device_id = enrolled.device_id.to_string();
        let given = match (&factory.image, given) {
            (Some(image), None) => {
                let dialer = session_dialer(options, &tls, &roots, &clock)?;
                let (config, limits) = (&options.config, &options.limits);
                let asking = Asking { config, keys: &store, roots: &roots, clock: &clock, limits, observer, image };
                let asked = ask_for(&asking, dialer, observer).await;
                Some(asked.map_err(|why| ProvisionError::FirstImage { device_id: device_id.clone(), why })?)
            }
            (_, given) => given,
        };
        unfinished.finish(&options.config, &store, &tls, &roots, floor, Completed { factory, given })?;
        Ok(Provisioned { device_id, identity_spki_sha256, dir: options.dir.clone() })
    }

    /// Goes through the places in the rule's order until one leads to the token's server.
    async fn enrol(&self) -> Result<Success, ProvisionError> {
        let mut connections = Connections::of(self.dialer()?, self.observer).await;
        while let Some(connection) = connections.next().await {
            match self.enrol_on(connection).await? {
                Ok(success) => return Ok(success),
                Err(attempt) => connections.failed.push(attempt),
            }
        }
        Err(ProvisionError::NotReached(AttemptList(connections.failed)))
    }

    /// Enrols on one connection. The inner error is an attempt that leaves the token untouched.
    async fn enrol_on(&self, connection: Connection) -> Result<Result<Success, Attempt>, ProvisionError> {
        let Connection { stream, attempt, server, exporter } = connection;
        if let Some(facts) = &attempt.tls {
            self.observer.tell(DeviceEvent::Tls(facts.clone()));
        }
        let config = DeviceEnrolmentConfig {
            token: self.token.clone(),
            exporter,
            profile: self.options.config.profile,
            identity: self.keys.store.identity().clone(),
            key_agreement: self.keys.store.agreement().clone(),
            csr: self.keys.csr.clone(),
            model: self.options.config.model.clone(),
            attestation: self.keys.store.level(),
            limits: protocol::limits::LIMITS,
        };
        let keys = Arc::clone(&self.keys.store);
        let end = Enrolling::new(stream, config, keys, &self.name, &self.clock).drive().await;
        let result = match &end {
            EnrolEnd::Enrolled(..) => AttemptResult::Enrolled,
            EnrolEnd::Refused(reason) => AttemptResult::Refused { reason: reason.to_string() },
            EnrolEnd::Unsent(result) => result.clone(),
            EnrolEnd::Uncertain(why) => AttemptResult::LoginBroken { why: why.clone() },
        };
        let attempt = attempt.ended(result, self.clock.now());
        self.observer.tell(DeviceEvent::Attempt(Box::new(attempt.clone())));
        match end {
            EnrolEnd::Enrolled(enrolled, roots) => Ok(Ok(Success { enrolled: *enrolled, roots: *roots, server })),
            EnrolEnd::Refused(reason) => Err(ProvisionError::Refused(reason)),
            EnrolEnd::Uncertain(why) => Err(ProvisionError::Uncertain(why)),
            EnrolEnd::Unsent(_) => Ok(Err(attempt)),
        }
    }

    fn dialer(&self) -> Result<Dialer, ProvisionError> {
        let seen = Arc::new(SeenServer::default());
        let clock: Arc<DeviceClock> = Arc::clone(&self.clock);
        let tls = danger_client_enrolment(self.options.config.profile, clock, Arc::clone(&seen))?;
        let security = Security { purpose: ConnectionPurpose::Enrolment, tls, seen, client_spki_sha256: None };
        Ok(Dialer::new(self.options.config.clone(), security, Arc::clone(&self.clock), self.options.limits))
    }
}

impl<'a> Connections<'a> {
    async fn of(mut dialer: Dialer, observer: &'a Observer) -> Connections<'a> {
        let (round, failed) = match dialer.round().await {
            Ok(round) => (Some(round), Vec::new()),
            Err(attempt) => {
                observer.tell(DeviceEvent::Attempt(attempt.clone()));
                (None, vec![*attempt])
            }
        };
        Connections { dialer, round, failed, observer }
    }

    /// The next one on which TLS went well.
    async fn next(&mut self) -> Option<Connection> {
        let round = self.round.as_mut()?;
        while let Some(place) = round.next_place() {
            match self.dialer.dial(&place, round).await {
                Ok(connection) => return Some(*connection),
                Err(attempt) => {
                    self.observer.tell(DeviceEvent::Attempt(attempt.clone()));
                    round.learn(&attempt);
                    self.failed.push(*attempt);
                }
            }
        }
        None
    }
}

/// Asks the server for what the first image lacks, on the first connection that there is.
async fn ask_for(asking: &Asking<'_>, dialer: Dialer, observer: &Observer) -> Result<Given, FirstImageError> {
    let mut connections = Connections::of(dialer, observer).await;
    match connections.next().await {
        Some(connection) => asking.on(connection).await,
        None => Err(FirstImageError::NotReached(AttemptList(connections.failed))),
    }
}

fn session_dialer(
    options: &ProvisionOptions,
    credential: &Credential,
    roots: &RootsBundle,
    clock: &Arc<DeviceClock>,
) -> Result<Dialer, TlsError> {
    let (seen, time) = (Arc::new(SeenServer::default()), Arc::clone(clock));
    let profile = options.config.profile;
    let tls = client_session(SessionMaterial { profile, roots, credential, time, seen: Arc::clone(&seen) })?;
    let client_spki_sha256 = Some(Sha256Hex(*credential.spki_hash().as_bytes()));
    let security = Security { purpose: ConnectionPurpose::Session, tls, seen, client_spki_sha256 };
    Ok(Dialer::new(options.config.clone(), security, Arc::clone(clock), options.limits))
}

impl NewKeys {
    fn make(spec: &KeystoreSpec, folder: &Path, profile: Profile) -> Result<NewKeys, ProvisionError> {
        let store = Keystore::create(spec, folder, profile)?;
        let tls = store.tls_key(profile)?;
        Ok(NewKeys { csr: Csr::create(&tls)?, store: Arc::new(store), tls })
    }
}

impl fmt::Display for AttemptList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}  {attempt}")?;
        }
        Ok(())
    }
}
