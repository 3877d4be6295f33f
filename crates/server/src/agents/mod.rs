//! The agents, one per device, and their URLs.
