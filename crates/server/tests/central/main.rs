//! Central's API over HTTP: a real listener on loopback, a real database in a folder of its own.

mod auth;
mod deployments;
mod devices;
mod enrolment;
mod golden;
mod limits;
mod logs;
mod products;
mod rig;
