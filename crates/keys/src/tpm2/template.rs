//! What is asked of the TPM when it makes an object.

use tss_esapi::{
    attributes::{ObjectAttributes, ObjectAttributesBuilder},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
        key_bits::RsaKeyBits,
    },
    structures::{
        Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, KeyedHashScheme, Public,
        PublicBuilder, PublicEccParametersBuilder, PublicKeyRsa, PublicKeyedHashParameters, PublicRsaParametersBuilder,
        RsaExponent, RsaScheme, SymmetricDefinitionObject,
    },
};

use crate::public::{KeyAlgorithm, PublicKey};

type Result<T> = tss_esapi::Result<T>;

/// What kind of key is born in a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TpmKeyKind {
    /// P-256, ECDSA with SHA-256 only.
    P256Sign,
    /// P-256, ECDH only.
    P256Agree,
    /// RSA-2048, PKCS#1 v1.5 with SHA-256 only.
    Rsa2048Sign,
}

pub(super) fn sha256_scheme() -> HashScheme {
    HashScheme::new(HashingAlgorithm::Sha256)
}

/// The key that wraps all others: derived from the TPM's owner seed, the same at each call.
pub(super) fn primary() -> Result<Public> {
    let attributes = born_here().with_decrypt(true).with_restricted(true).build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    ecc(attributes, parameters)
}

/// A key of this kind: fixed to this TPM and to its parent, born here, for one use.
pub(super) fn key(kind: TpmKeyKind) -> Result<Public> {
    match kind {
        TpmKeyKind::P256Sign => ecc(
            born_here().with_sign_encrypt(true).build()?,
            PublicEccParametersBuilder::new_unrestricted_signing_key(
                EccScheme::EcDsa(sha256_scheme()),
                EccCurve::NistP256,
            ),
        ),
        TpmKeyKind::P256Agree => ecc(
            born_here().with_decrypt(true).build()?,
            PublicEccParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::Null)
                .with_ecc_scheme(EccScheme::EcDh(sha256_scheme()))
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_is_decryption_key(true),
        ),
        TpmKeyKind::Rsa2048Sign => {
            let parameters = PublicRsaParametersBuilder::new_unrestricted_signing_key(
                RsaScheme::RsaSsa(sha256_scheme()),
                RsaKeyBits::Rsa2048,
                RsaExponent::default(),
            );
            PublicBuilder::new()
                .with_public_algorithm(PublicAlgorithm::Rsa)
                .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
                .with_object_attributes(born_here().with_sign_encrypt(true).build()?)
                .with_rsa_parameters(parameters.build()?)
                .with_rsa_unique_identifier(PublicKeyRsa::default())
                .build()
        }
    }
}

/// Data that the TPM gives back: to whoever meets the policy, or, without one, to whoever reaches the TPM.
pub(super) fn sealed(policy: Option<Digest>) -> Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(true)
        .with_user_with_auth(policy.is_none())
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy.unwrap_or_default())
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

/// The public half as this crate knows it.
pub(super) fn public_key(public: &Public) -> Option<PublicKey> {
    match public {
        Public::Ecc { unique, .. } => {
            let point = [&[0x04][..], &coordinate(unique.x())?, &coordinate(unique.y())?].concat();
            PublicKey::from_key_bytes(KeyAlgorithm::P256, &point).ok()
        }
        Public::Rsa { unique, .. } => PublicKey::from_rsa_2048_modulus(unique.value()).ok(),
        _ => None,
    }
}

/// A number of P-256 in 32 bytes: a TPM may leave leading zeros out.
pub(super) fn coordinate(number: &EccParameter) -> Option<[u8; 32]> {
    let bytes = number.value();
    let mut padded = [0; 32];
    padded.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(padded)
}

/// No authorisation value guards the keys, so a TPM that counts wrong ones has nothing to count for them.
fn born_here() -> ObjectAttributesBuilder {
    ObjectAttributes::builder()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

fn ecc(attributes: ObjectAttributes, parameters: PublicEccParametersBuilder) -> Result<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
