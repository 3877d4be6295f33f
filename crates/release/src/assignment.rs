//! The director's word that one device is to install one image: it can withhold, never approve.

use keys::cbor::{self, CborError};
use keys::cose::CoseError;
use keys::metadata;
use keys::public::{PublicKey, SpkiHash};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::manifest::ManifestHash;

/// The version of the encoding.
const FORMAT: u8 = 1;

/// What the director says of one device: `os-assignment` in `docs/image.cddl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Assignment {
    #[n(0)]
    format: u8,
    #[n(1)]
    identity: ByteArray<32>,
    #[n(2)]
    manifest: ByteArray<32>,
    #[n(3)]
    expires: u64,
}

/// Why an assignment is none for this device now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// Not signed by the director of the root in force.
    #[error("the assignment is not signed by this server's director: {0}")]
    Signature(#[from] CoseError),
    /// Another shape, trailing bytes, or not deterministic.
    #[error("not an assignment of this format: {0}")]
    Form(#[from] CborError),
    /// A format that a newer runtime may know.
    #[error("the assignment has format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// It is another device's.
    #[error("the assignment is for another device")]
    OtherDevice,
    /// It is for another image.
    #[error("the assignment is for another OS image")]
    OtherImage,
    /// It has ended.
    #[error("the assignment has expired")]
    Expired,
}

impl Assignment {
    /// That the device with this identity key is to install the image of this manifest, until then: Unix seconds.
    pub fn new(identity: SpkiHash, manifest: ManifestHash, expires: u64) -> Assignment {
        Assignment {
            format: FORMAT,
            identity: ByteArray::from(*identity.as_bytes()),
            manifest: ByteArray::from(manifest.0),
            expires,
        }
    }

    /// What the director signs.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Whether the director assigned this image to this device, as of `now`, in Unix seconds.
    ///
    /// # Errors
    /// [`AssignmentError`].
    pub fn verify(
        director: &PublicKey,
        cose: &[u8],
        identity: SpkiHash,
        manifest: ManifestHash,
        now: u64,
    ) -> Result<(), AssignmentError> {
        let said: Assignment = cbor::decode(&metadata::verify_assignment(director, cose)?)?;
        if said.format != FORMAT {
            return Err(AssignmentError::Format(said.format));
        }
        if *said.identity != *identity.as_bytes() {
            return Err(AssignmentError::OtherDevice);
        }
        if *said.manifest != manifest.0 {
            return Err(AssignmentError::OtherImage);
        }
        if now >= said.expires { Err(AssignmentError::Expired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use keys::purpose::KeyPurpose;
    use keys::signer::Signer;

    use super::*;

    #[test]
    fn an_assignment_holds_for_one_device_one_image_and_a_time() {
        let (device, image) = (SpkiHash([1; 32]), ManifestHash([2; 32]));
        let director = Signer::generate(KeyPurpose::ReleaseDirector).unwrap();
        let sign = |payload: &[u8]| metadata::sign_assignment(&director, payload).unwrap();
        let cose = sign(&Assignment::new(device, image, 1000).to_cbor());
        let verify = |cose: &[u8], device, image, now| Assignment::verify(director.public(), cose, device, image, now);
        assert_eq!(verify(&cose, device, image, 999), Ok(()));
        assert_eq!(verify(&cose, device, image, 1000), Err(AssignmentError::Expired));
        assert_eq!(verify(&cose, SpkiHash([9; 32]), image, 0), Err(AssignmentError::OtherDevice));
        assert_eq!(verify(&cose, device, ManifestHash([9; 32]), 0), Err(AssignmentError::OtherImage));
        let mut long = Assignment::new(device, image, 1000).to_cbor();
        long.push(0);
        assert!(matches!(verify(&sign(&long), device, image, 0), Err(AssignmentError::Form(_))));
        let other = Assignment { format: 2, ..Assignment::new(device, image, 1000) };
        assert_eq!(verify(&sign(&other.to_cbor()), device, image, 0), Err(AssignmentError::Format(2)));
        let stranger = Signer::generate(KeyPurpose::ReleaseDirector).unwrap();
        let forged = metadata::sign_assignment(&stranger, &Assignment::new(device, image, 1000).to_cbor()).unwrap();
        assert!(matches!(verify(&forged, device, image, 0), Err(AssignmentError::Signature(_))));
    }
}
