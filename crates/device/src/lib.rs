//! The device runtime: connect, prove, run the app
