//! Both ends of an enrolment: how a device that has only a token becomes known to its server.
//!
//! The server speaks first and sends its roots; the device compares their hash with the token's, then has this
//! connection's certificate checked against them, and only then sends anything. Its request holds the token's
//! secret and is signed by the new identity key for this one TLS connection. Nobody who merely holds a token can
//! enrol another's key, and a server that is not the token's gets nothing.
//!
//! - [`token`]: what a person carries to the device.
//! - [`message`]: what each end may say.
//! - [`request`]: what the device signs, and the check of it.
//! - [`device`] and [`server`]: the two ends, driven by the same verbs as a session.

pub mod device;
pub mod message;
pub mod request;
pub mod server;
pub mod token;

pub use device::{DeviceEnrolment, DeviceEnrolmentConfig, DeviceEnrolmentEvent};
pub use message::{EnrolToDevice, EnrolToServer, Enrolled};
pub use request::VerifiedRequest;
pub use server::{ServerEnrolment, ServerEnrolmentConfig, ServerEnrolmentEvent};
pub use token::{EnrolmentToken, TokenError, TokenId};
