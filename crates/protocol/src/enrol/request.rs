//! What a device signs to be enrolled, and the server's check of it.

use keys::cbor;
use keys::cose::{self, CosePurpose};
use keys::hashes::{ct_eq, sha256};
use keys::pki::Csr;
use keys::profile::Profile;
use keys::public::{PublicKey, SpkiHash};
use keys::secret::Secret;
use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use minicbor::{Decode, Encode};

use crate::codec::{CodecError, at_most};
use crate::eat::{AttestationLevel, profile_number, profile_of};
use crate::enrol::token::{SECRET_LEN, TokenId};
use crate::facts::EXPORTER_LEN;
use crate::limits::Limits;
use crate::reason::EnrolRefusal;

/// The payload of the COSE_Sign1.
#[derive(Debug)]
pub(crate) struct EnrolmentRequest {
    pub(crate) token_id: TokenId,
    pub(crate) token_secret: Secret,
    pub(crate) exporter: [u8; EXPORTER_LEN],
    pub(crate) profile: Profile,
    pub(crate) identity_spki: Vec<u8>,
    pub(crate) key_agreement_spki: Vec<u8>,
    pub(crate) csr: Vec<u8>,
    pub(crate) model: String,
    pub(crate) attestation: AttestationLevel,
}

/// A request whose every signature and binding was checked. Only that check makes one; what remains to be judged
/// is the token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedRequest {
    /// The token it names.
    pub token_id: TokenId,
    /// SHA-256 of the secret it brought; compare with the stored one in constant time.
    pub secret_sha256: [u8; 32],
    /// The identity key, which signed the request.
    pub identity: PublicKey,
    /// The key-agreement key, vouched for by the identity key.
    pub key_agreement: PublicKey,
    /// The TLS key to be certified, which signed its certificate request.
    pub tls_key: PublicKey,
    /// The certificate request, DER.
    pub csr: Vec<u8>,
    /// The TLS profile of the certificate to make.
    pub profile: Profile,
    /// The device's model.
    pub model: String,
    /// Where the identity key lives, as the device claims it.
    pub attestation: AttestationLevel,
}

impl EnrolmentRequest {
    /// The payload to sign.
    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    fn from_cbor(payload: &[u8], limits: &Limits) -> Result<Self, CodecError> {
        let request: Self = cbor::decode(payload)?;
        at_most("the model name", request.model.len(), limits.label)?;
        Ok(request)
    }
}

/// Checks a request against the connection it came on: signature, content, exporter, profile, then the keys.
pub(crate) fn check(
    identity_spki: &[u8],
    cose: &[u8],
    exporter: &[u8; EXPORTER_LEN],
    profile: Profile,
    limits: &Limits,
) -> Result<VerifiedRequest, EnrolRefusal> {
    let identity = PublicKey::from_spki_der(identity_spki).map_err(|_| EnrolRefusal::BadSignature)?;
    let payload = cose::verify(CosePurpose::Enrolment, &identity, cose).map_err(|_| EnrolRefusal::BadSignature)?;
    let payload = Secret::new(payload);
    let request = EnrolmentRequest::from_cbor(payload.expose(), limits).map_err(|_| EnrolRefusal::BadRequest)?;
    if request.identity_spki != identity_spki {
        return Err(EnrolRefusal::BadRequest);
    }
    if !ct_eq(&request.exporter, exporter) {
        return Err(EnrolRefusal::ExporterMismatch);
    }
    if request.profile != profile {
        return Err(EnrolRefusal::WrongProfile);
    }
    let key_agreement = PublicKey::from_spki_der(&request.key_agreement_spki).map_err(|_| EnrolRefusal::BadRequest)?;
    let csr = Csr::parse_and_verify(&request.csr).map_err(|_| EnrolRefusal::BadCertificateRequest)?;
    let tls_key = csr.public().clone();
    if tls_key.algorithm() != profile.key_algorithm() {
        return Err(EnrolRefusal::BadCertificateRequest);
    }
    if !all_different([identity.spki_hash(), key_agreement.spki_hash(), tls_key.spki_hash()]) {
        return Err(EnrolRefusal::SharedKey);
    }
    Ok(VerifiedRequest {
        token_id: request.token_id,
        secret_sha256: sha256(request.token_secret.expose()),
        identity,
        key_agreement,
        tls_key,
        csr: request.csr,
        profile,
        model: request.model,
        attestation: request.attestation,
    })
}

fn all_different([a, b, c]: [SpkiHash; 3]) -> bool {
    a != b && a != c && b != c
}

impl<C> Encode<C> for EnrolmentRequest {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.map(9)?;
        e.u8(1)?.bytes(self.token_id.as_bytes())?;
        e.u8(2)?.bytes(self.token_secret.expose())?;
        e.u8(3)?.bytes(&self.exporter)?;
        e.u8(4)?.u8(profile_number(self.profile))?;
        e.u8(5)?.bytes(&self.identity_spki)?;
        e.u8(6)?.bytes(&self.key_agreement_spki)?;
        e.u8(7)?.bytes(&self.csr)?;
        e.u8(8)?.str(&self.model)?;
        e.u8(9)?.encode_with(self.attestation, ctx)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EnrolmentRequest {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.map()? != Some(9) {
            return Err(decode::Error::message("not nine parts"));
        }
        let id: ByteArray<9> = keyed(d, 1)?.decode()?;
        let secret: ByteArray<SECRET_LEN> = keyed(d, 2)?.decode()?;
        let exporter: ByteArray<EXPORTER_LEN> = keyed(d, 3)?.decode()?;
        Ok(Self {
            token_id: TokenId::new(id.into()),
            token_secret: Secret::new(secret.to_vec()),
            exporter: exporter.into(),
            profile: profile_of(keyed(d, 4)?.u8()?)?,
            identity_spki: keyed(d, 5)?.bytes()?.to_vec(),
            key_agreement_spki: keyed(d, 6)?.bytes()?.to_vec(),
            csr: keyed(d, 7)?.bytes()?.to_vec(),
            model: keyed(d, 8)?.str()?.to_owned(),
            attestation: keyed(d, 9)?.decode_with(ctx)?,
        })
    }
}

fn keyed<'d, 'b>(d: &'d mut Decoder<'b>, key: u8) -> Result<&'d mut Decoder<'b>, decode::Error> {
    if d.u8()? == key { Ok(d) } else { Err(decode::Error::message("another key")) }
}
