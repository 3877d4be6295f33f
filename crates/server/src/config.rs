//! How a server is to run: a plain struct, filled by whoever starts it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::gateway::{GatewayLimits, Listen};
use crate::limits::Limits;
use crate::status::Troubles;

/// After how many seconds of silence a device is asked whether it is there, unless an operator says otherwise.
pub const KEEPALIVE_S: u32 = 60;

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The folder that [`crate::init`](fn@crate::init) made.
    pub dir: PathBuf,
    /// Where devices connect.
    pub listen: Vec<Listen>,
    /// Where central and the agents' URLs are.
    pub http: SocketAddr,
    /// The address of the same as others see it, such as `https://central.example`; without it, `http` as it was bound.
    pub public_url: Option<String>,
    /// After how many seconds of silence a device is asked whether it is there.
    pub keepalive_s: u32,
    /// Lets agents make requests to loopback, link-local and private addresses: their code comes from those who may deploy, and reaches
    /// whatever this machine reaches.
    pub danger_agents_private_addresses: bool,
    /// Bounds of the gateway.
    pub gateway: GatewayLimits,
    /// Bounds of the store, the bus and central's API.
    pub limits: Limits,
    /// Where whoever keeps the log notes what went wrong, for the server's status.
    pub troubles: Troubles,
}
