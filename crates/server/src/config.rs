//! How a server is to run: a plain struct, filled by whoever starts it.
