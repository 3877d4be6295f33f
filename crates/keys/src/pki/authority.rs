//! A root: a self-signed certificate and the key that signs gateway or device certificates.

use std::{path::Path, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType};
use rustls_pki_types::ServerName;

use super::{CertDer, CertificateFacts, Csr, PkiError, certificate, credential, lifetime, x509};
use crate::{
    limits::LIMITS,
    private_file::Existing,
    profile::Profile,
    public::{DeviceId, PublicKey},
    purpose::KeyPurpose,
    signer::Signer,
    time::Now,
};

/// What a root may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthorityKind {
    /// Gateway certificates; devices pin this root.
    Server,
    /// Device TLS certificates; the gateway pins this root.
    Device,
}

impl AuthorityKind {
    /// The purpose of a root key of this kind.
    pub fn purpose(self, profile: Profile) -> KeyPurpose {
        match (self, profile) {
            (AuthorityKind::Server, Profile::Classic) => KeyPurpose::ServerRootClassic,
            (AuthorityKind::Server, Profile::Modern) => KeyPurpose::ServerRootModern,
            (AuthorityKind::Device, Profile::Classic) => KeyPurpose::DeviceRootClassic,
            (AuthorityKind::Device, Profile::Modern) => KeyPurpose::DeviceRootModern,
        }
    }

    fn title(self) -> &'static str {
        match self {
            AuthorityKind::Server => "server root",
            AuthorityKind::Device => "device root",
        }
    }
}

/// A root of one kind and profile, with its private key.
#[derive(Debug)]
pub struct Authority {
    kind: AuthorityKind,
    profile: Profile,
    certificate: CertDer,
    key: Signer,
}

impl Authority {
    /// Makes a new root; `operator` is the name shown in its subject.
    pub fn create(kind: AuthorityKind, profile: Profile, operator: &str, now: Now) -> Result<Authority, PkiError> {
        Authority::with_key(kind, profile, Signer::generate(kind.purpose(profile))?, operator, now)
    }

    /// A new root for a key of its purpose.
    pub(super) fn with_key(
        kind: AuthorityKind,
        profile: Profile,
        key: Signer,
        operator: &str,
        now: Now,
    ) -> Result<Authority, PkiError> {
        let name = format!("{operator} {} {profile}", kind.title());
        let mut params = x509::params(&name, now, lifetime(key.purpose()))?;
        // Nothing this root signs may sign further certificates.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|_| PkiError::Encode)?;
        Ok(Authority { kind, profile, certificate: certificate.into(), key })
    }

    /// Reads a root from the folder it was saved in.
    pub fn load(folder: &Path, kind: AuthorityKind, profile: Profile) -> Result<Authority, PkiError> {
        let purpose = kind.purpose(profile);
        let key = Signer::load(folder, purpose)?;
        let certificate = credential::read_certificate(folder, purpose)?;
        if certificate::public_key(&certificate)? != *key.public() {
            return Err(PkiError::NotAPair(purpose));
        }
        Ok(Authority { kind, profile, certificate, key })
    }

    /// Writes key and certificate into `folder`, named after the purpose; refuses to overwrite.
    pub fn save(&self, folder: &Path) -> Result<(), PkiError> {
        self.key.save(folder, Existing::Refuse)?;
        credential::write_chain(folder, self.key.purpose(), std::slice::from_ref(&self.certificate), Existing::Refuse)
    }

    pub(super) fn key(&self) -> &Signer {
        &self.key
    }

    /// What this root may sign.
    pub fn kind(&self) -> AuthorityKind {
        self.kind
    }

    /// The profile of this root.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The root's certificate.
    pub fn certificate(&self) -> &CertDer {
        &self.certificate
    }

    /// The operator's name, as it was given to [`Authority::create`].
    pub(super) fn operator(&self) -> Result<String, PkiError> {
        let subject = CertificateFacts::read(&self.certificate)?.subject;
        let name = subject.strip_prefix("CN=").unwrap_or(&subject);
        let title = format!(" {} {}", self.kind.title(), self.profile);
        Ok(name.strip_suffix(&title).unwrap_or(name).to_owned())
    }

    /// Signs a gateway certificate for these names, valid for server authentication only.
    pub fn issue_server(
        &self,
        names: &[ServerName<'_>],
        public: &PublicKey,
        now: Now,
        lifetime: Duration,
    ) -> Result<CertDer, PkiError> {
        self.check(AuthorityKind::Server, public)?;
        let first = names.first().filter(|_| names.len() <= LIMITS.server_names).ok_or(PkiError::Names)?;
        let mut params = x509::params(&common_name(&first.to_str()), now, lifetime)?;
        params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
        self.issue_leaf(params, ExtendedKeyUsagePurpose::ServerAuth, public)
    }

    /// Signs a device's TLS certificate: the device id is its common name, client authentication its only use.
    pub fn issue_device(&self, csr: &Csr, device: DeviceId, now: Now, lifetime: Duration) -> Result<CertDer, PkiError> {
        self.check(AuthorityKind::Device, csr.public())?;
        let params = x509::params(&device.to_string(), now, lifetime)?;
        self.issue_leaf(params, ExtendedKeyUsagePurpose::ClientAuth, csr.public())
    }

    fn check(&self, kind: AuthorityKind, public: &PublicKey) -> Result<(), PkiError> {
        if self.kind != kind {
            return Err(PkiError::WrongKind);
        }
        if public.algorithm() != self.profile.key_algorithm() {
            return Err(PkiError::WrongProfile(self.profile));
        }
        Ok(())
    }

    fn issue_leaf(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        public: &PublicKey,
    ) -> Result<CertDer, PkiError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(|_| PkiError::Encode)?;
        let leaf: CertDer = params.signed_by(public, &issuer).map_err(|_| PkiError::Encode)?.into();
        let root = CertificateFacts::read(&self.certificate)?;
        if CertificateFacts::read(&leaf)?.not_after_unix_s > root.not_after_unix_s {
            return Err(PkiError::Dates);
        }
        Ok(leaf)
    }
}

/// X.520 allows 64 characters in a common name; verifiers look at the alternative names only.
fn common_name(name: &str) -> String {
    name.chars().take(64).collect()
}

fn alternative_name(name: &ServerName<'_>) -> Result<SanType, PkiError> {
    match name {
        ServerName::DnsName(dns) => dns.as_ref().try_into().map(SanType::DnsName).map_err(|_| PkiError::Names),
        ServerName::IpAddress(ip) => Ok(SanType::IpAddress((*ip).into())),
        _ => Err(PkiError::Names),
    }
}
