//! `server`: the log, restarts, and the agent's durable table.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::{App, Phase};
use crate::limits::NESTING;
use crate::output::{LogLevel, Output};
use crate::side::Side;
use crate::value::{Bounds, Format, decode_cbor, decode_json, encode};

impl App {
    /// `server.log(text)`, `print(text)`
    pub(super) fn log(&mut self, text: Value) -> Reply {
        self.log_value(LogLevel::Log, text)
    }

    /// `server.error(text)`, `error(text)`
    pub(super) fn log_error(&mut self, text: Value) -> Reply {
        self.log_value(LogLevel::Error, text)
    }

    fn log_value(&mut self, level: LogLevel, text: Value) -> Reply {
        let bytes = self.vm.heap().bytes_of(text).unwrap_or_default();
        // Bytes that are no UTF-8 grow threefold; the line is cut again after that.
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(self.limits.log_line_bytes)]).into_owned();
        self.put_log(level, text);
        Value::Int(0).into()
    }

    /// `server.restart()`: when the event is over.
    pub(super) fn restart(&mut self) -> Reply {
        self.restart_wanted = true;
        Value::Null.into()
    }

    /// `server.save(table[, format])`: format 1 is JSON, 2 is binary. The script waits until the table is durable.
    pub(super) fn save(&mut self, table: Value, format: Value) -> Result<Reply, Throw> {
        if !matches!(self.vm.heap().view(table), View::Table(_)) {
            return Err(Throw::message("server.save: a table was expected"));
        }
        let format = match format {
            Value::Null | Value::Int(1) => Format::JsonCompact,
            Value::Int(2) => Format::Cbor,
            _ => return Err(Throw::message("server.save: the format is 1 (JSON) or 2 (binary)")),
        };
        let bounds = Bounds { bytes: self.limits.save_bytes, nesting: NESTING };
        let encoded = encode(self.vm.heap(), table, format, bounds)
            .map_err(|error| Throw::message(format!("server.save: {error}")))?;
        self.count_work(encoded.work);
        if encoded.dropped > 0 {
            let entries = if encoded.dropped == 1 { "entry" } else { "entries" };
            let line = format!("ERROR: server.save: {} {entries} cannot be stored and were left out", encoded.dropped);
            self.put_log(LogLevel::Error, line);
        }
        self.put(Output::Save(encoded.bytes.clone()));
        self.phase = Phase::Saving(encoded.bytes);
        Ok(Reply::Wait)
    }

    /// `server.load()`: what was saved last, or an empty table.
    pub(super) fn load(&mut self) -> Result<Reply, Throw> {
        let Side::Agent(agent) = &self.side else { return Err(Throw::message("only an agent has this")) };
        let saved = agent.saved.as_deref().unwrap_or(b"{}");
        let loaded = self.vm.build(|heap| {
            // A CBOR table never begins with a brace: what was written says itself how to read it.
            let loaded = if saved.starts_with(b"{") {
                decode_json(heap, saved, NESTING)?
            } else {
                decode_cbor(heap, saved, NESTING)?
            };
            if matches!(loaded, Value::Table(_)) { Ok(loaded) } else { Err(Throw::message("it is no table")) }
        });
        let loaded = match loaded {
            Err(Throw::Message(error)) => {
                self.put_log(LogLevel::Error, format!("ERROR: server.load: the saved table is damaged: {error}"));
                self.vm.build(|heap| heap.table(0))?
            }
            other => other?,
        };
        Ok(loaded.into())
    }
}
