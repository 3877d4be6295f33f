//! All keys and certificates of an operator: made once, and the part of it a serving machine needs.

use std::{cell::RefCell, path::Path, sync::Arc};

use rustls_pki_types::ServerName;

use super::{
    Authority, AuthorityKind, CertificateError, Credential, PkiError, RootsBundle, certificate, credential, lifetime,
};
use crate::{
    pkcs11::TokenSpec,
    private_file::Existing,
    profile::Profile,
    purpose::KeyPurpose,
    signer::{KeyError, KeyHolder, Signer},
    time::Now,
};

/// Everything `vouch init` makes, the server roots' private keys included.
#[derive(Debug)]
pub struct OperatorPki {
    /// The server roots: classic, modern.
    pub server_roots: [Authority; 2],
    /// What the gateway needs.
    pub serving: ServingPki,
}

/// What a serving machine needs: the server roots' private keys are not among it and can be kept elsewhere.
#[derive(Debug)]
pub struct ServingPki {
    /// The roots that devices pin.
    pub server_roots: RootsBundle,
    /// The device roots, which sign certificates when devices enrol: classic, modern.
    pub device_authorities: [Authority; 2],
    /// The gateway's TLS keys and certificates: classic, modern.
    pub gateway: [Credential; 2],
}

impl OperatorPki {
    /// Makes all roots, and gateway certificates for these names, with keys in this process's memory.
    pub fn create(operator: &str, names: &[ServerName<'_>], now: Now) -> Result<OperatorPki, PkiError> {
        OperatorPki::with_keys(&Signer::generate, operator, names, now)
    }

    /// As [`OperatorPki::create`], with keys that are born in a token and stay there; when it fails, none is left.
    pub fn create_in_token(
        token: &TokenSpec,
        operator: &str,
        names: &[ServerName<'_>],
        now: Now,
    ) -> Result<OperatorPki, PkiError> {
        let made = RefCell::new(Vec::new());
        let make = |purpose| {
            let key = Signer::in_token(token, purpose)?;
            made.borrow_mut().extend(key.holder().cloned());
            Ok(key)
        };
        OperatorPki::with_keys(&make, operator, names, now).inspect_err(|_| discard(&made.take()))
    }

    /// Removes keys that are in a token for ever: nobody will use them. Whatever cannot be removed now only takes up room there.
    pub fn discard(&self) {
        let authorities = self.server_roots.iter().chain(&self.serving.device_authorities).map(Authority::key);
        let keys = authorities.chain(self.serving.gateway.iter().map(Credential::key));
        discard(&keys.filter_map(Signer::holder).cloned().collect::<Vec<_>>());
    }

    fn with_keys(
        make: &dyn Fn(KeyPurpose) -> Result<Signer, KeyError>,
        operator: &str,
        names: &[ServerName<'_>],
        now: Now,
    ) -> Result<OperatorPki, PkiError> {
        let root = |kind: AuthorityKind, profile| {
            Authority::with_key(kind, profile, make(kind.purpose(profile))?, operator, now)
        };
        let roots = |kind| -> Result<[Authority; 2], PkiError> {
            Ok([root(kind, Profile::Classic)?, root(kind, Profile::Modern)?])
        };
        let gateway = |root: &Authority| {
            let purpose = KeyPurpose::gateway_tls(root.profile());
            let key = make(purpose)?;
            let certificate = root.issue_server(names, key.public(), now, lifetime(purpose))?;
            Credential::new(key, vec![certificate])
        };
        let server_roots = roots(AuthorityKind::Server)?;
        let device_authorities = roots(AuthorityKind::Device)?;
        let [classic, modern] = &server_roots;
        let gateway = [gateway(classic)?, gateway(modern)?];
        let bundle = RootsBundle::new(classic.certificate().clone(), modern.certificate().clone())?;
        let serving = ServingPki { server_roots: bundle, device_authorities, gateway };
        Ok(OperatorPki { server_roots, serving })
    }

    /// Writes everything into an existing folder; refuses to overwrite anything.
    pub fn save(&self, folder: &Path) -> Result<(), PkiError> {
        for authority in self.server_roots.iter().chain(&self.serving.device_authorities) {
            authority.save(folder)?;
        }
        for credential in &self.serving.gateway {
            credential.save(folder, Existing::Refuse)?;
        }
        Ok(())
    }
}

fn discard(holders: &[Arc<dyn KeyHolder>]) {
    for holder in holders {
        let _ = holder.discard();
    }
}

impl ServingPki {
    /// Reads what a serving machine needs; the server roots' private keys are not looked at.
    pub fn load(folder: &Path) -> Result<ServingPki, PkiError> {
        let root = |profile| credential::read_certificate(folder, AuthorityKind::Server.purpose(profile));
        let gateway = |profile| Credential::load(folder, KeyPurpose::gateway_tls(profile));
        let device = |profile| Authority::load(folder, AuthorityKind::Device, profile);
        Ok(ServingPki {
            server_roots: RootsBundle::new(root(Profile::Classic)?, root(Profile::Modern)?)?,
            device_authorities: [device(Profile::Classic)?, device(Profile::Modern)?],
            gateway: [gateway(Profile::Classic)?, gateway(Profile::Modern)?],
        })
    }

    /// The device root of a profile.
    pub fn device_authority(&self, profile: Profile) -> &Authority {
        let [classic, modern] = &self.device_authorities;
        match profile {
            Profile::Classic => classic,
            Profile::Modern => modern,
        }
    }

    /// The gateway's TLS key and chain in a profile.
    pub fn gateway(&self, profile: Profile) -> &Credential {
        let [classic, modern] = &self.gateway;
        match profile {
            Profile::Classic => classic,
            Profile::Modern => modern,
        }
    }

    /// The DNS names and IP addresses that the gateway's certificate is for; the first is how people call the server.
    pub fn names(&self) -> Result<Vec<String>, PkiError> {
        let leaf = self.gateway(Profile::Modern).chain().first().ok_or(CertificateError::NotX509)?;
        Ok(certificate::server_names(leaf)?)
    }

    /// The device roots' certificates: what the gateway trusts for clients.
    pub fn device_roots(&self) -> Result<RootsBundle, PkiError> {
        let [classic, modern] = &self.device_authorities;
        Ok(RootsBundle::new(classic.certificate().clone(), modern.certificate().clone())?)
    }
}
