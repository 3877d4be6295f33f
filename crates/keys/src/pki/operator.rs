//! All keys and certificates of an operator: made once, and the part of it a serving machine needs.

use std::{cell::RefCell, fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use rustls_pki_types::ServerName;

use super::{
    Authority, AuthorityKind, CertificateError, Credential, PkiError, RootsBundle, certificate, credential, lifetime,
};
use crate::{
    pkcs11::TokenSpec,
    private_file::{Existing, PrivateFileError},
    profile::Profile,
    purpose::KeyPurpose,
    signer::{KeyError, KeyHolder, Signer},
    time::Now,
};

/// The roots that are to follow those in use, in the folder of an operator's keys.
pub const NEXT_FOLDER: &str = "next";

/// Everything `vouch init` makes, the server roots' private keys included.
#[derive(Debug)]
pub struct OperatorPki {
    /// The server roots in use: classic, modern.
    pub server_roots: [Authority; 2],
    /// The server roots that are to follow them; devices trust these as well.
    pub next_roots: [Authority; 2],
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
        in_token(token, |make| OperatorPki::with_keys(make, operator, names, now))
    }

    /// What follows the keys and certificates in a folder: the next server roots come into use, with gateway certificates of new keys for the
    /// same names, and new roots are to follow them. The device roots stay. New keys are born in the token, if there is one.
    pub fn rotated(folder: &Path, token: Option<&TokenSpec>, now: Now) -> Result<OperatorPki, PkiError> {
        match token {
            Some(token) => in_token(token, |make| OperatorPki::rotated_with(folder, make, now)),
            None => OperatorPki::rotated_with(folder, &Signer::generate, now),
        }
    }

    /// Removes keys that are in a token for ever: nobody will use them. Whatever cannot be removed now only takes up room there.
    pub fn discard(&self) {
        let authorities = self.server_roots.iter().chain(&self.next_roots).chain(&self.serving.device_authorities);
        let keys = authorities.map(Authority::key).chain(self.serving.gateway.iter().map(Credential::key));
        discard(&keys.filter_map(Signer::holder).cloned().collect::<Vec<_>>());
    }

    /// The same of those alone that [`OperatorPki::rotated`] made: the others go on being used.
    pub fn discard_rotated(&self) {
        let keys = self.next_roots.iter().map(Authority::key).chain(self.serving.gateway.iter().map(Credential::key));
        discard(&keys.filter_map(Signer::holder).cloned().collect::<Vec<_>>());
    }

    fn with_keys(
        make: MakeKey<'_>,
        operator: &str,
        names: &[ServerName<'_>],
        now: Now,
    ) -> Result<OperatorPki, PkiError> {
        let server_roots = make_roots(make, AuthorityKind::Server, operator, now)?;
        let device_authorities = make_roots(make, AuthorityKind::Device, operator, now)?;
        OperatorPki::of(make, server_roots, device_authorities, operator, names, now)
    }

    fn rotated_with(folder: &Path, make: MakeKey<'_>, now: Now) -> Result<OperatorPki, PkiError> {
        let serving = ServingPki::load(folder)?;
        let names = serving.names()?;
        let names = names.iter().map(|name| ServerName::try_from(name.as_str())).collect::<Result<Vec<_>, _>>();
        let next = |profile| Authority::load(&folder.join(NEXT_FOLDER), AuthorityKind::Server, profile);
        let server_roots = [next(Profile::Classic)?, next(Profile::Modern)?];
        let operator = server_roots[1].operator()?;
        let names = names.map_err(|_| PkiError::Names)?;
        OperatorPki::of(make, server_roots, serving.device_authorities, &operator, &names, now)
    }

    fn of(
        make: MakeKey<'_>,
        server_roots: [Authority; 2],
        device_authorities: [Authority; 2],
        operator: &str,
        names: &[ServerName<'_>],
        now: Now,
    ) -> Result<OperatorPki, PkiError> {
        let gateway = |root: &Authority| {
            let purpose = KeyPurpose::gateway_tls(root.profile());
            let key = make(purpose)?;
            let certificate = root.issue_server(names, key.public(), now, lifetime(purpose))?;
            Credential::new(key, vec![certificate])
        };
        let next_roots = make_roots(make, AuthorityKind::Server, operator, now)?;
        let ([classic, modern], [next_classic, next_modern]) = (&server_roots, &next_roots);
        let gateway = [gateway(classic)?, gateway(modern)?];
        let bundle = RootsBundle::new(classic.certificate().clone(), modern.certificate().clone())?
            .with_next(next_classic.certificate().clone(), next_modern.certificate().clone())?;
        let serving = ServingPki { server_roots: bundle, device_authorities, gateway };
        Ok(OperatorPki { server_roots, next_roots, serving })
    }

    /// Writes everything into an existing folder; refuses to overwrite anything.
    pub fn save(&self, folder: &Path) -> Result<(), PkiError> {
        for authority in self.server_roots.iter().chain(&self.serving.device_authorities) {
            authority.save(folder)?;
        }
        for credential in &self.serving.gateway {
            credential.save(folder, Existing::Refuse)?;
        }
        let next = folder.join(NEXT_FOLDER);
        make_folder(&next)?;
        self.next_roots.iter().try_for_each(|authority| authority.save(&next))
    }
}

fn make_folder(path: &Path) -> Result<(), PrivateFileError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| PrivateFileError::Io { path: path.to_owned(), error })
}

/// What makes a key of a purpose.
type MakeKey<'a> = &'a dyn Fn(KeyPurpose) -> Result<Signer, KeyError>;

/// With keys that are born in a token; when it fails, none is left.
fn in_token(
    token: &TokenSpec,
    make: impl FnOnce(MakeKey<'_>) -> Result<OperatorPki, PkiError>,
) -> Result<OperatorPki, PkiError> {
    let made = RefCell::new(Vec::new());
    let key = |purpose| {
        let key = Signer::in_token(token, purpose)?;
        made.borrow_mut().extend(key.holder().cloned());
        Ok(key)
    };
    make(&key).inspect_err(|_| discard(&made.take()))
}

fn make_roots(make: MakeKey<'_>, kind: AuthorityKind, operator: &str, now: Now) -> Result<[Authority; 2], PkiError> {
    let root = |profile| Authority::with_key(kind, profile, make(kind.purpose(profile))?, operator, now);
    Ok([root(Profile::Classic)?, root(Profile::Modern)?])
}

fn discard(holders: &[Arc<dyn KeyHolder>]) {
    for holder in holders {
        let _ = holder.discard();
    }
}

impl ServingPki {
    /// Reads what a serving machine needs; the server roots' private keys are not looked at.
    pub fn load(folder: &Path) -> Result<ServingPki, PkiError> {
        let root_in =
            |folder: &Path, profile| credential::read_certificate(folder, AuthorityKind::Server.purpose(profile));
        let root = |profile| root_in(folder, profile);
        let next = folder.join(NEXT_FOLDER);
        let mut server_roots = RootsBundle::new(root(Profile::Classic)?, root(Profile::Modern)?)?;
        if next.exists() {
            server_roots =
                server_roots.with_next(root_in(&next, Profile::Classic)?, root_in(&next, Profile::Modern)?)?;
        }
        let gateway = |profile| Credential::load(folder, KeyPurpose::gateway_tls(profile));
        let device = |profile| Authority::load(folder, AuthorityKind::Device, profile);
        Ok(ServingPki {
            server_roots,
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
