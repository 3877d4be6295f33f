//! What the tests of both ends share: a server and devices on loopback, in one process.
