//! What scripts hand to the host's functions, checked.

use squirrel::{Pin, Throw, Value, View};

use crate::app::App;

impl App {
    pub(super) fn expect_function(&self, call: &str, value: Value) -> Result<(), Throw> {
        match self.vm.heap().view(value) {
            View::Function => Ok(()),
            _ => Err(Throw::message(format!("{call}: a function was expected"))),
        }
    }

    pub(super) fn optional_function(&mut self, call: &str, value: Value) -> Result<Option<Pin>, Throw> {
        if value.is_null() {
            return Ok(None);
        }
        self.expect_function(call, value)?;
        Ok(Some(self.vm.pin(value)))
    }

    pub(super) fn forget(&mut self, pin: Option<Pin>) {
        if let Some(pin) = pin {
            self.vm.unpin(pin);
        }
    }

    pub(super) fn number(&self, call: &str, value: Value) -> Result<f64, Throw> {
        match value {
            Value::Int(whole) => Ok(f64::from(whole)),
            Value::Float(part) => Ok(f64::from(part)),
            _ => Err(Throw::message(format!("{call}: a number was expected"))),
        }
    }

    pub(super) fn text(&self, call: &str, value: Value) -> Result<String, Throw> {
        let text = match self.vm.heap().view(value) {
            View::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        text.map(str::to_owned).ok_or_else(|| Throw::message(format!("{call}: a string was expected")))
    }

    pub(super) fn name(&self, call: &str, value: Value) -> Result<String, Throw> {
        let name = self.text(call, value)?;
        let most = self.limits.name_bytes;
        if name.len() > most {
            Err(Throw::message(format!("{call}: a name has at most {most} bytes")))
        } else {
            Ok(name)
        }
    }
}
