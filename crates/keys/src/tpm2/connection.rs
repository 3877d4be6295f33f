//! One connection to a TPM, for one operation: the primary, an encrypted session, and keys loaded while they are used.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use minicbor::{Decoder, Encoder};
use tss_esapi::{
    Context, Error, TctiNameConf,
    attributes::SessionAttributesBuilder,
    constants::{SessionType, StartupType, Tss2ResponseCodeKind, tss},
    handles::{KeyHandle, ObjectHandle, PcrHandle, SessionHandle},
    interface_types::{algorithm::HashingAlgorithm, resource_handles::Hierarchy, session_handles::AuthSession},
    structures::{
        Digest, DigestValues, EccParameter, EccPoint, HashcheckTicket, Private, Public, Signature, SignatureScheme,
        SymmetricDefinition,
    },
    traits::{Marshall, UnMarshall},
    tss2_esys::TPMT_TK_HASHCHECK,
};

use super::{
    spec::{MEASURED_PCR, TpmSpec},
    template::{self, TpmKeyKind},
};
use crate::{hashes::sha256, public::PublicKey, secret::Secret};

/// Commands of one process go to the TPM one after the other: not every TPM has a resource manager before it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A TPM, reached anew for each operation.
#[derive(Clone, Debug)]
pub(crate) struct Tpm {
    spec: TpmSpec,
    /// The name of the storage primary that wrapped this device's keys.
    expected: Option<Vec<u8>>,
}

/// A key or data that the TPM has wrapped: of no use without that TPM.
pub(crate) struct Wrapped {
    pub(super) public: Public,
    pub(super) private: Private,
}

/// Why a TPM cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmError {
    /// It does not answer.
    #[error("the TPM at {tcti} does not answer ({why}); it is used again as soon as it does")]
    Away {
        /// How it was to be reached.
        tcti: String,
        /// What the TPM's library said.
        why: String,
    },
    /// Another TPM answers.
    #[error(
        "the TPM at {tcti} is not the one that these keys were born in, or was cleared; nobody can use them in another"
    )]
    OtherTpm {
        /// How it was reached.
        tcti: String,
    },
    /// The registers are not what they were.
    #[error(
        "the TPM does not release the storage root: what was measured at this boot (registers {pcrs}) is not what was measured \
         when the device was provisioned. Boot what was booted then, or provision the device again"
    )]
    BootStateChanged {
        /// The registers.
        pcrs: String,
    },
    /// The counter is not where it should be stepped from.
    #[error("the TPM's counter stands at {counter} and cannot be stepped to {to}")]
    Counter {
        /// Its value.
        counter: u64,
        /// What was asked for.
        to: u64,
    },
    /// Something else stands where the counter was: it could be set back.
    #[error(
        "the TPM's NV index {index:#010x} is no counter any more: it was replaced, and what it says cannot be believed. Look into who had this device, then provision it again"
    )]
    NotACounter {
        /// Where.
        index: u32,
    },
    /// A file with something wrapped holds something else.
    #[error("not what a TPM wrapped: it was cut or changed")]
    Form,
    /// The TPM refused.
    #[error("the TPM refused ({what}): {why}")]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        why: String,
    },
}

/// An open connection. With it, all its handles go.
pub(super) struct Connection<'a> {
    pub(super) context: Context,
    pub(super) primary: KeyHandle,
    spec: &'a TpmSpec,
}

impl Tpm {
    /// A TPM that no keys are known of yet.
    pub(crate) fn new(spec: TpmSpec) -> Tpm {
        Tpm { spec, expected: None }
    }

    /// The TPM with this storage primary, as [`Tpm::name`] gave it.
    pub(crate) fn known(spec: TpmSpec, name: Vec<u8>) -> Tpm {
        Tpm { spec, expected: Some(name) }
    }

    /// What the TPM is recognised by: the hash of its storage primary's public half.
    pub(crate) fn name(&self) -> Result<Vec<u8>, TpmError> {
        self.with(|tpm| {
            let (_, name, _) = tpm.context.read_public(tpm.primary).map_err(refused("read the primary"))?;
            Ok(name.value().to_vec())
        })
    }

    /// Makes a key.
    pub(crate) fn create_key(&self, kind: TpmKeyKind) -> Result<Wrapped, TpmError> {
        self.with(|tpm| {
            let public = template::key(kind).map_err(refused("describe a key"))?;
            let made = tpm.context.create(tpm.primary, public, None, None, None, None);
            let made = made.map_err(refused("make a key"))?;
            Ok(Wrapped { public: made.out_public, private: made.out_private })
        })
    }

    /// Signs the SHA-256 of a message: r and s side by side, or PKCS#1 v1.5.
    pub(crate) fn sign(&self, key: &Wrapped, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let digest = Digest::try_from(sha256(message).to_vec()).map_err(refused("take a hash"))?;
        // A hash that was not made in the TPM comes with an empty ticket.
        let ticket =
            TPMT_TK_HASHCHECK { tag: tss::TPM2_ST_HASHCHECK, hierarchy: tss::TPM2_RH_NULL, digest: Default::default() };
        let ticket = HashcheckTicket::try_from(ticket).map_err(refused("take a hash"))?;
        self.with(|tpm| {
            let handle = tpm.load(key)?;
            let signed = tpm.context.sign(handle, digest.clone(), SignatureScheme::Null, ticket.clone());
            match signed.map_err(refused("sign"))? {
                Signature::EcDsa(signature) => {
                    let parts = [signature.signature_r(), signature.signature_s()].map(template::coordinate);
                    let [Some(r), Some(s)] = parts else { return Err(TpmError::Form) };
                    Ok([r, s].concat())
                }
                Signature::RsaSsa(signature) => Ok(signature.signature().value().to_vec()),
                _ => Err(TpmError::Form),
            }
        })
    }

    /// ECDH with a point (65 bytes, uncompressed).
    pub(crate) fn agree(&self, key: &Wrapped, point: &[u8]) -> Result<Secret, TpmError> {
        let (x, y) = point.strip_prefix(&[0x04]).and_then(|both| both.split_at_checked(32)).ok_or(TpmError::Form)?;
        let number = |bytes: &[u8]| EccParameter::try_from(bytes.to_vec()).map_err(refused("take a point"));
        let point = EccPoint::new(number(x)?, number(y)?);
        self.with(|tpm| {
            let handle = tpm.load(key)?;
            let shared = tpm.context.ecdh_z_gen(handle, point.clone()).map_err(refused("agree on a key"))?;
            template::coordinate(shared.x()).map(|x| Secret::new(x.to_vec())).ok_or(TpmError::Form)
        })
    }

    /// Extends the register of what is about to run.
    pub(crate) fn measure(&self, digest: &[u8; 32]) -> Result<(), TpmError> {
        const { assert!(MEASURED_PCR == 15) };
        let digest = Digest::try_from(digest.to_vec()).map_err(refused("take a hash"))?;
        self.with(|tpm| {
            let mut values = DigestValues::new();
            values.set(HashingAlgorithm::Sha256, digest.clone());
            tpm.context.pcr_extend(PcrHandle::Pcr15, values).map_err(refused("extend a register"))
        })
    }

    /// Does something on a connection of its own.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection<'_>) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = Connection::open(&self.spec)?;
        if let Some(expected) = &self.expected {
            let name = connection.context.tr_get_name(ObjectHandle::from(connection.primary));
            if name.map_err(refused("name the primary"))?.value() != expected {
                return Err(TpmError::OtherTpm { tcti: self.spec.tcti.clone() });
            }
        }
        work(&mut connection)
    }
}

impl<'a> Connection<'a> {
    fn open(spec: &'a TpmSpec) -> Result<Connection<'a>, TpmError> {
        let away = |error: Error| TpmError::Away { tcti: spec.tcti.clone(), why: error.to_string() };
        let name = TctiNameConf::from_str(&spec.tcti).map_err(away)?;
        let mut context = Context::new(name).map_err(away)?;
        context.set_sessions((Some(AuthSession::Password), None, None));
        let mut made = create_primary(&mut context);
        if is_kind(&made, Tss2ResponseCodeKind::Initialize) {
            // Firmware starts the TPM of a machine; one that nobody has started yet is started here.
            context.startup(StartupType::Clear).map_err(away)?;
            made = create_primary(&mut context);
        }
        let primary = made.map_err(away)?;
        let session = start_session(&mut context, primary, SessionType::Hmac)?;
        context.set_sessions((Some(session), None, None));
        Ok(Connection { context, primary, spec })
    }

    pub(super) fn spec(&self) -> &TpmSpec {
        self.spec
    }

    pub(super) fn load(&mut self, wrapped: &Wrapped) -> Result<KeyHandle, TpmError> {
        let loaded = self.context.load(self.primary, wrapped.private.clone(), wrapped.public.clone());
        if is_kind(&loaded, Tss2ResponseCodeKind::Integrity) {
            return Err(TpmError::OtherTpm { tcti: self.spec.tcti.clone() });
        }
        loaded.map_err(refused("load a key"))
    }
}

fn create_primary(context: &mut Context) -> Result<KeyHandle, Error> {
    Ok(context.create_primary(Hierarchy::Owner, template::primary()?, None, None, None, None)?.key_handle)
}

/// A session whose secret is encrypted to the primary, and which encrypts what goes to and comes from the TPM first.
pub(super) fn start_session(
    context: &mut Context,
    salt: KeyHandle,
    kind: SessionType,
) -> Result<AuthSession, TpmError> {
    let before = context.sessions();
    context.clear_sessions();
    let (aes, sha) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
    let session = context.start_auth_session(Some(salt), None, None, kind, aes, sha);
    let session = session.map_err(refused("start a session"))?.ok_or(TpmError::Form)?;
    let (attributes, mask) = SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
    context.tr_sess_set_attributes(session, attributes, mask).map_err(refused("encrypt a session"))?;
    context.set_sessions(before);
    Ok(session)
}

pub(super) fn end_session(context: &mut Context, session: AuthSession) -> Result<(), TpmError> {
    let before = context.sessions();
    context.clear_sessions();
    let flushed = context.flush_context(SessionHandle::from(session).into());
    context.set_sessions(before);
    flushed.map_err(refused("end a session"))
}

pub(super) fn refused(what: &'static str) -> impl Fn(Error) -> TpmError {
    move |error| TpmError::Refused { what, why: error.to_string() }
}

pub(super) fn is_kind<T>(result: &Result<T, Error>, kind: Tss2ResponseCodeKind) -> bool {
    matches!(result, Err(Error::Tss2Error(code)) if code.kind() == Some(kind))
}

impl Wrapped {
    /// The public half, if it is a key.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        template::public_key(&self.public)
    }

    /// A CBOR array of both halves in the TPM's own encoding.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TpmError> {
        let public = self.public.marshall().map_err(refused("encode a key"))?;
        let mut cbor = Encoder::new(Vec::new());
        // Encoding into memory has no way to fail.
        let encoded =
            cbor.array(2).and_then(|cbor| cbor.bytes(&public)).and_then(|cbor| cbor.bytes(self.private.value()));
        encoded.map_err(|_| TpmError::Form)?;
        Ok(cbor.into_writer())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Wrapped, TpmError> {
        let mut cbor = Decoder::new(bytes);
        let mut parts = || {
            cbor.array().ok()?.filter(|count| *count == 2)?;
            let (public, private) = (cbor.bytes().ok()?, cbor.bytes().ok()?);
            (cbor.position() == bytes.len()).then_some((public, private))
        };
        let (public, private) = parts().ok_or(TpmError::Form)?;
        Ok(Wrapped {
            public: Public::unmarshall(public).map_err(|_| TpmError::Form)?,
            private: Private::try_from(private.to_vec()).map_err(|_| TpmError::Form)?,
        })
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrapped(..)")
    }
}
