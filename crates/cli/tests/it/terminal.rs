//! The question for a password on a terminal: nothing typed is shown, and the terminal is left as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::vouch;

/// A terminal and, at it, a login that waits for the password.
struct Asked {
    terminal: File,
    login: Child,
}

impl Asked {
    fn start() -> Asked {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let user: File = ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap().into();
        let terminal = File::from(controller);
        let mut command = vouch();
        // Port 1 is closed: after the password comes a failure, and no login file.
        command.args(["login", "--user", "u", "--central", "http://127.0.0.1:1"]);
        let mut login = command.stdin(user).stderr(Stdio::piped()).spawn().unwrap();
        let mut prompt = [0; 10];
        login.stderr.as_mut().unwrap().read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"Password: ");
        Asked { terminal, login }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_password_is_not_shown_and_the_terminal_is_as_before() {
    let mut asked = Asked::start();
    assert!(!asked.echoes(), "asked before the terminal was silent");
    (&asked.terminal).write_all(b"secret\n").unwrap();
    let status = asked.login.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    asked.login.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("does not answer"), "{said}");
    assert!(asked.echoes());
}

#[test]
fn a_login_that_is_interrupted_leaves_no_mute_terminal() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut asked = Asked::start();
        assert!(!asked.echoes());
        rustix::process::kill_process(rustix::process::Pid::from_child(&asked.login), signal).unwrap();
        let status = asked.login.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(asked.echoes(), "the terminal stays mute after {signal:?}");
    }
}
