//! Where commands print: text for people or JSON for scripts, colours only on a terminal.

use std::io::{self, Write, stderr, stdout};

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

impl Tone {
    const ALL: [Tone; 4] = [Tone::Good, Tone::Bad, Tone::Quiet, Tone::Strong];

    fn style(self) -> Style {
        match self {
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        }
    }
}

/// Paints `text` for a terminal; `anstream` takes the paint off where there is none.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    let style = tone.style();
    format!("{style}{text}{style:#}")
}

/// The text with no power over a terminal but line ends, tabs and [`paint`]. Logs, names and errors come from devices, their
/// apps, proxies and servers: what could move the cursor, fill the clipboard or turn text around is shown as `\u{..}`.
fn harmless(text: &str) -> String {
    let paints = Tone::ALL.map(|tone| [tone.style().render().to_string(), tone.style().render_reset().to_string()]);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    loop {
        let painted =
            paints.iter().flatten().find_map(|paint| Some((paint, rest.as_str().strip_prefix(paint.as_str())?)));
        if let Some((paint, behind)) = painted {
            shown.push_str(paint);
            rest = behind.chars();
            continue;
        }
        match rest.next() {
            Some(letter) if steers(letter) && !matches!(letter, '\n' | '\t') => shown.extend(letter.escape_unicode()),
            Some(letter) => shown.push(letter),
            None => return shown,
        }
    }
}

/// Whether a terminal obeys this character instead of showing it: controls, and what turns the direction of text.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The value on one line. JSON leaves characters unescaped that a terminal obeys.
fn json_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(steers) {
        return text;
    }
    // They stand in strings only, and all of them fit in four digits.
    let escaped =
        |letter: char| if steers(letter) { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() };
    text.chars().map(escaped).collect()
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
        let _ = self.record(value, text);
    }

    /// Prints one result of many.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn record(&self, value: &Value, text: &str) -> io::Result<()> {
        if self.json { write_line(stdout(), &json_text(value)) } else { write_line(stdout(), &harmless(text)) }
    }

    /// Prints a JSON object on standard output, whatever the mode.
    pub(crate) fn json_line(&self, value: &Value) {
        let _ = write_line(stdout(), &json_text(value));
    }

    /// Prints a line for people only: on standard output, or on standard error where standard output is JSON.
    pub(crate) fn say(&self, text: &str) {
        let text = harmless(text);
        let _ = if self.json { write_line(stderr(), &text) } else { write_line(stdout(), &text) };
    }

    /// Shows these lines in the place of everything on the terminal. They must fit.
    ///
    /// # Errors
    /// Nobody reads any more.
    #[cfg(feature = "server")]
    pub(crate) fn redraw(&self, lines: &[String]) -> io::Result<()> {
        // Home, each line to its end, the rest of the screen (ECMA-48): nothing flickers, and nothing is left to undo.
        let rows: Vec<_> = lines.iter().map(|line| format!("{}\x1b[K", harmless(line))).collect();
        let mut out = anstream::AutoStream::auto(stdout());
        write!(out, "\x1b[H{}\x1b[J", rows.join("\n"))?;
        out.flush()
    }

    /// Prints why a command failed, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        if error.is::<Said>() {
            return;
        }
        if self.json {
            self.json_line(&json!({ "error": format!("{error:#}") }));
        }
        let mut text = format!("{} {error}", paint(Tone::Bad, "error:"));
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        let _ = write_line(stderr(), &harmless(&text));
    }
}

fn write_line(
    stream: impl anstream::stream::RawStream + anstream::stream::AsLockedWrite,
    line: &str,
) -> io::Result<()> {
    let mut stream = anstream::AutoStream::auto(stream);
    writeln!(stream, "{line}")?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_logs_cannot_steer_the_operators_terminal() {
        // The clipboard (OSC 52), the cursor, a C1 control, an overwritten line, turned text.
        let attacks =
            ["\x1b]52;c;cm0gLXJm\x07", "\x1b[2J", "\u{9b}2J", "fine\rforged", "a\u{202e}b", "\x1b[8mhidden", "\x7f"];
        for attack in attacks {
            for shown in [harmless(attack), json_text(&json!(attack))] {
                assert!(!shown.contains(steers), "{shown:?}");
            }
            let painted = harmless(&paint(Tone::Quiet, attack));
            assert!(!painted.contains(attack), "{painted:?}");
            assert_eq!(serde_json::from_str::<Value>(&json_text(&json!(attack))).unwrap(), json!(attack));
        }
    }

    #[test]
    fn our_own_paint_and_every_script_stay_as_they_are() {
        for tone in Tone::ALL {
            let text = format!("1\t{}\n2", paint(tone, "grüße 你好 👩\u{200d}🔧"));
            assert_eq!(harmless(&text), text);
        }
        assert_eq!(json_text(&json!({ "a": "ü\n" })), r#"{"a":"ü\n"}"#);
    }
}
