//! A running app: virtual machine, event queue, timers and messages, the same on both ends
