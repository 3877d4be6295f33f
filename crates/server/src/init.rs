//! Makes the folder that a server runs on.
