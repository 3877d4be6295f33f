//! What holds or checks a key: purposes, public keys, signatures, certificates, TLS configurations
