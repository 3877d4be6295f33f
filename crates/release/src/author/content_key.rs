//! The content key of an image, sealed to the server as soon as the image is encrypted, and kept nowhere else.

use keys::chunks::ContentKey;
use keys::content_key::{ContentKeyError, ContentKeyInfo, WrappedContentKey, wrap};
use keys::public::{PublicKey, SpkiHash};

use crate::manifest::ManifestHash;

/// Seals the content key of this image to the server's key for that (`release-wrap`): HPKE, RFC 9180.
///
/// # Errors
/// [`ContentKeyError::Recipient`] for a key that is not P-256.
pub fn seal_content_key(
    key: &ContentKey,
    manifest: ManifestHash,
    server: &PublicKey,
) -> Result<WrappedContentKey, ContentKeyError> {
    wrap(key.expose(), server, &sealed_for(manifest, server.spki_hash()))
}

/// What the sealed key is bound to; the server opens it with `keys::content_key::unwrap` and this.
pub fn sealed_for(manifest: ManifestHash, server: SpkiHash) -> ContentKeyInfo {
    ContentKeyInfo { manifest_sha256: manifest.0, identity: server }
}
