//! The facts of the wire that others quote: ports in their order, versions.

/// The TCP ports that a device tries, in this order, at each attempt to connect.
pub const PORTS: [u16; 3] = [31314, 993, 443];

/// The version of the messages, said in the device's first one. Another version is refused, never guessed at.
pub const PROTOCOL_VERSION: u8 = 1;

/// The length of a nonce in bytes; RFC 9711 (section 4.1) allows 8 to 64.
pub const NONCE_LEN: usize = 32;

/// The length of the TLS exporter value in bytes (RFC 9266, section 2).
pub const EXPORTER_LEN: usize = 32;

/// The `ueid` type byte that stands before the hash of the device's public key (RFC 9711, section 4.2.1: RAND).
pub const UEID_TYPE: u8 = 0x01;
