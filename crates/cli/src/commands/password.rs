//! Reading a password from a file, standard input or the terminal, never from the command line.

use std::fs;
use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The longest secret that is read from a file.
const SECRET_BYTES_MAX: u64 = 4096;

/// Reads a password: the file's content without its last line end, standard input for `-`, the terminal for none.
pub(crate) fn read(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let Some(path) = file else { return ask() };
    let text = read_secret(path)?;
    ensure!(!text.is_empty(), "{} holds no password", path.display());
    Ok(text)
}

/// Reads a short secret from a file or, for `-`, from standard input.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let (read, name) = if path == Path::new("-") {
        (stdin().take(SECRET_BYTES_MAX + 1).read_to_string(&mut text), "standard input".to_owned())
    } else {
        let name = path.display().to_string();
        (fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)), name)
    };
    let length = read.with_context(|| format!("cannot read {name}"))?;
    ensure!(length as u64 <= SECRET_BYTES_MAX, "{name} is longer than {SECRET_BYTES_MAX} bytes");
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Ok(text)
}

fn ask() -> Result<Zeroizing<String>> {
    let input = stdin();
    if !input.is_terminal() {
        bail!("no terminal to ask for the password: give --password-file FILE, or - for standard input");
    }
    let before = tcgetattr(&input)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut prompt = stderr();
    write!(prompt, "Password: ")?;
    prompt.flush()?;
    tcsetattr(&input, OptionalActions::Flush, &silent)?;
    let mut text = Zeroizing::new(String::new());
    let read = input.lock().read_line(&mut text);
    tcsetattr(&input, OptionalActions::Flush, &before)?;
    writeln!(prompt)?;
    read?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    ensure!(!text.is_empty(), "no password given");
    Ok(text)
}
