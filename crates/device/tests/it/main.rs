//! The device runtime against real sockets: name servers, proxies, a server made of the other end's own parts.

mod connect;
mod dns;
mod folder;
mod proxy;
mod server;
mod session;
