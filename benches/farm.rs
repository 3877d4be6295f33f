//! A server's folder with enrolled devices, and the devices themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use keys::hashes::random;
use keys::pki::{Credential, Csr, ServingPki, lifetime};
use keys::private_file;
use keys::profile::Profile;
use keys::public::PublicKey;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use keys::time::{FloorClock, Now};
use keys::tls::{SessionMaterial, client_session};
use server::fleet::{
    AgentIdSecret, DeploymentId, DeploymentNotes, DeviceGroup, DeviceLogin, NewDeployment, NewDevice, TokenId,
};
use server::init::{AGENT_ID_SECRET_FILE, PKI_FOLDER};
use server::store::{GroupFilter, NewToken, Page, Store};
use server::{FIRST_ACCOUNT, InitOptions, LIMITS};
use squirrel::{CompileOptions, Source, compile};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;

/// The name in the gateway's certificates.
pub const NAME: &str = "gateway.bench";
/// Where the bare server finds the identity keys it knows: one SPKI in hex on each line.
pub const KNOWN_KEYS_FILE: &str = "known-keys";
/// Devices of each profile; as many log in at a time.
pub const DEVICES: u32 = 16;

/// The agent: a ping goes back, a message is counted, and the count is told.
const AGENT: &str = r#"
count <- 0;
device.on("ping", function(text) { device.send("pong", text); });
device.on("m", function(text) { count++; });
device.on("count", function(_) { device.send("count", count); });
"#;

/// An enrolled device.
pub struct BenchDevice {
    /// Its profile.
    pub profile: Profile,
    /// Its identity key.
    pub identity: Signer,
    /// Its TLS configuration, which resumes nothing: each handshake is a full one.
    pub tls: Arc<ClientConfig>,
}

/// Makes a server in `dir` with devices of both profiles.
///
/// # Errors
/// When anything cannot be made.
pub async fn plant(dir: &Path) -> Result<Vec<BenchDevice>> {
    planted(dir, &Profile::ALL, DEVICES, true).await
}

/// Makes a server in `dir` with so many devices, all `modern`, that run nothing and have no agents.
///
/// # Errors
/// When anything cannot be made.
pub async fn plant_fleet(dir: &Path, devices: u32) -> Result<Vec<BenchDevice>> {
    planted(dir, &[Profile::Modern], devices, false).await
}

/// Makes a server in `dir` with so many devices, all `modern`, that have agents.
///
/// # Errors
/// When anything cannot be made.
pub async fn plant_talkers(dir: &Path, devices: u32) -> Result<Vec<BenchDevice>> {
    planted(dir, &[Profile::Modern], devices, true).await
}

async fn planted(dir: &Path, profiles: &[Profile], each: u32, agents: bool) -> Result<Vec<BenchDevice>> {
    let options = InitOptions {
        dir: dir.to_owned(),
        names: vec![NAME.to_owned()],
        operator: "Bench".to_owned(),
        account: FIRST_ACCOUNT.to_owned(),
        password: None,
        token: None,
    };
    server::init(options, &LIMITS).await?;
    let pki = ServingPki::load(&pki_folder(dir))?;
    let secret = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE))?);
    let store = Store::open(dir, secret, &LIMITS).await?;
    let groups = store.groups(&GroupFilter::default(), Page { number: 1, size: 1 }).await?;
    let group = groups.items.first().context("init makes a group")?;
    if agents {
        deploy(&store, group).await?;
    }
    let token = NewToken {
        id: TokenId::new(random()),
        secret_sha256: random(),
        owner: group.owner,
        group: Some(group.id),
        uses: u32::try_from(profiles.len())?.saturating_mul(each),
        minutes: 60,
    };
    store.create_enrolment_token(&token).await?;
    let mut devices = Vec::new();
    for profile in profiles {
        for _ in 0..each {
            devices.push(enrol(&store, &pki, &token, *profile).await?);
        }
    }
    let known: Vec<_> = devices.iter().map(|device| const_hex::encode(device.identity.public().spki_der())).collect();
    std::fs::write(dir.join(KNOWN_KEYS_FILE), known.join("\n"))?;
    store.close().await;
    Ok(devices)
}

async fn deploy(store: &Store, group: &DeviceGroup) -> Result<()> {
    let image = |name, text: &str| -> Result<Vec<u8>> {
        Ok(compile(&[Source { name, text: text.as_bytes() }], &CompileOptions::default())?.to_image())
    };
    let deployment = NewDeployment {
        id: DeploymentId::random(),
        group: group.id,
        creator: group.owner,
        notes: DeploymentNotes::default(),
        origin: None,
        device_code: String::new(),
        agent_code: AGENT.to_owned(),
        device_image: image("device_code", "")?,
        agent_image: image("agent_code", AGENT)?,
    };
    store.create_deployment(&deployment).await?;
    Ok(())
}

/// Where the keys of the server in `dir` are.
pub fn pki_folder(dir: &Path) -> PathBuf {
    dir.join(PKI_FOLDER)
}

/// The identity keys that the bare server knows.
///
/// # Errors
/// When the file is not there or damaged.
pub fn known_keys(dir: &Path) -> Result<Vec<PublicKey>> {
    let text = std::fs::read_to_string(dir.join(KNOWN_KEYS_FILE))?;
    text.lines().map(|line| Ok(PublicKey::from_spki_der(&const_hex::decode(line)?)?)).collect()
}

/// The present.
pub fn now() -> Now {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let unix_ms = i64::try_from(unix).unwrap_or_default();
    Now { mono_ms: unix_ms.unsigned_abs(), unix_ms }
}

async fn enrol(store: &Store, pki: &ServingPki, token: &NewToken, profile: Profile) -> Result<BenchDevice> {
    let identity = Signer::generate(KeyPurpose::DeviceIdentity)?;
    let agreement = Signer::generate(KeyPurpose::DeviceKeyAgreement)?;
    let tls_key = Signer::generate(KeyPurpose::device_tls(profile))?;
    let new = NewDevice {
        identity: Arc::new(identity.public().clone()),
        key_agreement_spki: agreement.public().spki_der().to_vec(),
        tls_spki: tls_key.public().spki_hash(),
        profile,
        model: "bench".to_owned(),
        attestation: keys::keystore::AttestationLevel::Software,
    };
    let DeviceLogin { id, .. } = store.redeem_token(&token.id, &token.secret_sha256, now().unix_ms, new).await?;
    let csr = Csr::parse_and_verify(&Csr::create(&tls_key)?)?;
    let life = lifetime(KeyPurpose::device_tls(profile));
    let certificate = pki.device_authority(profile).issue_device(&csr, id, now(), life)?;
    let credential = Credential::new(tls_key, vec![certificate])?;
    let tls = client_session(SessionMaterial {
        profile,
        roots: &pki.server_roots,
        credential: &credential,
        time: Arc::new(FloorClock::default()),
        seen: Arc::default(),
    })?;
    let mut tls = ClientConfig::clone(&tls);
    tls.resumption = Resumption::disabled();
    Ok(BenchDevice { profile, identity, tls: Arc::new(tls) })
}
