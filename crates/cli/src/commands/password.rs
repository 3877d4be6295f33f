//! Reading a password from a file, standard input or the terminal, never from the command line.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write, stderr, stdin};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes.
const SECRET_BYTES_MAX: usize = 4096;
/// Room for more than the longest secret, so that no copy stays behind where a text grew.
const ROOM: usize = 2 * SECRET_BYTES_MAX;

/// Reads a password: the file's content without line ends behind it, standard input for `-`, the terminal for none.
pub(crate) fn read(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let Some(path) = file else {
        return ask("password", "Password: ", "give --password-file FILE, or - for standard input");
    };
    let text = read_secret(path)?;
    ensure!(!text.is_empty(), "{} holds no password", path.display());
    Ok(text)
}

/// Reads a short secret from a file or, for `-`, from standard input.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>> {
    let (source, name) = if path == Path::new("-") {
        (unbuffered_stdin(), "standard input".to_owned())
    } else {
        (File::open(path), path.display().to_string())
    };
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let read = source.and_then(|source| source.take(SECRET_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    let length = read.with_context(|| format!("cannot read {name}"))?;
    ensure!(length <= SECRET_BYTES_MAX, "{name} is longer than {SECRET_BYTES_MAX} bytes");
    drop_line_ends(&mut text);
    Ok(text)
}

/// Standard input without the buffer that the standard library keeps, which nobody wipes.
fn unbuffered_stdin() -> io::Result<File> {
    Ok(stdin().as_fd().try_clone_to_owned()?.into())
}

fn drop_line_ends(text: &mut Zeroizing<String>) {
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
}

/// Asks on the terminal for a secret of this kind, and shows nothing of what is typed; where there is none, says what to do `instead`.
pub(crate) fn ask(what: &str, prompt: &str, instead: &str) -> Result<Zeroizing<String>> {
    if !stdin().is_terminal() {
        bail!("no terminal to ask for the {what}: {instead}");
    }
    let mut line = Zeroizing::new([0; SECRET_BYTES_MAX]);
    let silence = Silence::begin()?;
    let mut terminal = stderr();
    let _ = write!(terminal, "{prompt}").and_then(|()| terminal.flush());
    // A terminal hands over one line at a time.
    let read = (&silence.terminal).read(&mut line[..]);
    drop(silence);
    let _ = writeln!(terminal);
    let length = read.with_context(|| format!("cannot read the {what} from the terminal"))?;
    let text =
        str::from_utf8(line.get(..length).unwrap_or_default()).with_context(|| format!("the {what} is not UTF-8"))?;
    let mut password = Zeroizing::new(String::with_capacity(ROOM));
    password.push_str(text);
    drop_line_ends(&mut password);
    ensure!(!password.is_empty(), "no {what} given");
    Ok(password)
}

/// A terminal that shows nothing of what is typed, until this is dropped or the process is asked to end.
struct Silence {
    terminal: File,
    before: Termios,
}

impl Silence {
    fn begin() -> Result<Silence> {
        let terminal = unbuffered_stdin()?;
        let before = tcgetattr(&terminal)?;
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let silence = Silence { before, terminal };
        let (terminal, before) = (silence.terminal.try_clone()?, silence.before.clone());
        // It stays to the end of the process: a signal that was watched once has no default action of its own any more.
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // The shell that follows must not stay mute.
                let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
                let _ = emulate_default_handler(signal);
            }
        });
        let mut silent = silence.before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&silence.terminal, OptionalActions::Flush, &silent)?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_a_bound_and_leaves_no_copies_where_it_grew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let longest = "x".repeat(SECRET_BYTES_MAX - 1);
        std::fs::write(file.path(), format!("{longest}\n")).unwrap();
        let read = read_secret(file.path()).unwrap();
        assert_eq!((read.as_str(), read.capacity()), (longest.as_str(), ROOM));
        std::fs::write(file.path(), "x".repeat(SECRET_BYTES_MAX + 1)).unwrap();
        let error = read_secret(file.path()).unwrap_err().to_string();
        assert!(error.contains("longer than") && !error.contains("xx"), "{error}");
    }
}
