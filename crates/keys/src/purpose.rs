//! The closed set of key purposes, and what is known about each: no key exists without one.

mod algorithm;

use crate::profile::Profile;

pub use algorithm::PurposeAlgorithm;

/// What a key is for. Generating or loading a key takes a purpose and checks that the key fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPurpose {
    /// Signs gateway certificates of the classic profile; devices pin its certificate.
    ServerRootClassic,
    /// Signs gateway certificates of the modern profile; devices pin its certificate.
    ServerRootModern,
    /// Signs device TLS certificates of the classic profile; the gateway pins its certificate.
    DeviceRootClassic,
    /// Signs device TLS certificates of the modern profile; the gateway pins its certificate.
    DeviceRootModern,
    /// Authenticates the gateway in classic TLS handshakes.
    GatewayTlsClassic,
    /// Authenticates the gateway in modern TLS handshakes.
    GatewayTlsModern,
    /// Answers challenges and signs enrolment: it is the device.
    DeviceIdentity,
    /// Receives content keys wrapped to the device; never signs.
    DeviceKeyAgreement,
    /// Authenticates the device in classic TLS handshakes.
    DeviceTlsClassic,
    /// Authenticates the device in modern TLS handshakes.
    DeviceTlsModern,
    /// All keys of a device's storage are derived from it.
    StorageRoot,
    /// Encrypts the vault's index.
    VaultIndex,
    /// Encrypts the device's configuration: its server, the pinned roots.
    VaultConfiguration,
    /// Encrypts the network configuration.
    VaultNetwork,
    /// Encrypts the proxy and its user name and password.
    VaultProxy,
    /// Encrypts what the app stored for itself.
    VaultUserConfiguration,
    /// Encrypts the app.
    VaultApp,
    /// Encrypts what never goes back: the time floor.
    VaultFloors,
    /// Encrypts the connection diary.
    VaultDiary,
    /// Encrypts the index of the boot folder's records.
    BootIndex,
    /// Encrypts the factory anchors: whose signatures an OS image needs.
    BootAnchors,
    /// Encrypts the record of which OS image boots.
    BootControl,
    /// Encrypts the OS images in the slots.
    BootSlot,
    /// Signs OS manifests; devices hold its public half.
    Release,
    /// Encrypts one OS image.
    ImageContent,
    /// Receives the content keys of OS images on the server; never signs.
    ReleaseWrap,
    /// Approves releases and changes the keys that devices believe: one custodian's card.
    Custodian,
    /// Says which release metadata belong together.
    ReleaseSnapshot,
    /// Says which release metadata is the newest.
    ReleaseTimestamp,
    /// Says which release a device is to install, among those that the custodians approved.
    ReleaseDirector,
    /// Approves apps of owners who demand no quorum.
    AppApproval,
    /// Signs what the transparency log of releases holds.
    ReleaseLog,
    /// The secret part of an enrolment token.
    EnrolmentSecret,
    /// Makes agent ids that cannot be guessed.
    AgentIdSecret,
    /// Encrypts TLS session tickets of the modern session listener.
    SessionTicket,
    /// A person's password.
    AccountPassword,
    /// Authenticates one person or script to central for a short time.
    AccessToken,
    /// Obtains new access tokens.
    RefreshToken,
}

/// How long a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// The certificate made for it is valid for so many days.
    CertificateDays(u32),
    /// Until what it belongs to is revoked or removed.
    UntilRevoked,
    /// So many seconds after it was made.
    Seconds(u64),
    /// As its owner decides when making it.
    ChosenByOwner,
}

/// What is known about the keys of one purpose (claim C16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// The only algorithm keys of this purpose have.
    pub algorithm: PurposeAlgorithm,
    /// Where the key is made.
    pub birthplace: &'static str,
    /// Where the key is kept.
    pub storage: &'static str,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// How it is replaced.
    pub rotation: &'static str,
    /// What somebody who steals it can do, and what its owner must do then.
    pub loss: &'static str,
}

const OPERATOR: &str = "the operator's machine, by `vouch init`";
const DEVICE: &str = "the device, while it is provisioned";
const SERVER: &str = "the server";
const KEY_FILE: &str = "PKCS#8 file with mode 0600; with `--keys pkcs11` in the token, non-extractable";
const DEVICE_KEY: &str = "`tpm2`: a file that only this TPM unwraps; `pkcs11`: in the token, non-extractable; \
    `danger-software`: PKCS#8 file with mode 0600";
const ROOT_DAYS: u32 = 20 * 365;
const LEAF_DAYS: u32 = 5 * 365;
const SERVER_ROOT_ROTATION: &str = "`vouch rotate-roots`: devices pin the next one as well, and learn of those after it from root metadata \
    that the custodians signed";
const DEVICE_ROOT_ROTATION: &str =
    "none yet: the certificates of all devices come from it, so replacing it means enrolling them again";
const ONLINE_ROTATION: &str = "replaced by the custodians: the root metadata names it";
const DIRECTOR_ROTATION: &str = "replaced by the custodians: the targets metadata names it";
const LEAF_ROTATION: &str = "issue a new certificate for a new key from the same root; devices pin the root only";
const SERVER_ROOT_LOSS: &str = "its holder can pose as this operator's gateway to devices; identity keys stay safe, \
    no challenge answer can be relayed. Bring the next root into use; devices that learn of it from the custodians drop the stolen one, \
    others must be enrolled again";
const DEVICE_ROOT_LOSS: &str = "its holder can make TLS certificates the gateway accepts, but opens no session, since that \
    takes an enrolled identity key. Make new roots and enrol the devices again";
const GATEWAY_LOSS: &str = "its holder can pose as the gateway on the network path until the certificate expires; past \
    traffic stays secret (forward secrecy). Replace the key; if it was abused, the root as well";
const DEVICE_TLS_LOSS: &str =
    "alone it opens no session: the challenge needs the identity key. Revoke the device and enrol it again";

impl KeyPurpose {
    /// Every purpose, in the order documents list them.
    pub const ALL: [KeyPurpose; 38] = [
        KeyPurpose::ServerRootClassic,
        KeyPurpose::ServerRootModern,
        KeyPurpose::DeviceRootClassic,
        KeyPurpose::DeviceRootModern,
        KeyPurpose::GatewayTlsClassic,
        KeyPurpose::GatewayTlsModern,
        KeyPurpose::DeviceIdentity,
        KeyPurpose::DeviceKeyAgreement,
        KeyPurpose::DeviceTlsClassic,
        KeyPurpose::DeviceTlsModern,
        KeyPurpose::StorageRoot,
        KeyPurpose::VaultIndex,
        KeyPurpose::VaultConfiguration,
        KeyPurpose::VaultNetwork,
        KeyPurpose::VaultProxy,
        KeyPurpose::VaultUserConfiguration,
        KeyPurpose::VaultApp,
        KeyPurpose::VaultFloors,
        KeyPurpose::VaultDiary,
        KeyPurpose::BootIndex,
        KeyPurpose::BootAnchors,
        KeyPurpose::BootControl,
        KeyPurpose::BootSlot,
        KeyPurpose::Release,
        KeyPurpose::ImageContent,
        KeyPurpose::ReleaseWrap,
        KeyPurpose::Custodian,
        KeyPurpose::ReleaseSnapshot,
        KeyPurpose::ReleaseTimestamp,
        KeyPurpose::ReleaseDirector,
        KeyPurpose::AppApproval,
        KeyPurpose::ReleaseLog,
        KeyPurpose::EnrolmentSecret,
        KeyPurpose::AgentIdSecret,
        KeyPurpose::SessionTicket,
        KeyPurpose::AccountPassword,
        KeyPurpose::AccessToken,
        KeyPurpose::RefreshToken,
    ];

    /// The purpose's stable name, which is also the stem of its file's name.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyPurpose::ServerRootClassic => "server-root-classic",
            KeyPurpose::ServerRootModern => "server-root-modern",
            KeyPurpose::DeviceRootClassic => "device-root-classic",
            KeyPurpose::DeviceRootModern => "device-root-modern",
            KeyPurpose::GatewayTlsClassic => "gateway-tls-classic",
            KeyPurpose::GatewayTlsModern => "gateway-tls-modern",
            KeyPurpose::DeviceIdentity => "device-identity",
            KeyPurpose::DeviceKeyAgreement => "device-key-agreement",
            KeyPurpose::DeviceTlsClassic => "device-tls-classic",
            KeyPurpose::DeviceTlsModern => "device-tls-modern",
            KeyPurpose::StorageRoot => "storage-root",
            KeyPurpose::VaultIndex => "vault-index",
            KeyPurpose::VaultConfiguration => "vault-configuration",
            KeyPurpose::VaultNetwork => "vault-network",
            KeyPurpose::VaultProxy => "vault-proxy",
            KeyPurpose::VaultUserConfiguration => "vault-user-configuration",
            KeyPurpose::VaultApp => "vault-app",
            KeyPurpose::VaultFloors => "vault-floors",
            KeyPurpose::VaultDiary => "vault-diary",
            KeyPurpose::BootIndex => "boot-index",
            KeyPurpose::BootAnchors => "boot-anchors",
            KeyPurpose::BootControl => "boot-control",
            KeyPurpose::BootSlot => "boot-slot",
            KeyPurpose::Release => "release",
            KeyPurpose::ImageContent => "image-content",
            KeyPurpose::ReleaseWrap => "release-wrap",
            KeyPurpose::Custodian => "custodian",
            KeyPurpose::ReleaseSnapshot => "release-snapshot",
            KeyPurpose::ReleaseTimestamp => "release-timestamp",
            KeyPurpose::ReleaseDirector => "release-director",
            KeyPurpose::AppApproval => "app-approval",
            KeyPurpose::ReleaseLog => "release-log",
            KeyPurpose::EnrolmentSecret => "enrolment-secret",
            KeyPurpose::AgentIdSecret => "agent-id-secret",
            KeyPurpose::SessionTicket => "session-ticket",
            KeyPurpose::AccountPassword => "account-password",
            KeyPurpose::AccessToken => "access-token",
            KeyPurpose::RefreshToken => "refresh-token",
        }
    }

    /// The purpose of a gateway's TLS key in this profile.
    pub fn gateway_tls(profile: Profile) -> KeyPurpose {
        match profile {
            Profile::Classic => KeyPurpose::GatewayTlsClassic,
            Profile::Modern => KeyPurpose::GatewayTlsModern,
        }
    }

    /// The purpose of a device's TLS key in this profile.
    pub fn device_tls(profile: Profile) -> KeyPurpose {
        match profile {
            Profile::Classic => KeyPurpose::DeviceTlsClassic,
            Profile::Modern => KeyPurpose::DeviceTlsModern,
        }
    }

    /// What is known about keys of this purpose.
    pub fn facts(self) -> KeyFacts {
        match self {
            KeyPurpose::ServerRootClassic => root(PurposeAlgorithm::Rsa2048, SERVER_ROOT_ROTATION, SERVER_ROOT_LOSS),
            KeyPurpose::ServerRootModern => root(PurposeAlgorithm::EcdsaP256, SERVER_ROOT_ROTATION, SERVER_ROOT_LOSS),
            KeyPurpose::DeviceRootClassic => root(PurposeAlgorithm::Rsa2048, DEVICE_ROOT_ROTATION, DEVICE_ROOT_LOSS),
            KeyPurpose::DeviceRootModern => root(PurposeAlgorithm::EcdsaP256, DEVICE_ROOT_ROTATION, DEVICE_ROOT_LOSS),
            KeyPurpose::GatewayTlsClassic => gateway(PurposeAlgorithm::Rsa2048),
            KeyPurpose::GatewayTlsModern => gateway(PurposeAlgorithm::EcdsaP256),
            KeyPurpose::DeviceTlsClassic => device_tls(PurposeAlgorithm::Rsa2048),
            KeyPurpose::DeviceTlsModern => device_tls(PurposeAlgorithm::EcdsaP256),
            KeyPurpose::DeviceIdentity => KeyFacts {
                algorithm: PurposeAlgorithm::EcdsaP256,
                birthplace: DEVICE,
                storage: DEVICE_KEY,
                lifetime: Lifetime::UntilRevoked,
                rotation: "none: another identity key is another device",
                loss: "its holder, with the TLS key as well, can pose as this one device. Revoke the device and enrol it again",
            },
            KeyPurpose::DeviceKeyAgreement => KeyFacts {
                algorithm: PurposeAlgorithm::EcdhP256,
                birthplace: DEVICE,
                storage: DEVICE_KEY,
                lifetime: Lifetime::UntilRevoked,
                rotation: "registered again by enrolling",
                loss: "its holder can read content keys sent to this one device. Revoke the device and enrol it again",
            },
            KeyPurpose::StorageRoot => KeyFacts {
                algorithm: PurposeAlgorithm::Hkdf128,
                birthplace: DEVICE,
                storage: "`tpm2`: sealed to this TPM and to the named registers; `pkcs11`: nowhere, computed by the token at each start; \
                    `danger-software`: file with mode 0600",
                lifetime: Lifetime::UntilRevoked,
                rotation: "none: provision the device again",
                loss: "its holder can read and forge all that this one device stores, if they get at its storage as well. \
                    Revoke the device, change its proxy's password and enrol it again",
            },
            KeyPurpose::VaultIndex => vault("its holder can put an older vault of this one device in place of its own"),
            KeyPurpose::VaultConfiguration => {
                vault("its holder can point this one device to another server, given its storage")
            }
            KeyPurpose::VaultNetwork => {
                vault("its holder can read and change this one device's addresses, given its storage")
            }
            KeyPurpose::VaultProxy => {
                vault("its holder learns the proxy's user name and password; change them at the proxy")
            }
            KeyPurpose::VaultUserConfiguration => {
                vault("its holder can read and change what this one device's app stored")
            }
            KeyPurpose::VaultApp => {
                vault("its holder can read the app of this one device and put another one in its place")
            }
            KeyPurpose::VaultFloors => vault("its holder can set this one device's time floor, given its storage"),
            KeyPurpose::VaultDiary => vault("its holder can read and change this one device's connection diary"),
            KeyPurpose::BootIndex => {
                vault("its holder can put older boot records of this one device in place of its own")
            }
            KeyPurpose::BootAnchors => {
                vault("its holder can change whose signatures an OS image of this one device needs, given its storage")
            }
            KeyPurpose::BootControl => vault(
                "its holder can choose between the OS images in the slots of this one device, and what is too old for it, given its storage",
            ),
            KeyPurpose::BootSlot => vault(
                "its holder can read the OS images of this one device; what boots is held against its signature as well",
            ),
            KeyPurpose::Release => KeyFacts {
                algorithm: PurposeAlgorithm::Rsa4096Pss,
                birthplace: "the maker's HSM, in a ceremony; a file for development only",
                storage: "the HSM, non-extractable (PKCS#11); for development a PKCS#8 file with mode 0600",
                lifetime: Lifetime::UntilRevoked,
                rotation: "a device knows up to three, each of which can be revoked by the custodians",
                loss: "its holder can sign OS manifests, which a device with all layers takes only with the custodians' \
                    approval as well, and a device named `danger-l1-only` without it. Revoke it in a ceremony",
            },
            KeyPurpose::ImageContent => KeyFacts {
                algorithm: PurposeAlgorithm::Aes128GcmStream,
                birthplace: "whoever builds the image, fresh for each",
                storage: "the server, wrapped to a key of its own; a device while it installs",
                lifetime: Lifetime::UntilRevoked,
                rotation: "with the next image",
                loss: "its holder can read this one image; none can be forged, since each is signed. Build the next one",
            },
            KeyPurpose::ReleaseWrap => KeyFacts {
                algorithm: PurposeAlgorithm::EcdhP256,
                birthplace: SERVER,
                storage: KEY_FILE,
                lifetime: Lifetime::UntilRevoked,
                rotation: "a new key for the next image; content keys are wrapped again",
                loss: "its holder, with the server's store as well, can read OS images; none can be forged. Replace it",
            },
            KeyPurpose::Custodian => KeyFacts {
                algorithm: PurposeAlgorithm::EcdsaP256,
                birthplace: "the custodian's smartcard",
                storage: "the smartcard, non-extractable (PKCS#11)",
                lifetime: Lifetime::UntilRevoked,
                rotation: "replaced by the other custodians in a ceremony",
                loss: "alone it approves nothing: a quorum is needed. Replace the card in a ceremony",
            },
            KeyPurpose::ReleaseSnapshot => online(
                "its holder can mix older approved metadata with newer. Replace it in a ceremony",
                ONLINE_ROTATION,
            ),
            KeyPurpose::ReleaseTimestamp => {
                online("its holder can hide newer releases from devices. Replace it in a ceremony", ONLINE_ROTATION)
            }
            KeyPurpose::ReleaseDirector => online(
                "its holder can assign any release that the custodians approved and no floor forbids. Replace it in a ceremony",
                DIRECTOR_ROTATION,
            ),
            KeyPurpose::AppApproval => online(
                "its holder can approve apps of owners who demand no quorum, but no OS image. Replace it in a ceremony",
                DIRECTOR_ROTATION,
            ),
            KeyPurpose::ReleaseLog => KeyFacts {
                algorithm: PurposeAlgorithm::Ed25519,
                ..online(
                    "its holder can show different logs to different people. Replace it in a ceremony",
                    ONLINE_ROTATION,
                )
            },
            KeyPurpose::EnrolmentSecret => KeyFacts {
                algorithm: PurposeAlgorithm::Bearer256,
                birthplace: SERVER,
                storage: "the token file of whoever provisions; the server keeps its SHA-256 only",
                lifetime: Lifetime::ChosenByOwner,
                rotation: "each token is its own; it ends when used up or expired",
                loss: "its holder can enrol new devices of their own into one group until it ends. Withdraw the token, revoke those devices",
            },
            KeyPurpose::AgentIdSecret => KeyFacts {
                algorithm: PurposeAlgorithm::HmacSha256,
                birthplace: SERVER,
                storage: "file with mode 0600",
                lifetime: Lifetime::UntilRevoked,
                rotation: "replacing it gives every agent a new URL",
                loss: "its holder can compute agent URLs from public keys; agents that check their callers are not affected",
            },
            KeyPurpose::SessionTicket => KeyFacts {
                algorithm: PurposeAlgorithm::TicketAes256,
                birthplace: "the gateway's memory",
                storage: "memory only",
                lifetime: Lifetime::Seconds(12 * 3600),
                rotation: "by itself every 6 hours, and at each start",
                loss: "its holder can resume TLS sessions whose tickets they also hold; the challenge still needs the identity key",
            },
            KeyPurpose::AccountPassword => KeyFacts {
                algorithm: PurposeAlgorithm::Argon2id,
                birthplace: "a person, or `vouch init`",
                storage: "the server keeps an Argon2id hash only",
                lifetime: Lifetime::ChosenByOwner,
                rotation: "changed by its owner",
                loss: "its holder acts as that account. Change it, which ends the account's tokens",
            },
            KeyPurpose::AccessToken => bearer(Lifetime::Seconds(3600), "obtained again with the refresh token"),
            KeyPurpose::RefreshToken => bearer(Lifetime::Seconds(90 * 86_400), "obtained again with the password"),
        }
    }
}

impl std::fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const fn root(algorithm: PurposeAlgorithm, rotation: &'static str, loss: &'static str) -> KeyFacts {
    let lifetime = Lifetime::CertificateDays(ROOT_DAYS);
    KeyFacts { algorithm, birthplace: OPERATOR, storage: KEY_FILE, lifetime, rotation, loss }
}

const fn gateway(algorithm: PurposeAlgorithm) -> KeyFacts {
    let lifetime = Lifetime::CertificateDays(LEAF_DAYS);
    KeyFacts {
        algorithm,
        birthplace: OPERATOR,
        storage: KEY_FILE,
        lifetime,
        rotation: LEAF_ROTATION,
        loss: GATEWAY_LOSS,
    }
}

const fn device_tls(algorithm: PurposeAlgorithm) -> KeyFacts {
    let lifetime = Lifetime::CertificateDays(LEAF_DAYS);
    KeyFacts {
        algorithm,
        birthplace: DEVICE,
        storage: DEVICE_KEY,
        lifetime,
        rotation: LEAF_ROTATION,
        loss: DEVICE_TLS_LOSS,
    }
}

const fn online(loss: &'static str, rotation: &'static str) -> KeyFacts {
    KeyFacts {
        algorithm: PurposeAlgorithm::EcdsaP256,
        birthplace: SERVER,
        storage: KEY_FILE,
        lifetime: Lifetime::UntilRevoked,
        rotation,
        loss,
    }
}

const fn vault(loss: &'static str) -> KeyFacts {
    KeyFacts {
        algorithm: PurposeAlgorithm::Aes128Gcm,
        birthplace: "derived from the storage root at each start",
        storage: "memory only",
        lifetime: Lifetime::UntilRevoked,
        rotation: "with the storage root; each write has a one-time key of its own",
        loss,
    }
}

const fn bearer(lifetime: Lifetime, rotation: &'static str) -> KeyFacts {
    KeyFacts {
        algorithm: PurposeAlgorithm::Bearer256,
        birthplace: SERVER,
        storage: "its holder; the server keeps its SHA-256 only",
        lifetime,
        rotation,
        loss: "its holder acts as that account until the token ends. Withdraw the account's tokens",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_purpose_is_listed_once_and_has_all_its_facts() {
        let names: BTreeSet<_> = KeyPurpose::ALL.iter().map(|purpose| purpose.as_str()).collect();
        assert_eq!(names.len(), KeyPurpose::ALL.len());
        for purpose in KeyPurpose::ALL {
            let facts = purpose.facts();
            for text in [facts.birthplace, facts.storage, facts.rotation, facts.loss] {
                assert!(!text.is_empty(), "{purpose}");
            }
        }
    }

    #[test]
    fn each_profile_has_keys_of_its_own_algorithm() {
        assert_eq!(KeyPurpose::device_tls(Profile::Classic).facts().algorithm, PurposeAlgorithm::Rsa2048);
        assert_eq!(KeyPurpose::device_tls(Profile::Modern).facts().algorithm, PurposeAlgorithm::EcdsaP256);
        assert_eq!(KeyPurpose::gateway_tls(Profile::Classic).facts().algorithm, PurposeAlgorithm::Rsa2048);
        assert_eq!(KeyPurpose::gateway_tls(Profile::Modern).facts().algorithm, PurposeAlgorithm::EcdsaP256);
    }
}
