//! Notes the warnings and errors of the server's log, so that `vouch status` can show the last ones.

use std::fmt::{Debug, Write as _};

use server::status::{Severity, Troubles};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where they are noted.
pub(super) struct NoteTroubles(pub(super) Troubles);

impl<S: Subscriber> Layer<S> for NoteTroubles {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let severity = if *event.metadata().level() == Level::ERROR { Severity::Error } else { Severity::Warning };
        let mut text = Text::default();
        event.record(&mut text);
        self.0.note(severity, &format!("{}{}", text.message, text.fields));
    }
}

/// An event as one line: what happened, then the particulars.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.fields, " {}={value}", field.name());
        let mut cause = value.source();
        while let Some(inner) = cause {
            let _ = write!(self.fields, ": {inner}");
            cause = inner.source();
        }
    }
}

#[cfg(test)]
mod tests {
    use server::LIMITS;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_warning_and_an_error_are_noted_with_their_particulars() {
        let troubles = Troubles::new(&LIMITS);
        let subscriber = tracing_subscriber::registry().with(NoteTroubles(troubles.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(peer = "192.0.2.7", "device refused");
            let error = std::io::Error::other("no space left");
            tracing::error!(error = &error as &dyn std::error::Error, "the journal could not be written");
        });
        let mut noted: Vec<_> = troubles.latest().into_iter().map(|trouble| trouble.text).collect();
        noted.sort();
        assert_eq!(
            noted,
            ["device refused peer=\"192.0.2.7\"", "the journal could not be written error=no space left"]
        );
    }
}
