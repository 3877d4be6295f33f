//! What things cost beside their yardsticks: the gateway beside a bare TLS server, the vault beside a plain file. Measured in one run on one machine. `bin/main.rs` is where it starts.
//!
//! - [`farm`]: a server's folder with enrolled devices and an agent that echoes and counts.
//! - [`bare`]: the yardstick: tokio-rustls with the same configurations, the same messages and no more than that.
//! - [`process`]: a server in a process of its own, on a CPU of its own, that is asked what it has used.
//! - [`load`]: the devices: full logins, and one round trip after the other.
//! - [`vault`]: what is stored, beside a plain file and beside the cipher alone.
//! - [`storm`]: a whole fleet at once, and the memory it costs the server; [`restart`]: a server that is restarted under it.
//! - [`messages`]: acknowledged messages, beside a broker: [`mosquitto`], spoken to with [`mqtt`].
//! - [`updates`]: OS images to many devices at once, beside the bare server and nginx.
//! - [`table`]: medians and ratios.

pub mod bare;
pub mod farm;
pub mod load;
pub mod messages;
pub mod mosquitto;
pub mod mqtt;
pub mod process;
pub mod restart;
pub mod storm;
pub mod table;
pub mod updates;
pub mod vault;
