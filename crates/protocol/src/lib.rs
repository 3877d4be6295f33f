//! The wire between device and server: frames, messages, challenge and both session state machines, sans-IO
