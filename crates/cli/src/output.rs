//! Where commands print: text for people or JSON for scripts, colours only on a terminal.

use std::io::{Write, stderr, stdout};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

/// How a word is meant; the terminal's colours follow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Good,
    Bad,
    Quiet,
    Strong,
}

/// Paints `text` for a terminal; `anstream` takes the paint off where there is none.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Quiet => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
    };
    format!("{style}{text}{style:#}")
}

/// A failure about which everything has been printed already; only the exit code is left to give.
#[derive(Debug)]
pub(crate) struct Said;

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("see above")
    }
}

impl std::error::Error for Said {}

/// The two ways of printing. A closed pipe ends nothing: the next write simply goes nowhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: one JSON object on one line, or the text.
    pub(crate) fn result(&self, value: &Value, text: &str) {
        if self.json {
            self.json_line(value);
        } else {
            let _ = writeln!(anstream::AutoStream::auto(stdout()), "{text}");
        }
    }

    /// Prints a JSON object on standard output, whatever the mode.
    pub(crate) fn json_line(&self, value: &Value) {
        let mut out = stdout().lock();
        let _ = writeln!(out, "{value}");
        let _ = out.flush();
    }

    /// Prints a line for people only: on standard output, or on standard error where standard output is JSON.
    pub(crate) fn say(&self, text: &str) {
        if self.json {
            let _ = writeln!(anstream::AutoStream::auto(stderr()), "{text}");
        } else {
            let _ = writeln!(anstream::AutoStream::auto(stdout()), "{text}");
        }
    }

    /// Prints why a command failed, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        if error.is::<Said>() {
            return;
        }
        if self.json {
            self.json_line(&json!({ "error": format!("{error:#}") }));
        }
        let mut out = anstream::AutoStream::auto(stderr());
        let _ = writeln!(out, "{} {error}", paint(Tone::Bad, "error:"));
        for cause in error.chain().skip(1) {
            let _ = writeln!(out, "  because: {cause}");
        }
    }
}
