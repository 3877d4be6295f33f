//! The binary as a person runs it: processes on loopback or in network namespaces of their own.

mod demo;
mod hostile_apps;
mod network;
mod restart;
mod support;
