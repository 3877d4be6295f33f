//! `vouch keys`: every key of the system, from the code that makes them.

use anyhow::Result;
use clap::Args;
use keys::purpose::{KeyPurpose, Lifetime};
use serde_json::json;

use crate::output::{Output, Tone, paint};

/// List every kind of key: algorithm, birthplace, storage, lifetime, rotation and what its loss means.
#[derive(Args, Debug)]
pub(crate) struct Keys {}

impl Keys {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        for purpose in KeyPurpose::ALL {
            let facts = purpose.facts();
            let lifetime = lifetime(facts.lifetime);
            let rows = [
                ("algorithm", facts.algorithm.as_str()),
                ("born", facts.birthplace),
                ("kept", facts.storage),
                ("lifetime", lifetime.as_str()),
                ("rotation", facts.rotation),
                ("if lost", facts.loss),
            ];
            let text: String = rows.iter().map(|(name, value)| format!("\n  {name:<10} {value}")).collect();
            let fields: serde_json::Map<_, _> =
                rows.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let name = purpose.to_string();
            output
                .result(&json!({ "purpose": name, "facts": fields }), &format!("{}{text}", paint(Tone::Strong, &name)));
        }
        Ok(())
    }
}

fn lifetime(lifetime: Lifetime) -> String {
    match lifetime {
        Lifetime::CertificateDays(days) => format!("{days} days, as its certificate says"),
        Lifetime::UntilRevoked => "until it is revoked or removed".to_owned(),
        Lifetime::Seconds(seconds) => format!("{seconds} seconds"),
        Lifetime::ChosenByOwner => "as its owner decides".to_owned(),
    }
}
